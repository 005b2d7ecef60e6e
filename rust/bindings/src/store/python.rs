//! `PythonStore`: a store written in Python, as the engine sees it.
//!
//! Each verb attaches, translates the request, calls the method of that name, and translates the reply. A reply of the
//! wrong type or length is a defect of the store and becomes `Error::Internal`, which names class and verb.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId};
use zjobs_engine::outcome::Ack;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use zjobs_engine::sync::Weak;
use zjobs_engine::{Error, Result, Timestamp};

use super::rows::{Row, count, counts_back, id_tuple, list, vec};
use super::signals::Signals;
use crate::convert::{datetime, timestamp};
use crate::errors::back::error_of;
use crate::errors::{StoreFull, invalid};
use crate::job::build;
use crate::registry::{birth, check_fork};

/// Calls a `zjobs.store.Store`.
pub(crate) struct PythonStore {
    store: Py<PyAny>,
    class: String,
    blocks: bool,
    born: u32,
}

type Arguments<'py> = PyResult<Bound<'py, PyTuple>>;

impl PythonStore {
    pub(super) fn new(store: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            class: store.get_type().name()?.to_string(),
            blocks: build::flag("blocks", &store.getattr("blocks")?)?,
            store: store.clone().unbind(),
            born: birth(),
        })
    }

    /// Calls `verb` with what `arguments` makes, and reads its reply.
    fn call<T>(
        &self,
        verb: &str,
        arguments: impl for<'py> FnOnce(Python<'py>) -> Arguments<'py>,
        reply: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T> {
        self.call_by_keyword(verb, |py| Ok((arguments(py)?, None)), reply)
    }

    fn call_by_keyword<T>(
        &self,
        verb: &str,
        arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)>,
        reply: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T> {
        let called = Python::try_attach(|py| {
            check_fork(self.born).map_err(|error| error_of(py, &error))?;
            // A request that Python cannot take is the engine's defect or the store's version, never the store's state.
            let asked = arguments(py).map_err(|error| self.defect(py, verb, "cannot be asked", &error));
            let (positional, keywords) = asked?;
            let given = self.store.bind(py).call_method(verb, positional, keywords.as_ref());
            let given = given.map_err(|error| self.raised(py, &error))?;
            reply(&given).map_err(|error| self.defect(py, verb, "gave a wrong reply", &error))
        });
        called.unwrap_or_else(|| Err(Error::StoreUnavailable("the interpreter is shutting down".to_owned())))
    }

    /// A verb whose replies come one for each request.
    fn each<T: Row>(
        &self,
        verb: &str,
        asked: usize,
        arguments: impl for<'py> FnOnce(Python<'py>) -> Arguments<'py>,
    ) -> Result<Vec<T>> {
        let rows = self.call(verb, arguments, vec::<T>)?;
        if rows.len() == asked {
            return Ok(rows);
        }
        Err(self.wrong(verb, &format!("gave {} replies to {asked} requests", rows.len())))
    }

    /// A verb whose replies are at most so many.
    fn at_most<T: Row>(
        &self,
        verb: &str,
        limit: usize,
        arguments: impl for<'py> FnOnce(Python<'py>) -> Arguments<'py>,
    ) -> Result<Vec<T>> {
        let rows = self.call(verb, arguments, vec::<T>)?;
        if rows.len() <= limit {
            return Ok(rows);
        }
        Err(self.wrong(verb, &format!("gave {} rows where {limit} were asked for", rows.len())))
    }

    fn wrong(&self, verb: &str, how: &str) -> Error {
        Error::Internal(format!("{}.{verb} {how}; zjobs.testing.StoreContract shows what is expected", self.class))
    }

    fn defect(&self, py: Python<'_>, verb: &str, how: &str, error: &PyErr) -> Error {
        self.wrong(verb, &format!("{how}: {}", error.value(py)))
    }

    fn raised(&self, py: Python<'_>, error: &PyErr) -> Error {
        if error.is_instance_of::<StoreFull>(py)
            && let Some(limit) = self.most(py)
        {
            return Error::StoreFull { limit };
        }
        error_of(py, error)
    }

    /// What the store says of its size; what it says is checked nowhere else, since it is only for a message.
    fn most(&self, py: Python<'_>) -> Option<usize> {
        self.store.bind(py).getattr("max_jobs").ok()?.extract().ok()
    }
}

