//! Looks along all that runs, which take long while somebody holds a snapshot: what is urgent does not wait for them.

use std::time::Duration;

use zjobs_engine::clock::{Clock, System};
use zjobs_engine::store::postgres::PostgresConfig;
use zjobs_engine::store::{Claim, Heartbeat, Pulse, Store};
use zjobs_engine::{Error, Job, JobId};

use crate::conformance::fixture::{ALICE, BOB, Fixture, TTL, done, new_job, queue};
use crate::postgres::fixture::{Beside, Postgres, Watched};

/// What a call may take.
const TIME: Duration = Duration::from_millis(1500);

fn in_time() -> Postgres {
    Postgres::with(|config| PostgresConfig { patience: TIME, ..config })
}

/// Does this while every look at the jobs takes as long as it may.
fn while_nobody_reads_jobs<T>(on: &Postgres, call: impl FnOnce() -> T) -> T {
    let other = Beside::new();
    other.run(&format!("BEGIN; LOCK TABLE {}.jobs IN ACCESS EXCLUSIVE MODE", on.schema));
    call()
}

fn unknown(jobs: &[&Job]) -> Pulse {
    let unknown = jobs.iter().map(|job| (job.id, job.lease)).collect();
    Pulse::Alive { cancel: Vec::new(), lost: Vec::new(), unknown }
}

fn took<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let began = System.moment();
    (call(), System.moment().since(began))
}

#[test]
fn a_beat_is_not_held_up_for_long_and_the_next_not_at_all() {
    let here = in_time();
    let on: &dyn Fixture = &here;
    on.beat(ALICE, &[]);
    while_nobody_reads_jobs(&here, || {
        let (pulse, first) = took(|| on.beat(ALICE, &[]));
        assert_eq!(pulse, unknown(&[]));
        assert!(first < TIME, "the look was given up in time: {first:?}");
        let (pulses, next) = took(|| [(); 10].map(|()| on.beat(ALICE, &[])));
        assert!(pulses.iter().all(|pulse| *pulse == unknown(&[])), "{pulses:?}");
        assert!(next < TIME / 3, "there was another look: {next:?}");
    });
}

#[test]
fn a_beat_and_its_look_together_take_no_longer_than_a_call() {
    let here = in_time();
    let on: &dyn Fixture = &here;
    on.beat(ALICE, &[]);
    let nearly_all = TIME * 9 / 10;
    here.beside.run(&format!(
        "CREATE FUNCTION {0}.take_long() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN PERFORM pg_sleep({1}); RETURN new; END';
         CREATE TRIGGER take_long BEFORE UPDATE ON {0}.nodes FOR EACH ROW EXECUTE FUNCTION {0}.take_long()",
        here.schema,
        nearly_all.as_secs_f64(),
    ));
    let (pulse, both) = while_nobody_reads_jobs(&here, || took(|| on.beat(ALICE, &[])));
    assert_eq!(pulse, unknown(&[]));
    assert!(both >= nearly_all, "the beat took its time: {both:?}");
    assert!(both < nearly_all + TIME / 3, "the look had only what the beat had left: {both:?}");
}

#[test]
fn jobs_that_a_node_does_not_know_are_found_after_a_claim_without_a_reply() {
    let here = in_time();
    let on: &dyn Fixture = &here;
    on.beat(ALICE, &[]);
    while_nobody_reads_jobs(&here, || on.beat(ALICE, &[]));
    on.enqueue(new_job());
    let job = on.claim(ALICE, 1).remove(0);
    assert_eq!(on.beat(ALICE, &[job.id]), unknown(&[]));
    assert_eq!(on.beat(ALICE, &[]), unknown(&[]), "the last look took long");
    let claim = Claim { node: ALICE, queue: queue("default"), limit: 1 };
    let missed = while_nobody_reads_jobs(&here, || here.store.claim(&claim));
    assert!(matches!(missed, Err(Error::StoreUnavailable { .. })), "{missed:?}");
    assert_eq!([on.beat(ALICE, &[]), on.beat(ALICE, &[])], [unknown(&[&job]), unknown(&[&job])]);
    assert_eq!(on.beat(ALICE, &[job.id]), unknown(&[]));
}

#[test]
fn jobs_of_the_dead_do_not_wait_for_a_look_for_strays() {
    let here = in_time();
    let on: &dyn Fixture = &here;
    on.beat(ALICE, &[]);
    here.store.enqueue(vec![new_job(); 2]).unwrap();
    let stray = on.claim(ALICE, 1).remove(0);
    here.beside.run(&format!("UPDATE {}.jobs SET node = 4711 WHERE id = {}", here.schema, stray.id.0));
    let missed = while_nobody_reads_jobs(&here, || here.store.rescue(9));
    assert!(matches!(missed, Err(Error::StoreUnavailable { .. })), "{missed:?}");
    assert_eq!(here.store.rescue(9).unwrap(), [], "the last look took long");
    on.beat(BOB, &[]);
    let job = on.claim(BOB, 1).remove(0);
    on.advance(TTL * 2);
    let rescued: Vec<_> = here.store.rescue(9).unwrap().into_iter().map(|one| one.job.id).collect();
    assert_eq!(rescued, [stray.id, job.id]);
}

/// A user for whom each walk along what a node runs takes a while, and nothing else does.
struct SlowWalks<'a>(Watched<'a>);

impl<'a> SlowWalks<'a> {
    fn of(on: &'a Postgres) -> Self {
        let condition = "current_query() NOT LIKE '%WHERE state = 1 AND node =%' OR pg_sleep(0.1) IS NOT NULL";
        Self(Watched::by(on, condition))
    }

    fn beat(&self, holds: &[JobId]) -> Pulse {
        let (name, holds) = ("host".into(), holds.to_vec());
        let beat = Heartbeat { node: ALICE, name, pid: 42, ttl: TTL, queues: Vec::new(), holds };
        self.0.store.heartbeat(&beat).unwrap()
    }

    fn claim(&self) -> Job {
        self.0.store.claim(&Claim { node: ALICE, queue: queue("default"), limit: 1 }).unwrap().remove(0)
    }
}

#[test]
fn a_job_that_was_found_to_be_unknown_is_so_until_it_is_over() {
    let here = Postgres::new();
    let slow = SlowWalks::of(&here);
    slow.beat(&[]);
    here.store.enqueue(vec![new_job(); 2]).unwrap();
    let first = slow.claim();
    assert_eq!(slow.beat(&[]), unknown(&[&first]));
    let second = slow.claim();
    assert_eq!(slow.beat(&[second.id]), unknown(&[&first]));
    assert_eq!(slow.beat(&[]), unknown(&[&first]), "there was no other walk");
    (&here as &dyn Fixture).ack(ALICE, &first, done());
    assert_eq!(slow.beat(&[]), unknown(&[]));
}
