//! The options of one enqueue: per call > per worker > defaults.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::{Name, NewJob, Payload, Priority, Proof, When};
use zjobs_engine::limits;
use zjobs_engine::unique::{Field, Unique, UniqueStrategy, derive};

use crate::convert::{encoded, seconds, timestamp};
use crate::errors::{invalid, raised};

/// The names of the options, in the order of the docs.
const NAMES: [&str; 12] = [
    "queue",
    "priority",
    "max_attempts",
    "scheduled_at",
    "schedule_in",
    "unique_key",
    "unique_strategy",
    "unique_by",
    "unique_period",
    "timeout_seconds",
    "meta",
    "tags",
];

/// Options as the engine wants them.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) queue: Name,
    priority: Priority,
    max_attempts: u32,
    when: When,
    timeout: Option<Duration>,
    unique_key: Option<String>,
    unique_strategy: UniqueStrategy,
    unique_by: Vec<Field>,
    unique_period: Option<Duration>,
    meta: Option<Payload>,
    tags: Vec<Name>,
    /// What a key may be derived from; `None` when the worker's arguments are not known.
    keyed_by: Option<Arc<[String]>>,
}

impl Options {
    pub(crate) fn new(queue: Name) -> Self {
        Self {
            queue,
            priority: Priority(0),
            max_attempts: NewJob::MAX_ATTEMPTS,
            when: When::Now,
            timeout: Some(NewJob::TIMEOUT),
            unique_key: None,
            unique_strategy: UniqueStrategy::IgnoreNew,
            unique_by: Vec::new(),
            unique_period: None,
            meta: None,
            tags: Vec::new(),
            keyed_by: None,
        }
    }

    /// These options for a worker that takes just these arguments: a key is derived from no others.
    pub(crate) fn taking(self, arguments: Option<Vec<String>>) -> Self {
        let own = |names: Vec<String>| {
            let fields = ["worker", "queue", "args"].map(str::to_owned);
            fields.iter().cloned().chain(names.into_iter().filter(|name| !fields.contains(name))).collect()
        };
        Self { keyed_by: arguments.map(own), ..self }
    }

    /// These options with those of `given` in their place. A time, or a key, of one kind lifts the other kind.
    pub(crate) fn merged(&self, given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut merged = self.clone();
        let present =
            |name: &str| -> PyResult<bool> { Ok(given.get_item(name)?.is_some_and(|value| !value.is_none())) };
        if present("scheduled_at")? && present("schedule_in")? {
            return Err(invalid("schedule_in", "excludes scheduled_at; give one of them", "both"));
        }
        // An empty one says that no key is derived, which a key of the caller's own says as well.
        let derives = given.get_item("unique_by")?.is_some_and(|words| words.is_truthy().unwrap_or(true));
        if present("unique_key")? && derives {
            return Err(invalid("unique_by", "excludes unique_key; give one of them", "both"));
        }
        for (name, value) in given {
            merged.set(name.cast::<PyString>()?.to_str()?, &value)?;
        }
        if merged.unique_period.is_some() && merged.unique_by.is_empty() {
            return Err(invalid("unique_period", "needs unique_by, such as ('worker', 'args')", "no unique_by"));
        }
        Ok(merged)
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        match name {
            "queue" => {
                let queue = text(name, value)?;
                if queue != self.queue.as_str() {
                    self.queue = Name::queue(&queue).map_err(raised)?;
                }
            }
            "priority" => self.priority = Priority(integer(name, value, i32::MIN.into(), i32::MAX.into())?),
            "max_attempts" => self.max_attempts = integer(name, value, 1, limits::MAX_ATTEMPTS.into())?,
            "scheduled_at" if !value.is_none() => self.when = When::At(timestamp(name, value)?),
            "schedule_in" if !value.is_none() => self.when = When::In(seconds(name, value)?),
            "scheduled_at" => self.when = if matches!(self.when, When::At(_)) { When::Now } else { self.when },
            "schedule_in" => self.when = if matches!(self.when, When::In(_)) { When::Now } else { self.when },
            "timeout_seconds" if value.is_none() => self.timeout = None,
            "timeout_seconds" => {
                let length = seconds(name, value)?.as_secs_f64();
                self.timeout = Some(limits::positive_seconds(name, length).map_err(raised)?);
            }
            "unique_key" if value.is_none() => self.unique_key = None,
            "unique_key" => {
                self.unique_key = Some(text(name, value)?);
                (self.unique_by, self.unique_period) = (Vec::new(), None);
            }
            "unique_strategy" => self.unique_strategy = strategy(value)?,
            "unique_by" => {
                let words = texts(name, value)?;
                words
                    .iter()
                    .try_for_each(|word| limits::label(name, word, limits::UNIQUE_KEY_BYTES))
                    .map_err(raised)?;
                if let Some(known) = &self.keyed_by
                    && let Some(unknown) = words.iter().find(|word| !known.contains(word))
                {
                    // An argument that is not there counts as null: by a slip of the pen all jobs would be one.
                    let rule = format!("must be made of {}, as its worker takes them", known.join(", "));
                    return Err(invalid(name, &rule, unknown));
                }
                self.unique_by = words.iter().map(|word| Field::parse(word)).collect();
                if !self.unique_by.is_empty() {
                    self.unique_key = None;
                }
            }
            "unique_period" => self.unique_period = period(name, value)?,
            "meta" => self.meta = meta(value)?,
            "tags" => {
                self.tags =
                    texts(name, value)?.iter().map(|tag| Name::tag(tag).map_err(raised)).collect::<PyResult<_>>()?;
            }
            unknown => return Err(invalid("option", &format!("must be one of {}", NAMES.join(", ")), unknown)),
        }
        Ok(())
    }

