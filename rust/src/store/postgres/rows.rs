//! Row ↔ job. The columns come in the order of the statements; a test compares them.

use std::time::Duration;

use tokio_postgres::Row;

use crate::error::{Error, Result};
use crate::job::{Details, Job, JobId, Lease, Name, Payload, Priority};
use crate::state::State;
use crate::store::json;
use crate::store::postgres::session::Verb;
use crate::store::postgres::types::{At, Id, Json, Words};
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

/// A row as a job.
pub(super) fn job(row: &Row) -> Verb<Job> {
    let time = |column| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<At>>(column)?.map(|At(at)| at));
    Ok(Job {
        id: JobId(row.try_get(0)?),
        state: state(row.try_get(1)?)?,
        queue: Name::stored(row.try_get(2)?),
        worker: Name::stored(row.try_get(3)?),
        args: payload(row.try_get(4)?),
        priority: Priority(row.try_get(5)?),
        attempt: unsigned(row.try_get(6)?),
        max_attempts: unsigned(row.try_get(7)?),
        lease: Lease(unsigned(row.try_get(8)?)),
        node: row.try_get::<_, Option<Id>>(9)?.map(|Id(id)| id),
        scheduled_at: row.try_get::<_, At>(10)?.0,
        inserted_at: row.try_get::<_, At>(11)?.0,
        attempted_at: time(12)?,
        finished_at: time(13)?,
        timeout: row.try_get::<_, Option<i64>>(14)?.map(|nanos| Duration::from_nanos(nanos.unsigned_abs())),
        details: details(row)?,
    })
}

fn details(row: &Row) -> Verb<Option<Arc<Details>>> {
    let text = |column| row.try_get::<_, Option<Json<'_>>>(column);
    let found = Details {
        cancel_requested: row.try_get(15)?,
        crashes: u16::try_from(row.try_get::<_, i16>(16)?).unwrap_or(0),
        unique_key: row.try_get::<_, Option<&str>>(17)?.map(Into::into),
        tags: tags(row),
        meta: text(19)?.map(payload),
        errors: text(20)?.map(|Json(text)| json::errors_of(text)).unwrap_or_default(),
        result: text(21)?.map(payload),
        progress: text(22)?.and_then(|Json(text)| json::progress_of(text)),
    };
    Ok((found != Details::default()).then(|| Arc::new(found)))
}

/// The tags. Whoever writes a row by hand may give an array with NULLs, which are passed over, or of two dimensions, which
/// counts as empty: a row that were no job would take the others with it that were claimed together.
fn tags(row: &Row) -> Vec<Name> {
    let words = row.try_get::<_, Option<Words<'_>>>(18).ok().flatten();
    words.into_iter().flat_map(|Words(words)| words).flatten().map(Name::stored).collect()
}

fn payload(Json(text): Json<'_>) -> Payload {
    text.as_bytes().into()
}

/// A stored state number.
pub(super) fn state(number: i16) -> Result<State> {
    let known = u8::try_from(number).ok().and_then(State::from_number);
    known.ok_or_else(|| Error::Internal(format!("a job has the state {number}, which this version does not know")))
}

pub(super) fn number(state: State) -> i16 {
    i16::from(state.number())
}

pub(super) fn unsigned(number: i32) -> u32 {
    number.unsigned_abs()
}

pub(super) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
