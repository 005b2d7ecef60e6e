//! Row ↔ job. The columns come in one order everywhere; a test compares it with the statements.

use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::job::{AttemptError, Details, Job, JobId, Lease, Name, NodeId, Payload, Priority, Progress};
use crate::limits;
use crate::outcome::Failure;
use crate::state::State;

/// The columns of every statement that gives jobs.
pub const COLUMNS: [&str; 23] = [
    "id",
    "state",
    "queue",
    "worker",
    "args",
    "priority",
    "attempt",
    "max_attempts",
    "lease",
    "node",
    "scheduled_at",
    "inserted_at",
    "attempted_at",
    "finished_at",
    "timeout",
    "cancel_requested",
    "crashes",
    "unique_key",
    "tags",
    "meta",
    "errors",
    "result",
    "progress",
];

/// A row as a job, with the small number of its node.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<(Job, Option<i64>)> {
    let details = details(row)?;
    let job = Job {
        id: JobId(row.get(0)?),
        state: state(row.get(1)?)?,
        queue: Name::stored(row.get_ref(2)?.as_str()?),
        worker: Name::stored(row.get_ref(3)?.as_str()?),
        args: row.get_ref(4)?.as_bytes()?.into(),
        priority: Priority(row.get(5)?),
        attempt: row.get(6)?,
        max_attempts: row.get(7)?,
        lease: Lease(row.get(8)?),
        node: None,
        scheduled_at: Timestamp(row.get(10)?),
        inserted_at: Timestamp(row.get(11)?),
        attempted_at: row.get::<_, Option<i64>>(12)?.map(Timestamp),
        finished_at: row.get::<_, Option<i64>>(13)?.map(Timestamp),
        timeout: row.get::<_, Option<i64>>(14)?.map(|nanos| Duration::from_nanos(nanos.unsigned_abs())),
        details,
    };
    Ok((job, row.get(9)?))
}

fn details(row: &Row<'_>) -> rusqlite::Result<Option<Box<Details>>> {
    let cancel_requested: bool = row.get(15)?;
    let crashes: u16 = row.get(16)?;
    let empty = |column| Ok::<_, rusqlite::Error>(matches!(row.get_ref(column)?, ValueRef::Null));
    let mut plain = !cancel_requested && crashes == 0;
    for column in 17..=22 {
        plain = plain && empty(column)?;
    }
    if plain {
        return Ok(None);
    }
    let text = |column| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
    let bytes = |text: Option<&str>| text.map(|text| Payload::from(text.as_bytes()));
    Ok(Some(Box::new(Details {
        unique_key: text(17)?.map(Into::into),
        tags: text(18)?.map(tags_of).unwrap_or_default(),
        meta: bytes(text(19)?),
        errors: text(20)?.map(errors_of).unwrap_or_default(),
        result: bytes(text(21)?),
        progress: text(22)?.and_then(progress_of),
        cancel_requested,
        crashes,
    })))
}

/// A stored state number.
pub(super) fn state(number: u8) -> rusqlite::Result<State> {
    State::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, number.into()))
}

/// Bytes that were proved to be JSON, as SQL text.
pub(super) fn text(payload: &[u8]) -> Result<&str> {
    std::str::from_utf8(payload).map_err(|_| Error::invalid("args", "must be UTF-8", "other bytes"))
}

/// Nanoseconds as they are stored.
pub(super) fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

/// A node's id as it is stored.
pub(super) fn node_text(node: NodeId) -> String {
    node.to_string()
}

/// A stored node's id.
pub(super) fn node_of(text: &str) -> NodeId {
    NodeId(u128::from_str_radix(text, 16).unwrap_or(0))
}

pub(super) fn tags_text(tags: &[Name]) -> Option<String> {
    (!tags.is_empty()).then(|| tags.iter().map(Name::as_str).collect::<Value>().to_string())
}

// Whoever edits a row by hand may leave what is no JSON of ours: such a part counts as empty, the job stays usable.
fn tags_of(text: &str) -> Vec<Name> {
    let words: Vec<String> = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|value| {
            value.as_array().map(|all| all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        })
        .unwrap_or_default();
    words.iter().map(|word| Name::stored(word)).collect()
}

pub(super) fn errors_of(text: &str) -> Vec<AttemptError> {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else { return Vec::new() };
    all.iter().filter_map(error_of).collect()
}

fn error_of(value: &Value) -> Option<AttemptError> {
    let text = |key| value.get(key)?.as_str().map(str::to_owned);
    Some(AttemptError {
        attempt: u32::try_from(value.get("attempt")?.as_u64()?).ok()?,
        at: Timestamp(value.get("at")?.as_i64()?),
        kind: text("kind")?,
        message: text("message")?,
        traceback: text("traceback")?,
    })
}

/// The stored text of a job's errors after one more; the newest are kept.
pub(super) fn errors_after(known: Option<&str>, attempt: u32, at: Timestamp, failure: &Failure) -> String {
    let mut errors = known.map(errors_of).unwrap_or_default();
    let Failure { kind, message, traceback } = failure.clone();
    errors.push(AttemptError { attempt, at, kind, message, traceback });
    let surplus = errors.len().saturating_sub(limits::ERRORS_KEPT);
    let entry = |error: &AttemptError| {
        json!({"attempt": error.attempt, "at": error.at.micros(), "kind": error.kind, "message": error.message,
               "traceback": error.traceback})
    };
    errors.iter().skip(surplus).map(entry).collect::<Value>().to_string()
}

pub(super) fn progress_text(progress: &Progress) -> String {
    json!({"done": progress.done, "total": progress.total, "message": progress.message}).to_string()
}

fn progress_of(text: &str) -> Option<Progress> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Progress {
        done: value.get("done")?.as_f64()?,
        total: value.get("total").and_then(Value::as_f64),
        message: value.get("message")?.as_str()?.to_owned(),
    })
}

pub(super) fn queues_text(queues: &[(Name, u32)]) -> String {
    queues.iter().map(|(name, concurrency)| json!([name.as_str(), concurrency])).collect::<Value>().to_string()
}

pub(super) fn queues_of(text: &str) -> Vec<(Name, u32)> {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else { return Vec::new() };
    let pair = |value: &Value| {
        let concurrency = u32::try_from(value.get(1)?.as_u64()?).ok()?;
        Some((Name::stored(value.get(0)?.as_str()?), concurrency))
    };
    all.iter().filter_map(pair).collect()
}
