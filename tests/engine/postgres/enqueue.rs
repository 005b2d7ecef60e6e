//! Which statement inserts jobs.

use zjobs_engine::job::{Name, NewJob};

use crate::conformance::fixture::{Fixture, new_job, secs};
use crate::postgres::fixture::Postgres;

#[test]
fn a_lone_job_that_has_nothing_but_its_arguments_is_inserted_by_the_statement_for_one() {
    let here = Postgres::new();
    let (on, schema): (&dyn Fixture, _) = (&here, &here.schema);
    here.beside.run(&format!(
        "CREATE TABLE {schema}.seen (query text);
         CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO {schema}.seen VALUES (current_query());
             RETURN new;
         END $$;
         CREATE TRIGGER see BEFORE INSERT ON {schema}.jobs FOR EACH ROW EXECUTE FUNCTION {schema}.see()"
    ));
    let is_by_that_for_many = |job: NewJob| {
        on.enqueue(job);
        let seen = here.beside.texts(&format!("WITH gone AS (DELETE FROM {schema}.seen RETURNING query) TABLE gone"));
        assert_eq!(seen.len(), 1);
        seen[0].contains("unnest")
    };
    assert!(!is_by_that_for_many(new_job()));
    assert!(!is_by_that_for_many(NewJob { timeout: Some(secs(7)), max_attempts: 3, ..new_job() }));
    assert!(is_by_that_for_many(NewJob { tags: vec![Name::tag("red").unwrap()], ..new_job() }));
}
