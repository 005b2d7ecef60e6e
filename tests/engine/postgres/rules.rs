//! A trigger that somebody has added to the tables.

use zjobs_engine::store::Store;

use crate::conformance::cases;
use crate::conformance::fixture::{ALICE, Fixture, TTL, new_job};
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

/// Jobs of a node that has died, which a rescue may not change: the codes of what the server says, one after the other.
fn rescued_where_the_server_says(codes: &[&str]) -> String {
    let on = Postgres::new();
    let (fixture, schema): (&dyn Fixture, _) = (&on, &on.schema);
    on.beside.run(&format!(
        "CREATE SEQUENCE {schema}.said;
         CREATE FUNCTION {schema}.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'not now' USING ERRCODE =
                 ('{{{codes}}}'::text[])[least(nextval('{schema}.said'), {count})];
         END $$;
         CREATE TRIGGER say BEFORE UPDATE ON {schema}.jobs FOR EACH ROW WHEN (old.state = 1)
         EXECUTE FUNCTION {schema}.say()",
        codes = codes.join(","),
        count = codes.len(),
    ));
    fixture.running(ALICE, new_job());
    fixture.running(ALICE, new_job());
    fixture.advance(TTL * 2);
    on.store.rescue(9).unwrap_err().to_string()
}

#[test]
fn a_rescue_that_fails_for_the_times_fault_says_what_the_server_said_first() {
    for codes in [&["58000"][..], &["P0001", "58000"]] {
        let error = rescued_where_the_server_says(codes);
        assert!(error.contains("not now"), "{codes:?}: {error}");
    }
}
