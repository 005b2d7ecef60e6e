//! The parts of a row that are JSON text in every database: tags, errors, progress, queues of a node.
//!
//! Whoever edits a row by hand may leave what is no JSON of ours: such a part counts as empty, the job stays usable.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::job::{AttemptError, Name, Progress};
use crate::limits;
use crate::outcome::Failure;

/// Bytes that were proved to be JSON, as SQL text.
pub(crate) fn text(payload: &[u8]) -> Result<&str> {
    std::str::from_utf8(payload).map_err(|_| Error::invalid("args", "must be UTF-8", "other bytes"))
}

/// Nanoseconds as they are stored.
pub(crate) fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn tags_text(tags: &[Name]) -> Option<String> {
    (!tags.is_empty()).then(|| tags.iter().map(Name::as_str).collect::<Value>().to_string())
}

pub(crate) fn tags_of(text: &str) -> Vec<Name> {
    let words: Vec<String> = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|value| {
            value.as_array().map(|all| all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        })
        .unwrap_or_default();
    words.iter().map(|word| Name::stored(word)).collect()
}

pub(crate) fn errors_of(text: &str) -> Vec<AttemptError> {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else { return Vec::new() };
    all.iter().filter_map(error_of).collect()
}

fn error_of(value: &Value) -> Option<AttemptError> {
    let text = |key| value.get(key)?.as_str().map(str::to_owned);
    Some(AttemptError {
        attempt: u32::try_from(value.get("attempt")?.as_u64()?).ok()?,
        at: Timestamp(value.get("at")?.as_i64()?).clamp(Timestamp::MIN, Timestamp::MAX),
        kind: text("kind")?,
        message: text("message")?,
        traceback: text("traceback")?,
    })
}

/// The stored text of a job's errors after one more; the newest are kept.
pub(crate) fn errors_after(known: Option<&str>, attempt: u32, at: Timestamp, failure: &Failure) -> String {
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

pub(crate) fn progress_text(progress: &Progress) -> String {
    json!({"done": progress.done, "total": progress.total, "message": progress.message}).to_string()
}

pub(crate) fn progress_of(text: &str) -> Option<Progress> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Progress {
        done: value.get("done")?.as_f64()?,
        total: value.get("total").and_then(Value::as_f64),
        message: value.get("message")?.as_str()?.to_owned(),
    })
}

pub(crate) fn queues_text(queues: &[(Name, u32)]) -> String {
    queues.iter().map(|(name, concurrency)| json!([name.as_str(), concurrency])).collect::<Value>().to_string()
}

pub(crate) fn queues_of(text: &str) -> Vec<(Name, u32)> {
    let Ok(Value::Array(all)) = serde_json::from_str(text) else { return Vec::new() };
    let pair = |value: &Value| {
        let concurrency = u32::try_from(value.get(1)?.as_u64()?).ok()?;
        Some((Name::stored(value.get(0)?.as_str()?), concurrency))
    };
    all.iter().filter_map(pair).collect()
}
