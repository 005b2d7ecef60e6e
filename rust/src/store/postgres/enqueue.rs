//! *enqueue*: jobs come in, or meet the one that has their unique key.

use postgres_types::Type;
use tokio_postgres::Row;

use crate::clock::{Clock, Moment, System, Timestamp};
use crate::error::{Error, Result};
use crate::job::{Details, Job, JobId, Lease, NewJob, When};
use crate::state::State;
use crate::store::postgres::reads;
use crate::store::postgres::rows;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::{At, Span};
use crate::store::sql::postgres as sql;
use crate::store::{Enqueued, Signal, json};
use crate::sync::Arc;
use crate::unique::UniqueStrategy;

/// All or none when the session is in a transaction, or when no job has a unique key.
///
/// `again` is when the call began when it was tried before and nobody knows what came of that; then the session must be in a
/// transaction.
pub(super) async fn enqueue(session: &Session, jobs: &[NewJob], again: Option<Moment>) -> Verb<Vec<Enqueued>> {
    let mut replies = Vec::with_capacity(jobs.len());
    for run in jobs.chunk_by(|a, b| a.unique.is_none() && b.unique.is_none()) {
        match run {
            [job] if job.unique.is_some() => replies.push(unique(session, job, again).await?),
            plain => replies.extend(bulk(session, plain).await?),
        }
    }
    Ok(replies)
}

pub(super) fn news(enqueued: &Enqueued) -> Option<Signal> {
    (!enqueued.conflict).then(|| match enqueued.job.state {
        State::Scheduled => Signal::Due(enqueued.job.scheduled_at),
        _ => Signal::Ready(enqueued.job.queue.clone()),
    })
}

async fn bulk(session: &Session, jobs: &[NewJob]) -> Verb<Vec<Enqueued>> {
    let drafts = jobs.iter().map(Draft::new).collect::<Result<Vec<_>>>()?;
    let rows = match &*drafts {
        [draft] if draft.is_plain() => one(session, draft).await?,
        drafts => list(session, drafts).await?,
    };
    let inserted = |(job, row): (&NewJob, &Row)| {
        let (state, due, now) = (rows::state(row.try_get(1)?)?, row.try_get::<_, At>(2)?.0, row.try_get::<_, At>(3)?.0);
        Ok(Enqueued { job: as_stored(job, JobId(row.try_get(0)?), state, due, now), conflict: false })
    };
    jobs.iter().zip(&rows).map(inserted).collect()
}

async fn one(session: &Session, draft: &Draft<'_>) -> Verb<Vec<Row>> {
    let parameters: [Parameter<'_>; 6] = [
        (&draft.queue, Type::TEXT),
        (&draft.worker, Type::TEXT),
        (&draft.args, Type::TEXT),
        (&draft.priority, Type::INT4),
        (&draft.max_attempts, Type::INT4),
        (&draft.timeout, Type::INT8),
    ];
    session.query(sql::enqueue_one, &parameters).await
}

