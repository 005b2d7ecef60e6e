//! A node for the tests of its parts: a clock that stands, one queue, one worker; jobs in memory where nothing else is said.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::{Clock, Manual};
use crate::job::{JobId, Name, NewJob};
use crate::runtime::config::{AckMode, Config, QueueConfig, Registration, StuckPolicy};
use crate::runtime::engine::Engine;
use crate::runtime::heartbeat::Heartbeat;
use crate::runtime::pool::{Next, QueueIndex};
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::running::{Lane, Running};
use crate::runtime::usher::Host;
use crate::store::Store;
use crate::store::memory::{MemoryConfig, MemoryStore};
use crate::store::sqlite::{SqliteConfig, SqliteStore};
use crate::sync::{Arc, Mutex};
use crate::telemetry::{Event, Kind, Sink};

/// The name of the file of [`Fixture::on_a_file`], in its folder.
pub(super) const FILE: &str = "jobs.db";

pub(super) struct Fixture<S = MemoryStore> {
    pub(super) clock: Arc<Manual>,
    pub(super) store: Arc<S>,
    pub(super) engine: Engine,
    /// What listeners are told.
    pub(super) heard: Arc<Heard>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(|clock| MemoryStore::new(MemoryConfig { clock, ..MemoryConfig::default() }))
    }
}

impl Fixture<SqliteStore> {
    /// The same on a file, which is gone with its folder.
    pub(super) fn on_a_file() -> (tempfile::TempDir, Self) {
        zjobs_vfs::install();
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(folder.path().join(FILE), fastrand::Rng::with_seed(1));
        let on = Self::with(|clock| SqliteStore::open(SqliteConfig { clock, ..config }).unwrap());
        (folder, on)
    }
}

impl<S: Store + 'static> Fixture<S> {
    pub(super) fn with(open: impl FnOnce(Arc<Manual>) -> S) -> Self {
        Self::set(open, |_| ())
    }

    /// The same with other settings.
    pub(super) fn set(open: impl FnOnce(Arc<Manual>) -> S, set: impl FnOnce(&mut Config)) -> Self {
        let (clock, random) = (Arc::new(Manual::default()), fastrand::Rng::with_seed(1));
        let store = Arc::new(open(clock.clone()));
        let queue = QueueConfig { name: queue(), concurrency: 2, prefetch: None, stuck: StuckPolicy::Report };
        let mut config = Config { queues: vec![queue], ..Config::default() };
        set(&mut config);
        let heard = Arc::<Heard>::default();
        let engine = Engine::new(store.clone(), config, clock.clone(), heard.clone(), random).unwrap();
        let registration = Registration { lane: Lane::Thread, backoff: Backoff::default(), ack: AckMode::Batched };
        engine.register(worker(), registration);
        engine.pool().open();
        Self { clock, store, engine, heard }
    }

    pub(super) fn enqueue(&self, set: impl FnOnce(NewJob) -> NewJob) -> JobId {
        self.engine.enqueue(vec![set(new_job())]).unwrap()[0].job.id
    }

    /// How long from now until the role wants to run again, when it does so by itself.
    pub(super) fn tick(&self, role: &mut dyn Role) -> Option<Duration> {
        match role.tick(Now::read(&*self.clock), &*self.store).unwrap() {
            Wake::At(moment) => Some(moment.since(self.clock.moment())),
            Wake::OnAlarm => None,
        }
    }

    /// The node says that it lives.
    pub(super) fn beat(&self) {
        self.tick(&mut Heartbeat::new(self.engine.shared.clone()));
    }

    /// What listeners were told since the last look.
    pub(super) fn told(&self) -> Vec<Kind> {
        std::mem::take(&mut *self.heard.events.lock()).iter().map(Event::kind).collect()
    }

    /// The next job that a slot gets.
    pub(super) fn next(&self) -> Arc<Running> {
        match self.engine.next(QueueIndex(0), Lane::Thread) {
            Next::Job(running) => running,
            other => panic!("{other:?}"),
        }
    }
}

/// Keeps what it is told, but for one kind.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) unwanted: Option<Kind>,
}

impl Sink for Heard {
    fn wants(&self, kind: Kind) -> bool {
        self.unwanted != Some(kind)
    }

    fn emit(&self, event: Event) {
        self.events.lock().push(event);
    }
}

/// A host that is content with everything.
pub(super) struct Nobody;

impl Host for Nobody {
    fn ring(&self) -> bool {
        true
    }

    fn reinforce(&self, _: QueueIndex, _: u32) -> bool {
        true
    }

    fn give_up(&self, _: JobId) -> bool {
        true
    }
}

/// A job of the node's queue and worker.
pub(super) fn new_job() -> NewJob {
    NewJob::new(queue(), worker(), b"{}".as_slice().into())
}

fn queue() -> Name {
    Name::queue("default").unwrap()
}

fn worker() -> Name {
    Name::worker("w").unwrap()
}
