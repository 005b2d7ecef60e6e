//! What a transaction has to tell, gathered under the lock and delivered after it.

use std::fmt;

use crate::clock::Timestamp;
use crate::job::{JobId, Name};
use crate::queue::names::Symbol;
use crate::store::{Attention, Signal, Subscriber};
use crate::sync::{Arc, Weak};

type Subscribers = Arc<[Listener]>;

#[derive(Clone)]
struct Listener {
    subscriber: Weak<dyn Subscriber>,
    attention: Arc<Attention>,
}

/// The news of one transaction.
#[derive(Default)]
pub(super) struct Outbox {
    subscribers: Option<Subscribers>,
    ready: Vec<Symbol>,
    due: Option<Timestamp>,
    cancel: Vec<JobId>,
    control: Option<Name>,
    settled: bool,
}

impl Outbox {
    pub(super) fn subscribe(&mut self, subscriber: Weak<dyn Subscriber>) {
        let Some(attention) = subscriber.upgrade().map(|subscriber| subscriber.attention()) else { return };
        let known = self.subscribers.iter().flat_map(|all| all.iter().cloned());
        self.subscribers = Some(known.chain([Listener { subscriber, attention }]).collect());
    }

    pub(super) fn forget_gone(&mut self) {
        let living =
            self.subscribers.iter().flat_map(|all| all.iter().cloned()).filter(|one| one.subscriber.strong_count() > 0);
        let living: Subscribers = living.collect();
        self.subscribers = (!living.is_empty()).then_some(living);
    }

    pub(super) fn ready(&mut self, queue: Symbol) {
        if self.ready.last() != Some(&queue) && !self.ready.contains(&queue) {
            self.ready.push(queue);
        }
    }

    pub(super) fn due(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |known| known.min(at)));
    }

    pub(super) fn cancel(&mut self, id: JobId) {
        self.cancel.push(id);
    }

    pub(super) fn control(&mut self, queue: Name) {
        self.control = Some(queue);
    }

    pub(super) fn settled(&mut self) {
        self.settled = true;
    }

    /// Empties the box; nothing when there is no news or nobody to hear it.
    pub(super) fn collect(&mut self, name: impl Fn(Symbol) -> Option<Name>) -> Option<Post> {
        self.drop_unheard();
        if self.is_empty() {
            return None;
        }
        let subscribers = self.subscribers.as_ref()?;
        let mut news = News::default();
        self.ready.drain(..).filter_map(name).for_each(|queue| news.add(Signal::Ready(queue)));
        if let Some(at) = self.due.take() {
            news.add(Signal::Due(at));
        }
        if !self.cancel.is_empty() {
            news.add(Signal::Cancel(std::mem::take(&mut self.cancel)));
        }
        if let Some(queue) = self.control.take() {
            news.add(Signal::Control(queue));
        }
        if std::mem::take(&mut self.settled) {
            news.add(Signal::Settled);
        }
        let subscribers = Arc::clone(news.first.is_some().then_some(subscribers)?);
        Some(Post { subscribers, news })
    }

    /// Forgets what nobody listens for: most transactions of a busy store have no other news.
    fn drop_unheard(&mut self) {
        let Some(all) = &self.subscribers else {
            (self.due, self.control, self.settled) = (None, None, false);
            self.ready.clear();
            self.cancel.clear();
            return;
        };
        if !self.ready.is_empty() && !all.iter().any(|one| one.attention.hears_ready()) {
            self.ready.clear();
        }
        self.settled = self.settled && all.iter().any(|one| one.attention.hears_settled());
    }

    fn is_empty(&self) -> bool {
        let news = !self.ready.is_empty() || !self.cancel.is_empty() || self.settled;
        !news && self.due.is_none() && self.control.is_none()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// Signals in order. Most transactions have one at most, which costs no allocation.
#[derive(Default)]
struct News {
    first: Option<Signal>,
    rest: Vec<Signal>,
}

impl News {
    fn add(&mut self, signal: Signal) {
        if self.first.is_none() {
            self.first = Some(signal);
        } else {
            self.rest.push(signal);
        }
    }
}

/// News on its way.
pub(super) struct Post {
    subscribers: Subscribers,
    news: News,
}

impl Post {
    /// Tells every subscriber; true when one of them is gone.
    pub(super) fn deliver(self) -> bool {
        let mut gone = false;
        for subscriber in &*self.subscribers {
            match subscriber.subscriber.upgrade() {
                Some(subscriber) => {
                    self.news.first.iter().chain(&self.news.rest).for_each(|signal| subscriber.signal(signal));
                }
                None => gone = true,
            }
        }
        gone
    }
}
