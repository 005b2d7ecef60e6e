//! The rows, requests and replies of the store's verbs, both ways across the border.
//!
//! Each is a dataclass of `zjobs.rows` on the other side. A native store reads requests and writes replies; a store
//! written in Python is the mirror image.

pub(super) mod by_hand;
pub(super) mod cron;
pub(super) mod jobs;
pub(super) mod nodes;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use zjobs_engine::state::State;
use zjobs_engine::{JobId, Name};

use crate::convert::Imported;
use crate::errors::invalid;
use crate::job::{build, state};
use crate::options::integer;

/// A value with a form on each side.
pub(super) trait Row: Sized {
    /// What an error calls it.
    const NAME: &'static str;
    /// Its Python form.
    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
    /// From its Python form; raises `Invalid` where that is malformed.
    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self>;
}

/// A Python list of rows.
pub(super) fn list<R: Row>(py: Python<'_>, rows: Vec<R>) -> PyResult<Bound<'_, PyList>> {
    let rows: PyResult<Vec<_>> = rows.into_iter().map(|row| row.into_python(py)).collect();
    PyList::new(py, rows?)
}

/// The rows of a Python sequence.
pub(super) fn vec<R: Row>(value: &Bound<'_, PyAny>) -> PyResult<Vec<R>> {
    let expected = || invalid("argument", &format!("must be a list of {}", R::NAME), value);
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        return Err(expected());
    }
    value.try_iter().map_err(|_| expected())?.map(|row| R::from_python(&row?)).collect()
}

/// Raises `Invalid` unless `value` is one of `class`.
pub(super) fn expect(class: &Imported, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if value.is_instance(class.get(value.py())?)? {
        return Ok(());
    }
    Err(invalid("argument", &format!("must be a {name}"), value))
}

/// Ids in a list or tuple.
pub(super) fn ids(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<JobId>> {
    let items = value.try_iter().map_err(|_| invalid(name, "must be a tuple of ids", value))?;
    items.map(|id| crate::job::job_id(&id?)).collect()
}

/// Ids as a tuple.
pub(super) fn id_tuple(py: Python<'_>, ids: Vec<JobId>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, ids.into_iter().map(|id| id.0))
}

/// A count as a Python sees it.
pub(super) fn count(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    integer(name, value, 0, i64::MAX)
}

/// A limit: `None` is none.
pub(super) fn limit(value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    build::optional(value, |value| count("limit", value))
}

/// Jobs by state: `{JobState: int}` with every state in it.
pub(super) fn counts(py: Python<'_>, counts: [u64; 7]) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for one in State::ALL {
        dict.set_item(state(py, one)?, counts[usize::from(one.number())])?;
    }
    Ok(dict)
}

/// The same back; states that are absent count nothing.
pub(super) fn counts_back(value: &Bound<'_, PyAny>) -> PyResult<[u64; 7]> {
    let mut counts = [0; 7];
    for item in value.call_method0("items")?.try_iter()? {
        let (one, number) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let one = build::state("state", &one)?;
        counts[usize::from(one.number())] = integer("count", &number, 0, i64::MAX)?;
    }
    Ok(counts)
}

/// Queues with their concurrency: `{name: concurrency}`.
pub(super) fn concurrencies<'py>(py: Python<'py>, queues: &[(Name, u32)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (queue, concurrency) in queues {
        dict.set_item(queue.as_str(), concurrency)?;
    }
    Ok(dict)
}

/// The same back.
pub(super) fn concurrencies_back(value: &Bound<'_, PyAny>) -> PyResult<Vec<(Name, u32)>> {
    let items = value.call_method0("items").map_err(|_| invalid("queues", "must map names to concurrencies", value))?;
    items
        .try_iter()?
        .map(|item| {
            let (queue, concurrency) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            Ok((build::queue(&queue)?, integer("concurrency", &concurrency, 0, u32::MAX.into())?))
        })
        .collect()
}
