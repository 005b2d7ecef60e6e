//! What people ask for, and what they see.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::time::Duration;
use zjobs_engine::job::Name;
use zjobs_engine::store::{Cancelled, Filter, Order, QueueRow, Retention, Retried};

use super::{Row, counts, counts_back, expect, id_tuple, ids, limit};
use crate::convert::{Imported, seconds};
use crate::errors::invalid;
use crate::job::{build, state};
use crate::options::{integer, text};
use zjobs_engine::limits;

static FILTER: Imported = Imported::new("zjobs.rows", "JobFilter");
static CANCELLED: Imported = Imported::new("zjobs.rows", "Cancelled");
static RETRIED: Imported = Imported::new("zjobs.rows", "Retried");
static QUEUE_INFO: Imported = Imported::new("zjobs.rows", "QueueInfo");
static RETENTION: Imported = Imported::new("zjobs.options", "Retention");

impl Row for Filter {
    const NAME: &'static str = "JobFilter";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let ids = self.ids.map(|ids| id_tuple(py, ids)).transpose()?;
        let states = self.states.into_iter().map(|one| state(py, one)).collect::<PyResult<Vec<_>>>()?;
        FILTER.get(py)?.call1((
            ids,
            PyTuple::new(py, states)?,
            self.queue.as_ref().map(Name::as_str),
            self.worker.as_ref().map(Name::as_str),
            PyTuple::new(py, self.tags.iter().map(Name::as_str))?,
            self.unique_key,
            self.after.map(|id| id.0),
            self.order == Order::NewestFirst,
            self.limit,
        ))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&FILTER, Self::NAME, value)?;
        let part = |name: &str| value.getattr(name);
        let newest_first = build::flag("newest_first", &part("newest_first")?)?;
        let states = part("states")?;
        let states = states.try_iter().map_err(|_| invalid("states", "must be a tuple of JobState", &states))?;
        Ok(Self {
            ids: build::optional(&part("ids")?, |value| ids("ids", value))?,
            states: states.map(|one| build::state("states", &one?)).collect::<PyResult<_>>()?,
            queue: build::optional(&part("queue")?, build::queue)?,
            worker: build::optional(&part("worker")?, build::worker)?,
            tags: build::tags(&part("tags")?)?,
            unique_key: build::optional(&part("unique_key")?, |value| text("unique_key", value))?,
            after: build::optional(&part("after")?, crate::job::job_id)?,
            order: if newest_first { Order::NewestFirst } else { Order::OldestFirst },
            limit: limit(&part("limit")?)?,
        })
    }
}

impl Row for Retention {
    const NAME: &'static str = "Retention";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        // What Python can say is at most ten years; longer is for ever in all but name.
        let age = |age: Option<Duration>| build::length(age.map(|age| age.min(limits::DELAY)));
        let ages = PyDict::new(py);
        ages.set_item("completed", age(self.completed))?;
        ages.set_item("cancelled", age(self.cancelled))?;
        ages.set_item("discarded", age(self.discarded))?;
        RETENTION.get(py)?.call((), Some(&ages))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&RETENTION, Self::NAME, value)?;
        let age = |name: &str| build::optional(&value.getattr(name)?, |value| seconds(name, value));
        Ok(Self { completed: age("completed")?, cancelled: age("cancelled")?, discarded: age("discarded")? })
    }
}

impl Row for Cancelled {
    const NAME: &'static str = "Cancelled";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        CANCELLED.get(py)?.call1(match self {
            Self::Done(id) => (id.0, false),
            Self::Requested(id) => (id.0, true),
        })
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&CANCELLED, Self::NAME, value)?;
        let id = build::id("id", &value.getattr("id")?)?;
        let requested = build::flag("requested", &value.getattr("requested")?)?;
        Ok(if requested { Self::Requested(id) } else { Self::Done(id) })
    }
}

impl Row for Retried {
    const NAME: &'static str = "Retried";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        RETRIED.get(py)?.call1(match self {
            Self::Done(id) => (id.0, None),
            Self::KeyTaken { id, holder } => (id.0, Some(holder.0)),
        })
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&RETRIED, Self::NAME, value)?;
        let id = build::id("id", &value.getattr("id")?)?;
        let holder = build::optional(&value.getattr("holder")?, |value| build::id("holder", value))?;
        Ok(holder.map_or(Self::Done(id), |holder| Self::KeyTaken { id, holder }))
    }
}

impl Row for QueueRow {
    const NAME: &'static str = "QueueInfo";

    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let counts = counts(py, self.counts)?;
        QUEUE_INFO.get(py)?.call1((self.name.as_str(), self.paused, self.concurrency, counts))
    }

    fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        expect(&QUEUE_INFO, Self::NAME, value)?;
        Ok(Self {
            name: build::queue(&value.getattr("name")?)?,
            paused: build::flag("paused", &value.getattr("paused")?)?,
            concurrency: concurrency(&value.getattr("concurrency")?)?,
            counts: counts_back(&value.getattr("counts")?)?,
        })
    }
}

/// A cluster-wide concurrency per node; `None` is the node's own.
pub(crate) fn concurrency(value: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    build::optional(value, |value| integer("concurrency", value, 0, limits::CONCURRENCY.into()))
}
