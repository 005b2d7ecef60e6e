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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backoff::Backoff;
    use crate::job::{Name, NewJob};
    use crate::runtime::config::{AckMode, Config, Registration};
    use crate::runtime::fixture::Fixture;
    use crate::runtime::pool::{Next, QueueIndex};
    use crate::runtime::running::Lane;
    use crate::state::State;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A node that is alive, its watchdog, and how long handlers have to end when they are asked to.
    fn node() -> (Fixture, Watchdog, Duration) {
        let on = Fixture::new();
        on.beat();
        let watchdog = Watchdog::new(on.engine.shared.clone());
        (on, watchdog, Config::default().cancel_grace)
    }

    #[test]
    fn an_attempt_is_asked_to_stop_at_its_deadline_and_is_over_at_the_end_of_its_grace() {
        let (on, mut watchdog, grace) = node();
        let id = on.enqueue(|job| NewJob { timeout: Some(LIMIT), ..job });
        let running = on.next();
        let asked = || (running.stop_wanted(), running.timed_out(), running.is_closed());
        assert_eq!((on.tick(&mut watchdog), asked()), (Some(LIMIT), (false, false, false)));
        on.clock.advance(LIMIT / 2);
        assert_eq!((on.tick(&mut watchdog), asked()), (Some(LIMIT / 2), (false, false, false)));
        on.clock.advance(LIMIT / 2);
        assert_eq!((on.tick(&mut watchdog), asked()), (Some(grace), (true, true, false)));
        on.clock.advance(grace / 2);
        assert_eq!((on.tick(&mut watchdog), asked()), (Some(grace / 2), (true, true, false)));
        on.clock.advance(grace / 2);
        assert_eq!((on.tick(&mut watchdog), asked()), (None, (true, true, true)));
        assert!(running.is_let_go());
        let job = on.store.get(&[id]).unwrap().remove(0);
        assert_eq!(job.state, State::Retryable);
        let error = &job.details().errors[0];
        assert_eq!(error.kind, "TimeoutError");
        assert_eq!(error.message, "the attempt ran longer than its timeout_seconds of 10");
        // Its handler may end at last: that is nothing any more.
        on.engine.finish(&running, Outcome::Completed { result: None });
        assert_eq!(on.store.get(&[id]).unwrap()[0].state, State::Retryable);
    }

    #[test]
    fn what_has_ended_by_itself_is_left_alone() {
        let (on, mut watchdog, _) = node();
        let id = on.enqueue(|job| NewJob { timeout: Some(LIMIT), ..job });
        let running = on.next();
        assert_eq!(on.tick(&mut watchdog), Some(LIMIT));
        on.engine.finish(&running, Outcome::Completed { result: None });
        assert_eq!(on.tick(&mut watchdog), Some(LIMIT), "a plan ahead stays: else each job would ring again");
        on.clock.advance(LIMIT);
        assert_eq!(on.tick(&mut watchdog), None);
        assert!(!running.stop_wanted());
        assert_eq!(on.store.get(&[id]).unwrap()[0].state, State::Completed);
    }

    #[test]
    fn a_coroutine_is_interrupted_at_its_deadline_and_once_more_at_the_end_of_its_grace() {
        let (on, mut watchdog, grace) = node();
        let worker = Name::worker("coroutine").unwrap();
        let registration = Registration { lane: Lane::Loop, backoff: Backoff::default(), ack: AckMode::Batched };
        on.engine.register(worker.clone(), registration);
        let id = on.enqueue(|job| NewJob { timeout: Some(LIMIT), worker, ..job });
        let Next::Job(_) = on.engine.next(QueueIndex(0), Lane::Loop) else { panic!("it is there") };
        let mut interrupts = |after| {
            on.clock.advance(after);
            on.tick(&mut watchdog);
            on.engine.pool().hear().iter().map(|running| running.job.id).collect::<Vec<_>>()
        };
        assert_eq!(interrupts(Duration::ZERO), []);
        assert_eq!(interrupts(LIMIT), [id]);
        assert_eq!(interrupts(grace / 2), [], "it has been told");
        assert_eq!(interrupts(grace / 2), [id]);
        assert_eq!(interrupts(grace), []);
    }

    #[test]
    fn a_handler_that_must_end_before_all_others_rings() {
        let deadlines = Deadlines::default();
        let rings = [30, 40, 30, 20].map(|at| {
            deadlines.watch(Moment(at));
            deadlines.alarm().take()
        });
        assert_eq!(rings, [true, false, false, true]);
    }

    #[test]
    fn while_jobs_are_left_to_a_lead_it_looks_again_soon() {
        let (on, mut watchdog, _) = node();
        let end = |running| on.engine.finish(&running, Outcome::Completed { result: None });
        let enqueue = || on.enqueue(|job| NewJob { timeout: None, ..job });
        // A short handler: whoever ran it leads from now on.
        enqueue();
        end(on.next());
        for _ in 0..3 {
            enqueue();
        }
        let running = on.next();
        assert_eq!(on.tick(&mut watchdog), Some(STALL));
        on.clock.advance(STALL / 100);
        end(running);
        on.next();
        on.clock.advance(STALL * 99 / 100);
        assert_eq!(on.tick(&mut watchdog), Some(STALL), "the lead has moved, and another job waits for it");
        on.clock.advance(STALL);
        assert_eq!(on.tick(&mut watchdog), None, "it has not: somebody else was sent");
    }
}