/// Anything but `None` is a slip, such as a coroutine that nobody awaits.
fn nothing(value: &Bound<'_, PyAny>) -> PyResult<()> {
    if value.is_none() { Ok(()) } else { Err(invalid("reply", "must be None", value)) }
}

fn number(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    count("number of jobs", value)
}

fn flag(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    build::flag("reply", value)
}

fn only(py: Python<'_>, row: impl Row) -> Arguments<'_> {
    PyTuple::new(py, [row.into_python(py)?])
}

fn named<'py>(py: Python<'py>, name: &Name) -> Arguments<'py> {
    PyTuple::new(py, [name.as_str()])
}

impl Store for PythonStore {
    fn blocks(&self) -> bool {
        self.blocks
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        let told = self.call("subscribe", |py| PyTuple::new(py, [Py::new(py, Signals::new(subscriber))?]), nothing);
        if let Err(error) = told {
            // Without signals the engine polls.
            Python::try_attach(|py| crate::errors::raised(error).write_unraisable(py, Some(self.store.bind(py))));
        }
    }

    fn now(&self) -> Result<Timestamp> {
        self.call("now", |py| Ok(PyTuple::empty(py)), |reply| timestamp("now", reply))
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.each("enqueue", jobs.len(), |py| PyTuple::new(py, [list(py, jobs)?]))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        let Claim { node, queue, limit } = claim;
        self.at_most("claim", *limit, |py| (node.to_string(), queue.as_str(), limit).into_pyobject(py))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.each("ack", acks.len(), |py| (node.to_string(), list(py, acks.to_vec())?).into_pyobject(py))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.call("report", |py| (node.to_string(), list(py, reports.to_vec())?).into_pyobject(py), nothing)
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.call("stage", |py| PyTuple::new(py, [limit]), Staged::from_python)
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.call("heartbeat", |py| only(py, beat.clone()), Pulse::from_python)
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.call("depart", |py| (node.to_string(), grace.as_secs_f64()).into_pyobject(py), nothing)
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.at_most("rescue", limit, |py| PyTuple::new(py, [limit]))
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.call("nodes", |py| Ok(PyTuple::empty(py)), vec)
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.call("cancel", |py| only(py, filter.clone()), vec)
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.call("retry", |py| only(py, filter.clone()), vec)
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.call("delete", |py| only(py, filter.clone()), number)
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.call("prune", |py| (retention.into_python(py)?, limit).into_pyobject(py), number)
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.call("pause", |py| named(py, queue), nothing)
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.call("resume", |py| named(py, queue), nothing)
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.call("scale", |py| (queue.as_str(), concurrency).into_pyobject(py), nothing)
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.at_most("get", ids.len(), |py| PyTuple::new(py, [id_tuple(py, ids.to_vec())?]))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.at_most("list", filter.limit.unwrap_or(usize::MAX), |py| only(py, filter.clone()))
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.call("count", |py| only(py, filter.clone()), |reply| Ok(number(reply)? as u64))
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.call("count_by_state", |py| PyTuple::new(py, [queue.map(Name::as_str)]), counts_back)
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.call("queues", |py| Ok(PyTuple::empty(py)), vec)
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.call("save_cron", |py| only(py, entry.clone()), nothing)
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.call("crons", |py| Ok(PyTuple::empty(py)), vec)
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.call_by_keyword(
            "set_cron_paused",
            |py| {
                let keywords = PyDict::new(py);
                keywords.set_item("paused", paused == Paused::Yes)?;
                Ok((named(py, name)?, Some(keywords)))
            },
            flag,
        )
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.call("delete_cron", |py| named(py, name), flag)
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        let CronTick { name, at, job } = tick;
        self.call(
            "tick",
            |py| {
                let job = job.map(|job| job.into_python(py)).transpose()?;
                (name.as_str(), datetime(py, at)?, job).into_pyobject(py)
            },
            Ticked::from_python,
        )
    }
}
