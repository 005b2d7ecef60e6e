//! A trigger that somebody has added to the file.

use rusqlite::Connection;

use crate::conformance::cases;
use crate::sqlite::fixture::Sqlite;

pub fn ruled() -> Sqlite {
    let on = Sqlite::new();
    let beside = Connection::open(on.path()).unwrap();
    beside
        .execute_batch(
            "CREATE TRIGGER rule BEFORE UPDATE ON zjobs_jobs WHEN old.state = 1 AND new.state <> 1 AND new.args LIKE '%7%'
             BEGIN SELECT RAISE(ABORT, 'no sevens'); END",
        )
        .unwrap();
    on
}

cases! {
    crate::sqlite::rules::ruled();
    rules: a_rescue_goes_past_what_is_refused, a_rescue_that_has_room_left_takes_each_once,
        a_rescue_goes_past_less_than_a_thousand;
}
