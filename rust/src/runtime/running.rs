//! One claimed job on its way through a slot, and what may be asked of it meanwhile.

use std::time::Duration;

use crate::clock::Moment;
use crate::job::{Job, JobId, Lease, NodeId};
use crate::runtime::pool::QueueIndex;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Where a handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// On a pool thread.
    Thread,
    /// On the event loop.
    Loop,
}

/// A claimed job. Shared by its slot, the watchdog and whoever cancels it.
///
/// The right to settle it is taken once, by [`Running::close`]: by the slot that finishes it, or by the watchdog that
/// gives up on the slot. Whoever comes second drops its outcome.
#[derive(Debug)]
pub struct Running {
    /// The job as claimed.
    pub job: Job,
    /// Its queue in the pool.
    pub queue: QueueIndex,
    /// Where its handler runs.
    pub lane: Lane,
    /// The incarnation that claimed it.
    pub node: NodeId,
    started: AtomicU64,
    deadline: AtomicU64,
    place: AtomicU32,
    stop_wanted: AtomicBool,
    cancel_wanted: AtomicBool,
    timed_out: AtomicBool,
    closed: AtomicBool,
    let_go: AtomicBool,
    abandoned: AtomicBool,
    handed_over: AtomicBool,
}

impl Running {
    /// A job that was claimed under that incarnation.
    pub fn new(job: Job, queue: QueueIndex, lane: Lane, node: NodeId) -> Self {
        Self {
            job,
            queue,
            lane,
            node,
            started: AtomicU64::new(0),
            deadline: AtomicU64::new(u64::MAX),
            place: AtomicU32::new(0),
            stop_wanted: AtomicBool::new(false),
            cancel_wanted: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
        }
    }

    /// What tells it from every other: a job may be tried again here while an attempt of it still hangs.
    pub fn attempt(&self) -> (JobId, Lease) {
        (self.job.id, self.job.lease)
    }

    pub(crate) fn start(&self, now: Moment, place: u32) {
        self.started.store(now.0, Ordering::Relaxed);
        let deadline = self.job.timeout.map_or(Moment::NEVER, |timeout| now + timeout);
        self.deadline.store(deadline.0, Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> u32 {
        self.place.load(Ordering::Relaxed)
    }

    /// When its handler started.
    pub fn started(&self) -> Moment {
        Moment(self.started.load(Ordering::Relaxed))
    }

    /// When its attempt times out.
    pub fn deadline(&self) -> Moment {
        Moment(self.deadline.load(Ordering::Relaxed))
    }

    /// How long it may still run; `None` is no limit.
    pub fn remaining(&self, now: Moment) -> Option<Duration> {
        let deadline = self.deadline();
        (deadline != Moment::NEVER).then(|| deadline.since(now))
    }

    /// The cheap flag that handlers look at: shutdown, cancel, timeout or a lost lease.
    pub fn stop_wanted(&self) -> bool {
        self.stop_wanted.load(Ordering::Acquire)
    }

    /// Asks the handler to stop. The reason is noted before, and whoever sees that he is asked sees it.
    pub fn ask_stop(&self) {
        self.stop_wanted.store(true, Ordering::Release);
    }

    /// Whether a person asked to cancel it.
    pub fn cancel_wanted(&self) -> bool {
        self.cancel_wanted.load(Ordering::Acquire)
    }

    /// Asks the handler to stop because a person wants the job cancelled.
    pub fn ask_cancel(&self) {
        self.cancel_wanted.store(true, Ordering::Release);
        self.ask_stop();
    }

    /// Whether its deadline has passed.
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Acquire)
    }

    /// Asks the handler to stop because its deadline has passed; false when it had been asked before.
    pub fn time_out(&self) -> bool {
        let first = !self.timed_out.swap(true, Ordering::AcqRel);
        self.ask_stop();
        first
    }

    /// Takes the right to settle it; true for the first who asks.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Whether somebody has settled it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Its handler goes on, and the attempt is over: its lease was lost, or its outcome is with the acker.
    pub fn let_go(&self) {
        self.let_go.store(true, Ordering::Release);
    }

    /// Whether only its handler is left of it: the next attempt of the job may run beside it.
    pub fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Its handler has completed it in a transaction of its own, which may or may not be committed.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Whether its row may say that it is over before its handler is.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Its slot was replaced; it must not come back for more.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether its slot was replaced.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fixture::Fixture;

    #[test]
    fn a_handler_may_run_on_until_its_deadline_or_for_ever() {
        let on = Fixture::new();
        on.beat();
        on.enqueue(|job| job);
        let job = on.next().job.clone();
        let now = Moment(7);
        let limit = Duration::from_secs(10);
        let with = |timeout| {
            let running = Running::new(Job { timeout, ..job.clone() }, QueueIndex(0), Lane::Thread, NodeId(1));
            running.start(now, 3);
            assert_eq!((running.started(), running.place()), (now, 3));
            running
        };
        let limited = with(Some(limit));
        assert_eq!(limited.remaining(now), Some(limit));
        assert_eq!(limited.remaining(now + limit / 2), Some(limit / 2));
        assert_eq!(limited.remaining(now + limit * 2), Some(Duration::ZERO));
        assert_eq!(with(None).remaining(now), None);
    }

    #[test]
    fn the_first_who_asks_has_the_right() {
        let on = Fixture::new();
        on.beat();
        on.enqueue(|job| job);
        let running = on.next();
        assert_eq!([running.close(), running.close()], [true, false]);
        assert_eq!([running.time_out(), running.time_out()], [true, false]);
    }
}
