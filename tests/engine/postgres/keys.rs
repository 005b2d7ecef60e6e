//! A transaction of the user's own that meets a unique key.

use std::time::Duration;

use zjobs_engine::outcome::settle;
use zjobs_engine::store::postgres::PostgresConfig;
use zjobs_engine::store::{Acked, Store};
use zjobs_engine::unique::UniqueStrategy;

use crate::conformance::fixture::{ALICE, Fixture, done, new_job, unique_job};
use crate::postgres::fixture::{Beside, Postgres};

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
