//! What a handler returned, as a value, and the write that follows from it.
//!
//! [`settle`] is the only place that turns an outcome into a move; [`rescue`] is its sister for jobs whose node is gone.
//! Both follow the state table. Nothing here touches a store.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::Result;
use crate::job::{Job, JobId, Lease, Payload};
use crate::limits;
use crate::state::{Attempts, Event, State};

/// What went wrong in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exception's type name.
    pub kind: String,
    /// Its text.
    pub message: String,
    /// Its traceback without locals; empty when there is none.
    pub traceback: String,
}

impl Failure {
    /// A failure whose texts are bounded and storable whatever they were.
    pub fn new(kind: &str, message: &str, traceback: &str) -> Self {
        Self {
            kind: limits::stored_text(kind, limits::WORKER_NAME_BYTES),
            message: limits::stored_text(message, limits::ERROR_MESSAGE_BYTES),
            traceback: limits::stored_text(traceback, limits::TRACEBACK_BYTES),
        }
    }
}

/// Whether and when a failed attempt is followed by another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Again {
    /// By the worker's strategy.
    By(Backoff),
    /// After exactly this long, as the caller's own function said.
    In(Duration),
    /// Never: the error is one that no attempt will mend.
    Never,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The handler returned.
    Completed {
        /// What it returned, when its worker keeps results.
        result: Option<Payload>,
    },
    /// The handler raised, or the attempt timed out.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// What follows.
        again: Again,
    },
    /// The handler asked to run later.
    Snoozed {
        /// How much later.
        delay: Duration,
    },
    /// The handler, or a person while it ran, wants the job gone.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The handler gave up for good.
    Discarded {
        /// Why.
        failure: Failure,
    },
    /// The job never ran here and goes back.
    Released,
}

/// The write that ends one attempt. Stores guard it by id, lease, node and state `executing`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// Which job.
    pub id: JobId,
    /// The lease that allows the write.
    pub lease: Lease,
    /// What happened.
    pub event: Event,
    /// Where it leads, by the state table.
    pub to: State,
    /// The attempt number after any refund.
    pub attempt: u32,
    /// For a job that waits again: how long from the store's now.
    pub delay: Option<Duration>,
    /// The error entry to add; the store stamps its time.
    pub error: Option<Failure>,
    /// The result to keep.
    pub result: Option<Payload>,
}

impl Ack {
    /// The attempt that ended, which the attempt number does not count any more where it was given back.
    pub const fn attempted(&self) -> u32 {
        if self.event.attempt_change() < 0 { self.attempt + 1 } else { self.attempt }
    }

    /// The move alone, and that something could not be kept: for a store that refuses what the handler left.
    #[must_use]
    pub fn reduced(&self) -> Self {
        let error = Failure::new("Unstorable", "the database refused what the handler left", "");
        Self { error: Some(error), result: None, ..self.clone() }
    }
}

/// The write that follows from `outcome` of the attempt that `job` is in.
pub fn settle(job: &Job, outcome: Outcome) -> Result<Ack> {
    let (event, attempts, delay, error, result) = match outcome {
        Outcome::Completed { result } => (Event::Complete, Attempts::Left, None, None, result),
        Outcome::Failed { failure, again } => {
            let delay = match again {
                Again::By(backoff) => Some(backoff.delay(job.attempt, job.id)),
                Again::In(delay) => Some(delay.min(limits::DELAY)),
                Again::Never => None,
            };
            let attempts = if delay.is_some() { job.attempts() } else { Attempts::Spent };
            let delay = delay.filter(|_| attempts == Attempts::Left);
            (Event::Fail, attempts, delay, Some(failure), None)
        }
        Outcome::Snoozed { delay } => (Event::Snooze, Attempts::Left, Some(delay.min(limits::DELAY)), None, None),
        Outcome::Cancelled { reason } => {
            (Event::Cancel, Attempts::Left, None, Some(Failure::new("Cancel", &reason, "")), None)
        }
        Outcome::Discarded { failure } => (Event::Discard, Attempts::Spent, None, Some(failure), None),
        Outcome::Released => (Event::Release, Attempts::Left, None, None, None),
    };
    let to = job.state.on(event, attempts)?;
    let attempt = refunded(job.attempt, event);
    Ok(Ack { id: job.id, lease: job.lease, event, to, attempt, delay, error, result })
}

/// Why a job is taken back from its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescueReason {
    /// The node stopped beating: it crashed, hangs or is cut off.
    NodeDied,
    /// The node announced its end with the job still running; the attempt is refunded.
    Shutdown,
}

/// What a rescue makes of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescue {
    /// What happened: a rescue, or the cancel that somebody had asked for.
    pub event: Event,
    /// Where it leads.
    pub to: State,
    /// The attempt number after any refund.
    pub attempt: u32,
    /// The crash counter afterwards.
    pub crashes: u16,
    /// The error entry that every rescue leaves.
    pub error: Failure,
}

