//! When the clock is read, and what becomes of the time when the wall clock steps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use zjobs_engine::clock::{Clock, Manual, Moment, System, Timestamp};
use zjobs_engine::job::{JobId, Name, NewJob, NodeId, When};
use zjobs_engine::outcome::Again;
use zjobs_engine::state::State;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
use zjobs_engine::store::{CronEntry, CronTick, Pulse, Store};
use zjobs_engine::sync::{Arc, Mutex};

use super::fixture::config;
use crate::conformance::fixture::{ALICE, BOB, ByHand, Fixture, HOUR, TTL, failed, new_job, secs, worker};

/// Notes, each time it is read, whether somebody has the write lock of the file then.
#[derive(Debug)]
struct Watching {
    clock: Manual,
    path: PathBuf,
    locked: Mutex<Vec<bool>>,
}

impl Clock for Watching {
    fn now(&self) -> Timestamp {
        if let Ok(other) = Connection::open(&self.path) {
            other.busy_timeout(Duration::ZERO).unwrap();
            self.locked.lock().push(other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err());
        }
        self.clock.now()
    }

    fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

#[test]
fn a_change_has_the_time_at_which_it_has_the_lock_and_not_that_at_which_it_began_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let clock = Arc::new(Watching { clock: Manual::default(), path: path.clone(), locked: Mutex::default() });
    let liveness = Liveness::Leases;
    let config = SqliteConfig::new(path, fastrand::Rng::with_seed(1));
    let store = SqliteStore::open(SqliteConfig { clock: clock.clone(), liveness, ..config }).unwrap();
    clock.locked.lock().clear();
    store.enqueue(vec![new_job()]).unwrap();
    assert_eq!(*clock.locked.lock(), [true]);
}

/// One of those that have the file open, with a wall clock of its own: not each of them looks at it while it is wrong.
type Process = ByHand<SqliteStore>;

impl Process {
    fn on(folder: &Path, clock: &Arc<Manual>) -> Self {
        let store = SqliteStore::open(config(folder.join("jobs.db"), clock.clone())).unwrap();
        Self { clock: clock.clone(), store, kept: () }
    }

    fn due_in(&self, seconds: u64) -> Timestamp {
        let on: &dyn Fixture = self;
        on.enqueue(NewJob { when: When::In(secs(seconds)), ..new_job() }).scheduled_at
    }

    fn beat(&self, node: NodeId, holds: &[JobId]) -> Pulse {
        let on: &dyn Fixture = self;
        on.beat(node, holds)
    }

    fn lease_of(&self, node: NodeId) -> Timestamp {
        self.store.nodes().unwrap().iter().find(|row| row.node == node).unwrap().expires_at
    }
}

#[test]
fn a_file_that_is_opened_after_a_step_back_goes_on_from_what_its_nodes_have_seen() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Manual::default());
    let process = Process::on(folder.path(), &clock);
    let on: &dyn Fixture = &process;
    let job = on.running(ALICE, new_job());
    let seen = on.store().now().unwrap();
    on.ack(ALICE, &job, failed(Again::In(secs(60))));
    on.store().depart(ALICE, secs(0)).unwrap();
    on.step_wall(-HOUR);
    drop(process);
    let again = Process::on(folder.path(), &clock);
    let on: &dyn Fixture = &again;
    assert_eq!(on.store().now().unwrap(), seen, "although the only node is gone");
    again.due_in(1);
    on.advance(secs(5));
    assert_eq!(on.store().stage(9).unwrap().moved, 1);
    on.advance(secs(115));
    assert_eq!((on.store().stage(9).unwrap().moved, on.state(job.id)), (1, State::Available));
}

#[test]
fn the_time_is_ahead_by_less_where_nobody_had_the_file_open_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Manual::default());
    let ahead = || {
        let process = Process::on(folder.path(), &clock);
        process.beat(ALICE, &[]);
        process.store.now().unwrap().since(clock.now())
    };
    clock.step_wall(HOUR);
    assert_eq!(ahead(), secs(0));
    clock.step_wall(-HOUR);
    assert_eq!(ahead(), secs(3600));
    clock.advance(secs(600));
    assert_eq!(ahead(), secs(3000));
    clock.advance(secs(3001));
    assert_eq!(ahead(), secs(0));
}

#[test]
fn one_that_has_not_seen_how_far_the_wall_clock_was_ahead_learns_it_with_its_next_beat() {
    let folder = tempfile::tempdir().unwrap();
    let (right, stepped) = (Arc::new(Manual::default()), Arc::new(Manual::default()));
    let (here, there) = (Process::on(folder.path(), &right), Process::on(folder.path(), &stepped));
    here.beat(BOB, &[]);
    there.step_wall(HOUR);
    there.beat(ALICE, &[]);
    there.step_wall(-HOUR);
    let pass = |by| [&right, &stepped].map(|clock| clock.advance(by));
    pass(Duration::from_millis(300));
    here.beat(BOB, &[]);
    let (seen, lease) = (there.lease_of(ALICE), here.lease_of(BOB));
    assert_eq!(lease, seen, "behind by less than the age of the newest beat");
    assert!(there.store.rescue(9).unwrap().is_empty());
    assert!(matches!(here.beat(BOB, &[]), Pulse::Alive { .. }));
}

#[test]
fn one_that_only_enqueues_learns_within_a_second_how_far_the_wall_clock_was_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let (right, stepped) = (Arc::new(Manual::default()), Arc::new(Manual::default()));
    let (here, there) = (Process::on(folder.path(), &right), Process::on(folder.path(), &stepped));
    let start = right.now();
    assert_eq!(here.due_in(10), start + secs(10));
    there.step_wall(HOUR);
    there.beat(ALICE, &[]);
    right.advance(secs(1));
    assert_eq!(here.due_in(10), there.lease_of(ALICE) - TTL + secs(10));
}

/// With the words of the page for those whose clock was years ahead.
#[test]
fn a_file_that_is_years_ahead_can_be_set_right_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Manual::new(System.now()));
    let years = 5 * 8_766 * HOUR;
    clock.step_wall(years);
    let process = Process::on(folder.path(), &clock);
    let on: &dyn Fixture = &process;
    let job = on.running(ALICE, new_job());
    let name = Name::cron("nightly").unwrap();
    let entry =
        CronEntry { name: name.clone(), expression: "@daily".into(), timezone: "UTC".into(), worker: worker("w") };
    on.store().save_cron(&entry).unwrap();
    let at = on.store().now().unwrap();
    on.store().tick(CronTick { name, at, job: None }).unwrap();
    let path = process.store.path().to_owned();
    drop(process);
    clock.step_wall(-years);
    let page = include_str!("../../../docs/sqlite.md");
    let right = page.split("```sqlite").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    Connection::open(path).unwrap().execute_batch(right).unwrap();
    // The page's words ask the machine for the time.
    let soon = clock.now() + secs(600);
    let again = Process::on(folder.path(), &clock);
    let on: &dyn Fixture = &again;
    assert!(on.store().now().unwrap() < soon);
    let cron = on.store().crons().unwrap().remove(0);
    assert!(cron.last_tick.is_some_and(|last| last < soon) && cron.known_since < soon);
    on.advance(secs(600));
    let rescued = on.store().rescue(9).unwrap();
    assert_eq!(rescued.iter().map(|rescued| rescued.job.id).collect::<Vec<_>>(), [job.id]);
}
