//! Those who wait for jobs to settle: on threads, or with a call to make.

use std::time::Duration;

use crate::error::Result;
use crate::runtime::usher::{Call, Usher};
use crate::store::Attention;
use crate::sync::{Arc, Condvar, Mutex};

/// Those who wait for jobs to settle.
pub struct Waiters {
    attention: Arc<Attention>,
    generation: Mutex<u64>,
    settled: Condvar,
    calls: Mutex<Vec<SettledCall>>,
}

/// Called when something has settled, without any lock held. Says whether the call could be made; one that could not is
/// made again.
pub type SettledCall = Box<dyn Fn() -> bool + Send>;

impl Waiters {
    /// Nobody yet; `attention` is told who comes.
    pub(super) fn new(attention: Arc<Attention>) -> Self {
        Self { attention, generation: Mutex::default(), settled: Condvar::new(), calls: Mutex::default() }
    }

    /// Something settled; `usher` makes the calls.
    pub fn tell(&self, usher: &Usher) {
        if !self.attention.hears_settled() {
            return;
        }
        *self.generation.lock() += 1;
        self.settled.notify_all();
        let calls = std::mem::take(&mut *self.calls.lock());
        self.attention.ignore_settled(u32::try_from(calls.len()).unwrap_or(u32::MAX));
        for call in calls {
            usher.call(Call::Settled(call));
        }
    }

    /// Looks until `done` is content or `most` has passed since the first look; looks anew when something settled.
    pub(super) fn wait<T>(&self, most: Duration, look: impl Fn() -> Result<T>, done: impl Fn(&T) -> bool) -> Result<T> {
        self.attention.await_settled();
        let seen = *self.generation.lock();
        let mut found = look();
        if matches!(&found, Ok(value) if !done(value)) {
            let generation = self.generation.lock();
            if *generation == seen {
                drop(self.settled.wait_for(generation, most));
            } else {
                drop(generation);
            }
            found = look();
        }
        self.attention.ignore_settled(1);
        found
    }

    /// Calls `call` once, when the next jobs have settled.
    pub(super) fn call_once(&self, call: SettledCall) {
        let mut calls = self.calls.lock();
        calls.push(call);
        self.attention.await_settled();
    }
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("attention", &self.attention).finish_non_exhaustive()
    }
}
