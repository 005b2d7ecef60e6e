//! The one door to locks and atomics, so that a model checker can take their place.
//!
//! The locks are those of `std`, without poisoning: a panic is told where it happens, and what it leaves behind is
//! consistent because no invariant of ours spans a call that may panic. They keep all their state in themselves. That
//! is what makes a fork safe: `parking_lot` keeps its waiting threads in a table of the process, and the child, which
//! has the table but not the threads, crashed when new threads joined it (ADR 0011).

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

// Whose they are. With a feature of `rust/models` they are a model checker's, which decides who runs next and what a
// load may see. A wait with a limit does not end at its limit there: no lost wake-up hides behind one.
#[cfg(feature = "loom")]
use loom as machine;
#[cfg(all(feature = "shuttle", not(feature = "loom")))]
use shuttle as machine;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use std as machine;

pub use machine::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use machine::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
pub use machine::thread;
pub use std::sync::{Arc, Weak};

/// One at a time.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(machine::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An open lock around a value.
    pub fn new(value: T) -> Self {
        Self(machine::sync::Mutex::new(value))
    }

    /// The value, for whoever has the lock to itself: nothing is waited for.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A [`Mutex`] in a static, which outlives every run of a model: always that of `std`.
#[derive(Debug, Default)]
pub struct StaticMutex<T>(std::sync::Mutex<T>);

impl<T> StaticMutex<T> {
    /// An open lock around a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Many who read or one who writes.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(machine::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An open lock around a value.
    pub fn new(value: T) -> Self {
        Self(machine::sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`RwLock::read`], without waiting.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Waits until nobody else is there.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which thread this is; that of `std` costs a shared count each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadMark(u64);

impl ThreadMark {
    /// That of the thread that asks.
    #[inline]
    pub fn mine() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        machine::thread_local! {
            static MINE: ThreadMark = ThreadMark(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        MINE.with(|mine| *mine)
    }
}

/// Where threads wait for a change of what a [`Mutex`] guards. Each wait may end without one.
///
/// That of `std` asks the kernel at every notification, heard or not. This one counts who waits, so that telling nobody
/// costs nothing. Nobody is missed who looked at the guarded value before it changed: a waiter is counted while it
/// holds the lock, and whoever changes the value has held the lock since.
#[derive(Debug, Default)]
pub struct Condvar {
    change: machine::sync::Condvar,
    waiting: AtomicU32,
}

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { change: machine::sync::Condvar::new(), waiting: AtomicU32::new(0) }
    }

    /// Gives up the lock, waits, and takes it again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.change.wait(guard).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// As [`Condvar::wait`], at most so long.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, most: Duration) -> MutexGuard<'a, T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.change.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner).0;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// Wakes one who waits.
    #[inline]
    pub fn notify_one(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.change.notify_one();
        }
    }

    /// Wakes all who wait.
    #[inline]
    pub fn notify_all(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.change.notify_all();
        }
    }
}
