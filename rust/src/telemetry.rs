//! What happens, told to whoever asked: one table of events, and the [`Sink`] they go to.
//!
//! The names are shared by logging, metrics and traces. With no sink interested an event is never built.

use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::outcome::RescueReason;

/// The kinds of events; the order is the order of [`Kind::ALL`] and of the bits of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is described by its event below")]
pub enum Kind {
    JobEnqueued,
    JobStarted,
    JobCompleted,
    JobFailed,
    JobDiscarded,
    JobCancelled,
    JobSnoozed,
    JobRescued,
    JobReleased,
    LeaseLost,
    QueuePaused,
    QueueResumed,
    CronTicked,
    CronMissed,
    StoreUnavailable,
    StoreRecovered,
}

impl Kind {
    /// Every kind with its string name.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::JobEnqueued, "job_enqueued"),
        (Self::JobStarted, "job_started"),
        (Self::JobCompleted, "job_completed"),
        (Self::JobFailed, "job_failed"),
        (Self::JobDiscarded, "job_discarded"),
        (Self::JobCancelled, "job_cancelled"),
        (Self::JobSnoozed, "job_snoozed"),
        (Self::JobRescued, "job_rescued"),
        (Self::JobReleased, "job_released"),
        (Self::LeaseLost, "lease_lost"),
        (Self::QueuePaused, "queue_paused"),
        (Self::QueueResumed, "queue_resumed"),
        (Self::CronTicked, "cron_ticked"),
        (Self::CronMissed, "cron_missed"),
        (Self::StoreUnavailable, "store_unavailable"),
        (Self::StoreRecovered, "store_recovered"),
    ];

    /// Its bit in a mask of kinds.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// How an attempt ended, with its times.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// The job as it was while it ran, with its state afterwards.
    pub job: Job,
    /// From the handler's start to its end; zero where no handler began, and where it ended with its node.
    pub duration: Duration,
    /// From due to claimed.
    pub queued: Duration,
    /// The error's text, when there is one.
    pub error: Option<String>,
}

/// One thing that happened. What schedules and persons do is told by the host, where both live.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job was inserted by this engine.
    JobEnqueued(Job),
    /// A handler is about to run.
    JobStarted(Job),
    /// The completion is stored.
    JobCompleted(JobResult),
    /// The attempt failed and the job will be retried.
    JobFailed(JobResult),
    /// The job has used up its attempts or gave up; or this node took it back from a dead one, and it has no attempt left.
    JobDiscarded(JobResult),
    /// The job is cancelled.
    JobCancelled(JobResult),
    /// The handler asked to run later.
    JobSnoozed(JobResult),
    /// This node took a job back from a dead one.
    JobRescued(Job, RescueReason),
    /// A claimed job went back unrun.
    JobReleased(Job),
    /// A write about a job was refused because its lease had moved on.
    LeaseLost(Job),
    /// The store stopped answering.
    StoreUnavailable(Error),
    /// The store answers again after this long.
    StoreRecovered(Duration),
}

impl Event {
    /// Which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::JobEnqueued(_) => Kind::JobEnqueued,
            Self::JobStarted(_) => Kind::JobStarted,
            Self::JobCompleted(_) => Kind::JobCompleted,
            Self::JobFailed(_) => Kind::JobFailed,
            Self::JobDiscarded(_) => Kind::JobDiscarded,
            Self::JobCancelled(_) => Kind::JobCancelled,
            Self::JobSnoozed(_) => Kind::JobSnoozed,
            Self::JobRescued(..) => Kind::JobRescued,
            Self::JobReleased(_) => Kind::JobReleased,
            Self::LeaseLost(_) => Kind::LeaseLost,
            Self::StoreUnavailable(_) => Kind::StoreUnavailable,
            Self::StoreRecovered(_) => Kind::StoreRecovered,
        }
    }
}

/// Tell someone. Called on the thread where the event happens, or, when that is one of the engine's own, on the teller's;
/// never while a lock of the engine is held. Must not panic.
pub trait Sink: Send + Sync {
    /// Whether events of this kind are wanted now.
    fn wants(&self, kind: Kind) -> bool;
    /// Takes one event.
    fn emit(&self, event: Event);
    /// Hears how many events were dropped, because those before them took too long.
    fn dropped(&self, _count: u64) {}
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Sink for Silent {
    fn wants(&self, _: Kind) -> bool {
        false
    }

    fn emit(&self, _: Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_distinct_and_in_order() {
        let mut mask = 0;
        for (index, (kind, name)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(mask & kind.bit(), 0);
            mask |= kind.bit();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
