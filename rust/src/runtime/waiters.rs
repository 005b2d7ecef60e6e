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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::clock::{Clock, System};
    use crate::error::Error;
    use crate::sync::{AtomicU32, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    /// What waits, who is asked whether anybody does, and who calls: nothing has settled.
    fn nobody() -> (Waiters, Arc<Attention>, Usher) {
        let attention = Arc::<Attention>::default();
        (Waiters::new(attention.clone()), attention, Usher::default())
    }

    #[test]
    fn who_waits_looks_anew_when_something_has_settled() {
        let (waiters, attention, usher) = nobody();
        let (value, (looks, looked)) = (AtomicU32::new(0), channel());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let look = || {
                    looks.send(()).unwrap();
                    Ok(value.load(Ordering::SeqCst))
                };
                waiters.wait(LONG, look, |found| *found == 7)
            });
            looked.recv().unwrap();
            assert!(attention.hears_settled(), "the store tells of what settles");
            value.store(7, Ordering::SeqCst);
            waiters.tell(&usher);
            assert_eq!(waits.join().unwrap().unwrap(), 7);
        });
        assert!(!attention.hears_settled(), "nobody waits any more");
    }

    #[test]
    fn what_settles_during_the_first_look_is_not_waited_for() {
        let (waiters, _, usher) = nobody();
        let (began, looks) = (System.moment(), AtomicU32::new(0));
        let look = || {
            waiters.tell(&usher);
            Ok(looks.fetch_add(1, Ordering::SeqCst))
        };
        assert_eq!(waiters.wait(LONG, look, |_| false).unwrap(), 1, "it looks again");
        assert!(System.moment().since(began) < LONG / 2, "and at once");
    }

    #[test]
    fn who_is_content_or_cannot_look_waits_for_nothing() {
        let (waiters, attention, _) = nobody();
        let looks = AtomicU32::new(0);
        let count = || looks.fetch_add(1, Ordering::SeqCst);
        assert_eq!(waiters.wait(LONG, || Ok(count()), |_| true).unwrap(), 0);
        let fails = || Err::<u32, _>(Error::Internal(count().to_string()));
        assert!(waiters.wait(LONG, fails, |_| false).unwrap_err().to_string().contains('1'));
        assert!(looks.into_inner() == 2 && !attention.hears_settled());
    }

    #[test]
    fn a_wait_ends_after_a_while_with_what_there_is() {
        let (waiters, attention, _) = nobody();
        assert_eq!(waiters.wait(Duration::from_millis(1), || Ok(3), |_| false).unwrap(), 3);
        assert!(!attention.hears_settled());
    }

    #[test]
    fn a_call_is_made_once_when_the_next_jobs_have_settled() {
        let (waiters, attention, usher) = nobody();
        let (call, called) = channel();
        for number in [1, 2] {
            let call = call.clone();
            waiters.call_once(Box::new(move || call.send(number).is_ok()));
        }
        assert!(called.try_recv().is_err() && attention.hears_settled());
        waiters.tell(&usher);
        assert!(!attention.hears_settled());
        waiters.tell(&usher);
        assert_eq!(called.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
