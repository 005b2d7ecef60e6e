//! Compiled stores as Python objects: the verbs of the `Store` trait with Python types.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use zjobs_engine::clock::{Clock, System};
use zjobs_engine::job::NewJob;
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::State;
use zjobs_engine::store::memory::{MemoryConfig, MemoryStore as EngineStore};
use zjobs_engine::store::pages::{self, PAGE};
use zjobs_engine::store::{Claim, CronEntry, CronTick, Filter, Heartbeat, Paused, Report, Retention, Subscriber};
use zjobs_engine::sync::Mutex;
use zjobs_engine::{Result, Store, limits};

use super::clock::ManualClock;
use super::rows::by_hand::concurrency;
use super::rows::cron::cron_name;
use super::rows::{Row, count, counts, ids, list, vec};
use super::signals::PyListener;
use crate::convert::{datetime, seconds, timestamp};
use crate::detached::Detached;
use crate::errors::raised;
use crate::job::build;
use crate::registry::{birth, check_fork};

/// A compiled store: the verbs of `zjobs.store.Store`, with the meaning that it gives them.
#[pyclass(frozen, subclass, module = "zjobs._engine")]
pub(crate) struct NativeStore {
    inner: Detached<Arc<dyn Store>>,
    /// A store does not keep its subscribers alive.
    listeners: Mutex<Vec<Arc<PyListener>>>,
    born: u32,
}

/// The store as Python gets it; with places to die at in a build for tests (ADR 0019).
pub(super) fn pierced(store: Arc<dyn Store>) -> Arc<dyn Store> {
    #[cfg(feature = "failpoints")]
    return Arc::new(zjobs_engine::store::pierced::Pierced::new(store));
    #[cfg(not(feature = "failpoints"))]
    store
}

impl NativeStore {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner: Detached::new(inner), listeners: Mutex::default(), born: birth() }
    }

    pub(super) fn inner(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner)
    }

    /// Runs `verb` where it may wait: detached when the store may wait, on the spot otherwise.
    fn call<T: Send>(&self, py: Python<'_>, verb: impl FnOnce(&dyn Store) -> Result<T> + Send) -> PyResult<T> {
        check_fork(self.born)?;
        let reply = if self.inner.blocks() { py.detach(|| verb(&**self.inner)) } else { verb(&**self.inner) };
        reply.map_err(raised)
    }

    fn by_filter<R: Row + Send>(
        &self,
        filter: &Bound<'_, PyAny>,
        verb: impl FnOnce(&dyn Store, &Filter) -> Result<Vec<R>> + Send,
    ) -> PyResult<Py<PyList>> {
        let (py, filter) = (filter.py(), Filter::from_python(filter)?);
        let rows = self.call(py, |store| verb(store, &filter))?;
        Ok(list(py, rows)?.unbind())
    }
}

