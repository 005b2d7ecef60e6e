//! *enqueue*: jobs come in, or meet the one that has their unique key.

use rusqlite::{OptionalExtension, named_params};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::job::{Details, Job, JobId, Lease, NewJob};
use crate::state::State;
use crate::store::json;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::{Enqueued, Signal};
use crate::sync::Arc;
use crate::unique::UniqueStrategy;

impl Transaction<'_> {
    /// All or none: whoever calls takes everything back after an error.
    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>) -> Verb<Vec<Enqueued>> {
        jobs.into_iter().map(|job| self.enqueue_one(job)).collect()
    }

    fn enqueue_one(&mut self, new: NewJob) -> Verb<Enqueued> {
        if let Some(unique) = &new.unique
            && let Some(holder) = self.holder(&unique.key)?
        {
            match unique.strategy {
                UniqueStrategy::IgnoreNew => {
                    if let Some(job) = self.job(holder)? {
                        return Ok(Enqueued { job, conflict: true });
                    }
                }
                UniqueStrategy::CancelExisting => self.supersede(holder)?,
            }
        }
        let job = self.insert(new)?;
        self.tell(match job.state {
            State::Scheduled => Signal::Due(job.scheduled_at),
            _ => Signal::Ready(job.queue.clone()),
        });
        Ok(Enqueued { job, conflict: false })
    }

    /// The live job that has the key.
    pub(super) fn holder(&self, key: &str) -> Verb<Option<JobId>> {
        let mut find = self.connection.prepare_cached(sql::find_key)?;
        Ok(find.query_row(named_params! {":key": key}, |row| row.get(0)).optional()?.map(JobId))
    }

    /// The job is cancelled, or asked to stop when it runs; the newer one then takes the key over.
    fn supersede(&mut self, id: JobId) -> Verb<()> {
        if self.cancel_waiting(id)? {
            return Ok(());
        }
        self.connection.prepare_cached(sql::take_key)?.execute(named_params! {":id": id.0})?;
        self.tell(Signal::Cancel(vec![id]));
        Ok(())
    }

    fn insert(&self, new: NewJob) -> Verb<Job> {
        let draft = Draft::new(&new, self.now)?;
        self.connection.prepare_cached(sql::enqueue)?.execute(named_params! {
            ":state": draft.state.number(),
            ":queue": draft.queue,
            ":worker": draft.worker,
            ":args": draft.args,
            ":priority": draft.priority,
            ":max_attempts": draft.max_attempts,
            ":scheduled_at": draft.scheduled_at.0,
            ":now": draft.now.0,
            ":timeout": draft.timeout,
            ":unique_key": draft.unique_key,
            ":tags": draft.tags,
            ":meta": draft.meta,
        })?;
        let (state, scheduled_at) = (draft.state, draft.scheduled_at);
        let unique_key = new.unique.map(|unique| unique.key);
        let plain = unique_key.is_none() && new.tags.is_empty() && new.meta.is_none();
        let details = || Details { unique_key, tags: new.tags, meta: new.meta, ..Details::default() };
        Ok(Job {
            id: JobId(self.connection.last_insert_rowid()),
            state,
            queue: new.queue,
            worker: new.worker,
            args: new.args,
            priority: new.priority,
            attempt: 0,
            max_attempts: new.max_attempts,
            lease: Lease(0),
            node: None,
            scheduled_at,
            inserted_at: self.now,
            attempted_at: None,
            finished_at: None,
            timeout: new.timeout,
            details: (!plain).then(|| Arc::new(details())),
        })
    }
}

/// What `enqueue.sql` takes, by the names of its parameters. Also for whoever runs it on a connection of their own.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Available or scheduled.
    pub state: State,
    /// Its queue.
    pub queue: &'a str,
    /// Its worker.
    pub worker: &'a str,
    /// JSON text.
    pub args: &'a str,
    /// Lower runs first.
    pub priority: i32,
    /// How often it may run.
    pub max_attempts: u32,
    /// When it is due.
    pub scheduled_at: Timestamp,
    /// When it is enqueued.
    pub now: Timestamp,
    /// The limit of one attempt, in nanoseconds.
    pub timeout: Option<i64>,
    /// Its idempotency key.
    pub unique_key: Option<&'a str>,
    /// JSON text: a list.
    pub tags: Option<String>,
    /// JSON text: an object.
    pub meta: Option<&'a str>,
}

impl<'a> Draft<'a> {
    /// The row of a job that was validated, at the store's now.
    pub fn new(new: &'a NewJob, now: Timestamp) -> Result<Self> {
        let (state, scheduled_at) = new.when.initial(now);
        Ok(Self {
            state,
            queue: new.queue.as_str(),
            worker: new.worker.as_str(),
            args: json::text(&new.args)?,
            priority: new.priority.0,
            max_attempts: new.max_attempts,
            scheduled_at,
            now,
            timeout: new.timeout.map(json::nanos),
            unique_key: new.unique.as_ref().map(|unique| &*unique.key),
            tags: json::tags_text(&new.tags),
            meta: new.meta.as_deref().map(json::text).transpose()?,
        })
    }
}
