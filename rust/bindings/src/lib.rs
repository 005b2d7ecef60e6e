//! Translates between Python and the engine; the only crate that names pyo3.
//!
//! Rules of this crate: convert, then call; never attach while holding a lock of the engine; never wait while attached.
//! A store that never waits is called attached: giving up the interpreter for a fraction of a microsecond costs more
//! than it frees, and invites every other thread to take it.

mod backoff;
mod below;
mod connected;
mod context;
mod convert;
mod detached;
mod engine;
mod errors;
#[cfg(feature = "failpoints")]
mod failpoints;
mod host;
mod job;
mod options;
mod plain;
mod registry;
mod shape;
mod slot;
mod store;
mod telemetry;

use connected::statements;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use zjobs_engine::limits;
use zjobs_engine::state::{State, TRANSITIONS};
use zjobs_engine::telemetry::Kind;

/// The compiled part of zjobs.
#[pymodule(gil_used = false)]
mod _engine {
    use super::{
        Bound, Kind, PyDict, PyDictMethods, PyList, PyModule, PyModuleMethods, PyResult, State, TRANSITIONS,
        statements, table_of_limits,
    };

    #[pymodule_export]
    use super::backoff::Backoff;
    #[pymodule_export]
    use super::below::end_calls;
    #[pymodule_export]
    use super::context::JobContext;
    #[pymodule_export]
    use super::engine::{Engine, Prepared};
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::plain::check_plain;
    #[pymodule_export]
    use super::shape::Shape;
    #[pymodule_export]
    use super::slot::{Outcome, Slot};
    #[pymodule_export]
    use super::store::{
        ManualClock, MemoryStore, NativeStore, PostgresStore, Signals, SqliteStore, postgres_migrate,
        postgres_migrations, rescued, sqlite_migrate, sqlite_migrations,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("LIMITS", table_of_limits(module.py())?)?;
        module.add("SQL", statements(module.py())?)?;
        let states = PyDict::new(module.py());
        for state in State::ALL {
            states.set_item(state.name(), state.number())?;
        }
        module.add("STATES", states)?;
        let transitions = TRANSITIONS.iter().map(|row| (row.from.name(), row.event.name(), row.to.name()));
        module.add("TRANSITIONS", PyList::new(module.py(), transitions.collect::<Vec<_>>())?)?;
        module.add("EVENTS", PyList::new(module.py(), Kind::ALL.map(|(_, name)| name))?)?;
        #[cfg(feature = "failpoints")]
        super::failpoints::add(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

fn table_of_limits(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let table = PyDict::new(py);
    table.set_item("QUEUE_NAME_BYTES", limits::QUEUE_NAME_BYTES)?;
    table.set_item("WORKER_NAME_BYTES", limits::WORKER_NAME_BYTES)?;
    table.set_item("PAYLOAD_BYTES", limits::PAYLOAD_BYTES)?;
    table.set_item("META_BYTES", limits::META_BYTES)?;
    table.set_item("RESULT_BYTES", limits::RESULT_BYTES)?;
    table.set_item("DEPTH", limits::DEPTH)?;
    table.set_item("TAGS", limits::TAGS)?;
    table.set_item("TAG_BYTES", limits::TAG_BYTES)?;
    table.set_item("UNIQUE_KEY_BYTES", limits::UNIQUE_KEY_BYTES)?;
    table.set_item("MAX_ATTEMPTS", limits::MAX_ATTEMPTS)?;
    table.set_item("CONCURRENCY", limits::CONCURRENCY)?;
    table.set_item("DELAY", limits::DELAY.as_secs())?;
    table.set_item("ERRORS_KEPT", limits::ERRORS_KEPT)?;
    table.set_item("ERROR_MESSAGE_BYTES", limits::ERROR_MESSAGE_BYTES)?;
    table.set_item("TRACEBACK_BYTES", limits::TRACEBACK_BYTES)?;
    table.set_item("PROGRESS_MESSAGE_BYTES", limits::PROGRESS_MESSAGE_BYTES)?;
    table.set_item("LIST", limits::LIST)?;
    table.set_item("CRASHES", limits::CRASHES)?;
    Ok(table)
}
