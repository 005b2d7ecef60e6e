//! Stores across the border: the compiled ones as Python objects, and Python ones as engine stores.

mod clock;
mod native;
mod postgres;
mod python;
mod rows;
mod signals;
mod sqlite;
mod steps;

use std::sync::Arc;

use pyo3::prelude::*;
use zjobs_engine::job::AttemptError;
use zjobs_engine::outcome::{self, Failure};
use zjobs_engine::{Store, limits};

use crate::convert::{Imported, timestamp};
use crate::errors::{invalid, raised};
use crate::job::Job;
use python::PythonStore;

pub(crate) use clock::ManualClock;
pub(crate) use native::{MemoryStore, NativeStore};
pub(crate) use postgres::{PostgresStore, postgres_migrate, postgres_migrations};
pub(crate) use signals::Signals;
pub(crate) use sqlite::{SqliteStore, sqlite_migrate, sqlite_migrations};

static STORE: Imported = Imported::new("zjobs.store", "Store");

/// The engine's view of a Python object that is a store.
pub(crate) fn store_of(store: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Store>> {
    if let Ok(native) = store.cast::<NativeStore>() {
        return Ok(native.get().inner());
    }
    if store.is_instance(STORE.get(store.py())?)? {
        return Ok(Arc::new(PythonStore::new(store)?));
    }
    Err(invalid("store", "must be a Store", store.get_type()))
}

/// What becomes of an executing job whose node is gone; the rule of `Store.rescue`, see `zjobs.store.rescued`.
#[pyfunction]
#[pyo3(signature = (job, reason, now))]
pub(crate) fn rescued(job: &Bound<'_, Job>, reason: &Bound<'_, PyAny>, now: &Bound<'_, PyAny>) -> PyResult<Job> {
    let now = timestamp("now", now)?;
    let mut job = job.get().inner.clone();
    let rescue = outcome::rescue(&job, rows::jobs::reason(reason)?).map_err(raised)?;
    let Failure { kind, message, traceback } = rescue.error;
    let attempt = job.attempt;
    let details = job.details_mut();
    details.errors.push(AttemptError { attempt, at: now, kind, message, traceback });
    let surplus = details.errors.len().saturating_sub(limits::ERRORS_KEPT);
    details.errors.drain(..surplus);
    details.crashes = rescue.crashes;
    job.attempt = rescue.attempt;
    job.state = rescue.to;
    job.node = None;
    job.finished_at = rescue.to.is_final().then_some(now);
    Ok(Job::new(job))
}
