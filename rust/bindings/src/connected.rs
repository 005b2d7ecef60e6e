//! Enqueue in the transaction of the user's own connection: Python runs the engine's statements on it.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::{NewJob, When};
use zjobs_engine::store::sql;
use zjobs_engine::store::sqlite::Draft;
use zjobs_engine::unique::UniqueStrategy;

use crate::convert::Imported;
use crate::errors::raised;
use crate::job::Job;
use crate::registry::Core;
use crate::store::PostgresStore;

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
    let drafts = drafts(py, core, store, std::slice::from_ref(job))?;
    let done = ENQUEUE.get(py)?.call1((store, connection, drafts))?;
    Ok(done.get_item(0)?.cast_into::<Job>()?.unbind())
}

/// The jobs as `zjobs.connections` takes them, validated. A server that has its own clock is not asked for the time.
pub(crate) fn drafts<'py>(
    py: Python<'py>,
    core: &Core,
    store: &Bound<'py, PyAny>,
    jobs: &[NewJob],
) -> PyResult<Bound<'py, PyList>> {
    for job in jobs {
        job.validate().map_err(raised)?;
    }
    let here = !store.is_instance_of::<PostgresStore>();
    let now = if here { core.call(py, |engine| engine.store().now()).map_err(raised)? } else { Timestamp::MIN };
    let list = PyList::empty(py);
    for job in jobs {
        list.append(draft(py, job, now)?)?;
    }
    Ok(list)
}

fn draft<'py>(py: Python<'py>, job: &NewJob, now: Timestamp) -> PyResult<Bound<'py, PyDict>> {
    let draft = Draft::new(job, now).map_err(raised)?;
    let (at, delay) = match job.when {
        When::Now => (None, None),
        When::In(delay) => (None, Some(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))),
        When::At(at) => (Some(at.micros()), None),
    };
    let parts = PyDict::new(py);
    parts.set_item("state", draft.state.number())?;
    parts.set_item("queue", draft.queue)?;
    parts.set_item("worker", draft.worker)?;
    parts.set_item("args", draft.args)?;
    parts.set_item("priority", draft.priority)?;
    parts.set_item("max_attempts", draft.max_attempts)?;
    parts.set_item("scheduled_at", draft.scheduled_at.micros())?;
    parts.set_item("now", draft.now.micros())?;
    parts.set_item("at", at)?;
    parts.set_item("delay", delay)?;
    parts.set_item("timeout", draft.timeout)?;
    parts.set_item("unique_key", draft.unique_key)?;
    parts.set_item("tags", draft.tags)?;
    parts.set_item("meta", draft.meta)?;
    let replaces = job.unique.as_ref().is_some_and(|unique| unique.strategy == UniqueStrategy::CancelExisting);
    parts.set_item("replaces", replaces)?;
    Ok(parts)
}

/// The statements by dialect and name.
pub(crate) fn statements(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    for (dialect, statements) in [("sqlite", sql::sqlite::ALL), ("postgres", sql::postgres::ALL)] {
        let named = PyDict::new(py);
        for (name, text) in statements {
            named.set_item(name, text)?;
        }
        all.set_item(dialect, named)?;
    }
    Ok(all)
}
