//! Row ↔ job. The columns come in one order everywhere; a test compares it with the statements.
//!
//! Whoever edits a row by hand may write what the store never would. All that the schema lets in reads as a job, a node or
//! a queue: one row that does not would keep the others from being claimed, acked or rescued.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::clock::Timestamp;
use crate::job::{Details, Job, JobId, Lease, Name, NodeId, Payload, Priority};
use crate::state::State;
use crate::store::json;
use crate::sync::Arc;

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
        queue: name(row, 2)?,
        worker: name(row, 3)?,
        args: row.get_ref(4)?.as_bytes()?.into(),
        priority: Priority(row.get(5)?),
        attempt: row.get(6)?,
        max_attempts: row.get(7)?,
        lease: Lease(row.get(8)?),
        node: None,
        scheduled_at: time(row.get(10)?),
        inserted_at: time(row.get(11)?),
        attempted_at: row.get::<_, Option<i64>>(12)?.map(time),
        finished_at: row.get::<_, Option<i64>>(13)?.map(time),
        timeout: row.get::<_, Option<i64>>(14)?.map(|nanos| Duration::from_nanos(nanos.unsigned_abs())),
        details,
    };
    Ok((job, row.get(9)?))
}

/// A text column, with U+FFFD for what is no UTF-8.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Option<Cow<'a, str>>> {
    Ok(row.get_ref(column)?.as_bytes_or_null()?.map(String::from_utf8_lossy))
}

/// The same, and empty for none.
pub(super) fn string(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(text(row, column)?.unwrap_or_default().into_owned())
}

/// A text column that holds a name.
pub(super) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    Ok(Name::stored(&text(row, column)?.unwrap_or_default()))
}

/// A stored time, which a `datetime` must be able to hold.
pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp(micros).clamp(Timestamp::MIN, Timestamp::MAX)
}

fn details(row: &Row<'_>) -> rusqlite::Result<Option<Arc<Details>>> {
    let cancel_requested: bool = row.get(15)?;
    let crashes = u16::try_from(row.get::<_, i64>(16)?.max(0)).unwrap_or(u16::MAX);
    let empty = |column| Ok::<_, rusqlite::Error>(matches!(row.get_ref(column)?, ValueRef::Null));
    let mut plain = !cancel_requested && crashes == 0;
    for column in 17..=22 {
        plain = plain && empty(column)?;
    }
    if plain {
        return Ok(None);
    }
    let text = |column| text(row, column);
    let bytes = |text: Option<Cow<'_, str>>| text.map(|text| Payload::from(text.as_bytes()));
    Ok(Some(Arc::new(Details {
        unique_key: text(17)?.map(Into::into),
        tags: text(18)?.map(|text| json::tags_of(&text)).unwrap_or_default(),
        meta: bytes(text(19)?),
        errors: text(20)?.map(|text| json::errors_of(&text)).unwrap_or_default(),
        result: bytes(text(21)?),
        progress: text(22)?.and_then(|text| json::progress_of(&text)),
        cancel_requested,
        crashes,
    })))
}

/// A stored state number.
pub(super) fn state(number: u8) -> rusqlite::Result<State> {
    State::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, number.into()))
}

/// A node's id as it is stored.
pub(super) fn node_text(node: NodeId) -> String {
    node.to_string()
}

/// A stored node's id.
pub(super) fn node_of(text: &str) -> NodeId {
    NodeId(u128::from_str_radix(text, 16).unwrap_or(0))
}
