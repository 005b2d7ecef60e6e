//! *stager*: scheduled and retryable jobs become available when they are due.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::runtime::role::{Alarm, Now, Role, Wake};
use crate::runtime::shared::Shared;
use crate::store::Store;
use crate::sync::{Arc, AtomicI64, Ordering};

/// Jobs per call: long enough to be worth a transaction, short enough not to hold up claims.
const BATCH: usize = 1000;

/// When the stager will look next, and the way to make it look earlier.
#[derive(Debug)]
pub struct Agenda {
    planned: AtomicI64,
    alarm: Arc<Alarm>,
}

impl Default for Agenda {
    fn default() -> Self {
        Self { planned: AtomicI64::new(i64::MAX), alarm: Arc::default() }
    }
}

impl Agenda {
    /// A job is due at `at`: the stager must not sleep past it.
    pub fn due(&self, at: Timestamp) {
        if at.micros() < self.planned.load(Ordering::Acquire) {
            self.alarm.ring();
        }
    }

    /// The role's alarm.
    pub fn alarm(&self) -> Arc<Alarm> {
        self.alarm.clone()
    }
}

/// Stages jobs when they are due.
#[derive(Debug)]
pub struct Stager {
    shared: Arc<Shared>,
}

impl Stager {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Role for Stager {
    fn name(&self) -> &'static str {
        "stager"
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let planned = &self.shared.agenda.planned;
        // Jobs that arrive while we look must ring.
        planned.store(i64::MAX, Ordering::Release);
        let staged = store.stage(BATCH)?;
        let poll = now.moment + self.shared.config.poll;
        let Some(next) = staged.next else {
            return Ok(if store.blocks() { Wake::At(poll) } else { Wake::OnAlarm });
        };
        planned.fetch_min(next.micros(), Ordering::AcqRel);
        let due = now.moment + next.since(staged.now);
        Ok(Wake::At(if store.blocks() { due.min(poll) } else { due }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{NewJob, When};
    use crate::runtime::fixture::Fixture;
    use crate::runtime::role::Now;

    #[test]
    fn only_a_job_that_is_due_before_the_next_look_makes_it_earlier() {
        let on = Fixture::new();
        let agenda = &on.engine.shared.agenda;
        let alarm = agenda.alarm();
        let rings = |at: Timestamp| {
            agenda.due(at);
            alarm.take()
        };
        let (soon, later) = (Duration::from_secs(1), Duration::from_secs(2));
        let in_time = |after: Duration| on.store.now().unwrap() + after;
        assert!(rings(in_time(later)), "it has never looked");
        let mut stager = Stager::new(on.engine.shared.clone());
        let mut looks = || {
            alarm.take();
            stager.tick(Now::read(&*on.clock), &*on.store).unwrap()
        };
        assert_eq!(looks(), Wake::OnAlarm, "nothing will be due");
        on.enqueue(|job| NewJob { when: When::In(soon), ..job });
        assert_eq!(looks(), Wake::At(Now::read(&*on.clock).moment + soon));
        assert!(!rings(in_time(later)) && !rings(in_time(soon)));
        assert!(rings(in_time(soon / 2)));
    }
}
