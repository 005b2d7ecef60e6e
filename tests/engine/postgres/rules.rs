//! A trigger that somebody has added to the tables.

use crate::conformance::cases;
use crate::postgres::fixture::Postgres;

pub fn ruled() -> Postgres {
    let on = Postgres::new();
    on.add_rule("old.state = 1 AND new.state <> 1 AND new.args::text LIKE '%7%'", "P0001");
    on
}

cases! {
    crate::postgres::rules::ruled();
    rules: a_rescue_goes_past_what_is_refused, a_rescue_that_has_room_left_takes_each_once,
        a_rescue_goes_past_less_than_a_thousand;
}
