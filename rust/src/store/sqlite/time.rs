//! The time of a file: the latest of those that work on it.
//!
//! Processes that were there when the wall clock was ahead go on from that. One that was not finds it in the file with its
//! next beat: it is behind the others by no more than the age of the newest beat, which is what the trust in a lease ends
//! before the lease does.

use std::time::Duration;

use rusqlite::Connection;

use crate::clock::{Clock, Moment, Timestamp};
use crate::store::steady::Steady;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// How often those who write look at what the others have seen. Each beat does.
const LOOK: Duration = Duration::from_secs(1);

/// As far from the last of all times a clock still is: 36 525 days.
const CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

/// The time of a file, as this process knows it.
#[derive(Debug)]
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    steady: Mutex<Steady>,
    /// The moment from which on the next transaction looks.
    look: AtomicU64,
}

impl Time {
    /// It goes on from where the nodes of the file were.
    pub(super) fn of(connection: &Connection, clock: Arc<dyn Clock>) -> rusqlite::Result<Self> {
        let mut steady = Steady::new(clock.clone());
        steady.reach(latest_seen(connection)?);
        Ok(Self { clock, steady: Mutex::new(steady), look: AtomicU64::new(0) })
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.steady.lock().now()
    }

    /// The time, for a transaction.
    pub(super) fn inside(&self, connection: &Connection) -> rusqlite::Result<Timestamp> {
        let moment = self.clock.moment();
        if moment < Moment(self.look.load(Ordering::Relaxed)) {
            return Ok(self.now());
        }
        let seen = latest_seen(connection)?;
        self.look.store((moment + LOOK).0, Ordering::Relaxed);
        Ok(self.steady.lock().reach(seen))
    }

    /// The next transaction looks.
    pub(super) fn look(&self) {
        self.look.store(0, Ordering::Relaxed);
    }
}

/// The latest time that a node of the file has seen. Those that are gone count as well: an orderly stop of all is no reason
/// for the time to go back, and what was planned by it would be late by the step. What no clock can have said is left out:
/// at the last of all times it would stand still.
fn latest_seen(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let mut statement = connection.prepare_cached("SELECT max(beat_at) FROM zjobs_nodes WHERE beat_at < ?1")?;
    let seen: Option<i64> = statement.query_row([(Timestamp::MAX - CENTURY).0], |row| row.get(0))?;
    Ok(seen.map_or(Timestamp::MIN, Timestamp))
}
