//! A store's time where the machine's clocks tell it: the wall clock, made to run forward only.
//!
//! Invariants:
//!
//! * It never goes back, and never stands still while the machine's time passes: where the wall clock steps back it goes
//!   on at half the pace of the boot-time clock until the wall clock has caught up, which takes twice as long as the step.
//! * It is never behind the wall clock.

use crate::clock::{Clock, Moment, Timestamp};
use crate::sync::Arc;

/// While it is ahead, so much of the machine's time is one part of its own.
const PACE: u32 = 2;

/// A clock that runs forward only.
#[derive(Debug)]
pub(super) struct Steady {
    clock: Arc<dyn Clock>,
    /// The time when it was the wall clock's last, or was found to be ahead of that.
    at: Timestamp,
    /// Since when it is ahead.
    ahead: Option<Moment>,
}

impl Steady {
    /// Shows what the wall clock does, until that steps back.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, at: Timestamp::MIN, ahead: None }
    }

    /// The time.
    pub(super) fn now(&mut self) -> Timestamp {
        let wall = self.clock.now();
        // From where it was ahead for the first time, so that parts of a microsecond add up.
        let own = self.ahead.map_or(self.at, |since| self.at + self.clock.moment().since(since) / PACE);
        if wall < own {
            self.ahead.get_or_insert_with(|| self.clock.moment());
            return own;
        }
        (self.at, self.ahead) = (wall, None);
        wall
    }

    /// The time, which is not before `at` from here on.
    pub(super) fn reach(&mut self, at: Timestamp) -> Timestamp {
        let now = self.now();
        if at <= now {
            return now;
        }
        (self.at, self.ahead) = (at, Some(self.clock.moment()));
        at
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

    fn hours(count: u64) -> Duration {
        Duration::from_secs(3600 * count)
    }

    #[test]
    fn it_follows_the_wall_clock_forward_and_goes_on_more_slowly_where_that_steps_back_until_they_meet() {
        let (clock, mut steady) = steady();
        let start = clock.now();
        assert_eq!(steady.now(), start);
        clock.step_wall(HOUR);
        assert_eq!(steady.now(), start + hours(1));
        clock.step_wall(-HOUR);
        assert_eq!(steady.now(), start + hours(1));
        clock.advance(Duration::from_micros(14));
        assert_eq!(steady.now(), start + hours(1) + Duration::from_micros(7));
        clock.advance(hours(2));
        assert_eq!(steady.now(), clock.now(), "twice the step later");
        clock.advance(hours(1));
        assert_eq!(steady.now(), start + hours(3) + Duration::from_micros(14));
    }

    #[test]
    fn time_that_was_counted_once_is_not_counted_again() {
        let (clock, mut steady) = steady();
        let start = steady.now();
        clock.step_wall(-HOUR);
        assert_eq!(steady.now(), start, "ahead from the moment on at which that is seen");
        for _ in 0..1_000 {
            clock.advance(Duration::from_nanos(2_500));
            steady.now();
        }
        assert_eq!(steady.now(), start + Duration::from_micros(1_250));
    }

    #[test]
    fn what_others_have_seen_is_a_floor_that_moves_and_the_last_of_all_times_is_one_that_does_not() {
        let (clock, mut steady) = steady();
        let seen = clock.now() + hours(1);
        assert_eq!(steady.reach(seen), seen);
        assert_eq!(steady.reach(clock.now()), seen, "less is no step back");
        clock.advance(Duration::from_secs(10));
        assert_eq!(steady.now(), seen + Duration::from_secs(5));
        assert_eq!(steady.reach(Timestamp::MAX), Timestamp::MAX);
        clock.advance(Duration::from_secs(5));
        assert_eq!(steady.now(), Timestamp::MAX);
    }
}
