//! *enqueue*: jobs come in, or meet the one that has their unique key.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::job::{Details, Job, JobId, NewJob};
use crate::queue::jobs::{Row, Start};
use crate::state::{Event, State};
use crate::store::Enqueued;
use crate::store::memory::index::Index;
use crate::store::memory::tables::Tables;
use crate::sync::Arc;
use crate::unique::UniqueStrategy;

impl Tables {
    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.check_room(&jobs)?;
        // Sized at once: collecting results would guess four places for one job.
        let mut enqueued = Vec::with_capacity(jobs.len());
        for job in jobs {
            enqueued.push(self.bring_in(job)?);
        }
        self.trim();
        Ok(enqueued)
    }

    pub(super) fn enqueue_one(&mut self, job: NewJob) -> Result<Enqueued> {
        self.check_room(std::slice::from_ref(&job))?;
        let enqueued = self.bring_in(job)?;
        self.trim();
        Ok(enqueued)
    }

    fn bring_in(&mut self, new: NewJob) -> Result<Enqueued> {
        if let Some(unique) = &new.unique
            && let Some(holder) = self.index.unique.get(&unique.key).copied()
        {
            match unique.strategy {
                UniqueStrategy::IgnoreNew => {
                    if let Some(job) = self.jobs.get(holder).and_then(|row| self.index.job(holder, row)) {
                        return Ok(Enqueued { job, conflict: true });
                    }
                }
                UniqueStrategy::CancelExisting => self.supersede(holder)?,
            }
        }
        let id = self.next_id();
        let job = self.index.insert(&mut self.jobs, id, new);
        Ok(Enqueued { job, conflict: false })
    }

    /// The job is cancelled, or asked to stop when it runs; the newer one then takes the key over.
    fn supersede(&mut self, id: JobId) -> Result<()> {
        let Some(row) = self.jobs.get_mut(id) else { return Ok(()) };
        if row.state != State::Executing {
            return self.index.apply(id, row, Event::Cancel);
        }
        row.details_mut().cancel_requested = true;
        self.index.outbox.cancel(id);
        Ok(())
    }

    /// All or none: whether every job of the batch finds room, each enqueued after the one before it.
    fn check_room(&self, jobs: &[NewJob]) -> Result<()> {
        let Some(limit) = self.max_jobs else { return Ok(()) };
        let mut unfinished = self.jobs.len() - self.index.finished_jobs();
        if unfinished + jobs.len() <= limit {
            return Ok(());
        }
        // By key: whether the job that has it now would make room when it is superseded.
        let mut keys = HashMap::new();
        for unique in jobs.iter().map(|job| job.unique.as_ref()) {
            if let Some(unique) = unique {
                let holder = keys.insert(&unique.key, State::Available).or_else(|| self.holder_state(&unique.key));
                match (holder, unique.strategy) {
                    (Some(state), UniqueStrategy::IgnoreNew) => {
                        keys.insert(&unique.key, state);
                        continue;
                    }
                    (Some(state), UniqueStrategy::CancelExisting) if state != State::Executing => unfinished -= 1,
                    (Some(_), UniqueStrategy::CancelExisting) | (None, _) => {}
                }
            }
            unfinished += 1;
            if unfinished > limit {
                return Err(Error::StoreFull { limit });
            }
        }
        Ok(())
    }

    fn holder_state(&self, key: &str) -> Option<State> {
        let holder = self.index.unique.get(key)?;
        self.jobs.get(*holder).map(|row| row.state)
    }
}

impl Index {
    fn insert(&mut self, jobs: &mut crate::queue::jobs::Jobs, id: JobId, new: NewJob) -> Job {
        let (state, scheduled_at) = new.when.initial(self.now);
        let unique_key = new.unique.map(|unique| unique.key);
        let plain = unique_key.is_none() && new.tags.is_empty() && new.meta.is_none();
        let details =
            (!plain).then(|| Arc::new(Details { unique_key, tags: new.tags, meta: new.meta, ..Details::default() }));
        let mut row = Row::new(Start {
            queue: self.queues.intern(&new.queue),
            worker: self.workers.intern(&new.worker),
            args: new.args,
            priority: new.priority,
            max_attempts: new.max_attempts,
            timeout: new.timeout,
            details,
            state,
            scheduled_at,
            inserted_at: self.now,
        });
        self.admit(id, &mut row);
        let job = row.to_job(id, new.queue, new.worker, None);
        jobs.insert(id, row);
        job
    }
}
