//! *watchdog*: ends attempts whose deadline has passed, gives up on slots that hang, and relieves leads that stall.
//!
//! At the deadline the handler is asked to stop; after the grace the attempt is recorded as timed out whatever the
//! handler does, so that no attempt outlives its limit by more than the grace.

use crate::clock::Moment;
use crate::error::Result;
use crate::outcome::{Again, Failure, Outcome};
use crate::runtime::pool::STALL;
use crate::runtime::role::{Alarm, Now, Role, Wake};
use crate::runtime::running::Running;
use crate::runtime::shared::Shared;
use crate::store::Store;
use crate::sync::{Arc, AtomicU64, Ordering};

/// The next deadline that the watchdog knows of, and the way to tell it of an earlier one.
#[derive(Debug)]
pub struct Deadlines {
    planned: AtomicU64,
    alarm: Arc<Alarm>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { planned: AtomicU64::new(u64::MAX), alarm: Arc::default() }
    }
}

impl Deadlines {
    /// A handler starts that must end by `deadline`.
    pub fn watch(&self, deadline: Moment) {
        if deadline.0 < self.planned.load(Ordering::Relaxed) {
            self.planned.fetch_min(deadline.0, Ordering::AcqRel);
            self.alarm.ring();
        }
    }

    /// The role's alarm.
    pub fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }
}

/// Watches deadlines.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
}

impl Watchdog {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Acts on one running job; returns when to look at it again.
    fn look(&self, running: &Arc<Running>, now: Moment) -> Moment {
        let deadline = running.deadline();
        if running.is_closed() || now < deadline {
            return if running.is_closed() { Moment::NEVER } else { deadline };
        }
        if running.time_out() {
            self.shared.pool.interrupt(running);
        }
        let last = deadline + self.shared.config.cancel_grace;
        if now < last {
            return last;
        }
        if running.close() {
            self.shared.settle_closed(running.clone(), timed_out(&self.shared, running), now);
            running.let_go();
            // Once more, for a coroutine that swallowed the first.
            self.shared.pool.interrupt(running);
            self.shared.pool.stuck(running);
            // Whoever took its place has to be told of the work that waits.
            self.shared.hunt(running.queue);
        }
        Moment::NEVER
    }
}

/// The outcome of an attempt that ran past its deadline.
pub fn timed_out(shared: &Shared, running: &Running) -> Outcome {
    let limit = running.job.timeout.unwrap_or_default().as_secs_f64();
    let text = format!("the attempt ran longer than its timeout_seconds of {limit}");
    let backoff = shared.registry.read().get(running.job.worker.as_str()).map(|worker| worker.backoff);
    Outcome::Failed { failure: Failure::new("TimeoutError", &text, ""), again: Again::By(backoff.unwrap_or_default()) }
}

impl Role for Watchdog {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn tick(&mut self, now: Now, _: &dyn Store) -> Result<Wake> {
        let planned = &self.shared.deadlines.planned;
        // A plan ahead stays, even when its handler has ended: else each job on an idle node would ring again.
        let before = Moment(planned.load(Ordering::Acquire));
        if before <= now.moment {
            // Handlers that start while we look must ring.
            planned.store(u64::MAX, Ordering::Release);
        }
        for running in self.shared.pool.running() {
            let next = self.look(&running, now.moment);
            planned.fetch_min(next.0, Ordering::AcqRel);
        }
        if self.shared.pool.relieve(now.moment) {
            planned.fetch_min((now.moment + STALL).0, Ordering::AcqRel);
        }
        let next = Moment(planned.load(Ordering::Acquire));
        Ok(if next == Moment::NEVER { Wake::OnAlarm } else { Wake::At(next) })
    }
}