#[pymethods]
impl NativeStore {
    /// A store that is written in Python, as the engine sees it: every call crosses the border twice.
    #[staticmethod]
    fn adapted(store: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self::new(super::store_of(store)?))
    }

    /// Whether a call may wait for a disk or a network.
    #[getter]
    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    /// Asks to be told what commits, for as long as this object lives.
    fn subscribe(&self, listener: Py<PyAny>) -> PyResult<()> {
        check_fork(self.born)?;
        let listener = Arc::new(PyListener(listener));
        let subscriber: Arc<dyn Subscriber> = listener.clone();
        self.inner.subscribe(Arc::downgrade(&subscriber));
        self.listeners.lock().push(listener);
        Ok(())
    }

    /// The store's clock.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.call(py, |store| store.now())?)
    }

    // --- the walk of a job ---

    /// *enqueue*: inserts jobs, or finds those whose unique key is taken.
    fn enqueue<'py>(&self, py: Python<'py>, jobs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let jobs = vec::<NewJob>(jobs)?;
        list(py, self.call(py, |store| store.enqueue(jobs))?)
    }

    /// *claim*: takes due jobs of one queue, best first, and leases them to a living node.
    fn claim<'py>(
        &self,
        py: Python<'py>,
        node: &Bound<'py, PyAny>,
        queue: &Bound<'py, PyAny>,
        limit: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let claim = Claim { node: build::node(node)?, queue: build::queue(queue)?, limit: count("limit", limit)? };
        list(py, self.call(py, |store| store.claim(&claim))?)
    }

    /// *ack*: ends attempts, each guarded by its lease.
    fn ack<'py>(
        &self,
        py: Python<'py>,
        node: &Bound<'py, PyAny>,
        acks: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (node, acks) = (build::node(node)?, vec::<Ack>(acks)?);
        list(py, self.call(py, |store| store.ack(node, &acks))?)
    }

    /// Stores progress of running jobs, each guarded by its lease.
    fn report(&self, py: Python<'_>, node: &Bound<'_, PyAny>, reports: &Bound<'_, PyAny>) -> PyResult<()> {
        let (node, reports) = (build::node(node)?, vec::<Report>(reports)?);
        self.call(py, |store| store.report(node, &reports))
    }

    /// *stage*: makes due jobs available.
    #[pyo3(signature = (limit=1000))]
    fn stage<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, |store| store.stage(limit))?.into_python(py)
    }

    // --- nodes ---

    /// *heartbeat*: registers a node, or extends its lease on all its jobs.
    fn heartbeat<'py>(&self, py: Python<'py>, beat: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let beat = Heartbeat::from_python(beat)?;
        self.call(py, |store| store.heartbeat(&beat))?.into_python(py)
    }

    /// The node ends; jobs that still run under it may be rescued `grace_seconds` from now.
    #[pyo3(signature = (node, grace_seconds=0.0))]
    fn depart(&self, py: Python<'_>, node: &Bound<'_, PyAny>, grace_seconds: f64) -> PyResult<()> {
        let node = build::node(node)?;
        let grace = limits::seconds("grace_seconds", grace_seconds).map_err(raised)?;
        self.call(py, |store| store.depart(node, grace))
    }

    /// *rescue*: takes back jobs whose node is gone.
    #[pyo3(signature = (limit=500))]
    fn rescue<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        list(py, self.call(py, |store| store.rescue(limit))?)
    }

    /// The nodes that the store knows.
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        list(py, self.call(py, |store| store.nodes())?)
    }

    // --- by hand ---

    /// *cancel*: waiting jobs are cancelled, running ones asked to stop.
    fn cancel(&self, filter: &Bound<'_, PyAny>) -> PyResult<Py<PyList>> {
        self.by_filter(filter, |store, filter| pages::cancel(store, filter, PAGE))
    }

    /// *retry*: starts jobs again.
    fn retry(&self, filter: &Bound<'_, PyAny>) -> PyResult<Py<PyList>> {
        self.by_filter(filter, |store, filter| pages::retry(store, filter, PAGE))
    }

    /// Deletes jobs that do not run; returns how many.
    fn delete(&self, py: Python<'_>, filter: &Bound<'_, PyAny>) -> PyResult<usize> {
        let filter = Filter::from_python(filter)?;
        self.call(py, |store| pages::delete(store, &filter, PAGE))
    }

    /// *prune*: deletes final jobs older than their retention; returns how many.
    #[pyo3(signature = (retention, limit=1000))]
    fn prune(&self, py: Python<'_>, retention: &Bound<'_, PyAny>, limit: usize) -> PyResult<usize> {
        let retention = Retention::from_python(retention)?;
        self.call(py, |store| store.prune(&retention, limit))
    }

    /// Deletes completed jobs that finished longer ago than this; returns how many.
    fn delete_completed(&self, py: Python<'_>, older_than: &Bound<'_, PyAny>) -> PyResult<usize> {
        let completed = Some(seconds("older_than", older_than)?);
        let retention = Retention { completed, cancelled: None, discarded: None };
        self.call(py, |store| pages::prune(store, &retention, PAGE))
    }

    /// *pause*: nothing is claimed from the queue until it is resumed.
    fn pause(&self, py: Python<'_>, queue: &Bound<'_, PyAny>) -> PyResult<()> {
        let queue = build::queue(queue)?;
        self.call(py, |store| store.pause(&queue))
    }

    /// *resume*: undoes a pause.
    fn resume(&self, py: Python<'_>, queue: &Bound<'_, PyAny>) -> PyResult<()> {
        let queue = build::queue(queue)?;
        self.call(py, |store| store.resume(&queue))
    }

    /// Sets how many jobs of the queue each node runs at once; `None` goes back to the node's own setting.
    fn scale(&self, py: Python<'_>, queue: &Bound<'_, PyAny>, concurrency: &Bound<'_, PyAny>) -> PyResult<()> {
        let (queue, concurrency) = (build::queue(queue)?, self::concurrency(concurrency)?);
        self.call(py, |store| store.scale(&queue, concurrency))
    }

    // --- reads ---

    /// The jobs with these ids that exist, by id.
    #[pyo3(name = "get")]
    fn get_jobs<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let ids = self::ids("ids", ids)?;
        list(py, self.call(py, |store| store.get(&ids))?)
    }

    /// Jobs that match, by id in the filter's order, up to its limit.
    #[pyo3(name = "list")]
    fn list_jobs(&self, filter: &Bound<'_, PyAny>) -> PyResult<Py<PyList>> {
        self.by_filter(filter, |store, filter| store.list(filter))
    }

    /// How many jobs match, without the filter's limit.
    fn count(&self, py: Python<'_>, filter: &Bound<'_, PyAny>) -> PyResult<u64> {
        let filter = Filter::from_python(filter)?;
        self.call(py, |store| store.count(&filter))
    }

    /// How many jobs there are in each state, of one queue or of all.
    #[pyo3(signature = (queue=None))]
    fn count_by_state<'py>(&self, py: Python<'py>, queue: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyDict>> {
        let queue = queue.map(build::queue).transpose()?;
        let numbers: [u64; State::ALL.len()] = self.call(py, |store| store.count_by_state(queue.as_ref()))?;
        counts(py, numbers)
    }

    /// The queues that have jobs or settings.
    fn queues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        list(py, self.call(py, |store| store.queues())?)
    }

    // --- schedules ---

    /// Declares a schedule, or changes it and keeps its pause and last tick.
    #[pyo3(signature = (entry, /))]
    fn save_cron(&self, py: Python<'_>, entry: &Bound<'_, PyAny>) -> PyResult<()> {
        let entry = CronEntry::from_python(entry)?;
        self.call(py, |store| store.save_cron(&entry))
    }

    /// The declared schedules, by name.
    fn crons<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        list(py, self.call(py, |store| store.crons())?)
    }

    /// Pauses or resumes a schedule; `False` when there is none of that name.
    #[pyo3(signature = (name, *, paused))]
    fn set_cron_paused(&self, py: Python<'_>, name: &Bound<'_, PyAny>, paused: bool) -> PyResult<bool> {
        let name = cron_name(name)?;
        self.call(py, |store| store.set_cron_paused(&name, if paused { Paused::Yes } else { Paused::No }))
    }

    /// Forgets a schedule and its ticks; `False` when there is none of that name.
    fn delete_cron(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = cron_name(name)?;
        self.call(py, |store| store.delete_cron(&name))
    }

    /// Inserts the row of one `(entry, tick)` and its job together.
    #[pyo3(signature = (name, at, job, /))]
    fn tick<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        at: &Bound<'py, PyAny>,
        job: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let job = build::optional(job, NewJob::from_python)?;
        let tick = CronTick { name: cron_name(name)?, at: timestamp("at", at)?, job };
        self.call(py, |store| store.tick(tick))?.into_python(py)
    }
}

/// Jobs in this process's memory.
#[pyclass(frozen, subclass, extends = NativeStore, module = "zjobs._engine")]
pub(crate) struct MemoryStore {
    /// How many unfinished jobs it may hold.
    #[pyo3(get)]
    max_jobs: Option<usize>,
}

#[pymethods]
impl MemoryStore {
    #[new]
    #[pyo3(signature = (max_jobs=None, max_finished=None, *, clock=None))]
    fn new(
        max_jobs: Option<&Bound<'_, PyAny>>,
        max_finished: Option<&Bound<'_, PyAny>>,
        clock: Option<&ManualClock>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let max_jobs = max_jobs.map(|value| count("max_jobs", value)).transpose()?;
        let max_finished = max_finished.map(|value| count("max_finished", value)).transpose()?;
        let max_finished = max_finished.unwrap_or(MemoryConfig::MAX_FINISHED);
        let clock: Arc<dyn Clock> = clock.map_or_else(|| Arc::new(System) as _, ManualClock::inner);
        let store = EngineStore::new(MemoryConfig { max_jobs, max_finished, clock });
        Ok(PyClassInitializer::from(NativeStore::new(Arc::new(store))).add_subclass(Self { max_jobs }))
    }
}