    /// The job that these options and arguments make.
    pub(crate) fn job(
        &self,
        worker: Name,
        args: Payload,
        proof: Proof,
        now: impl FnOnce() -> Timestamp,
    ) -> PyResult<NewJob> {
        let unique = if let Some(key) = &self.unique_key {
            Some(Unique::by_key(key, self.unique_strategy).map_err(raised)?)
        } else if self.unique_by.is_empty() {
            None
        } else {
            let (queue, period) = (self.queue.as_str(), self.unique_period);
            let key = derive(&self.unique_by, period, worker.as_str(), queue, &args, now()).map_err(raised)?;
            Some(Unique { key, strategy: self.unique_strategy })
        };
        Ok(NewJob {
            queue: self.queue.clone(),
            worker,
            args,
            proof,
            priority: self.priority,
            max_attempts: self.max_attempts,
            when: self.when,
            timeout: self.timeout,
            unique,
            tags: self.tags.clone(),
            meta: self.meta.clone(),
        })
    }
}

pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| invalid(name, "must be text", value))?;
    Ok(text.to_str().map_err(|_| invalid(name, "must not contain lone surrogates", "such text"))?.to_owned())
}

pub(crate) fn texts(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Err(invalid(name, "must be a tuple of texts, such as ('a',)", value));
    }
    let items = value.try_iter().map_err(|_| invalid(name, "must be a tuple of texts, such as ('a',)", value))?;
    items.map(|item| text(name, &item?)).collect()
}

pub(crate) fn integer<T: TryFrom<i64>>(name: &str, value: &Bound<'_, PyAny>, least: i64, most: i64) -> PyResult<T> {
    let whole = value.is_instance_of::<pyo3::types::PyInt>() && !value.is_instance_of::<pyo3::types::PyBool>();
    let number = value.extract::<i64>().ok().filter(|_| whole);
    let rule = || format!("must be a whole number from {least} to {most}");
    let number = number.ok_or_else(|| invalid(name, &rule(), value))?;
    limits::integer(name, number, least, most).map_err(raised)
}

pub(crate) fn strategy(value: &Bound<'_, PyAny>) -> PyResult<UniqueStrategy> {
    let chosen = value.getattr("value").ok().and_then(|value| value.extract::<String>().ok());
    match chosen.as_deref() {
        Some("ignore_new") => Ok(UniqueStrategy::IgnoreNew),
        Some("cancel_existing") => Ok(UniqueStrategy::CancelExisting),
        _ => Err(invalid("unique_strategy", "must be a member of UniqueStrategy", value)),
    }
}

fn period(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    let length = seconds(name, value)?.as_secs_f64();
    limits::positive_seconds(name, length).map(Some).map_err(raised)
}

fn meta(value: &Bound<'_, PyAny>) -> PyResult<Option<Payload>> {
    let plain = PyDict::new(value.py());
    plain.update(value.cast().map_err(|_| invalid("meta", "must be a mapping with string keys", value))?)?;
    if plain.is_empty() { Ok(None) } else { encoded("meta", plain.as_any()).map(Some) }
}
