//! `Backoff`: the engine's own arithmetic, for `zjobs.retry`.

use pyo3::prelude::*;
use zjobs_engine::JobId;
use zjobs_engine::backoff::{self, Curve, Jitter};

use crate::errors::raised;

/// A delay as a function of attempt and job: the function that the engine itself uses.
#[pyclass(frozen, module = "zjobs._engine", from_py_object)]
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    pub(crate) inner: backoff::Backoff,
}

fn with(curve: zjobs_engine::Result<Curve>, jitter: bool) -> PyResult<Backoff> {
    let jitter = if jitter { Jitter::Spread } else { Jitter::Exact };
    Ok(Backoff { inner: backoff::Backoff { curve: curve.map_err(raised)?, jitter } })
}

#[pymethods]
impl Backoff {
    /// `min(base_seconds * 2 ** (attempt - 1), max_seconds)`.
    #[staticmethod]
    fn exponential(base_seconds: f64, max_seconds: f64, jitter: bool) -> PyResult<Self> {
        with(Curve::exponential(base_seconds, max_seconds), jitter)
    }

    /// `min(delay_seconds * attempt, max_seconds)`.
    #[staticmethod]
    fn linear(delay_seconds: f64, max_seconds: Option<f64>, jitter: bool) -> PyResult<Self> {
        with(Curve::linear(delay_seconds, max_seconds), jitter)
    }

    /// `delay_seconds`, always.
    #[staticmethod]
    fn constant(delay_seconds: f64, jitter: bool) -> PyResult<Self> {
        with(Curve::constant(delay_seconds), jitter)
    }

    /// Seconds from the failure of `attempt` (from 1) of the job until it is due again.
    fn delay(&self, attempt: u32, job_id: i64) -> f64 {
        self.inner.delay(attempt, JobId(job_id)).as_secs_f64()
    }
}
