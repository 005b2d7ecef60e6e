//! Time that moves only when the world says so, and clocks that disagree about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use zjobs_engine::clock::{Clock, Moment, Timestamp};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
/// Boot-time does not start at zero.
const BOOT: u64 = 1_000_000;

/// The one true time, in microseconds since the start.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    micros: AtomicU64,
}

impl Timeline {
    pub(crate) fn micros(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }

    /// The boot-time clock that all nodes share.
    pub(crate) fn moment(&self) -> Moment {
        Moment((BOOT + self.micros()) * 1000)
    }

    /// Goes on to that moment; never back.
    pub(crate) fn reach(&self, moment: Moment) {
        self.micros.fetch_max((moment.0.div_ceil(1000)).saturating_sub(BOOT), Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.micros.fetch_add(u64::try_from(by.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }
}

/// A machine's clocks: the wall clock is off by a skew that may step.
#[derive(Debug)]
pub(crate) struct Skewed {
    timeline: Arc<Timeline>,
    skew: AtomicI64,
    most: AtomicI64,
}

impl Skewed {
    pub(crate) fn new(timeline: Arc<Timeline>, skew: i64) -> Self {
        Self { timeline, skew: AtomicI64::new(skew), most: AtomicI64::new(skew) }
    }

    /// Steps the wall clock by so many microseconds.
    pub(crate) fn step(&self, by: i64) {
        let skew = self.skew.fetch_add(by, Ordering::Relaxed) + by;
        self.most.fetch_max(skew, Ordering::Relaxed);
    }

    /// How far it ever was ahead of the one true time.
    pub(crate) fn most(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.most.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.timeline.micros()).unwrap_or(i64::MAX);
        Timestamp(START + micros + self.skew.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        self.timeline.moment()
    }
}
