//! What the models share: jobs, a clock that stands, a host that only counts, and a store that can be watched.
//!
//! What is observed is kept in locks of the checker's, too. It leaves schedules out that differ only in the order of what
//! it does not see, and an observation that it does not see would be made in one of those orders alone.

pub mod desk;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use zjobs_engine::backoff::Backoff;
use zjobs_engine::clock::{Clock, Moment};
use zjobs_engine::job::{Job, JobId, Lease, Name, NewJob, NodeId, Priority};
use zjobs_engine::runtime::config::AckMode;
use zjobs_engine::runtime::role::Seated;
use zjobs_engine::runtime::usher::Host;
use zjobs_engine::runtime::{Config, Engine, Lane, Next, QueueConfig, QueueIndex, Registration, Running, StuckPolicy};
use zjobs_engine::store::Store;
use zjobs_engine::sync::{Arc, Mutex};
use zjobs_engine::telemetry::{Event, Kind, Sink};
use zjobs_engine::{Outcome, State, Timestamp};

/// The one queue.
pub const QUEUE: QueueIndex = QueueIndex(0);
/// The incarnation that claimed what [`claimed`] makes.
pub const NODE: NodeId = NodeId(1);
/// When the models begin, on both clocks.
pub const START: u64 = 1_000_000_000_000;

/// The name of the one queue.
pub fn queue() -> Name {
    Name::queue("default").expect("a name of a queue")
}

/// The name of the one worker.
pub fn worker() -> Name {
    Name::worker("work").expect("a name of a worker")
}

/// A job that runs.
pub fn executing(id: i64) -> Job {
    Job {
        id: JobId(id),
        state: State::Executing,
        queue: queue(),
        worker: worker(),
        args: b"{}".as_slice().into(),
        priority: Priority(0),
        attempt: 1,
        max_attempts: 20,
        lease: Lease(1),
        node: Some(NODE),
        scheduled_at: Timestamp(1),
        inserted_at: Timestamp(1),
        attempted_at: Some(Timestamp(1)),
        finished_at: None,
        timeout: None,
        details: None,
    }
}

/// A claimed job for a slot.
pub fn claimed(id: i64, lane: Lane) -> Arc<Running> {
    Arc::new(Running::new(executing(id), QUEUE, lane, NODE))
}

/// A job to enqueue, without a timeout.
pub fn wanted() -> NewJob {
    NewJob { timeout: None, ..NewJob::new(queue(), worker(), b"{}".as_slice().into()) }
}

/// A handler has returned.
pub fn done() -> Outcome {
    Outcome::Completed { result: None }
}

/// The queue with so many slots.
pub fn slots(concurrency: u32) -> QueueConfig {
    QueueConfig { name: queue(), concurrency, prefetch: Some(0), stuck: StuckPolicy::Report }
}

/// An engine on that store, which is not started and knows the worker.
pub fn engine(store: &Arc<dyn Store>, clock: &Arc<Standing>, heard: &Arc<Heard>, concurrency: u32) -> Arc<Engine> {
    let config = Config { queues: vec![slots(concurrency)], ..Config::default() };
    let random = fastrand::Rng::with_seed(1);
    let engine = Engine::new(store.clone(), config, clock.clone(), heard.clone(), random).expect("sound settings");
    engine.register(worker(), Registration { lane: Lane::Thread, backoff: Backoff::default(), ack: AckMode::Batched });
    Arc::new(engine)
}

/// Starts without threads of its own; the role of that name, with its alarm.
pub fn seat(engine: &Engine, name: &str) -> Seated {
    let groups = engine.start_unattended(Arc::new(Counts::default())).expect("it was not started");
    groups.into_iter().flatten().find(|(role, _)| role.name() == name).expect("a role of that name")
}

/// Takes the job that is there.
pub fn take(engine: &Engine) -> Arc<Running> {
    match engine.next(QUEUE, Lane::Thread) {
        Next::Job(running) => running,
        other => panic!("no job for the slot: {other:?}"),
    }
}

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct Standing(AtomicU64);

impl Default for Standing {
    fn default() -> Self {
        Self(AtomicU64::new(START))
    }
}

impl Standing {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.0.load(Ordering::SeqCst) / 1000).unwrap_or(0))
    }

    fn moment(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }
}

/// A host that counts how often it was called.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rings.
    pub rings: AtomicUsize,
}

impl Host for Counts {
    fn ring(&self) -> bool {
        self.rings.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn reinforce(&self, _: QueueIndex, _: u32) -> bool {
        true
    }

    fn give_up(&self, _: JobId) -> bool {
        true
    }
}

/// A sink that keeps the kinds of what it was told.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Vec<Kind>>);

impl Heard {
    /// How often that was told.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.lock().iter().filter(|heard| **heard == kind).count()
    }
}

impl Sink for Heard {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn emit(&self, event: Event) {
        self.0.lock().push(event.kind());
    }
}
