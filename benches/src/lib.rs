//! The work that both kinds of measurement do: the verbs of a `MemoryStore` as a busy node calls them.

use std::sync::Arc;
use std::time::Duration;

use zjobs_engine::clock::Manual;
use zjobs_engine::job::{Name, NewJob, NodeId, When};
use zjobs_engine::outcome::settle;
use zjobs_engine::store::memory::{MemoryConfig, MemoryStore};
use zjobs_engine::store::{Claim, Heartbeat};
use zjobs_engine::{Ack, Job, Outcome, Store};

/// The payload of every job.
pub const ARGS: &[u8] = br#"{"to":"user@example.com","n":1}"#;

/// A store with one living node, on a clock that stands still.
#[derive(Debug)]
pub struct Bench {
    /// The store.
    pub store: MemoryStore,
    clock: Arc<Manual>,
    node: NodeId,
    queue: Name,
    worker: Name,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An empty store.
    ///
    /// # Panics
    ///
    /// When the store refuses a new node, which it never does.
    pub fn new() -> Self {
        let clock = Arc::new(Manual::default());
        let store =
            MemoryStore::new(MemoryConfig { max_finished: 1000, clock: clock.clone(), ..MemoryConfig::default() });
        let queue = Name::queue("default").expect("a valid name");
        let worker = Name::worker("send_email").expect("a valid name");
        let node = NodeId(1);
        let beat = Heartbeat {
            node,
            name: "bench".into(),
            pid: 1,
            ttl: Duration::from_secs(3600),
            queues: Vec::new(),
            holds: Vec::new(),
        };
        store.heartbeat(&beat).expect("a new node");
        Self { store, clock, node, queue, worker }
    }

    /// A job that is due at once.
    pub fn job(&self) -> NewJob {
        NewJob::new(self.queue.clone(), self.worker.clone(), ARGS.into())
    }

    /// Validates and enqueues `count` jobs, `batch` at a time.
    ///
    /// # Panics
    ///
    /// When the store refuses a valid job.
    pub fn enqueue(&self, count: usize, batch: usize) {
        for _ in 0..count / batch {
            let jobs: Vec<NewJob> = (0..batch).map(|_| self.job()).collect();
            for job in &jobs {
                job.validate().expect("a valid job");
            }
            self.store.enqueue(jobs).expect("room");
        }
    }

    /// Puts `count` jobs that are due in a year beside the others.
    ///
    /// # Panics
    ///
    /// When the store refuses a valid job.
    pub fn schedule(&self, count: usize) {
        for second in 0..count as u64 {
            let when = When::In(Duration::from_secs(365 * 24 * 3600 + second));
            self.store.enqueue(vec![NewJob { when, ..self.job() }]).expect("room");
        }
    }

    /// Claims up to `limit` jobs.
    ///
    /// # Panics
    ///
    /// When the node is dead, which it cannot be while the clock stands still.
    pub fn claim(&self, limit: usize) -> Vec<Job> {
        let claim = Claim { node: self.node, queue: self.queue.clone(), limit };
        self.store.claim(&claim).expect("a living node")
    }

    /// Completes claimed jobs, one ack a call, as slots do.
    ///
    /// # Panics
    ///
    /// When the job is not executing.
    pub fn complete(&self, jobs: &[Job]) {
        for job in jobs {
            let ack: Ack = settle(job, Outcome::Completed { result: None }).expect("an executing job");
            self.store.ack(self.node, &[ack]).expect("a memory store");
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
