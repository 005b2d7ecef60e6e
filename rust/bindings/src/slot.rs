//! `Slot`: where a Python thread or coroutine gets its next job and hands back the outcome of the last one.
//!
//! The loop around it is Python's, see ADR 0001.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zjobs_engine::clock::Moment;
use zjobs_engine::job::{JobId, Lease};
use zjobs_engine::outcome::{self, Again, Failure};
use zjobs_engine::runtime::{Lane, Next, QueueIndex, Running};
use zjobs_engine::sync::Mutex;

use crate::backoff::Backoff;
use crate::context::JobContext;
use crate::convert::seconds;
use crate::errors::raised;
use crate::registry::Core;
use zjobs_engine::limits;

/// How an attempt ended, when it is not a plain return. Made by `zjobs._runner`.
#[pyclass(frozen, module = "zjobs._engine")]
#[derive(Debug)]
pub(crate) struct Outcome {
    inner: outcome::Outcome,
}

#[pymethods]
impl Outcome {
    /// The handler returned something to keep: JSON text.
    #[staticmethod]
    fn completed(result: &[u8]) -> PyResult<Self> {
        limits::json("result", result, limits::RESULT_BYTES).map_err(raised)?;
        Ok(Self { inner: outcome::Outcome::Completed { result: Some(result.into()) } })
    }

    /// The attempt failed and follows the strategy `backoff`; or waits `delay` seconds; with neither it is the last.
    #[staticmethod]
    #[pyo3(signature = (kind, message, traceback, *, backoff=None, delay=None))]
    fn failed(
        kind: &str,
        message: &str,
        traceback: &str,
        backoff: Option<&Bound<'_, Backoff>>,
        delay: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let again = match (backoff, delay) {
            (Some(backoff), _) => Again::By(backoff.get().inner),
            (None, Some(delay)) => Again::In(seconds("delay", delay)?),
            (None, None) => Again::Never,
        };
        Ok(Self { inner: outcome::Outcome::Failed { failure: Failure::new(kind, message, traceback), again } })
    }

    /// The handler asked to run again `delay` seconds later.
    #[staticmethod]
    fn snoozed(delay: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { inner: outcome::Outcome::Snoozed { delay: seconds("snooze", delay)? } })
    }

    /// The handler wants the job gone.
    #[staticmethod]
    fn cancelled(reason: String) -> Self {
        Self { inner: outcome::Outcome::Cancelled { reason } }
    }

    /// The handler gave up for good.
    #[staticmethod]
    fn discarded(reason: &str) -> Self {
        Self { inner: outcome::Outcome::Discarded { failure: Failure::new("Discard", reason, "") } }
    }

    /// The job goes back with its attempt refunded.
    #[staticmethod]
    fn released() -> Self {
        Self { inner: outcome::Outcome::Released }
    }
}

/// One place in a queue where one job runs at a time.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct Slot {
    core: Arc<Core>,
    queue: QueueIndex,
    lane: Lane,
    current: Mutex<Option<Arc<Running>>>,
}

impl Slot {
    pub(crate) fn new(core: Arc<Core>, queue: QueueIndex, lane: Lane) -> Self {
        Self { core, queue, lane, current: Mutex::new(None) }
    }

    fn finish(
        &self,
        py: Python<'_>,
        running: &Arc<Running>,
        outcome: Option<&Bound<'_, Outcome>>,
        now: Moment,
    ) -> bool {
        let outcome =
            outcome.map_or(outcome::Outcome::Completed { result: None }, |outcome| outcome.get().inner.clone());
        let stays = self.core.call(py, |engine| engine.hand_back(running, outcome, now));
        let engine = &self.core.engine;
        if engine.lingers() {
            // It waits for threads of the engine, which may wait for the interpreter.
            py.detach(|| engine.stop_lingering());
        }
        stays
    }

