//! What a subscriber would do nothing with, so that a store in the same process need not wake it for that.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// What a subscriber listens for now. It says so *before* it looks at the store: then either its look finds what
/// committed, or whoever commits afterwards finds it listening, since both take the store's lock in between.
#[derive(Debug, Default)]
pub struct Attention {
    ready: AtomicBool,
    settled: AtomicU32,
}

impl Attention {
    /// That of a subscriber who wants to hear everything.
    pub fn full() -> Self {
        Self { ready: AtomicBool::new(true), settled: AtomicU32::new(1) }
    }

    /// Listens, or not, for queues with jobs to claim.
    pub fn listen_for_ready(&self, listens: bool) {
        self.ready.store(listens, Ordering::SeqCst);
    }

    /// One more waits for jobs to settle.
    pub fn await_settled(&self) {
        self.settled.fetch_add(1, Ordering::SeqCst);
    }

    /// So many wait for jobs to settle no longer.
    pub fn ignore_settled(&self, count: u32) {
        self.settled.fetch_sub(count, Ordering::SeqCst);
    }

    /// Whether it wants to hear [`Signal::Ready`](super::Signal::Ready).
    pub fn hears_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Whether it wants to hear [`Signal::Settled`](super::Signal::Settled).
    pub fn hears_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst) > 0
    }
}
