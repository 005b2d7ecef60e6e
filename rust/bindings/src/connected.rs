//! Enqueue in the transaction of the user's own connection: Python runs the engine's statements on it.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::NewJob;
use zjobs_engine::store::sql;
use zjobs_engine::store::sqlite::Draft;
use zjobs_engine::unique::UniqueStrategy;

use crate::convert::Imported;
use crate::errors::raised;
use crate::job::Job;
use crate::registry::Core;

static ENQUEUE: Imported = Imported::new("zjobs.connections", "enqueue");

/// The connection among the options (which may be `None`, for code that runs with and without one), and the others.
pub(crate) fn split<'py>(options: &Bound<'py, PyDict>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
    let rest = options.copy()?;
    let connection = rest.get_item("connection")?.unwrap_or_else(|| options.py().None().into_bound(options.py()));
    rest.del_item("connection")?;
    Ok((connection, rest))
}

/// Validates the job and has it inserted by the connection.
pub(crate) fn enqueue(
    core: &Core,
    store: &Bound<'_, PyAny>,
    connection: &Bound<'_, PyAny>,
    job: &NewJob,
) -> PyResult<Py<Job>> {
    let py = connection.py();
    job.validate().map_err(raised)?;
    let now = core.call(py, |engine| engine.store().now()).map_err(raised)?;
    let replaces = job.unique.as_ref().is_some_and(|unique| unique.strategy == UniqueStrategy::CancelExisting);
    let done = ENQUEUE.get(py)?.call1((store, connection, draft(py, job, now)?, replaces))?;
    Ok(done.cast_into::<Job>()?.unbind())
}

/// The parameters of `enqueue.sql`.
fn draft<'py>(py: Python<'py>, job: &NewJob, now: Timestamp) -> PyResult<Bound<'py, PyDict>> {
    let draft = Draft::new(job, now).map_err(raised)?;
    let parameters = PyDict::new(py);
    parameters.set_item("state", draft.state.number())?;
    parameters.set_item("queue", draft.queue)?;
    parameters.set_item("worker", draft.worker)?;
    parameters.set_item("args", draft.args)?;
    parameters.set_item("priority", draft.priority)?;
    parameters.set_item("max_attempts", draft.max_attempts)?;
    parameters.set_item("scheduled_at", draft.scheduled_at.micros())?;
    parameters.set_item("now", draft.now.micros())?;
    parameters.set_item("timeout", draft.timeout)?;
    parameters.set_item("unique_key", draft.unique_key)?;
    parameters.set_item("tags", draft.tags)?;
    parameters.set_item("meta", draft.meta)?;
    Ok(parameters)
}

/// The statements by dialect and name.
pub(crate) fn statements(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let sqlite = PyDict::new(py);
    for (name, text) in sql::sqlite::ALL {
        sqlite.set_item(name, text)?;
    }
    let all = PyDict::new(py);
    all.set_item("sqlite", sqlite)?;
    Ok(all)
}