    fn begin<'py>(&self, py: Python<'py>, running: &Arc<Running>) -> PyResult<Call<'py>> {
        // From here on whoever puts an outcome, if only of a slot that breaks, settles the job.
        *self.current.lock() = Some(running.clone());
        self.call(py, running)
    }

    fn call<'py>(&self, py: Python<'py>, running: &Arc<Running>) -> PyResult<Call<'py>> {
        let worker = running.job.worker.as_str();
        let entry =
            self.core.entry(worker).ok_or_else(|| crate::errors::invalid("worker", "must be registered", worker))?;
        let invoke = entry.invoke.bind(py).clone();
        let text = &running.job.args;
        // `PyBytes::new` panics where there is no memory.
        let args = PyBytes::new_with(py, text.len(), |bytes| {
            bytes.copy_from_slice(text);
            Ok(())
        })?;
        Ok((invoke, args, JobContext::new(self.core.clone(), running.clone(), entry)))
    }
}

type Call<'py> = (Bound<'py, PyAny>, Bound<'py, PyBytes>, JobContext);

#[pymethods]
impl Slot {
    /// Hands back the outcome of the job that was taken before and takes the next: `(invoke, args_bytes, ctx)`.
    ///
    /// A thread slot waits for work; `None` tells it to end. A loop slot never waits; `None` means that there is
    /// nothing for it now.
    #[pyo3(signature = (outcome=None))]
    fn take<'py>(&self, py: Python<'py>, outcome: Option<&Bound<'py, Outcome>>) -> PyResult<Option<Call<'py>>> {
        self.core.check_fork()?;
        let mut now = self.core.engine.clock().moment();
        let previous = self.current.lock().take();
        if let Some(running) = previous
            && !self.finish(py, &running, outcome, now)
        {
            return Ok(None);
        }
        loop {
            match self.core.engine.next_at(self.queue, self.lane, now) {
                Next::Job(running) => return self.begin(py, &running).map(Some),
                Next::Retire => return Ok(None),
                Next::Empty if self.lane == Lane::Loop => return Ok(None),
                Next::Empty => {
                    let engine = &self.core.engine;
                    py.detach(|| engine.wait(self.queue));
                    now = engine.clock().moment();
                }
            }
        }
    }

    /// Takes a job if there is one now, whatever the lane of the slot.
    #[pyo3(signature = (outcome=None))]
    fn try_take<'py>(&self, py: Python<'py>, outcome: Option<&Bound<'py, Outcome>>) -> PyResult<Option<Call<'py>>> {
        self.put(py, outcome)?;
        let Next::Job(running) = self.core.engine.next(self.queue, self.lane) else { return Ok(None) };
        self.begin(py, &running).map(Some)
    }

    /// Hands back the outcome of the job that was taken before, without taking another.
    #[pyo3(signature = (outcome=None))]
    fn put(&self, py: Python<'_>, outcome: Option<&Bound<'_, Outcome>>) -> PyResult<()> {
        self.core.check_fork()?;
        let previous = self.current.lock().take();
        if let Some(running) = previous {
            self.finish(py, &running, outcome, self.core.engine.clock().moment());
        }
        Ok(())
    }

    /// Whether the job that runs here hangs and another slot has taken the place of this one.
    #[getter]
    fn is_replaced(&self) -> bool {
        self.current.lock().as_ref().is_some_and(|running| running.is_abandoned())
    }

    /// Whether this is the child of a fork, whose parent's slot it is.
    #[getter]
    fn is_inherited(&self) -> bool {
        self.core.check_fork().is_err()
    }

    /// The attempt that runs here now: the id of its job, and its lease.
    #[getter]
    fn attempt(&self) -> Option<(i64, u32)> {
        self.current.lock().as_ref().map(|running| numbers(running.attempt()))
    }
}

/// An attempt as Python has it.
pub(crate) const fn numbers((id, lease): (JobId, Lease)) -> (i64, u32) {
    (id.0, lease.0)
}
