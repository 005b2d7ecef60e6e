//! `ManualClock`: time that moves only when told to.

use std::sync::Arc;

use pyo3::prelude::*;
use zjobs_engine::clock::{Clock, Manual};

use crate::convert::{datetime, seconds, timestamp};

/// A clock for tests; it shows 2026-01-01T00:00:00Z, or `start`, until it is advanced.
#[pyclass(frozen, module = "zjobs._engine")]
pub(crate) struct ManualClock {
    inner: Arc<Manual>,
}

impl ManualClock {
    pub(super) fn inner(&self) -> Arc<dyn Clock> {
        self.inner.clone()
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    #[pyo3(signature = (start=None))]
    fn new(start: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let start = start.map(|start| timestamp("start", start)).transpose()?;
        Ok(Self { inner: Arc::new(start.map_or_else(Manual::default, Manual::new)) })
    }

    /// What it shows, in UTC.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        datetime(py, self.inner.now())
    }

    /// Lets time pass: seconds or a `timedelta`.
    fn advance(&self, by: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner.advance(seconds("by", by)?);
        Ok(())
    }
}
