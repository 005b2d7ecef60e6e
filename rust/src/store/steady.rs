//! A store's time where the machine's clocks tell it: the wall clock, made to run forward only.
//!
//! Invariants:
//!
//! * It never goes back, and never stands still while the machine's time passes: where the wall clock steps back it goes
//!   on with the boot-time clock, and stays ahead of the wall clock by the step.
//! * It is never behind the wall clock.

use crate::clock::{Clock, Moment, Timestamp};
use crate::sync::{Arc, AtomicI64, Ordering};

/// A clock that runs forward only.
#[derive(Debug)]
pub(super) struct Steady {
    clock: Arc<dyn Clock>,
    /// How many microseconds it is ahead of the boot-time clock; only ever more.
    lead: AtomicI64,
}

impl Steady {
    /// Shows what the wall clock does, until that steps back.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, lead: AtomicI64::new(i64::MIN) }
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        // The wall clock first. The other way round, a thread that is held up between the two would put all others ahead by
        // that, and for good.
        let wall = self.clock.now();
        self.reach(wall)
    }

    /// The time, which is not before `at` from here on.
    pub(super) fn reach(&self, at: Timestamp) -> Timestamp {
        let boot = i64::try_from(self.moment().0 / 1_000).unwrap_or(i64::MAX);
        let lead = at.min(Timestamp::MAX).0.saturating_sub(boot);
        let lead = self.lead.fetch_max(lead, Ordering::AcqRel).max(lead);
        Timestamp(boot.saturating_add(lead)).min(Timestamp::MAX)
    }

    /// The boot-time clock.
    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Manual;

    const HOUR: i64 = 3_600_000_000;

    fn steady() -> (Arc<Manual>, Steady) {
        let clock = Arc::new(Manual::default());
        (clock.clone(), Steady::new(clock))
    }

    #[test]
    fn it_follows_the_wall_clock_forward_and_goes_on_where_that_steps_back() {
        let (clock, steady) = steady();
        let start = clock.now();
        assert_eq!(steady.now(), start);
        clock.step_wall(HOUR);
        assert_eq!(steady.now(), Timestamp(start.0 + HOUR));
        clock.step_wall(-3 * HOUR);
        assert_eq!(steady.now(), Timestamp(start.0 + HOUR));
        clock.advance(Duration::from_micros(7));
        assert_eq!(steady.now(), Timestamp(start.0 + HOUR + 7));
        clock.step_wall(3 * HOUR);
        assert_eq!(steady.now(), Timestamp(start.0 + HOUR + 7), "the wall clock has come to where it was");
    }

    #[test]
    fn time_that_was_counted_once_is_not_counted_again() {
        let (clock, steady) = steady();
        let start = steady.now();
        clock.step_wall(-HOUR);
        for _ in 0..1_000 {
            clock.advance(Duration::from_nanos(2_500));
            steady.now();
        }
        assert_eq!(steady.now(), Timestamp(start.0 + 2_500));
    }

    #[test]
    fn what_others_have_seen_is_a_floor_that_moves_and_the_last_of_all_times_is_one_that_does_not() {
        let (clock, steady) = steady();
        let seen = Timestamp(clock.now().0 + HOUR);
        assert_eq!(steady.reach(seen), seen);
        assert_eq!(steady.reach(clock.now()), seen, "less is no step back");
        clock.advance(Duration::from_secs(5));
        assert_eq!(steady.now(), seen + Duration::from_secs(5));
        assert_eq!(steady.reach(Timestamp(i64::MAX)), Timestamp::MAX);
        clock.advance(Duration::from_secs(5));
        assert_eq!(steady.now(), Timestamp::MAX);
    }
}
