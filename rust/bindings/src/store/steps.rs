//! The steps of a schema as Python sees them.

use pyo3::prelude::*;
use pyo3::types::PyList;
use zjobs_engine::store::migrate::Step;

use crate::convert::datetime;

/// `(version, name, sql, applied_at or None)` for each.
pub(super) fn listed<'py>(py: Python<'py>, steps: &[Step]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for step in steps {
        let applied_at = step.applied_at.map(|at| datetime(py, at)).transpose()?;
        list.append((step.migration.version, step.migration.name, step.migration.sql, applied_at))?;
    }
    Ok(list)
}
