//! The orders beside the rows: which job is where, by its state.
//!
//! A row is taken out with [`Index::take`] before anything that an order depends on changes, and put back with
//! [`Index::put`] or [`Index::shift`].

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::job::{AttemptError, Job, JobId, Name};
use crate::limits;
use crate::outcome::Failure;
use crate::queue::delayed::Delayed;
use crate::queue::finished::{FINAL, Finished};
use crate::queue::jobs::Row;
use crate::queue::leases::Leases;
use crate::queue::names::{Names, Symbol};
use crate::queue::ready::{Key, Ready};
use crate::state::{Attempts, Event, State};
use crate::store::memory::signals::{Outbox, Post};
use crate::sync::Arc;

/// What the store keeps of one queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) settings: Settings,
    pub(super) ready: Ready,
    pub(super) counts: [u64; 7],
}

/// What people have set for a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) paused: bool,
    pub(super) concurrency: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Index {
    /// The store's time: never goes back.
    pub(super) now: Timestamp,
    pub(super) queues: Names<Queue>,
    pub(super) workers: Names<()>,
    pub(super) delayed: Delayed,
    pub(super) leases: Leases,
    pub(super) finished: Finished,
    /// Key to the live job that has it. Strings of users: keyed hash.
    pub(super) unique: HashMap<Arc<str>, JobId>,
    pub(super) counts: [u64; 7],
    pub(super) outbox: Outbox,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            now: Timestamp::MIN,
            queues: Names::default(),
            workers: Names::default(),
            delayed: Delayed::default(),
            leases: Leases::default(),
            finished: Finished::default(),
            unique: HashMap::new(),
            counts: [0; 7],
            outbox: Outbox::default(),
        }
    }

    pub(super) fn collect_post(&mut self) -> Option<Post> {
        let queues = &self.queues;
        self.outbox.collect(|symbol| queues.get(symbol).map(|(name, _)| name.clone()))
    }

    /// How many jobs are in that state, in all queues.
    pub(super) fn count(&self, state: State) -> usize {
        usize::try_from(self.counts[place(state)]).unwrap_or(usize::MAX)
    }

    /// How many jobs are in a final state.
    pub(super) fn finished_jobs(&self) -> usize {
        FINAL.into_iter().map(|state| self.count(state)).sum()
    }

    /// A new row comes in.
    pub(super) fn admit(&mut self, id: JobId, row: &mut Row) {
        self.queues.retain(row.queue);
        self.workers.retain(row.worker);
        self.tally(row.queue, row.state, Tally::In);
        if let Some(key) = row.unique_key() {
            self.unique.insert(Arc::clone(key), id);
        }
        self.put(id, row);
    }

    /// A row goes, from wherever it was.
    pub(super) fn dismiss(&mut self, id: JobId, row: &Row) {
        self.take(id, row);
        self.release_key(id, row);
        self.tally(row.queue, row.state, Tally::Out);
        self.queues.release(row.queue);
        self.workers.release(row.worker);
    }

    /// Out of the order of its state.
    pub(super) fn take(&mut self, id: JobId, row: &Row) {
        match row.state {
            State::Available => {
                if let Some(queue) = self.queues.value_mut(row.queue) {
                    queue.ready.remove(&key(id, row));
                }
            }
            State::Executing => self.leases.drop(row.holder, id),
            State::Scheduled | State::Retryable => {
                self.delayed.remove(row.scheduled_at, id);
            }
            // Its entry is stale from now on; whoever meets it sees that.
            State::Completed | State::Cancelled | State::Discarded => {}
        }
    }

    /// A row that is in no order moves to another state and into its order.
    pub(super) fn shift(&mut self, id: JobId, row: &mut Row, to: State) {
        self.tally(row.queue, row.state, Tally::Out);
        self.tally(row.queue, to, Tally::In);
        row.state = to;
        if to.is_final() {
            row.set_finished_at(Some(self.now));
            self.release_key(id, row);
        }
        self.put(id, row);
    }

    /// Takes a row out and moves it by an event that has one end.
    pub(super) fn apply(&mut self, id: JobId, row: &mut Row, event: Event) -> Result<()> {
        let to = row.state.on(event, Attempts::Left)?;
        self.take(id, row);
        self.shift(id, row, to);
        Ok(())
    }

    /// Whether that entry of the finished still speaks of this row.
    pub(super) fn is_current(row: Option<&Row>, state: State, at: Timestamp) -> bool {
        row.is_some_and(|row| row.state == state && row.finished_at() == Some(at))
    }

    /// Adds an error entry of the attempt that runs now, and keeps the newest.
    pub(super) fn add_error(&self, row: &mut Row, failure: Failure) {
        let Failure { kind, message, traceback } = failure;
        let entry = AttemptError { attempt: row.attempt, at: self.now, kind, message, traceback };
        let errors = &mut row.details_mut().errors;
        errors.push(entry);
        let surplus = errors.len().saturating_sub(limits::ERRORS_KEPT);
        errors.drain(..surplus);
    }

    /// The job as others see it.
    pub(super) fn job(&self, id: JobId, row: &Row) -> Option<Job> {
        let running = (row.state == State::Executing).then_some(row.holder);
        let node = running.and_then(|holder| self.leases.node(holder)).map(|node| node.id);
        Some(row.to_job(id, self.queue_name(row.queue)?, self.worker_name(row.worker)?, node))
    }

    pub(super) fn queue_name(&self, symbol: Symbol) -> Option<Name> {
        self.queues.get(symbol).map(|(name, _)| name.clone())
    }

    pub(super) fn worker_name(&self, symbol: Symbol) -> Option<Name> {
        self.workers.get(symbol).map(|(name, ())| name.clone())
    }

    fn put(&mut self, id: JobId, row: &Row) {
        match row.state {
            State::Available => {
                if let Some(queue) = self.queues.value_mut(row.queue) {
                    queue.ready.insert(key(id, row));
                    self.outbox.ready(row.queue);
                }
            }
            State::Executing => self.leases.hold(row.holder, id),
            State::Scheduled | State::Retryable => {
                if self.delayed.next_due().is_none_or(|next| row.scheduled_at < next) {
                    self.outbox.due(row.scheduled_at);
                }
                self.delayed.insert(row.scheduled_at, id);
            }
            State::Completed | State::Cancelled | State::Discarded => {
                self.finished.push(row.state, (self.now, id));
                self.outbox.settled();
            }
        }
    }

    fn release_key(&mut self, id: JobId, row: &Row) {
        if let Some(key) = row.unique_key()
            && self.unique.get(key) == Some(&id)
        {
            self.unique.remove(key);
        }
    }

    fn tally(&mut self, queue: Symbol, state: State, tally: Tally) {
        let change = |count: &mut u64| match tally {
            Tally::In => *count += 1,
            Tally::Out => *count -= 1,
        };
        change(&mut self.counts[place(state)]);
        if let Some(queue) = self.queues.value_mut(queue) {
            change(&mut queue.counts[place(state)]);
        }
    }
}

#[derive(Clone, Copy)]
enum Tally {
    In,
    Out,
}

fn place(state: State) -> usize {
    usize::from(state.number())
}

fn key(id: JobId, row: &Row) -> Key {
    (row.priority, row.scheduled_at, id)
}
