//! Times, names and JSON across the border.

use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDelta, PyType};
use zjobs_engine::Timestamp;
use zjobs_engine::job::Payload;
use zjobs_engine::limits;

use crate::errors::raised;

/// A Python object that is imported once.
pub(crate) struct Imported {
    cell: PyOnceLock<Py<PyAny>>,
    module: &'static str,
    name: &'static str,
}

impl Imported {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { cell: PyOnceLock::new(), module, name }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        if self.cell.get(py).is_none() {
            // Imported before the cell is touched: the child of a fork that another thread makes meanwhile would find it busy
            // for ever.
            let object = py.import(self.module)?.getattr(self.name)?.unbind();
            // Another thread may have been first, with the same object.
            drop(self.cell.set(py, object));
        }
        let object = self.cell.get(py).ok_or_else(|| PyRuntimeError::new_err("an import was lost"))?;
        Ok(object.bind(py))
    }
}

static EPOCH: Imported = Imported::new("zjobs.job", "EPOCH");
static MICROS: Imported = Imported::new("zjobs.job", "micros");
static DECODE: Imported = Imported::new("zjobs.codec", "decode");
static ENCODE: Imported = Imported::new("zjobs.codec", "encode");

/// An aware `datetime` in UTC, exact to the microsecond.
pub(crate) fn datetime(py: Python<'_>, at: Timestamp) -> PyResult<Bound<'_, PyAny>> {
    const DAY: i64 = 86_400_000_000;
    let days = i32::try_from(at.micros().div_euclid(DAY)).unwrap_or(i32::MAX);
    let rest = at.micros().rem_euclid(DAY);
    let seconds = i32::try_from(rest / 1_000_000).unwrap_or(0);
    let micros = i32::try_from(rest % 1_000_000).unwrap_or(0);
    EPOCH.get(py)?.add(PyDelta::new(py, days, seconds, micros, false)?)
}

/// As [`datetime`], `None` where there is none.
pub(crate) fn optional_datetime(py: Python<'_>, at: Option<Timestamp>) -> PyResult<Option<Bound<'_, PyAny>>> {
    at.map(|at| datetime(py, at)).transpose()
}

/// An aware `datetime` of the caller's; naive ones raise `Invalid`.
pub(crate) fn timestamp(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    Ok(Timestamp(MICROS.get(value.py())?.call1((field, value))?.extract()?))
}

/// Seconds as a number or a `timedelta`.
pub(crate) fn seconds(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    static SECONDS: Imported = Imported::new("zjobs.options", "seconds");
    let length: f64 = SECONDS.get(value.py())?.call1((field, value))?.extract()?;
    limits::seconds(field, length).map_err(raised)
}

/// JSON text as a Python value.
pub(crate) fn decoded<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    DECODE.get(py)?.call1((PyBytes::new(py, text),))
}

/// A plain Python value as JSON text.
pub(crate) fn encoded(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    let text = ENCODE.get(value.py())?.call1((field, value))?;
    Ok(text.cast_into::<PyBytes>()?.as_bytes().into())
}

/// The member of an enum whose `value` is `of`, from the class at `class`.
pub(crate) fn member<'py>(
    class: &Imported,
    py: Python<'py>,
    of: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    class.get(py)?.cast::<PyType>()?.call1((of,))
}
