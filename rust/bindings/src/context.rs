//! `JobContext`: what a handler sees of the attempt it is in.

use std::sync::Arc;

use pyo3::prelude::*;
use std::time::Duration;
use zjobs_engine::clock::Moment;
use zjobs_engine::job::Progress;
use zjobs_engine::limits;
use zjobs_engine::runtime::Running;
use zjobs_engine::store::Report;
use zjobs_engine::sync::Mutex;

use crate::convert::{Imported, datetime};
use crate::errors::{invalid, raised};
use crate::job::Job;
use crate::registry::{Core, Entry};

/// Progress of one job is stored at most this often where the store may wait.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// The attempt that a handler is in.
#[pyclass(frozen, module = "zjobs")]
pub(crate) struct JobContext {
    core: Arc<Core>,
    running: Arc<Running>,
    entry: Arc<Entry>,
    reported: Mutex<Option<Moment>>,
}

impl JobContext {
    pub(crate) fn new(core: Arc<Core>, running: Arc<Running>, entry: Arc<Entry>) -> Self {
        Self { core, running, entry, reported: Mutex::new(None) }
    }

    /// Whether a report now would come too soon after the last one.
    fn too_soon(&self, now: Moment) -> bool {
        let mut reported = self.reported.lock();
        let soon = self.core.blocks && reported.is_some_and(|last| now.since(last) < REPORT_EVERY);
        if !soon {
            *reported = Some(now);
        }
        soon
    }
}

#[pymethods]
impl JobContext {
    /// The job as it was claimed.
    #[getter]
    fn job(&self) -> Job {
        Job::new(self.running.job.clone())
    }

    /// The attempt, counted from 1.
    #[getter]
    fn attempt(&self) -> u32 {
        self.running.job.attempt
    }

    /// Whether the handler should stop: shutdown, cancel, timeout or a lost lease. Cheap; look at it often.
    #[getter]
    fn cancelled(&self) -> bool {
        self.running.stop_wanted()
    }

    /// Whether the attempt has run past its deadline.
    #[getter]
    fn timed_out(&self) -> bool {
        self.running.timed_out()
    }

    /// When the attempt times out, in UTC; `None` without a limit.
    #[getter]
    fn deadline<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let clock = self.core.engine.clock();
        let left = self.running.remaining(clock.moment());
        left.map(|left| datetime(py, clock.now() + left)).transpose()
    }

    /// Says how far the job is; others see it as `job.progress`. Reports that come too fast for the store are dropped,
    /// but never the one with `done == total`.
    ///
    /// Raises `Invalid` when a number is negative or not finite.
    #[pyo3(signature = (done, total=None, message=""))]
    fn progress(&self, py: Python<'_>, done: f64, total: Option<f64>, message: &str) -> PyResult<()> {
        self.core.check_fork()?;
        for (field, number) in [("done", Some(done)), ("total", total)] {
            if let Some(number) = number.filter(|n| !n.is_finite() || *n < 0.0) {
                return Err(invalid(field, "must be a finite number from 0", number));
            }
        }
        let now = self.core.engine.clock().moment();
        if total != Some(done) && self.too_soon(now) {
            return Ok(());
        }
        let message = limits::stored_text(message, limits::PROGRESS_MESSAGE_BYTES);
        let running = &self.running;
        let report =
            Report { id: running.job.id, lease: running.job.lease, progress: Progress { done, total, message } };
        self.core.call(py, |engine| engine.store().report(running.node, &[report])).map_err(raised)
    }

    /// Ends the attempt by raising `Snooze`: the job runs again after `delay` (seconds or `timedelta`).
    #[staticmethod]
    fn snooze(delay: &Bound<'_, PyAny>) -> PyResult<()> {
        static SNOOZE: Imported = Imported::new("zjobs.options", "Snooze");
        Err(PyErr::from_value(SNOOZE.get(delay.py())?.call1((delay,))?))
    }

    /// Ends the attempt by raising `CancelledError` when it should stop; a job stopped by shutdown goes back unharmed.
    fn check_cancelled(&self, py: Python<'_>) -> PyResult<()> {
        static CANCELLED: Imported = Imported::new("asyncio", "CancelledError");
        if !self.running.stop_wanted() {
            return Ok(());
        }
        Err(PyErr::from_value(CANCELLED.get(py)?.call1(("the job was asked to stop",))?))
    }

    /// A logger whose records carry `job_id`, `worker`, `queue` and `attempt`.
    #[getter]
    fn log<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static LOGGER: Imported = Imported::new("zjobs._runner", "job_logger");
        let job = &self.running.job;
        LOGGER.get(py)?.call1((job.id.0, job.worker.as_str(), job.queue.as_str(), job.attempt))
    }

    /// Ends the attempt in the transaction of the handler's own connection: what the handler wrote there and that the job
    /// is completed are committed together, or not at all. The handler commits, and returns. Without a commit the
    /// attempt has failed.
    ///
    /// Raises `Invalid` when the connection does not lead to the database of the jobs, and `LeaseLost` when the job is
    /// not this attempt's any more: then roll back.
    #[pyo3(signature = (*, connection, result=None))]
    fn complete(
        slf: &Bound<'_, Self>,
        connection: &Bound<'_, PyAny>,
        result: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        static COMPLETE: Imported = Imported::new("zjobs.connections", "complete");
        COMPLETE.get(slf.py())?.call1((slf, connection, result)).map(drop)
    }

    /// As `complete`, on a connection of coroutines; to be awaited.
    #[pyo3(signature = (*, connection, result=None))]
    fn complete_async<'py>(
        slf: &Bound<'py, Self>,
        connection: &Bound<'py, PyAny>,
        result: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static COMPLETE: Imported = Imported::new("zjobs.connections", "complete_async");
        COMPLETE.get(slf.py())?.call1((slf, connection, result))
    }

    /// The store that the job is in.
    #[getter]
    fn _store(&self, py: Python<'_>) -> Py<PyAny> {
        self.core.store.clone_ref(py)
    }

    /// The job was completed on a connection of the handler's.
    fn _hand_over(&self) {
        self.running.hand_over();
    }

    /// The Python side's own record of the worker.
    #[getter]
    fn _worker(&self, py: Python<'_>) -> Py<PyAny> {
        self.entry.worker.clone_ref(py)
    }

    fn __repr__(&self) -> String {
        let job = &self.running.job;
        format!("<JobContext of job {}: {}, attempt {} of {}>", job.id, job.worker, job.attempt, job.max_attempts)
    }
}
