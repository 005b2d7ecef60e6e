//! *notifier*: routes what commits in the store to the role that cares.

use crate::runtime::claimer;
use crate::runtime::shared::Shared;
use crate::store::{Attention, Signal, Subscriber};
use crate::sync::{Arc, Ordering, Weak};

/// The node's ear.
#[derive(Debug)]
pub struct Notifier {
    shared: Weak<Shared>,
    attention: Arc<Attention>,
}

impl Notifier {
    /// Hears for this node, for as long as it exists.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), attention: shared.attention.clone() }
    }
}

impl Subscriber for Notifier {
    fn attention(&self) -> Arc<Attention> {
        self.attention.clone()
    }

    fn signal(&self, signal: &Signal) {
        let Some(shared) = self.shared.upgrade() else { return };
        match signal {
            Signal::Ready(queue) => {
                let Some(queue) = shared.pool.find(queue) else { return };
                if shared.blocks {
                    // The slot that takes what waits here rings for what comes after it.
                    if shared.pool.is_hungry(queue) {
                        shared.claim_alarm.ring();
                    }
                } else if shared.pool.has_spare_slot(queue) {
                    claimer::fill(&shared, queue);
                }
            }
            Signal::Due(at) => shared.agenda.due(*at),
            Signal::Cancel(ids) => shared.cancel_running(ids),
            Signal::Control(queue) => shared.follow(queue),
            Signal::Settled => shared.waiters.tell(shared.pool.usher()),
            Signal::Orphaned => {
                shared.orphaned.store(true, Ordering::Release);
                shared.rescue_alarm.ring();
            }
            Signal::Leaving => {
                shared.leaving.store(true, Ordering::Release);
                shared.rescue_alarm.ring();
            }
            Signal::Missed => shared.look_anew(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Manual;
    use crate::runtime::config::Config;
    use crate::runtime::engine::Engine;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Silent;

    #[test]
    fn who_may_have_missed_something_looks_for_all_that_others_tell_of() {
        let (clock, store) = (Arc::new(Manual::default()), Arc::new(MemoryStore::default()));
        let random = fastrand::Rng::with_seed(1);
        let engine = Engine::new(store, Config::default(), clock, Arc::new(Silent), random).unwrap();
        let shared = &engine.shared;
        let agenda = shared.agenda.alarm();
        let rung =
            || [&shared.claim_alarm, &agenda, &shared.heartbeat_alarm, &shared.rescue_alarm].map(|one| one.take());
        assert_eq!(rung(), [false; 4]);
        let notifier = Notifier::new(shared);
        assert!(Arc::ptr_eq(&notifier.attention(), &shared.attention), "the store tells what the node asks for");
        notifier.signal(&Signal::Missed);
        assert_eq!(rung(), [true; 4], "jobs that wait, jobs that are due, cancels and queues, the dead");
    }
}
