//! The store in a SQLite file as a Python object, and the steps of its schema.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use zjobs_engine::clock::{Clock, System};
use zjobs_engine::limits;
use zjobs_engine::store::sqlite::{Access, Create, Liveness, SqliteConfig, SqliteStore as EngineStore, Synchronous};
use zjobs_engine::store::sqlite::{PATIENCE, apply, steps};

use super::clock::ManualClock;
use super::native::{NativeStore, pierced};
use super::steps::listed;
use crate::errors::{invalid, raised};
use crate::registry::random;

/// Jobs in a SQLite file.
#[pyclass(frozen, subclass, extends = NativeStore, module = "zjobs._engine")]
pub(crate) struct SqliteStore {
    path: PathBuf,
    synchronous: Synchronous,
}

#[pymethods]
impl SqliteStore {
    #[new]
    #[pyo3(signature = (path, *, synchronous="full", create=true, read_only=false, busy_timeout_seconds=None, clock=None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        synchronous: &str,
        create: bool,
        read_only: bool,
        busy_timeout_seconds: Option<f64>,
        clock: Option<&ManualClock>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let synchronous = [Synchronous::Full, Synchronous::Normal]
            .into_iter()
            .find(|one| one.name() == synchronous)
            .ok_or_else(|| invalid("synchronous", "must be 'full' or 'normal'", synchronous))?;
        // Whoever moves the clock plays several nodes in one process.
        let liveness = if clock.is_some() { Liveness::Leases } else { Liveness::Processes };
        let clock: Arc<dyn Clock> = clock.map_or_else(|| Arc::new(System) as _, ManualClock::inner);
        let create = if create { Create::Yes } else { Create::No };
        let access = if read_only { Access::Reading } else { Access::Whole };
        let patience = busy_timeout_seconds.map_or(Ok(PATIENCE), |most| limits::seconds("busy_timeout_seconds", most));
        let patience = patience.map_err(raised)?;
        let config = SqliteConfig {
            synchronous,
            create,
            access,
            patience,
            clock,
            liveness,
            ..SqliteConfig::new(path, random())
        };
        let store = py.detach(|| EngineStore::open(config)).map_err(raised)?;
        let path = store.path().to_owned();
        Ok(PyClassInitializer::from(NativeStore::new(pierced(Arc::new(store))))
            .add_subclass(Self { path, synchronous }))
    }

    /// The file, absolute and with links resolved.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// How hard commits are pressed onto the disk: "full" or "normal".
    #[getter]
    fn synchronous(&self) -> &'static str {
        self.synchronous.name()
    }
}

/// The steps of this version's schema for a file: `(version, name, sql, applied_at or None)`.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what is taken from Python is owned")]
pub(crate) fn sqlite_migrations(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyList>> {
    let steps = py.detach(|| steps(&path)).map_err(raised)?;
    listed(py, &steps)
}

/// Brings a file up to this version's schema; returns the steps that were applied now, as `sqlite_migrations` does.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what is taken from Python is owned")]
pub(crate) fn sqlite_migrate(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyList>> {
    let now = py.detach(|| apply(&path)).map_err(raised)?;
    let all = py.detach(|| steps(&path)).map_err(raised)?;
    let fresh: Vec<_> = all.into_iter().filter(|step| now.contains(&step.migration)).collect();
    listed(py, &fresh)
}
