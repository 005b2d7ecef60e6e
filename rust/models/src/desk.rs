//! A store whose calls may wait, on top of one in memory: it can be made to fail, and it remembers what it was asked.

use std::time::Duration;

use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId};
use zjobs_engine::outcome::Ack;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, MemoryConfig, MemoryStore,
    NodeRow, Paused, Pulse, QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use zjobs_engine::sync::{Arc, AtomicUsize, Mutex, Ordering, Weak};
use zjobs_engine::{Error, Result, Timestamp};

use crate::Standing;

/// The store and its records.
pub struct Desk {
    inner: MemoryStore,
    blocks: bool,
    /// So many calls of *ack* fail before they reach the store.
    pub refuses: Mutex<usize>,
    /// What was acked, with what came of it.
    pub acks: Mutex<Vec<(Ack, Acked)>>,
    /// What each beat said that it holds.
    pub beats: Mutex<Vec<Vec<JobId>>>,
    /// How many acks had been answered when the last beat came.
    acked: AtomicUsize,
    /// How often a node has left.
    pub departures: AtomicUsize,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("acks", &self.acks).field("beats", &self.beats).finish_non_exhaustive()
    }
}

impl Desk {
    /// An empty one; `blocks` is what it says of itself.
    pub fn new(clock: &Arc<Standing>, blocks: bool) -> Arc<Self> {
        let config = MemoryConfig { clock: clock.clone(), ..MemoryConfig::default() };
        Arc::new(Self {
            inner: MemoryStore::new(config),
            blocks,
            refuses: Mutex::default(),
            acks: Mutex::default(),
            beats: Mutex::default(),
            acked: AtomicUsize::new(0),
            departures: AtomicUsize::new(0),
        })
    }

    /// Whether an ack had been answered when the last beat came.
    pub fn acks_before_beat(&self) -> bool {
        self.acked.load(Ordering::SeqCst) > 0
    }

    fn refused(&self) -> Result<()> {
        let mut left = self.refuses.lock();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(Error::StoreUnavailable("refused".into()))
    }

    fn note_acks(&self, acks: &[Ack], replies: &[Acked]) {
        self.acks.lock().extend(acks.iter().cloned().zip(replies.iter().copied()));
    }
}

impl Store for Desk {
    fn blocks(&self) -> bool {
        self.blocks
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.inner.subscribe(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.inner.now()
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.inner.enqueue(jobs)
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        self.inner.claim(claim)
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.refused()?;
        let replies = self.inner.ack(node, acks)?;
        self.note_acks(acks, &replies);
        Ok(replies)
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.inner.report(node, reports)
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.inner.stage(limit)
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.acked.store(self.acks.lock().len(), Ordering::SeqCst);
        self.beats.lock().push(beat.holds.clone());
        self.inner.heartbeat(beat)
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.departures.fetch_add(1, Ordering::SeqCst);
        self.inner.depart(node, grace)
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.inner.rescue(limit)
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.inner.nodes()
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.inner.cancel(filter)
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.inner.retry(filter)
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.inner.delete(filter)
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.inner.prune(retention, limit)
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.inner.pause(queue)
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.inner.resume(queue)
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.inner.scale(queue, concurrency)
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.inner.get(ids)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.inner.list(filter)
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
        self.inner.tick(tick)
    }
}