/// The move of a job whose node is gone.
pub fn rescue(job: &Job, reason: RescueReason) -> Result<Rescue> {
    let details = job.details();
    let (crashes, attempt) = match reason {
        RescueReason::NodeDied => (details.crashes.saturating_add(1), job.attempt),
        RescueReason::Shutdown => (details.crashes, job.attempt.saturating_sub(1)),
    };
    let spent = crashes >= limits::CRASHES || attempt >= job.max_attempts;
    let event = if details.cancel_requested { Event::Cancel } else { Event::Rescue };
    let to = job.state.on(event, if spent { Attempts::Spent } else { Attempts::Left })?;
    let message = match (reason, crashes >= limits::CRASHES) {
        (RescueReason::Shutdown, _) => "its node shut down before the handler ended".to_owned(),
        (RescueReason::NodeDied, false) => format!("its node died while it ran (crash {crashes})"),
        (RescueReason::NodeDied, true) => {
            format!("its node died while it ran, {crashes} times now: it may be what kills them; retry it by hand")
        }
    };
    Ok(Rescue { event, to, attempt, crashes, error: Failure::new("NodeLost", &message, "") })
}

fn refunded(attempt: u32, event: Event) -> u32 {
    if event.attempt_change() < 0 { attempt.saturating_sub(1) } else { attempt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::{Name, NodeId, Priority};
    use proptest::prelude::*;

    fn running(attempt: u32, max_attempts: u32) -> Job {
        Job {
            id: JobId(7),
            state: State::Executing,
            queue: Name::queue("default").unwrap(),
            worker: Name::worker("w").unwrap(),
            args: b"{}".as_slice().into(),
            priority: Priority(0),
            attempt,
            max_attempts,
            lease: Lease(attempt),
            node: Some(NodeId(1)),
            scheduled_at: Timestamp(1),
            inserted_at: Timestamp(2),
            attempted_at: Some(Timestamp(3)),
            finished_at: None,
            timeout: None,
            details: None,
        }
    }

    fn failed(again: Again) -> Outcome {
        Outcome::Failed { failure: Failure::new("E", "m", ""), again }
    }

    #[test]
    fn a_failure_waits_for_its_backoff_until_attempts_are_used_up() {
        let ack = settle(&running(1, 2), failed(Again::In(Duration::from_secs(9)))).unwrap();
        assert_eq!((ack.to, ack.delay), (State::Retryable, Some(Duration::from_secs(9))));
        let ack = settle(&running(2, 2), failed(Again::In(Duration::from_secs(9)))).unwrap();
        assert_eq!((ack.to, ack.delay), (State::Discarded, None));
        let ack = settle(&running(1, 2), failed(Again::Never)).unwrap();
        assert_eq!((ack.to, ack.delay), (State::Discarded, None));
    }

    #[test]
    fn a_snooze_and_a_release_give_the_attempt_back() {
        let snooze = settle(&running(3, 5), Outcome::Snoozed { delay: Duration::from_secs(60) }).unwrap();
        assert_eq!((snooze.to, snooze.attempt, snooze.attempted()), (State::Scheduled, 2, 3));
        let release = settle(&running(3, 5), Outcome::Released).unwrap();
        assert_eq!((release.to, release.attempt), (State::Available, 2));
        for outcome in [Outcome::Completed { result: None }, failed(Again::Never), failed(Again::In(Duration::ZERO))] {
            let ack = settle(&running(3, 5), outcome).unwrap();
            assert_eq!((ack.attempt, ack.attempted()), (3, 3));
        }
    }

    #[test]
    fn the_third_crash_discards_and_a_shutdown_counts_none() {
        let mut job = running(1, 20);
        for (crashes, to) in [(0, State::Available), (1, State::Available), (2, State::Discarded)] {
            job.details_mut().crashes = crashes;
            let died = rescue(&job, RescueReason::NodeDied).unwrap();
            assert_eq!(died.to, to);
            let way_out = died.error.message.contains("3 times now: it may be what kills them; retry it by hand");
            assert_eq!(way_out, to == State::Discarded, "{}", died.error.message);
            let shutdown = rescue(&job, RescueReason::Shutdown).unwrap();
            assert_eq!((shutdown.to, shutdown.attempt, shutdown.crashes), (State::Available, 0, crashes));
        }
    }

    #[test]
    fn a_rescue_on_the_last_attempt_discards_and_a_wanted_cancel_cancels() {
        assert_eq!(rescue(&running(5, 5), RescueReason::NodeDied).unwrap().to, State::Discarded);
        let mut job = running(1, 5);
        job.details_mut().cancel_requested = true;
        assert_eq!(rescue(&job, RescueReason::NodeDied).unwrap().to, State::Cancelled);
    }

    proptest! {
        #[test]
        fn attempt_stays_within_its_bounds_and_moves_are_in_the_table(
            attempt in 1u32..50, extra in 0u32..50, kind in 0..6, secs in 0u64..u64::MAX / 4,
        ) {
            let job = running(attempt, attempt + extra);
            let outcome = match kind {
                0 => Outcome::Completed { result: None },
                1 => failed(Again::In(Duration::from_secs(secs))),
                2 => failed(Again::By(Backoff::default())),
                3 => Outcome::Snoozed { delay: Duration::from_secs(secs) },
                4 => Outcome::Cancelled { reason: "r".into() },
                _ => Outcome::Released,
            };
            let ack = settle(&job, outcome).unwrap();
            prop_assert!(ack.attempt <= job.max_attempts);
            prop_assert!(crate::state::TRANSITIONS.iter().any(|t| t.from == State::Executing && t.event == ack.event && t.to == ack.to));
            prop_assert!(ack.delay.is_none_or(|d| d <= limits::DELAY));
            prop_assert_eq!(ack.delay.is_some(), matches!(ack.to, State::Retryable | State::Scheduled));
        }
    }
}
