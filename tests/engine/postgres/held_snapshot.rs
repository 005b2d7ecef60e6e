//! Claims while somebody holds a snapshot, so that nothing of what they leave behind can be cleared away.

use std::time::Duration;

use zjobs_engine::job::{Name, Priority};
use zjobs_engine::outcome::{Outcome, settle};
use zjobs_engine::store::postgres::PostgresConfig;
use zjobs_engine::store::{Claim, Heartbeat, Pulse, Store};
use zjobs_engine::{Job, JobId, NewJob, State};

use crate::conformance::fixture::{ALICE, Fixture, new_job};
use crate::postgres::fixture::{Beside, Postgres};

const JOBS: usize = 3_000;
const AT_ONCE: usize = 10;

fn beat() -> Heartbeat {
    let ttl = Duration::from_secs(3600);
    Heartbeat { node: ALICE, name: "host".into(), pid: 42, ttl, queues: Vec::new(), holds: Vec::new() }
}

fn claimed(on: &Postgres) -> Vec<Job> {
    on.store.claim(&Claim { node: ALICE, queue: Name::queue("default").unwrap(), limit: AT_ONCE }).unwrap()
}

/// What was read of the index of claims, once the sessions have told that all jobs were claimed.
fn entries_read(on: &Postgres) -> Option<usize> {
    let sql = "SELECT idx_tup_read::text FROM pg_stat_user_indexes JOIN pg_stat_user_tables USING (relid, schemaname)
        WHERE indexrelname = 'jobs_claim' AND n_tup_upd =";
    let told = on.beside.texts(&format!("{sql} {JOBS} AND schemaname = '{}'", on.schema));
    told.first().map(|read| read.parse().unwrap())
}

/// Enqueues, and claims all of it beside a snapshot; what was read for that.
fn worked_off(mut on: Postgres) -> (Postgres, usize) {
    on.store.heartbeat(&beat()).unwrap();
    on.store.enqueue(vec![new_job(); JOBS]).unwrap();
    // Waiting for a while, as jobs do that are behind.
    on.advance(Duration::from_secs(5));
    let holder = Beside::new();
    holder.run(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM {}.jobs LIMIT 1", on.schema));
    for turn in 0..JOBS / AT_ONCE {
        let ids: Vec<_> = claimed(&on).iter().map(|job| usize::try_from(job.id.0).unwrap()).collect();
        assert_eq!(ids, (turn * AT_ONCE + 1..=(turn + 1) * AT_ONCE).collect::<Vec<_>>());
    }
    // Its sessions end, and tell what they have read.
    on.reopen();
    let read = (0..100_000).find_map(|_| entries_read(&on)).unwrap();
    (on, read)
}

#[test]
fn a_claim_begins_behind_what_was_claimed_before_and_finds_what_came_in_front_of_it() {
    let (_, plain) = worked_off(Postgres::new());
    let (on, read) = worked_off(Postgres::with(|config| PostgresConfig { long_look: Duration::ZERO, ..config }));
    assert!(read * 2 < plain, "{read} instead of {plain}");
    let first = on.store.get(&[JobId(1)]).unwrap().remove(0);
    assert_eq!(first.state, State::Executing);
    on.store.enqueue(vec![new_job(); 5 * AT_ONCE]).unwrap();
    on.advance(Duration::from_secs(5));
    for _ in 0..5 {
        assert_eq!(claimed(&on).len(), AT_ONCE);
    }
    on.store.ack(ALICE, &[settle(&first, Outcome::Released).unwrap()]).unwrap();
    let found = (0..100).find_map(|_| claimed(&on).pop());
    assert_eq!(found.map(|job| job.id), Some(JobId(1)));
}

/// What happens to a job of the last priority when it changes.
fn meets(on: &Postgres, body: &str) {
    let schema = &on.schema;
    on.beside.run(&format!(
        "CREATE OR REPLACE FUNCTION {schema}.meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
         CREATE OR REPLACE TRIGGER meet BEFORE UPDATE ON {schema}.jobs FOR EACH ROW WHEN (new.priority = 5)
         EXECUTE FUNCTION {schema}.meet()"
    ));
}

/// A claim whose first look finds a job, and whose second one fails.
fn cut_short(on: &Postgres) -> Vec<Job> {
    on.store.heartbeat(&beat()).unwrap();
    let of = |priority| NewJob { priority: Priority(priority), ..new_job() };
    // After three long looks at the whole, and the last one's second, the next ones are at stretches for a while.
    meets(on, "PERFORM pg_sleep(CASE old.id WHEN 6 THEN 1 ELSE 0 END); RETURN new");
    for _ in 0..3 {
        on.store.enqueue(vec![of(0), of(5)]).unwrap();
        assert_eq!(claimed(on).len(), 2);
    }
    on.store.enqueue(vec![of(0), of(5)]).unwrap();
    meets(on, "RAISE 'not today'");
    claimed(on)
}

#[test]
fn a_look_that_fails_takes_nothing_back_of_what_the_one_before_it_claimed() {
    let on = Postgres::with(|config| PostgresConfig { long_look: Duration::ZERO, ..config });
    let priorities: Vec<_> = cut_short(&on).iter().map(|job| job.priority).collect();
    assert_eq!(priorities, [Priority(0)]);
    let claim = Claim { node: ALICE, queue: Name::queue("default").unwrap(), limit: AT_ONCE };
    assert!(on.store.claim(&claim).unwrap_err().to_string().contains("not today"));
    meets(&on, "RETURN new");
    assert_eq!(claimed(&on).len(), 1);
}

#[test]
fn after_a_claim_that_was_cut_short_the_next_beat_looks_for_what_the_node_does_not_know() {
    let patience = Duration::from_secs(3);
    let on = Postgres::with(|config| PostgresConfig { long_look: Duration::ZERO, patience, ..config });
    on.store.heartbeat(&beat()).unwrap();
    let other = Beside::new();
    other.run(&format!("BEGIN; LOCK TABLE {}.jobs IN ACCESS EXCLUSIVE MODE", on.schema));
    // A look that takes long is not made again for a while.
    on.store.heartbeat(&beat()).unwrap();
    other.run("COMMIT");
    let jobs = cut_short(&on);
    let Pulse::Alive { unknown, .. } = on.store.heartbeat(&beat()).unwrap() else { panic!("it is alive") };
    assert!(unknown.contains(&(jobs[0].id, jobs[0].lease)), "{unknown:?}");
}

#[test]
fn a_claim_that_finds_jobs_in_several_places_takes_no_more_than_it_may() {
    let on = Postgres::with(|config| PostgresConfig { long_look: Duration::ZERO, ..config });
    on.store.heartbeat(&beat()).unwrap();
    let of = |priority| NewJob { priority: Priority(priority), ..new_job() };
    for _ in 0..3 {
        on.store.enqueue(vec![of(0), of(5)]).unwrap();
        assert_eq!(claimed(&on).len(), 2);
    }
    on.store.enqueue([vec![of(0)], vec![of(5); 5]].concat()).unwrap();
    let claim = Claim { node: ALICE, queue: Name::queue("default").unwrap(), limit: 3 };
    let priorities: Vec<_> = on.store.claim(&claim).unwrap().iter().map(|job| job.priority.0).collect();
    assert_eq!(priorities, [0, 5, 5]);
}
