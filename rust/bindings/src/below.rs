//! Python below Rust, when the interpreter ends.
//!
//! `CPython` before 3.14 ends a daemon thread that asks for the interpreter's lock too late by unwinding its stack, and a
//! frame of Rust on it aborts the process (ADR 0001). `PyO3` makes threads wait for ever that come back from a wait of ours.
//! What is left is Python code that we have called, and that is interrupted there. So before the interpreter ends,
//! whoever is in such code is waited for, and nobody enters it any more.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use zjobs_engine::sigmask::{Lent, is_ours};

static INSIDE: AtomicUsize = AtomicUsize::new(0);
static OVER: AtomicBool = AtomicBool::new(false);
/// How often they are looked for: two seconds, after which a handler of telemetry is left to its fate.
const LOOKS: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(200);

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static LAST: Cell<bool> = const { Cell::new(false) };
}

struct Inside {
    /// Who we call may start programs.
    _lent: Lent,
}

impl Inside {
    fn enter() -> Option<Self> {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let inside = Self { _lent: Lent::begin() };
        let depth = DEPTH.replace(DEPTH.get() + 1);
        (!OVER.load(Ordering::SeqCst) || depth > 0 || LAST.get()).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Calls Python code from Rust; not any more when the interpreter ends.
pub(crate) fn called<T>(call: impl FnOnce() -> T) -> Option<T> {
    let _inside = Inside::enter()?;
    Some(call())
}

/// The same where there is nothing to go on with: a thread that comes too late waits for ever, as in `CPython` 3.14.
pub(crate) fn needed<T>(py: Python<'_>, call: impl FnOnce() -> T) -> T {
    if let Some(_inside) = Inside::enter() {
        return call();
    }
    loop {
        py.detach(|| std::thread::park_timeout(Duration::from_secs(3600)));
    }
}

/// Calls it and reports what it raises as Python does where nobody can catch it. Ctrl-C is kept for who can.
pub(crate) fn told<T>(py: Python<'_>, call: impl FnOnce() -> PyResult<T>) {
    let Some(Err(error)) = called(call) else { return };
    if !is_kept(py, &error) {
        error.write_unraisable(py, None);
    }
}

/// As [`told`], for a call that is made again when it fails: says whether it was made. What a thread of the program has met
/// with is not reported, for one of ours makes the call once more.
pub(crate) fn made<T>(py: Python<'_>, call: impl FnOnce() -> PyResult<T>) -> bool {
    let Some(Err(error)) = called(call) else { return true };
    if !is_kept(py, &error) && is_ours() {
        error.write_unraisable(py, None);
    }
    false
}

/// Whether it is a Ctrl-C, which is kept for who can catch it.
fn is_kept(py: Python<'_>, error: &PyErr) -> bool {
    let again = || py.import("_thread")?.call_method0("interrupt_main");
    error.is_instance_of::<PyKeyboardInterrupt>(py) && again().is_ok()
}

/// The child of a fork has the one thread.
pub(crate) fn forked() {
    INSIDE.store(DEPTH.get(), Ordering::SeqCst);
}

/// The interpreter ends: from now on only this thread calls Python from Rust.
#[pyfunction]
pub(crate) fn end_calls(py: Python<'_>) {
    LAST.set(true);
    OVER.store(true, Ordering::SeqCst);
    py.detach(|| {
        for _ in 0..LOOKS {
            if INSIDE.load(Ordering::SeqCst) <= DEPTH.get() {
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
    });
}
