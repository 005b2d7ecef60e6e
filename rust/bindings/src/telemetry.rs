//! `PySink`: events of the engine as the dataclasses of `zjobs.telemetry`.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use zjobs_engine::outcome::RescueReason;
use zjobs_engine::telemetry::{Event, JobResult, Kind, Sink};

use crate::below::told;
use crate::errors::raised;
use crate::job::Job;

/// Hands events to a Python `Telemetry`, when it wants them.
pub(crate) struct PySink {
    telemetry: Py<PyAny>,
    mask: AtomicU32,
}

impl PySink {
    /// `telemetry` has `emit(event)` and `count_dropped(count)`.
    pub(crate) fn new(telemetry: Py<PyAny>) -> Self {
        Self { telemetry, mask: AtomicU32::new(0) }
    }

    /// Who is told.
    pub(crate) fn telemetry(&self) -> &Py<PyAny> {
        &self.telemetry
    }

    /// Which kinds are wanted from now on.
    pub(crate) fn set_mask(&self, mask: u32) {
        self.mask.store(mask, Ordering::Relaxed);
    }
}

impl Sink for PySink {
    fn wants(&self, kind: Kind) -> bool {
        self.mask.load(Ordering::Relaxed) & kind.bit() != 0
    }

    fn emit(&self, event: Event) {
        let _ = Python::try_attach(|py| {
            told(py, || self.telemetry.call_method1(py, intern!(py, "emit"), (translated(py, event)?,)));
        });
    }

    fn dropped(&self, count: u64) {
        let _ = Python::try_attach(|py| {
            told(py, || self.telemetry.call_method1(py, intern!(py, "count_dropped"), (count,)));
        });
    }
}

fn translated(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyAny>> {
    let module = py.import("zjobs.telemetry")?;
    let job = |name: &str, job| module.getattr(name)?.call1((Job::new(job),));
    let result = |name: &str, of| module.getattr(name)?.call1((job_result(&module, of)?,));
    match event {
        Event::JobEnqueued(of) => job("JobEnqueued", of),
        Event::JobStarted(of) => job("JobStarted", of),
        Event::JobCompleted(of) => result("JobCompleted", of),
        Event::JobFailed(of) => result("JobFailed", of),
        Event::JobDiscarded(of) => result("JobDiscarded", of),
        Event::JobCancelled(of) => result("JobCancelled", of),
        Event::JobSnoozed(of) => result("JobSnoozed", of),
        Event::JobRescued(of, reason) => module.getattr("JobRescued")?.call1((Job::new(of), reason_name(reason))),
        Event::JobReleased(of) => job("JobReleased", of),
        Event::LeaseLost(of) => job("LeaseLost", of),
        Event::StoreUnavailable(error) => module.getattr("StoreUnavailable")?.call1((raised(error),)),
        Event::StoreRecovered(downtime) => module.getattr("StoreRecovered")?.call1((downtime.as_secs_f64(),)),
    }
}

fn job_result<'py>(module: &Bound<'py, PyModule>, of: JobResult) -> PyResult<Bound<'py, PyAny>> {
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
    let (duration, queued) = (millis(of.duration), millis(of.queued));
    module.getattr("JobResult")?.call1((Job::new(of.job), duration, queued, of.error))
}

/// Why a job was rescued, as the word that users see.
pub(crate) fn reason_name(reason: RescueReason) -> &'static str {
    match reason {
        RescueReason::NodeDied => "node_died",
        RescueReason::Shutdown => "shutdown",
    }
}
