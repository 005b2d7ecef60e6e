//! Jobs made of their parts, as stores that are written in Python make them.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use zjobs_engine::job::{AttemptError, Details, Job, Name, Payload, Progress};
use zjobs_engine::limits;
use zjobs_engine::outcome::Failure;
use zjobs_engine::state::State;
use zjobs_engine::sync::Arc;
use zjobs_engine::{JobId, Lease, NodeId, Priority};

use crate::convert::{seconds, timestamp};
use crate::errors::{invalid, raised};
use crate::options::{integer, text, texts};

/// The parts without which there is no job.
const REQUIRED: [&str; 7] = ["id", "state", "queue", "worker", "args_bytes", "scheduled_at", "inserted_at"];

/// A job made of `fields`; those that are not given have the defaults of a job that was just enqueued.
pub(super) fn built(fields: &Bound<'_, PyDict>) -> PyResult<Job> {
    let required = |name: &str| {
        fields
            .get_item(name)?
            .ok_or_else(|| invalid("Job", &format!("needs {}", REQUIRED.join(", ")), format!("no {name}")))
    };
    let job = Job {
        id: id("id", &required("id")?)?,
        state: state("state", &required("state")?)?,
        queue: queue(&required("queue")?)?,
        worker: worker(&required("worker")?)?,
        args: bytes("args_bytes", &required("args_bytes")?)?,
        priority: Priority(0),
        attempt: 0,
        max_attempts: zjobs_engine::NewJob::MAX_ATTEMPTS,
        lease: Lease(0),
        node: None,
        scheduled_at: timestamp("scheduled_at", &required("scheduled_at")?)?,
        inserted_at: timestamp("inserted_at", &required("inserted_at")?)?,
        attempted_at: None,
        finished_at: None,
        timeout: Some(zjobs_engine::NewJob::TIMEOUT),
        details: None,
    };
    changed(job, fields)
}

/// The job with `fields` in the place of its own.
pub(super) fn changed(mut job: Job, fields: &Bound<'_, PyDict>) -> PyResult<Job> {
    let mut details = Arc::unwrap_or_clone(job.details.take().unwrap_or_default());
    for (name, value) in fields {
        let name = text("field", &name)?;
        if !set(&mut job, &name, &value)? && !set_detail(&mut details, &name, &value)? {
            return Err(invalid("Job", "has no such field", name));
        }
    }
    job.details = (details != Details::default()).then(|| Arc::new(details));
    Ok(job)
}

