//! ★ The life of a job: one table decides every move.
//!
//! SQL, Python, the docs' diagram and the dashboard are checked against [`TRANSITIONS`]; nothing else has an opinion.

use std::fmt;

use crate::error::{Error, Result};

/// Where a job is in its life. The numbers are stored and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Ready to be claimed.
    Available = 0,
    /// Being processed under a lease.
    Executing = 1,
    /// Finished successfully.
    Completed = 2,
    /// Failed, attempts remain, waits for its backoff.
    Retryable = 3,
    /// Failed and has used up its attempts, or the handler gave up.
    Discarded = 4,
    /// Cancelled by a person or the handler, or replaced by a unique job.
    Cancelled = 5,
    /// Waits for its `scheduled_at`.
    Scheduled = 6,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Its time has come.
    Stage,
    /// A node takes it, with a lease.
    Claim,
    /// The handler succeeded.
    Complete,
    /// The attempt failed.
    Fail,
    /// The handler gave up for good.
    Discard,
    /// The handler asks to run later; not a failure.
    Snooze,
    /// A person or the handler wants it gone.
    Cancel,
    /// Handed back unrun: shutdown, never dispatched.
    Release,
    /// Taken back because its node is dead.
    Rescue,
    /// A person starts it again.
    Retry,
}

/// Whether a job may run once more. Decides between the two ends of [`Event::Fail`] and [`Event::Rescue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// At least one attempt is left.
    Left,
    /// All are used up, or the error says not to try again.
    Spent,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// What happens.
    pub event: Event,
    /// The state after.
    pub to: State,
    /// What it does to `attempt`: a claim adds one, a refund takes it back.
    pub attempt: i8,
    /// What it does to the lease number, which only ever grows.
    pub lease: u8,
}

const fn row(from: State, event: Event, to: State) -> Transition {
    let attempt = match event {
        Event::Claim => 1,
        Event::Snooze | Event::Release => -1,
        _ => 0,
    };
    let lease = if matches!(event, Event::Claim) { 1 } else { 0 };
    Transition { from, event, to, attempt, lease }
}

/// The state table. Where an event has two ends, the first needs attempts left and the second has them spent.
pub const TRANSITIONS: &[Transition] = {
    use Event::{Cancel, Claim, Complete, Discard, Fail, Release, Rescue, Retry, Snooze, Stage};
    use State::{Available, Cancelled, Completed, Discarded, Executing, Retryable, Scheduled};
    &[
        row(Scheduled, Stage, Available),
        row(Retryable, Stage, Available),
        row(Available, Claim, Executing),
        row(Executing, Complete, Completed),
        row(Executing, Fail, Retryable),
        row(Executing, Fail, Discarded),
        row(Executing, Discard, Discarded),
        row(Executing, Snooze, Scheduled),
        row(Executing, Release, Available),
        row(Executing, Rescue, Available),
        row(Executing, Rescue, Discarded),
        row(Scheduled, Cancel, Cancelled),
        row(Available, Cancel, Cancelled),
        row(Retryable, Cancel, Cancelled),
        row(Executing, Cancel, Cancelled),
        row(Completed, Retry, Available),
        row(Cancelled, Retry, Available),
        row(Discarded, Retry, Available),
        row(Retryable, Retry, Available),
        row(Scheduled, Retry, Available),
    ]
};

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Executing,
        Self::Completed,
        Self::Retryable,
        Self::Discarded,
        Self::Cancelled,
        Self::Scheduled,
    ];

    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Retryable => "retryable",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
            Self::Scheduled => "scheduled",
        }
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state with that stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Completed, discarded or cancelled: only an explicit retry or delete changes it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Discarded | Self::Cancelled)
    }

    /// The states in which a unique key is taken.
    pub const fn is_live(self) -> bool {
        !self.is_final()
    }

    /// Where `event` leads from here; refuses what the table does not have.
    pub fn on(self, event: Event, attempts: Attempts) -> Result<Self> {
        let mut ends = TRANSITIONS.iter().filter(|row| row.from == self && row.event == event).map(|row| row.to);
        let refused = Error::Transition { from: self, event };
        let first = ends.next().ok_or(refused)?;
        Ok(match attempts {
            Attempts::Left => first,
            Attempts::Spent => ends.next().unwrap_or(first),
        })
    }
}

impl Event {
    /// All events, in the order of the table in the docs.
    pub const ALL: [Self; 10] = [
        Self::Stage,
        Self::Claim,
        Self::Complete,
        Self::Fail,
        Self::Discard,
        Self::Snooze,
        Self::Cancel,
        Self::Release,
        Self::Rescue,
        Self::Retry,
    ];

    /// The lower-case name, which is also the verb.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Discard => "discard",
            Self::Snooze => "snooze",
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Rescue => "rescue",
            Self::Retry => "retry",
        }
    }

    /// What it does to `attempt`.
    pub const fn attempt_change(self) -> i8 {
        row(State::Available, self, State::Available).attempt
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_stored_and_never_change() {
        let numbers: Vec<_> = State::ALL.iter().map(|s| (s.number(), s.name())).collect();
        assert_eq!(
            numbers,
            [
                (0, "available"),
                (1, "executing"),
                (2, "completed"),
                (3, "retryable"),
                (4, "discarded"),
                (5, "cancelled"),
                (6, "scheduled")
            ]
        );
        for state in State::ALL {
            assert_eq!(State::from_number(state.number()), Some(state));
        }
        assert_eq!(State::from_number(7), None);
    }

    #[test]
    fn the_names_of_events_are_the_verbs_and_are_what_is_printed() {
        let printed: Vec<_> = Event::ALL.iter().map(ToString::to_string).collect();
        let names = ["stage", "claim", "complete", "fail", "discard", "snooze", "cancel", "release", "rescue", "retry"];
        assert_eq!(printed, names);
    }

    #[test]
    fn a_state_is_printed_by_its_name_and_is_live_or_final() {
        let printed: Vec<_> = State::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(printed, State::ALL.map(State::name));
        for state in State::ALL {
            let is_final = [State::Completed, State::Discarded, State::Cancelled].contains(&state);
            assert_eq!((state.is_final(), state.is_live()), (is_final, !is_final), "{state}");
        }
    }

    #[test]
    fn every_pair_of_state_and_event_is_decided_by_the_table_alone() {
        let mut allowed = 0;
        for from in State::ALL {
            for event in Event::ALL {
                let ends: Vec<_> = TRANSITIONS.iter().filter(|t| t.from == from && t.event == event).collect();
                assert!(ends.len() <= 2);
                match (from.on(event, Attempts::Left), from.on(event, Attempts::Spent)) {
                    (Ok(left), Ok(spent)) => {
                        assert_eq!(left, ends[0].to);
                        assert_eq!(spent, ends[ends.len() - 1].to);
                        allowed += 1;
                    }
                    (Err(_), Err(_)) => assert!(ends.is_empty()),
                    mixed => panic!("{mixed:?}"),
                }
            }
        }
        assert_eq!(allowed, 18);
    }

    #[test]
    fn only_a_claim_raises_attempt_and_lease() {
        for row in TRANSITIONS {
            assert_eq!(row.lease == 1, row.event == Event::Claim);
            assert_eq!(row.attempt == 1, row.event == Event::Claim);
            assert_eq!(row.attempt == -1, matches!(row.event, Event::Snooze | Event::Release));
            assert_eq!(row.attempt, row.event.attempt_change());
        }
    }

    #[test]
    fn final_states_change_only_by_retry() {
        for row in TRANSITIONS.iter().filter(|t| t.from.is_final()) {
            assert_eq!(row.event, Event::Retry);
        }
    }
}
