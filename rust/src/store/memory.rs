//! The store in this process's memory; also the executable specification of every other store.
//!
//! Invariants, at every moment at which the lock is free:
//!
//! * Each row is in exactly the order that its state asks for: available ones in their queue's claim order, scheduled
//!   and retryable ones among the delayed, executing ones held by a node, final ones among the finished.
//! * A unique key that is taken leads to one live job.
//! * Counters equal the rows.
//! * Signals go out after the lock is free.

mod ack;
mod by_hand;
mod claim;
mod cron;
mod enqueue;
mod index;
mod nodes;
mod prune;
mod reads;
mod signals;
mod tables;

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, System, Timestamp};
use crate::error::Result;
use crate::job::{Job, JobId, Name, NewJob, NodeId};
use crate::outcome::Ack;
use crate::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use crate::sync::{Arc, Mutex, Weak};

use tables::Tables;

/// How a [`MemoryStore`] is set up.
#[derive(Debug, Clone)]
pub struct MemoryConfig {
    /// How many unfinished jobs it may hold; `None` is no limit. An enqueue beyond it fails with `StoreFull`; a retry
    /// by hand does not, since it makes no job.
    pub max_jobs: Option<usize>,
    /// How many finished jobs it keeps; the oldest go first.
    pub max_finished: usize,
    /// Where it reads time.
    pub clock: Arc<dyn Clock>,
}

impl MemoryConfig {
    /// The default of `max_finished`.
    pub const MAX_FINISHED: usize = 100_000;
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_jobs: None, max_finished: Self::MAX_FINISHED, clock: Arc::new(System) }
    }
}

/// Jobs in memory: nothing survives the process. Several supervisors of one process may share it.
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(config: MemoryConfig) -> Self {
        Self { tables: Mutex::new(Tables::new(config.clock, config.max_jobs, config.max_finished)) }
    }

    // One transaction: stamps the time, runs the verb, and delivers its signals after unlocking.
    fn transact<T>(&self, verb: impl FnOnce(&mut Tables) -> T) -> T {
        let mut tables = self.tables.lock();
        tables.index.now = tables.time.now();
        let reply = verb(&mut tables);
        let post = tables.index.collect_post();
        drop(tables);
        if post.is_some_and(signals::Post::deliver) {
            self.tables.lock().index.outbox.forget_gone();
        }
        reply
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryConfig::default())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn blocks(&self) -> bool {
        false
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.tables.lock().index.outbox.subscribe(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        Ok(self.transact(|tables| tables.index.now))
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.transact(|tables| tables.enqueue(jobs))
    }

    fn enqueue_one(&self, job: NewJob) -> Result<Enqueued> {
        self.transact(|tables| tables.enqueue_one(job))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        self.transact(|tables| tables.claim(claim))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        Ok(self.transact(|tables| tables.ack(node, acks)))
    }

    fn ack_one(&self, node: NodeId, ack: &Ack) -> Result<Acked> {
        Ok(self.transact(|tables| tables.ack_one(node, ack)))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.transact(|tables| tables.report(node, reports));
        Ok(())
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.transact(|tables| tables.stage(limit))
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        Ok(self.transact(|tables| tables.heartbeat(beat)))
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.transact(|tables| tables.depart(node, grace));
        Ok(())
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.transact(|tables| tables.rescue(limit))
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        Ok(self.transact(|tables| tables.nodes()))
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.transact(|tables| tables.cancel(filter))
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.transact(|tables| tables.retry(filter))
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        Ok(self.transact(|tables| tables.delete(filter)))
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        Ok(self.transact(|tables| tables.prune(retention, limit)))
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.transact(|tables| tables.control(queue, |settings| settings.paused = true));
        Ok(())
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.transact(|tables| tables.control(queue, |settings| settings.paused = false));
        Ok(())
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.transact(|tables| tables.control(queue, |settings| settings.concurrency = concurrency));
        Ok(())
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        Ok(self.transact(|tables| tables.get(ids)))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        Ok(self.transact(|tables| tables.list(filter)))
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        Ok(self.transact(|tables| tables.count(filter)))
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        Ok(self.transact(|tables| tables.count_by_state(queue)))
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        Ok(self.transact(|tables| tables.queues()))
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.transact(|tables| tables.save_cron(entry));
        Ok(())
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        Ok(self.transact(|tables| tables.crons()))
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        Ok(self.transact(|tables| tables.set_cron_paused(name, paused)))
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        Ok(self.transact(|tables| tables.delete_cron(name)))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.transact(|tables| tables.tick(tick))
    }
}
