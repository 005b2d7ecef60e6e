//! The store of the simulation: the real one, or one that lies about it in one deliberate way.
//!
//! The bugs are grouped by verb: `running` has those of the walk of a job, `upkeep` those of nodes and of people.

mod running;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use zjobs_engine::job::{Job, JobId, Lease, Name, NewJob, NodeId, Payload};
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::State;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use zjobs_engine::sync::Weak;
use zjobs_engine::{Result, Timestamp};

use crate::bug::Bug;

/// What a lie needs to remember.
#[derive(Default)]
struct Memory {
    claimed: Vec<Job>,
    result: Option<Payload>,
    offsets: FxHashMap<JobId, u32>,
    departed: Vec<NodeId>,
}

pub(crate) struct Saboteur {
    inner: Arc<dyn Store>,
    bug: Option<Bug>,
    memory: Mutex<Memory>,
}

impl Saboteur {
    pub(crate) fn new(inner: Arc<dyn Store>, bug: Option<Bug>) -> Self {
        Self { inner, bug, memory: Mutex::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The job as this store shows it.
    fn show(&self, mut job: Job) -> Job {
        match self.bug {
            Some(Bug::LeaseStartsAgain) => {
                let offset = self.memory.lock().offsets.get(&job.id).copied().unwrap_or(0);
                job.lease.0 = job.lease.0.saturating_sub(offset);
            }
            Some(Bug::InvertsPriorities) => job.priority.0 = -job.priority.0,
            Some(Bug::StampsByTheNode) => {
                job.attempted_at = job.attempted_at.map(|at| at - Duration::from_secs(3600));
            }
            Some(_) | None => {}
        }
        job
    }

    fn show_all(&self, jobs: Vec<Job>) -> Vec<Job> {
        if self.bug.is_none() { jobs } else { jobs.into_iter().map(|job| self.show(job)).collect() }
    }

    /// The lease as the store inside knows it.
    fn meant(&self, id: JobId, lease: Lease) -> Lease {
        Lease(lease.0 + self.memory.lock().offsets.get(&id).copied().unwrap_or(0))
    }

    fn row(&self, id: JobId) -> Option<Job> {
        self.inner.get(&[id]).ok()?.pop()
    }

    /// The first job in one of these states.
    fn first(&self, states: &[State]) -> Option<Job> {
        let filter = Filter { states: states.to_vec(), limit: Some(1), ..Filter::default() };
        self.inner.list(&filter).ok()?.pop()
    }
}

fn one(id: JobId) -> Filter {
    Filter { ids: Some(vec![id]), ..Filter::default() }
}

impl Store for Saboteur {
    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.inner.subscribe(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.inner.now()
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let mut enqueued = self.enqueue_badly(jobs)?;
        for one in &mut enqueued {
            one.job = self.show(one.job.clone());
        }
        Ok(enqueued)
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        Ok(self.show_all(self.claim_badly(claim)?))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.ack_badly(node, acks)
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.report_badly(node, reports)
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.stage_badly(limit)
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.heartbeat_badly(beat)
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        if self.has(Bug::NeverParts) { Ok(()) } else { self.inner.depart(node, grace) }
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.rescue_badly(limit)
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.inner.nodes()
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.cancel_badly(filter)
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.inner.retry(filter)
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.inner.delete(filter)
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.prune_badly(retention, limit)
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        if self.has(Bug::IgnoresPauses) { Ok(()) } else { self.inner.pause(queue) }
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.inner.resume(queue)
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        let inflated = concurrency.map(|wanted| wanted + 5 * u32::from(self.has(Bug::InflatesConcurrency)));
        self.inner.scale(queue, inflated)
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        Ok(self.show_all(self.inner.get(ids)?))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        Ok(self.show_all(self.inner.list(filter)?))
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.inner.count(filter)
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.inner.count_by_state(queue)
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.inner.queues()
    }

    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.inner.settings()
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.inner.save_cron(entry)
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.inner.crons()
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.inner.set_cron_paused(name, paused)
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.inner.delete_cron(name)
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.tick_badly(tick)
    }
}
