//! What only tests may do, in builds for them (ADR 0019).

use std::time::Duration;

use pyo3::prelude::*;
use zjobs_engine::failpoint;
use zjobs_engine::sync::{AtomicU64, Ordering};

use crate::errors::raised;

static LEAST_BEAT: AtomicU64 = AtomicU64::new(1000);

pub(crate) fn least_beat() -> Duration {
    Duration::from_millis(LEAST_BEAT.load(Ordering::Relaxed))
}

/// The names of all places.
#[pyfunction]
fn failpoints() -> Vec<&'static str> {
    failpoint::names()
}

/// Arms places, as the environment does at import: `name=actions;name=actions`.
#[pyfunction]
fn arm(py: Python<'_>, text: &str) -> PyResult<()> {
    py.detach(|| failpoint::arm(text)).map_err(raised)
}

/// Lets supervisors that are made from now on beat as often as this, so that their leases are four times as long.
#[pyfunction]
fn hasten(milliseconds: u64) {
    LEAST_BEAT.store(milliseconds, Ordering::Relaxed);
}

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    failpoint::arm_by_environment().map_err(raised)?;
    // Not by `add`, which would put them among what the module offers.
    module.setattr("_failpoints", wrap_pyfunction!(failpoints, module)?)?;
    module.setattr("_arm", wrap_pyfunction!(arm, module)?)?;
    module.setattr("_hasten", wrap_pyfunction!(hasten, module)?)
}
