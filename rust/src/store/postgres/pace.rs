//! Looks that must walk along an index of what runs, and what they may cost.
//!
//! While somebody holds a snapshot the server clears nothing away, and an index of what runs has an entry for each job that
//! ran since (ADR 0025). A look that takes long is made seldom.

use std::time::Duration;

use crate::clock::Moment;

/// A look that takes no longer may be made at any time.
const QUICK: Duration = Duration::from_millis(50);

/// When a look is made again: one that takes long may take one part of so many of the time.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pace {
    /// How long the last one took, if that was long, and when it ended.
    last: Option<(Duration, Moment)>,
}

impl Pace {
    pub(super) fn is_due(self, parts: u32, now: Moment) -> bool {
        self.last.is_none_or(|(took, ended)| now >= ended + took * (parts - 1))
    }

    pub(super) fn looked(&mut self, began: Moment, ended: Moment) {
        let took = ended.since(began);
        self.last = (took > QUICK).then_some((took, ended));
    }

    /// There is reason to look.
    pub(super) fn hurry(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_takes_long_takes_one_part_of_so_many_of_the_time_unless_there_is_reason_for_one() {
        let at = |millis: u64| Moment(0) + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert!(pace.is_due(20, at(0)));
        pace.looked(at(0), at(50));
        assert!(pace.is_due(20, at(50)), "it was quick");
        pace.looked(at(100), at(200));
        assert!(!pace.is_due(20, at(2_099)) && pace.is_due(20, at(2_100)));
        pace.hurry();
        assert!(pace.is_due(20, at(201)));
    }
}
