//! What the cases need of a store under test, and the few words they are written in.

use std::time::Duration;

use zjobs_engine::clock::Manual;
use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId};
use zjobs_engine::outcome::{Again, Failure, Outcome, settle};
use zjobs_engine::state::State;
use zjobs_engine::store::{Acked, Claim, Filter, Heartbeat, Pulse, Store};
use zjobs_engine::sync::Arc;
use zjobs_engine::unique::{Unique, UniqueStrategy};

/// A fresh, empty store whose clock moves only when told to.
pub trait Fixture {
    fn store(&self) -> &dyn Store;
    fn advance(&self, by: Duration);
    /// Steps the wall clock that the store reads, while no time passes.
    fn step_wall(&self, micros: i64);
}

/// A store whose clock is in the test's hand, and what must be there as long as it is.
pub struct ByHand<S, K = ()> {
    pub clock: Arc<Manual>,
    pub store: S,
    pub kept: K,
}

impl<S: Store, K> Fixture for ByHand<S, K> {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn step_wall(&self, micros: i64) {
        self.clock.step_wall(micros);
    }
}

/// In microseconds, of which one steps a wall clock.
pub const HOUR: i64 = 3_600_000_000;
pub const TTL: Duration = Duration::from_secs(20);
pub const ALICE: NodeId = NodeId(0xa11ce);
pub const BOB: NodeId = NodeId(0xb0b);

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn queue(name: &str) -> Name {
    Name::queue(name).unwrap()
}

pub fn worker(name: &str) -> Name {
    Name::worker(name).unwrap()
}

pub fn new_job() -> NewJob {
    NewJob::new(queue("default"), worker("w"), b"{}".as_slice().into())
}

pub fn unique_job(key: &str, strategy: UniqueStrategy) -> NewJob {
    NewJob { unique: Some(Unique::by_key(key, strategy).unwrap()), ..new_job() }
}

pub fn done() -> Outcome {
    Outcome::Completed { result: None }
}

pub fn failed(again: Again) -> Outcome {
    Outcome::Failed { failure: Failure::new("ValueError", "no such address", "line 3"), again }
}

pub fn cancelled() -> Outcome {
    Outcome::Cancelled { reason: "not needed".into() }
}

pub fn ids(filter: &[JobId]) -> Filter {
    Filter { ids: Some(filter.to_vec()), ..Filter::default() }
}

impl dyn Fixture + '_ {
    pub fn enqueue(&self, new: NewJob) -> Job {
        self.store().enqueue(vec![new]).unwrap().remove(0).job
    }

    pub fn enqueue_default(&self) -> Job {
        self.enqueue(new_job())
    }

    /// Registers the node or extends its lease.
    pub fn beat(&self, node: NodeId, holds: &[JobId]) -> Pulse {
        let queues = vec![(queue("default"), 10)];
        let beat = Heartbeat { node, name: "host".into(), pid: 42, ttl: TTL, queues, holds: holds.to_vec() };
        self.store().heartbeat(&beat).unwrap()
    }

    pub fn claim_from(&self, node: NodeId, name: &str, limit: usize) -> Vec<Job> {
        self.store().claim(&Claim { node, queue: queue(name), limit }).unwrap()
    }

    pub fn claim(&self, node: NodeId, limit: usize) -> Vec<Job> {
        self.claim_from(node, "default", limit)
    }

    /// A job that runs under a living node.
    pub fn running(&self, node: NodeId, new: NewJob) -> Job {
        self.beat(node, &[]);
        let id = self.enqueue(new).id;
        let claimed = self.claim(node, usize::from(u16::MAX));
        claimed.into_iter().find(|job| job.id == id).unwrap()
    }

    pub fn ack(&self, node: NodeId, job: &Job, outcome: Outcome) -> Acked {
        let ack = settle(job, outcome).unwrap();
        self.store().ack(node, &[ack]).unwrap()[0]
    }

    pub fn get(&self, id: JobId) -> Job {
        self.store().get(&[id]).unwrap().remove(0)
    }

    pub fn state(&self, id: JobId) -> State {
        self.get(id).state
    }

    /// The job ends in that state by its own run.
    pub fn finished(&self, state: State, new: NewJob) -> Job {
        let job = self.running(ALICE, new);
        let outcome = match state {
            State::Completed => done(),
            State::Cancelled => cancelled(),
            State::Discarded => failed(Again::Never),
            State::Retryable => failed(Again::In(secs(60))),
            State::Scheduled => Outcome::Snoozed { delay: secs(60) },
            State::Available | State::Executing => Outcome::Released,
        };
        assert_eq!(self.ack(ALICE, &job, outcome), Acked::Stored);
        assert_eq!(self.state(job.id), state);
        self.get(job.id)
    }
}
