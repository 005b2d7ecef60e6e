//! A trigger that somebody has added to the file.

use rusqlite::Connection;
use zjobs_engine::State;

use crate::conformance::cases;
use crate::conformance::fixture::{ALICE, Fixture};
use crate::conformance::rules::orphans;
use crate::sqlite::fixture::Sqlite;

pub fn ruled() -> Sqlite {
    with_rule("ABORT")
}

fn with_rule(then: &str) -> Sqlite {
    let on = Sqlite::new();
    let beside = Connection::open(on.path()).unwrap();
    beside
        .execute_batch(&format!(
            "CREATE TRIGGER rule BEFORE UPDATE ON zjobs_jobs WHEN old.state = 1 AND new.state <> 1 AND new.args LIKE '%7%'
             BEGIN SELECT RAISE({then}, 'no sevens'); END",
        ))
        .unwrap();
    on
}

cases! {
    crate::sqlite::rules::ruled();
    rules: a_rescue_goes_past_what_is_refused, a_rescue_that_has_room_left_takes_each_once,
        a_rescue_goes_past_less_than_a_thousand;
}

#[test]
fn a_rescue_that_a_rule_rolls_back_takes_none() {
    let on = with_rule("ROLLBACK");
    let on: &dyn Fixture = &on;
    let jobs = orphans(on, ALICE, &[6, 7, 6]);
    on.store().rescue(9).unwrap_err();
    assert_eq!([jobs[0], jobs[1], jobs[2]].map(|id| on.state(id)), [State::Executing; 3]);
}