async fn list(session: &Session, drafts: &[Draft<'_>]) -> Verb<Vec<Row>> {
    macro_rules! column {
        ($field:ident) => {
            drafts.iter().map(|draft| draft.$field).collect::<Vec<_>>()
        };
    }
    let tags: Vec<_> = drafts.iter().map(|draft| draft.tags.as_deref()).collect();
    session
        .query(
            sql::enqueue,
            &[
                (&column!(queue), Type::TEXT_ARRAY),
                (&column!(worker), Type::TEXT_ARRAY),
                (&column!(args), Type::TEXT_ARRAY),
                (&column!(priority), Type::INT4_ARRAY),
                (&column!(max_attempts), Type::INT4_ARRAY),
                (&column!(at), Type::TIMESTAMPTZ_ARRAY),
                (&column!(delay), Type::INTERVAL_ARRAY),
                (&column!(timeout), Type::INT8_ARRAY),
                (&tags, Type::TEXT_ARRAY),
                (&column!(meta), Type::TEXT_ARRAY),
            ],
        )
        .await
}

async fn unique(session: &Session, job: &NewJob, again: Option<Moment>) -> Verb<Enqueued> {
    let Some(began) = again else { return insert(session, job).await };
    session.script("SAVEPOINT again").await?;
    let enqueued = insert(session, job).await?;
    if !enqueued.conflict
        && let Some(unique) = &job.unique
        && let Some(job) = ended_since(session, &unique.key, began).await?
    {
        session.script("ROLLBACK TO SAVEPOINT again").await?;
        return Ok(Enqueued { job, conflict: true });
    }
    session.script("RELEASE SAVEPOINT again").await?;
    Ok(enqueued)
}

/// Inserts a job with a key, or finds the one that has the key.
async fn insert(session: &Session, job: &NewJob) -> Verb<Enqueued> {
    let Some(unique) = &job.unique else { return Err(Error::Internal("a key was expected".into()).into()) };
    let draft = Draft::new(job)?;
    loop {
        let rows = session
            .query(
                sql::enqueue_unique,
                &[
                    (&draft.queue, Type::TEXT),
                    (&draft.worker, Type::TEXT),
                    (&draft.args, Type::TEXT),
                    (&draft.priority, Type::INT4),
                    (&draft.max_attempts, Type::INT4),
                    (&draft.at, Type::TIMESTAMPTZ),
                    (&draft.delay, Type::INTERVAL),
                    (&draft.timeout, Type::INT8),
                    (&draft.tags, Type::TEXT),
                    (&draft.meta, Type::TEXT),
                    (&&*unique.key, Type::TEXT),
                    (&(unique.strategy == UniqueStrategy::CancelExisting), Type::BOOL),
                ],
            )
            .await?;
        let Some(row) = rows.first() else { continue };
        let (id, conflict) = (JobId(row.try_get(0)?), row.try_get(1)?);
        // Outside of a transaction somebody may have deleted the holder since.
        if let Some(job) = reads::get(session, &[id]).await?.pop() {
            return Ok(Enqueued { job, conflict });
        }
    }
}

/// The job of an earlier try may be there and have ended by now, which has freed its key. Whoever had the key at any moment
/// since the call began is an answer to it. It is looked for when the key is ours: whoever had it before has ended by then, and
/// is seen. The time is the server's less that which has passed here: never too long ago, so that no job that had ended before
/// the call is taken for its answer.
async fn ended_since(session: &Session, key: &str, began: Moment) -> Verb<Option<Job>> {
    let passed = Span(System.moment().since(began));
    let rows = session.query(sql::ended_key, &[(&key, Type::TEXT), (&passed, Type::INTERVAL)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(reads::get(session, &[JobId(row.try_get(0)?)]).await?.pop())
}

fn as_stored(new: &NewJob, id: JobId, state: State, scheduled_at: Timestamp, inserted_at: Timestamp) -> Job {
    let plain = new.tags.is_empty() && new.meta.is_none();
    let details = || Details { tags: new.tags.clone(), meta: new.meta.clone(), ..Details::default() };
    Job {
        id,
        state,
        queue: new.queue.clone(),
        worker: new.worker.clone(),
        args: new.args.clone(),
        priority: new.priority,
        attempt: 0,
        max_attempts: new.max_attempts,
        lease: Lease(0),
        node: None,
        scheduled_at,
        inserted_at,
        attempted_at: None,
        finished_at: None,
        timeout: new.timeout,
        details: (!plain).then(|| Arc::new(details())),
    }
}

/// What `enqueue.sql` takes of one job.
struct Draft<'a> {
    queue: &'a str,
    worker: &'a str,
    args: &'a str,
    priority: i32,
    max_attempts: i32,
    at: Option<At>,
    delay: Option<Span>,
    timeout: Option<i64>,
    tags: Option<String>,
    meta: Option<&'a str>,
}

impl<'a> Draft<'a> {
    /// Whether it is due at once and has nothing but its arguments.
    const fn is_plain(&self) -> bool {
        self.at.is_none() && self.delay.is_none() && self.tags.is_none() && self.meta.is_none()
    }

    fn new(new: &'a NewJob) -> Result<Self> {
        let (at, delay) = match new.when {
            When::Now => (None, None),
            When::In(delay) => (None, Some(Span(delay))),
            When::At(at) => (Some(At(at)), None),
        };
        Ok(Self {
            queue: new.queue.as_str(),
            worker: new.worker.as_str(),
            args: json::text(&new.args)?,
            priority: new.priority.0,
            max_attempts: rows::signed(new.max_attempts),
            at,
            delay,
            timeout: new.timeout.map(json::nanos),
            tags: json::tags_text(&new.tags),
            meta: new.meta.as_deref().map(json::text).transpose()?,
        })
    }
}
