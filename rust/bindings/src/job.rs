//! `Job`: what callers see of a row.

pub(crate) mod build;

use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyDictMethods, PyTuple};
use zjobs_engine::job;
use zjobs_engine::state::State;
use zjobs_engine::{JobId, Timestamp};

use crate::convert::{Imported, datetime, decoded, member, optional_datetime};

static JOB_STATE: Imported = Imported::new("zjobs.job", "JobState");
static ATTEMPT_ERROR: Imported = Imported::new("zjobs.job", "AttemptError");
static PROGRESS: Imported = Imported::new("zjobs.job", "Progress");

/// A job as its store had it at one moment. Read-only; ask the supervisor again for news.
#[pyclass(frozen, module = "zjobs", freelist = 1024)]
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) inner: job::Job,
    /// Whether an enqueue found this job instead of inserting one.
    #[pyo3(get)]
    conflict: bool,
}

impl Job {
    pub(crate) fn new(inner: job::Job) -> Self {
        Self { inner, conflict: false }
    }

    pub(crate) fn enqueued(reply: zjobs_engine::store::Enqueued) -> Self {
        Self { inner: reply.job, conflict: reply.conflict }
    }

    /// The reply to an enqueue that gave this job.
    pub(crate) fn reply(&self) -> zjobs_engine::store::Enqueued {
        zjobs_engine::store::Enqueued { job: self.inner.clone(), conflict: self.conflict }
    }

    fn finished_as(&self, state: State) -> Option<Timestamp> {
        self.inner.finished_at.filter(|_| self.inner.state == state)
    }
}

fn conflict(fields: &Bound<'_, PyDict>) -> PyResult<Option<bool>> {
    let Some(value) = fields.get_item("conflict")? else { return Ok(None) };
    fields.del_item("conflict")?;
    build::flag("conflict", &value).map(Some)
}

/// A `Progress`.
pub(crate) fn progress<'py>(py: Python<'py>, of: &job::Progress) -> PyResult<Bound<'py, PyAny>> {
    PROGRESS.get(py)?.call1((of.done, of.total, &of.message))
}

