//! The life of a job: whatever happens to it, in any order.

use std::time::Duration;

use arbitrary::Arbitrary;
use zjobs_engine::backoff::Backoff;
use zjobs_engine::job::{Job, Name, NodeId, Priority};
use zjobs_engine::limits;
use zjobs_engine::outcome::{Again, Failure, Outcome, RescueReason, rescue, settle};
use zjobs_engine::state::{Attempts, Event, State, TRANSITIONS};
use zjobs_engine::{JobId, Lease, Timestamp};

use crate::words::{self, assert_shown, made};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Claim,
    By(u8),
    Settle(End<'a>),
    Rescue(bool),
    AskToCancel,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum End<'a> {
    Completed,
    Failed(&'a str, u64, u8),
    Snoozed(u64),
    Cancelled(&'a str),
    Discarded(&'a str),
    Released,
}

pub(crate) fn run(data: &[u8]) {
    let Some((max_attempts, steps)) = data.split_first() else { return };
    let mut job = new(u32::from(max_attempts % 5) + 1);
    for step in words::steps::<Step<'_>>(steps).take(200) {
        let before = job.clone();
        match step {
            Step::Claim => by_hand(&mut job, Event::Claim),
            Step::By(number) => by_hand(&mut job, Event::ALL[usize::from(number) % Event::ALL.len()]),
            Step::Settle(end) => finish(&mut job, end),
            Step::Rescue(died) => {
                take_back(&mut job, if died { RescueReason::NodeDied } else { RescueReason::Shutdown });
            }
            Step::AskToCancel => job.details_mut().cancel_requested = true,
        }
        assert!(job.attempt <= job.max_attempts, "{} of {}", job.attempt, job.max_attempts);
        assert!(job.lease >= before.lease, "a lease number went back");
        if before.state.is_final() && job.state != before.state {
            assert_eq!(job.state, State::Available, "what has ended only starts anew");
        }
        if job.state == State::Executing && before.state != State::Executing {
            assert_eq!(job.lease.0, before.lease.0 + 1, "a claim without a new lease");
        }
    }
}

fn new(max_attempts: u32) -> Job {
    Job {
        id: JobId(1),
        state: State::Available,
        queue: made(Name::queue("q")),
        worker: made(Name::worker("w")),
        args: b"{}".as_slice().into(),
        priority: Priority(0),
        attempt: 0,
        max_attempts,
        lease: Lease(0),
        node: Some(NodeId(1)),
        scheduled_at: Timestamp(0),
        inserted_at: Timestamp(0),
        attempted_at: None,
        finished_at: None,
        timeout: None,
        details: None,
    }
}

fn is_in_table(from: State, event: Event, to: State) -> bool {
    TRANSITIONS.iter().any(|row| (row.from, row.event, row.to) == (from, event, to))
}

/// What the store does: claim, stage, cancel, retry. The ends of an attempt come through [`settle`].
fn by_hand(job: &mut Job, event: Event) {
    let waits = matches!(event, Event::Stage | Event::Claim | Event::Cancel | Event::Retry);
    match job.state.on(event, job.attempts()) {
        Ok(to) if waits => {
            assert!(is_in_table(job.state, event, to));
            if event == Event::Claim {
                if job.attempts() == Attempts::Spent {
                    return; // no store claims it
                }
                (job.attempt, job.lease) = (job.attempt + 1, Lease(job.lease.0 + 1));
            }
            if event == Event::Retry {
                job.max_attempts = job.max_attempts.max(job.attempt + 1);
            }
            job.state = to;
        }
        Ok(_) => {}
        Err(error) => {
            assert!(!TRANSITIONS.iter().any(|row| (row.from, row.event) == (job.state, event)), "{error}");
            assert_shown(&error.to_string());
        }
    }
}

fn finish(job: &mut Job, end: End<'_>) {
    let failure = |text: &str| Failure::new(text, text, text);
    let (outcome, event) = match end {
        End::Completed => (Outcome::Completed { result: None }, Event::Complete),
        End::Failed(text, nanos, how) => {
            let again = match how % 3 {
                0 => Again::By(Backoff::default()),
                1 => Again::In(Duration::new(nanos, 0)),
                _ => Again::Never,
            };
            (Outcome::Failed { failure: failure(text), again }, Event::Fail)
        }
        End::Snoozed(seconds) => (Outcome::Snoozed { delay: Duration::from_secs(seconds) }, Event::Snooze),
        End::Cancelled(reason) => (Outcome::Cancelled { reason: reason.into() }, Event::Cancel),
        End::Discarded(text) => (Outcome::Discarded { failure: failure(text) }, Event::Discard),
        End::Released => (Outcome::Released, Event::Release),
    };
    let ack = match settle(job, outcome) {
        Ok(ack) => ack,
        Err(error) => {
            assert!(job.state != State::Executing, "an attempt that runs cannot end: {error}");
            return assert_shown(&error.to_string());
        }
    };
    if job.state != State::Executing {
        return; // stores refuse it by its state
    }
    assert_eq!((ack.id, ack.lease, ack.event), (job.id, job.lease, event));
    assert!(is_in_table(job.state, event, ack.to), "{event} leads to {}", ack.to);
    assert!(ack.attempt <= job.attempt && job.attempt - ack.attempt <= 1, "{} after {}", ack.attempt, job.attempt);
    assert_eq!(ack.delay.is_some(), matches!(ack.to, State::Retryable | State::Scheduled), "who waits has a time");
    assert!(ack.delay.is_none_or(|delay| delay <= limits::DELAY));
    if let Some(error) = &ack.error {
        assert!(error.message.len() <= limits::ERROR_MESSAGE_BYTES && error.traceback.len() <= limits::TRACEBACK_BYTES);
        let texts = [&error.kind, &error.message, &error.traceback];
        assert!(texts.iter().all(|text| !text.contains('\0')), "NUL is kept");
    }
    (job.state, job.attempt) = (ack.to, ack.attempt);
}

fn take_back(job: &mut Job, reason: RescueReason) {
    if job.state != State::Executing {
        return; // no store rescues it
    }
    let rescued = made(rescue(job, reason));
    assert!(is_in_table(job.state, rescued.event, rescued.to));
    assert!(rescued.crashes >= job.details().crashes, "crashes are forgotten");
    let wanted = job.details().cancel_requested;
    assert_eq!(rescued.to == State::Cancelled, wanted, "a cancel that somebody wants is done");
    assert!(
        wanted || rescued.crashes < limits::CRASHES || rescued.to == State::Discarded,
        "it kills its nodes for ever"
    );
    (job.state, job.attempt) = (rescued.to, rescued.attempt);
    job.details_mut().crashes = rescued.crashes;
}
