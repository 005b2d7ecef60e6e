//! The store in PostgreSQL as a Python object, and the steps of its schema.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use zjobs_engine::error::Result;
use zjobs_engine::limits;
use zjobs_engine::store::postgres::{PostgresConfig, PostgresStore as EngineStore};

use super::native::{NativeStore, pierced};
use super::steps::listed;
use crate::errors::raised;
use crate::registry::random;

/// Jobs in a database of PostgreSQL.
#[pyclass(frozen, subclass, extends = NativeStore, module = "zjobs._engine")]
pub(crate) struct PostgresStore {
    place: String,
    schema: String,
    born_at: i64,
}

#[pymethods]
impl PostgresStore {
    #[new]
    #[pyo3(signature = (url="postgresql://", *, schema=None, create=true, call_timeout_seconds=None))]
    fn new(
        py: Python<'_>,
        url: &str,
        schema: Option<&str>,
        create: bool,
        call_timeout_seconds: Option<f64>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let config = config(url, schema, call_timeout_seconds).map_err(raised)?;
        let config = PostgresConfig { create, ..config };
        let store = py.detach(|| EngineStore::open(config)).map_err(raised)?;
        let (place, schema, born_at) = (store.place(), store.schema().to_owned(), store.born_at().micros());
        Ok(PyClassInitializer::from(NativeStore::new(pierced(Arc::new(store)))).add_subclass(Self {
            place,
            schema,
            born_at,
        }))
    }

    /// The server and the database, without user and password.
    #[getter]
    fn place(&self) -> &str {
        &self.place
    }

    /// When the database got its tables, in microseconds since 1970: what tells it from another one.
    #[getter]
    fn born_at(&self) -> i64 {
        self.born_at
    }

    /// The schema of the tables.
    #[getter]
    fn schema(&self) -> &str {
        &self.schema
    }
}

fn config(url: &str, schema: Option<&str>, call_timeout_seconds: Option<f64>) -> Result<PostgresConfig> {
    let mut config = PostgresConfig::new(url, random());
    if let Some(schema) = schema {
        schema.clone_into(&mut config.schema);
    }
    if let Some(most) = call_timeout_seconds {
        config.patience = limits::seconds("call_timeout_seconds", most)?;
    }
    Ok(config)
}

/// The steps of this version's schema for a database: `(version, name, sql, applied_at or None)`.
#[pyfunction]
#[pyo3(signature = (url, schema=None))]
pub(crate) fn postgres_migrations<'py>(
    py: Python<'py>,
    url: &str,
    schema: Option<&str>,
) -> PyResult<Bound<'py, PyList>> {
    let config = config(url, schema, None).map_err(raised)?;
    let steps = py.detach(|| EngineStore::steps(config)).map_err(raised)?;
    listed(py, &steps)
}

/// Brings a database up to this version's schema; returns the steps that were applied now, as `postgres_migrations` does.
#[pyfunction]
#[pyo3(signature = (url, schema=None))]
pub(crate) fn postgres_migrate<'py>(py: Python<'py>, url: &str, schema: Option<&str>) -> PyResult<Bound<'py, PyList>> {
    let config = config(url, schema, None).map_err(raised)?;
    let now = py.detach(|| EngineStore::migrate(config.clone())).map_err(raised)?;
    let all = py.detach(|| EngineStore::steps(config)).map_err(raised)?;
    let fresh: Vec<_> = all.into_iter().filter(|step| now.contains(&step.migration)).collect();
    listed(py, &fresh)
}