/// The `JobState` member.
pub(crate) fn state(py: Python<'_>, state: State) -> PyResult<Bound<'_, PyAny>> {
    member(&JOB_STATE, py, state.number())
}

#[pymethods]
impl Job {
    /// A job made of its parts, for stores that are written in Python.
    #[new]
    #[pyo3(signature = (**fields))]
    fn of_parts(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let fields = fields.map_or_else(|| Ok(PyDict::new(py)), PyDictMethods::copy)?;
        let conflict = conflict(&fields)?.unwrap_or(false);
        Ok(Self { inner: build::built(&fields)?, conflict })
    }

    /// The same job with some parts changed.
    #[pyo3(signature = (**changes))]
    fn replace(&self, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let Some(changes) = changes else { return Ok(self.clone()) };
        let changes = changes.copy()?;
        let conflict = conflict(&changes)?.unwrap_or(self.conflict);
        Ok(Self { inner: build::changed(self.inner.clone(), &changes)?, conflict })
    }

    /// Its number in its store, from 1.
    #[getter]
    fn id(&self) -> i64 {
        self.inner.id.0
    }

    /// Where it is in its life: a `JobState`.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        state(py, self.inner.state)
    }

    /// The queue it waits in.
    #[getter]
    fn queue(&self) -> &str {
        self.inner.queue.as_str()
    }

    /// The name of its worker.
    #[getter]
    fn worker(&self) -> &str {
        self.inner.worker.as_str()
    }

    /// The arguments, decoded anew at each call.
    #[getter]
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decoded(py, &self.inner.args)
    }

    /// The arguments as JSON text.
    #[getter]
    fn args_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.args)
    }

    /// Lower runs first.
    #[getter]
    fn priority(&self) -> i32 {
        self.inner.priority.0
    }

    /// 0 before the first run, counted from 1 while it runs.
    #[getter]
    fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How often it may run.
    #[getter]
    fn max_attempts(&self) -> u32 {
        self.inner.max_attempts
    }

    /// How often it has been claimed; the number that guards every write about it while it runs.
    #[getter]
    fn lease(&self) -> u32 {
        self.inner.lease.0
    }

    /// When it is or was due, in UTC.
    #[getter]
    fn scheduled_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.inner.scheduled_at)
    }

    /// When it was enqueued, in UTC.
    #[getter]
    fn inserted_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.inner.inserted_at)
    }

    /// When its last attempt was claimed, in UTC.
    #[getter]
    fn attempted_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_datetime(py, self.inner.attempted_at)
    }

    /// When it reached its final state, whichever it is, in UTC.
    #[getter]
    fn finished_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_datetime(py, self.inner.finished_at)
    }

    /// When it completed, in UTC.
    #[getter]
    fn completed_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_datetime(py, self.finished_as(State::Completed))
    }

    /// When it was discarded, in UTC.
    #[getter]
    fn discarded_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_datetime(py, self.finished_as(State::Discarded))
    }

    /// When it was cancelled, in UTC.
    #[getter]
    fn cancelled_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_datetime(py, self.finished_as(State::Cancelled))
    }

    /// The limit of one attempt in seconds; `None` is no limit.
    #[getter]
    fn timeout_seconds(&self) -> Option<f64> {
        self.inner.timeout.map(|timeout| timeout.as_secs_f64())
    }

    /// Its idempotency key.
    #[getter]
    fn unique_key(&self) -> Option<&str> {
        self.inner.details().unique_key.as_deref()
    }

    /// The newest failed attempts, oldest first, as `AttemptError`.
    #[getter]
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let errors: PyResult<Vec<_>> = self
            .inner
            .details()
            .errors
            .iter()
            .map(|e| ATTEMPT_ERROR.get(py)?.call1((e.attempt, datetime(py, e.at)?, &e.kind, &e.message, &e.traceback)))
            .collect();
        PyTuple::new(py, errors?)
    }

    /// The JSON object that the caller attached.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.inner.details().meta {
            Some(meta) => decoded(py, meta),
            None => Ok(PyDict::new(py).into_any()),
        }
    }

    /// The same as JSON text, `None` when there is none.
    #[getter]
    fn meta_bytes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.inner.details().meta.as_ref().map(|meta| PyBytes::new(py, meta))
    }

    /// Labels.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.inner.details().tags.iter().map(job::Name::as_str))
    }

    /// What the handler returned, when its worker keeps results.
    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.inner.details().result.as_ref().map(|result| decoded(py, result)).transpose()
    }

    /// The same as JSON text.
    #[getter]
    fn result_bytes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.inner.details().result.as_ref().map(|result| PyBytes::new(py, result))
    }

    /// How far it is: a `Progress`, when its handler reports.
    #[getter]
    fn progress<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let progress = self.inner.details().progress.as_ref();
        progress.map(|of| self::progress(py, of)).transpose()
    }

    /// The incarnation of the node that runs it, as 32 hexadecimal digits.
    #[getter]
    fn node(&self) -> Option<String> {
        self.inner.node.map(|node| node.to_string())
    }

    /// How often the node that ran it died.
    #[getter]
    fn crashes(&self) -> u16 {
        self.inner.details().crashes
    }

    /// Whether somebody asked to cancel it while it was running.
    #[getter]
    fn cancel_requested(&self) -> bool {
        self.inner.details().cancel_requested
    }

    fn __repr__(&self) -> String {
        let job = &self.inner;
        // Never the arguments: they may hold secrets.
        let mut text = format!("<Job {} {} on {}: {}", job.id, job.worker, job.queue, job.state);
        if job.attempt > 0 {
            let _ = write!(text, ", attempt {} of {}", job.attempt, job.max_attempts);
        }
        text + ">"
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast_exact::<Self>().is_ok_and(|other| other.get().inner == self.inner)
    }

    fn __hash__(&self) -> i64 {
        self.inner.id.0
    }
}

/// A job as a Python object that the garbage collector does not visit.
///
/// Every class of pyo3 takes part in garbage collection. A `Job` holds no Python object, so there is nothing to visit,
/// and an application that enqueues in a loop would pay for it with a fifth of its time.
pub(crate) fn untracked(py: Python<'_>, job: Job) -> PyResult<Py<Job>> {
    let job = Py::new(py, job)?;
    // SAFETY: the object is alive and ours alone; untracking it twice, here and when it is freed, is allowed.
    unsafe { pyo3::ffi::PyObject_GC_UnTrack(job.as_ptr().cast()) };
    Ok(job)
}

/// A job or its id.
pub(crate) fn job_id(value: &Bound<'_, PyAny>) -> PyResult<JobId> {
    if let Ok(job) = value.cast_exact::<Job>() {
        return Ok(job.get().inner.id);
    }
    let id = value.extract::<i64>().ok().filter(|id| *id > 0 && !value.is_instance_of::<pyo3::types::PyBool>());
    id.map(JobId).ok_or_else(|| crate::errors::invalid("job", "must be a Job or its id, a whole number from 1", value))
}
