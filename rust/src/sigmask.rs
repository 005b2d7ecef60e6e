//! Signals of the system are for the threads of others: none of ours takes one.
//!
//! The kernel gives a signal to any thread that does not block it. Python runs its handlers on the main thread alone, which
//! learns of a signal that another thread took when something else wakes it: perhaps never.
//!
//! Code of others that runs on a thread of ours has them as it would elsewhere: programs and threads that it starts inherit
//! what is blocked.

use std::cell::Cell;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::sync::thread::{Builder, JoinHandle};

std::thread_local! {
    /// What is blocked where a thread of ours was started.
    static OUTSIDE: Cell<Option<SigSet>> = const { Cell::new(None) };
}

/// Starts a thread of ours.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let known = OUTSIDE.get();
    let blocked = Blocked::begin();
    let outside = known.map_or(blocked.outside, |known| Outside(Some(known)));
    Builder::new().name(name.to_owned()).spawn(move || {
        outside.note();
        run();
    })
}

/// Whether this thread is ours.
pub fn is_ours() -> bool {
    OUTSIDE.get().is_some()
}

/// All signals but those by which a thread learns of its own fault.
fn all() -> SigSet {
    let mut all = SigSet::all();
    for own in [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ] {
        all.remove(own);
    }
    all
}

/// Threads that are started while this lives inherit that signals are blocked: not even their first moment takes one.
#[derive(Debug)]
struct Blocked {
    outside: Outside,
}

/// What was blocked before.
#[derive(Debug, Clone, Copy)]
struct Outside(Option<SigSet>);

impl Blocked {
    /// Blocks them on this thread, which gets them back later. A model checker has one thread for all.
    fn begin() -> Self {
        let models = cfg!(any(feature = "loom", feature = "shuttle"));
        let outside = if models { None } else { all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() };
        Self { outside: Outside(outside) }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(outside) = self.outside.0 {
            let _ = outside.thread_set_mask();
        }
    }
}

impl Outside {
    /// This thread is ours.
    fn note(self) {
        OUTSIDE.set(self.0);
    }
}

/// Code of others runs on this thread while this lives. Without effect on a thread of theirs.
#[derive(Debug)]
pub struct Lent {
    ours: Option<SigSet>,
}

impl Lent {
    /// It begins.
    pub fn begin() -> Self {
        let outside = OUTSIDE.get();
        Self { ours: outside.and_then(|outside| outside.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok()) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(ours) = self.ours {
            let _ = ours.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(signal: Signal) -> bool {
        SigSet::thread_get_mask().unwrap().contains(signal)
    }

    #[test]
    fn a_thread_of_ours_blocks_signals_except_while_it_is_lent() {
        let (tell, told) = std::sync::mpsc::channel();
        let seen = move || {
            let before = (is_ours(), blocks(Signal::SIGTERM), blocks(Signal::SIGSEGV));
            let lent = Lent::begin();
            let twice = Lent::begin();
            drop(twice);
            let meanwhile = blocks(Signal::SIGTERM);
            drop(lent);
            tell.send((before, meanwhile, blocks(Signal::SIGTERM))).unwrap();
        };
        // What it starts itself is as it is.
        spawn("one", move || spawn("another", seen).unwrap().join().unwrap()).unwrap().join().unwrap();
        assert!(!blocks(Signal::SIGTERM) && !is_ours());
        assert_eq!(told.recv().unwrap(), ((true, true, false), false, true));
    }

    #[test]
    fn a_thread_of_others_is_left_as_it_is() {
        let lent = Lent::begin();
        assert!(!blocks(Signal::SIGTERM));
        drop(lent);
        assert!(!blocks(Signal::SIGTERM));
    }
}
