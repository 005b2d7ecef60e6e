//! When the clock is read.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use zjobs_engine::clock::{Clock, Manual, Moment, Timestamp};
use zjobs_engine::store::Store;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
use zjobs_engine::sync::{Arc, Mutex};

use crate::conformance::fixture::new_job;

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
