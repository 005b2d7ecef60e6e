//! A transaction of the user's own that meets a unique key.

use std::time::Duration;

use zjobs_engine::job::NewJob;
use zjobs_engine::outcome::settle;
use zjobs_engine::store::postgres::{PostgresConfig, PostgresStore};
use zjobs_engine::store::{Acked, Filter, Store};
use zjobs_engine::unique::UniqueStrategy;

use crate::conformance::fixture::{ALICE, Fixture, done, new_job, unique_job, worker};
use crate::postgres::fixture::{Beside, Postgres, config};

/// Has met the job with the key, and stays open.
fn transaction(on: &Postgres) -> Beside {
    let other = Beside::new();
    other.run(&format!("BEGIN; SELECT {}.enqueue('w', unique_key => 'k')", on.schema));
    other
}

#[test]
fn the_end_of_a_running_job_does_not_wait_for_a_transaction_that_met_its_key() {
    let here = Postgres::with(|config| PostgresConfig { patience: Duration::from_secs(3), ..config });
    let on: &dyn Fixture = &here;
    let (other, keyed) = (on.running(ALICE, new_job()), on.running(ALICE, unique_job("k", UniqueStrategy::IgnoreNew)));
    let _open = transaction(&here);
    let acks = [&other, &keyed].map(|job| settle(job, done()).unwrap());
    assert_eq!(here.store.ack(ALICE, &acks).unwrap(), [Acked::Stored; 2]);
}

#[test]
fn a_waiting_job_begins_after_a_transaction_that_met_its_key() {
    let here = Postgres::new();
    let on: &dyn Fixture = &here;
    on.beat(ALICE, &[]);
    let job = on.enqueue(unique_job("k", UniqueStrategy::IgnoreNew));
    let open = transaction(&here);
    assert_eq!(on.claim(ALICE, 1), []);
    open.run("COMMIT");
    assert_eq!(on.claim(ALICE, 1)[0].id, job.id);
}

#[test]
fn the_end_of_a_running_job_and_other_enqueues_do_not_wait_for_one_that_waits_for_its_key() {
    let here = Postgres::new();
    let on: &dyn Fixture = &here;
    let job = on.running(ALICE, new_job());
    let open = transaction(&here);
    let waits =
        format!("SELECT 'yes' FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'", here.schema);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| here.store.enqueue(vec![unique_job("k", UniqueStrategy::IgnoreNew)]).unwrap());
        while here.beside.texts(&waits).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(on.ack(ALICE, &job, done()), Acked::Stored);
        assert!(!here.store.enqueue(vec![new_job()]).unwrap()[0].conflict);
        assert!(!waiting.is_finished(), "they have waited for it");
        open.run("COMMIT");
        assert!(waiting.join().unwrap()[0].conflict);
    });
}

#[test]
fn an_enqueue_whose_connection_ended_is_answered_with_whoever_had_its_key_meanwhile() {
    let here = Postgres::new();
    let on: &dyn Fixture = &here;
    let schema = &here.schema;
    // The first of its inserts waits, and loses its connection.
    here.beside.run(&format!(
        "CREATE SEQUENCE {schema}.cuts;
         CREATE FUNCTION {schema}.cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('{schema}.cuts') = 1 THEN
                 PERFORM pg_advisory_xact_lock(hashtext('{schema}'));
                 PERFORM pg_terminate_backend(pg_backend_pid());
             END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER cut BEFORE INSERT ON {schema}.jobs FOR EACH ROW WHEN (new.worker = 'cut_off')
         EXECUTE FUNCTION {schema}.cut()"
    ));
    let gate = Beside::new();
    gate.run(&format!("SELECT pg_advisory_lock(hashtext('{schema}'))"));
    let waits = format!("SELECT 'yes' FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%{schema}%'");
    let cut_off = NewJob { worker: worker("cut_off"), ..unique_job("k", UniqueStrategy::IgnoreNew) };
    std::thread::scope(|scope| {
        let enqueuing = scope.spawn(|| here.store.enqueue(vec![cut_off]).unwrap().remove(0));
        while here.beside.texts(&waits).is_empty() {
            std::thread::yield_now();
        }
        let other = PostgresStore::open(config(schema)).unwrap();
        other.enqueue(vec![unique_job("k", UniqueStrategy::IgnoreNew)]).unwrap();
        on.beat(ALICE, &[]);
        let job = on.claim(ALICE, 1).remove(0);
        assert_eq!(on.ack(ALICE, &job, done()), Acked::Stored);
        gate.run(&format!("SELECT pg_advisory_unlock(hashtext('{schema}'))"));
        let answer = enqueuing.join().unwrap();
        assert_eq!((answer.job.id, answer.conflict), (job.id, true));
    });
    assert_eq!(on.store().count(&Filter::default()).unwrap(), 1);
}
