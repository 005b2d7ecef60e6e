//! Row ↔ job. The columns come in one order everywhere; a test compares it with the statements.

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

fn details(row: &Row<'_>) -> rusqlite::Result<Option<Arc<Details>>> {
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
    Ok(Some(Arc::new(Details {
        unique_key: text(17)?.map(Into::into),
        tags: text(18)?.map(json::tags_of).unwrap_or_default(),
        meta: bytes(text(19)?),
        errors: text(20)?.map(json::errors_of).unwrap_or_default(),
        result: bytes(text(21)?),
        progress: text(22)?.and_then(json::progress_of),
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