fn set(job: &mut Job, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match name {
        "id" => job.id = id(name, value)?,
        "state" => job.state = state(name, value)?,
        "queue" => job.queue = queue(value)?,
        "worker" => job.worker = worker(value)?,
        "args_bytes" => job.args = bytes(name, value)?,
        "priority" => job.priority = Priority(integer(name, value, i32::MIN.into(), i32::MAX.into())?),
        "attempt" => job.attempt = integer(name, value, 0, u32::MAX.into())?,
        "max_attempts" => job.max_attempts = integer(name, value, 1, u32::MAX.into())?,
        "lease" => job.lease = lease(value)?,
        "node" => job.node = optional(value, node)?,
        "scheduled_at" => job.scheduled_at = timestamp(name, value)?,
        "inserted_at" => job.inserted_at = timestamp(name, value)?,
        "attempted_at" => job.attempted_at = optional(value, |value| timestamp(name, value))?,
        "finished_at" => job.finished_at = optional(value, |value| timestamp(name, value))?,
        "timeout_seconds" => job.timeout = optional(value, |value| seconds(name, value))?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn set_detail(details: &mut Details, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match name {
        "unique_key" => details.unique_key = optional(value, |value| text(name, value))?.map(Into::into),
        "tags" => details.tags = tags(value)?,
        "meta_bytes" => details.meta = optional(value, |value| bytes(name, value))?,
        "errors" => details.errors = value.try_iter()?.map(|entry| attempt_error(&entry?)).collect::<PyResult<_>>()?,
        "result_bytes" => details.result = optional(value, |value| bytes(name, value))?,
        "progress" => details.progress = optional(value, progress)?,
        "cancel_requested" => details.cancel_requested = flag(name, value)?,
        "crashes" => details.crashes = integer(name, value, 0, u16::MAX.into())?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// `None` for `None`.
pub(crate) fn optional<T>(
    value: &Bound<'_, PyAny>,
    read: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    if value.is_none() { Ok(None) } else { read(value).map(Some) }
}

/// A job's number.
pub(crate) fn id(name: &str, value: &Bound<'_, PyAny>) -> PyResult<JobId> {
    integer(name, value, 1, i64::MAX).map(JobId)
}

/// A lease number.
pub(crate) fn lease(value: &Bound<'_, PyAny>) -> PyResult<Lease> {
    integer("lease", value, 0, u32::MAX.into()).map(Lease)
}

/// The state that a `JobState` means.
pub(crate) fn state(name: &str, value: &Bound<'_, PyAny>) -> PyResult<State> {
    let number = value.extract::<u8>().ok().and_then(State::from_number);
    number.ok_or_else(|| invalid(name, "must be a JobState", value))
}

/// An incarnation in 32 hexadecimal digits.
pub(crate) fn node(value: &Bound<'_, PyAny>) -> PyResult<NodeId> {
    const DIGITS: usize = 32;
    let digits = value.cast::<PyString>().ok().and_then(|digits| digits.to_str().ok());
    let digits = digits.filter(|digits| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    number.map(NodeId).ok_or_else(|| invalid("node", "must be an incarnation: 32 hexadecimal digits", value))
}

/// A queue's name.
pub(crate) fn queue(value: &Bound<'_, PyAny>) -> PyResult<Name> {
    Name::queue(&text("queue", value)?).map_err(raised)
}

/// A worker's name.
pub(crate) fn worker(value: &Bound<'_, PyAny>) -> PyResult<Name> {
    Name::worker(&text("worker", value)?).map_err(raised)
}

/// Tags of a job.
pub(crate) fn tags(value: &Bound<'_, PyAny>) -> PyResult<Vec<Name>> {
    texts("tags", value)?.iter().map(|tag| Name::tag(tag).map_err(raised)).collect()
}

/// JSON text.
pub(crate) fn bytes(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    let text = value.cast::<PyBytes>().map_err(|_| invalid(name, "must be JSON text as bytes", value))?;
    Ok(text.as_bytes().into())
}

/// `True` or `False`.
pub(crate) fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.extract().map_err(|_| invalid(name, "must be True or False", value))
}

/// How far a job is.
pub(crate) fn progress(value: &Bound<'_, PyAny>) -> PyResult<Progress> {
    let total: Option<f64> = value.getattr("total")?.extract()?;
    let done: f64 = value.getattr("done")?.extract()?;
    for (name, number) in [("done", Some(done)), ("total", total)] {
        if let Some(number) = number.filter(|number| !number.is_finite() || *number < 0.0) {
            return Err(invalid(name, "must be a finite number from 0", number));
        }
    }
    let message = text("message", &value.getattr("message")?)?;
    Ok(Progress { done, total, message: limits::stored_text(&message, limits::PROGRESS_MESSAGE_BYTES) })
}

/// What went wrong: anything with `kind`, `message` and `traceback`.
pub(crate) fn failure(value: &Bound<'_, PyAny>) -> PyResult<Failure> {
    let part = |name: &str| text(name, &value.getattr(name)?);
    Ok(Failure::new(&part("kind")?, &part("message")?, &part("traceback")?))
}

fn attempt_error(value: &Bound<'_, PyAny>) -> PyResult<AttemptError> {
    let Failure { kind, message, traceback } = failure(value)?;
    let attempt = integer("attempt", &value.getattr("attempt")?, 0, u32::MAX.into())?;
    Ok(AttemptError { attempt, at: timestamp("at", &value.getattr("at")?)?, kind, message, traceback })
}

/// Seconds of a length that may be absent, exact to the microsecond.
pub(crate) fn length(length: Option<Duration>) -> Option<f64> {
    length.map(|length| length.as_secs_f64())
}
