//! What the bindings know of workers, and the core that all objects of one engine share.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zjobs_engine::job::Name;
use zjobs_engine::runtime;
use zjobs_engine::sync::RwLock;

use crate::detached::Detached;
use crate::errors::{StoreUnavailable, raised};
use crate::options::Options;
use crate::shape::Shape;

/// How often this process is the child of a fork since the module was loaded.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Called in the child after each fork.
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    crate::below::forked();
}

/// Refuses to use, in the child of a fork, what belongs to the parent.
pub(crate) fn check_fork(born: u32) -> PyResult<()> {
    if FORKS.load(Ordering::Relaxed) == born {
        return Ok(());
    }
    Err(StoreUnavailable::new_err(
        "this supervisor and its store belong to the process that was forked; make new ones in this process \
         (with gunicorn, create the supervisor in the worker, or start workers by spawn)",
    ))
}

/// A source of incarnations and names: the one place that asks the system for chance. It asks each time: what this process
/// keeps, all children that are forked from it have as well, and each would take itself for the others.
#[expect(clippy::disallowed_methods, reason = "the one door: everything else takes what this gives")]
pub(crate) fn random() -> fastrand::Rng {
    let mut seed = [0; 8];
    match getrandom::fill(&mut seed) {
        Ok(()) => fastrand::Rng::with_seed(u64::from_ne_bytes(seed)),
        // A system without chance: the clock is left.
        Err(_) => fastrand::Rng::new(),
    }
}

/// The fork count to compare with later.
pub(crate) fn birth() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// A registered worker.
pub(crate) struct Entry {
    pub(crate) name: Name,
    /// `invoke(args_bytes, ctx)`.
    pub(crate) invoke: Py<PyAny>,
    /// `payload(args)`: the JSON text of arguments, after a thorough check.
    pub(crate) payload: Py<PyAny>,
    /// The quick way to that text, where there is one.
    pub(crate) shape: Option<Py<Shape>>,
    /// Whether `bytes` are JSON text that its handler takes unread, so that `payload` need not see them.
    pub(crate) takes_text: bool,
    /// The Python side's own record of the worker.
    pub(crate) worker: Py<PyAny>,
    pub(crate) options: Options,
}

/// The engine and what Python adds to it.
pub(crate) struct Core {
    pub(crate) engine: Detached<Arc<runtime::Engine>>,
    pub(crate) blocks: bool,
    /// The store as Python has it.
    pub(crate) store: Py<PyAny>,
    // Names of this program's own workers: nobody can flood it.
    pub(crate) entries: RwLock<FxHashMap<Name, Arc<Entry>>>,
    defaults: Options,
    born: u32,
}

impl Core {
    pub(crate) fn new(engine: runtime::Engine, store: Py<PyAny>) -> PyResult<Self> {
        Ok(Self {
            blocks: engine.store().blocks(),
            store,
            engine: Detached::new(Arc::new(engine)),
            entries: RwLock::default(),
            defaults: Options::new(Name::queue("default").map_err(raised)?),
            born: birth(),
        })
    }

    pub(crate) fn check_fork(&self) -> PyResult<()> {
        check_fork(self.born)
    }

    /// Shows the garbage collector what only this core refers to. Nobody else runs meanwhile, so the lock is free.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(entries) = self.entries.try_read() else { return Ok(()) };
        for entry in entries.values().filter(|entry| Arc::strong_count(entry) == 1) {
            visit.call(&entry.invoke)?;
            visit.call(&entry.payload)?;
            visit.call(&entry.worker)?;
            visit.call(&entry.shape)?;
        }
        Ok(())
    }

    /// Drops the workers, so that a cycle through them ends.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut *self.entries.write());
        drop(entries);
    }

    pub(crate) fn entry(&self, worker: &str) -> Option<Arc<Entry>> {
        self.entries.read().get(worker).cloned()
    }

    /// The name and the options of a worker, known or not.
    pub(crate) fn worker(&self, worker: &str) -> PyResult<(Name, Option<Arc<Entry>>)> {
        match self.entry(worker) {
            Some(entry) => Ok((entry.name.clone(), Some(entry))),
            None => Ok((Name::worker(worker).map_err(raised)?, None)),
        }
    }

    pub(crate) fn options<'a>(&'a self, entry: Option<&'a Entry>) -> &'a Options {
        entry.map_or(&self.defaults, |entry| &entry.options)
    }

    /// Runs `call` where it may wait: detached when the store may wait, on the spot otherwise.
    pub(crate) fn call<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&runtime::Engine) -> T + Send) -> T {
        if self.blocks { py.detach(|| call(&self.engine)) } else { call(&self.engine) }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // The threads of a forked engine are not here to be joined: leave it alone.
        if check_fork(self.born).is_err() {
            std::mem::forget(Arc::clone(&self.engine));
        }
    }
}
