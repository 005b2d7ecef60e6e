//! Who hears what commits in a store whose calls may wait.

use crate::store::{Attention, Signal, Subscriber};
use crate::sync::{Arc, RwLock, Weak};

struct Listener {
    subscriber: Weak<dyn Subscriber>,
    attention: Arc<Attention>,
}

/// The subscribers of one store.
#[derive(Default)]
pub struct Subscribers {
    all: RwLock<Vec<Listener>>,
}

impl std::fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscribers").field("count", &self.all.read().len()).finish()
    }
}

impl Subscribers {
    /// One more; those that are gone are forgotten.
    pub fn add(&self, subscriber: Weak<dyn Subscriber>) {
        let Some(attention) = subscriber.upgrade().map(|subscriber| subscriber.attention()) else { return };
        let mut all = self.all.write();
        all.retain(|one| one.subscriber.strong_count() > 0);
        all.push(Listener { subscriber, attention });
    }

    /// Tells what committed. No lock is held while a subscriber is called.
    pub fn tell(&self, news: &[Signal]) {
        if news.is_empty() {
            return;
        }
        let listening = |one: &Listener| {
            let heard = |signal: &Signal| match signal {
                Signal::Ready(_) => one.attention.hears_ready(),
                Signal::Settled => one.attention.hears_settled(),
                Signal::Due(_)
                | Signal::Cancel(_)
                | Signal::Control(_)
                | Signal::Orphaned
                | Signal::Leaving
                | Signal::Missed => true,
            };
            news.iter().any(heard).then(|| one.subscriber.upgrade()).flatten()
        };
        let hearers: Vec<_> = self.all.read().iter().filter_map(listening).collect();
        for hearer in hearers {
            for signal in news {
                hearer.signal(signal);
            }
        }
    }
}
