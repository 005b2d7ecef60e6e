//! `Engine`: what callers and slots do with a node. Enqueue is validate, store, wake. Its starts and stops are in `life`.

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::error::Result;
use crate::failpoint::{self, Point};
use crate::job::{Job, JobId, Name, NewJob, NodeId};
use crate::outcome::Outcome;
use crate::runtime::backlog::Backlog;
use crate::runtime::claimer::{self, OpenClaims};
use crate::runtime::config::{Config, Registration};
use crate::runtime::heartbeat::tell_lost;
use crate::runtime::life::{Parting, Phase};
use crate::runtime::node::Node;
use crate::runtime::notifier::Notifier;
use crate::runtime::pool::{Next, Pool, QueueIndex};
use crate::runtime::pruner::{self};
use crate::runtime::rescuer::{self};
use crate::runtime::running::{Lane, Running};
use crate::runtime::shared::Shared;
use crate::runtime::stager::Agenda;
use crate::runtime::teller::Teller;
use crate::runtime::waiters::{SettledCall, Waiters};
use crate::runtime::watchdog::{Deadlines, timed_out};
use crate::store::{Attention, CronTick, Enqueued, Store, Subscriber, Ticked};
use crate::sync::{Arc, AtomicBool, AtomicU32, Mutex, RwLock};
use crate::telemetry::{Event, Kind, Sink};

/// One node: a store, its slots and the roles between them. Not started it is a plain client and costs no thread.
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) phase: Mutex<Phase>,
    pub(super) hurry: AtomicBool,
    pub(super) lingers: AtomicBool,
    pub(super) parting: Parting,
    /// The store forgets subscribers that are gone.
    _ear: Arc<Notifier>,
}

impl Engine {
    /// An engine that is not started. `random` is the source of its incarnations.
    pub fn new(
        store: Arc<dyn Store>,
        config: Config,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
        random: fastrand::Rng,
    ) -> Result<Self> {
        config.validate()?;
        let attention = Arc::new(Attention::default());
        let shared = Arc::new(Shared {
            blocks: store.blocks(),
            store,
            clock,
            sink: Arc::new(Teller::new(sink)),
            node: Node::new(random),
            pool: Pool::new(&config.queues),
            backlog: Backlog::default(),
            registry: RwLock::default(),
            agenda: Agenda::default(),
            deadlines: Deadlines::default(),
            claim_alarm: Arc::default(),
            heartbeat_alarm: Arc::default(),
            rescue_alarm: Arc::default(),
            orphaned: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            claiming: config.queues.iter().map(|_| AtomicU32::new(0)).collect(),
            claims: OpenClaims::new(config.queues.len()),
            outage: Arc::default(),
            waiters: Waiters::new(attention.clone()),
            attention,
            config,
        });
        let ear = Arc::new(Notifier::new(&shared));
        let hears: Arc<dyn Subscriber> = ear.clone();
        shared.store.subscribe(Arc::downgrade(&hears));
        Ok(Self {
            shared,
            _ear: ear,
            phase: Mutex::default(),
            hurry: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            parting: Parting::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The slots.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// The incarnation now.
    pub fn node(&self) -> NodeId {
        self.shared.node.id()
    }

    /// Makes a worker known, or changes it.
    pub fn register(&self, worker: Name, registration: Registration) {
        self.shared.registry.write().insert(worker, registration);
    }

    // --- the walk of a job ---

    /// Validates, stores and tells.
    pub fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        for job in &jobs {
            job.validate()?;
        }
        let enqueued = self.shared.store.enqueue(jobs)?;
        let sink = &self.shared.sink;
        if sink.wants(Kind::JobEnqueued) {
            for one in enqueued.iter().filter(|one| !one.conflict) {
                sink.emit(Event::JobEnqueued(one.job.clone()));
            }
        }
        Ok(enqueued)
    }

    /// As [`Engine::enqueue`], for one job.
    pub fn enqueue_one(&self, job: NewJob) -> Result<Enqueued> {
        job.validate()?;
        let enqueued = self.shared.store.enqueue_one(job)?;
        let sink = &self.shared.sink;
        if !enqueued.conflict && sink.wants(Kind::JobEnqueued) {
            sink.emit(Event::JobEnqueued(enqueued.job.clone()));
        }
        Ok(enqueued)
    }

    /// Records the tick of a schedule together with its job, and tells of the job.
    pub fn tick(&self, tick: CronTick) -> Result<Ticked> {
        if let Some(job) = &tick.job {
            job.validate()?;
        }
        let ticked = self.shared.store.tick(tick)?;
        if let Ticked::Inserted(Some(enqueued)) = &ticked
            && !enqueued.conflict
            && self.shared.sink.wants(Kind::JobEnqueued)
        {
            self.shared.sink.emit(Event::JobEnqueued(enqueued.job.clone()));
        }
        Ok(ticked)
    }

    /// Deletes everything that the retention no longer keeps; says how many jobs.
    pub fn prune(&self) -> Result<usize> {
        pruner::prune(&self.shared, &*self.shared.store)
    }

    /// Takes back all jobs of dead nodes; says how many.
    pub fn rescue(&self) -> Result<usize> {
        rescuer::rescue_all(&self.shared, &*self.shared.store)
    }

    /// Claims for the queue on this thread: what was due before can be taken by [`Engine::next`] afterwards.
    pub fn claim_here(&self, queue: QueueIndex) -> Result<()> {
        claimer::claim_here(&self.shared, queue)
    }

    /// Takes a job for a free slot. The slot must call [`Engine::finish`] with the same job afterwards.
    pub fn next(&self, queue: QueueIndex, lane: Lane) -> Next {
        self.next_at(queue, lane, self.shared.clock.moment())
    }

    /// As [`Engine::next`], at a moment that the caller has just read.
    pub fn next_at(&self, queue: QueueIndex, lane: Lane, now: Moment) -> Next {
        let shared = &self.shared;
        let mut filled = false;
        loop {
            if !shared.node.is_trusted(now) && matches!(*self.phase.lock(), Phase::Running(_)) {
                return Next::Empty;
            }
            match shared.pool.next(queue, lane, now) {
                Next::Job(stale) if shared.is_stale(&stale) => {
                    stale.close();
                    shared.pool.finish(&stale, now);
                    tell_lost(shared, &stale);
                }
                Next::Job(running) => {
                    shared.deadlines.watch(running.deadline());
                    shared.watch_lead(now);
                    if shared.sink.wants(Kind::JobStarted) {
                        shared.sink.emit(Event::JobStarted(running.job.clone()));
                    }
                    if shared.blocks && shared.pool.is_hungry(queue) {
                        shared.claim_alarm.ring();
                    }
                    failpoint::pass(Point::Taken);
                    return Next::Job(running);
                }
                Next::Empty if !filled && shared.pool.is_hungry(queue) => {
                    if shared.blocks {
                        shared.claim_alarm.ring();
                        return Next::Empty;
                    }
                    filled = true;
                    claimer::fill(shared, queue);
                }
                Next::Empty => {
                    shared.watch_lead(now);
                    return Next::Empty;
                }
                Next::Retire => return Next::Retire,
            }
        }
    }

    /// A handler ended. False when its slot was replaced meanwhile and must retire.
    pub fn finish(&self, running: &Arc<Running>, outcome: Outcome) -> bool {
        self.finish_at(running, outcome, self.shared.clock.moment())
    }

    /// As [`Engine::finish`], at a moment that the caller has just read.
    pub fn finish_at(&self, running: &Arc<Running>, outcome: Outcome, now: Moment) -> bool {
        let stays = self.hand_back(running, outcome, now);
        if self.lingers() {
            self.stop_lingering();
        }
        stays
    }

    /// As [`Engine::finish_at`], for who may not wait here: when the engine [lingers](Engine::lingers) afterwards,
    /// [`Engine::stop_lingering`] has to follow.
    pub fn hand_back(&self, running: &Arc<Running>, outcome: Outcome, now: Moment) -> bool {
        let shared = &self.shared;
        failpoint::pass(Point::Ended);
        if running.close() {
            let outcome = if running.timed_out() { timed_out(shared, running) } else { outcome };
            shared.settle_closed(running.clone(), outcome, now);
        }
        shared.pool.finish(running, now)
    }

    /// Waits until [`Engine::next`] may have something for a thread slot.
    pub fn wait(&self, queue: QueueIndex) {
        let shared = &self.shared;
        if shared.node.is_trusted(shared.clock.moment()) {
            shared.pool.wait(queue);
        } else {
            // Jobs that wait here may not start; a beat will tell.
            shared.pool.wait_idle(queue, shared.config.heartbeat);
        }
    }

    // --- waiting for jobs ---

    /// The job, once it is final or `most` has passed; `None` when there is no such job.
    pub fn wait_final(&self, id: JobId, most: Duration) -> Result<Option<Job>> {
        let shared = &self.shared;
        let poll = if shared.blocks { shared.config.poll.min(most) } else { most };
        let look = || shared.store.get(&[id]).map(|mut jobs| jobs.pop());
        shared.waiters.wait(poll, look, |job| job.as_ref().is_none_or(|job| job.state.is_final()))
    }

    /// Calls `call` once, when the next jobs have settled; for those who cannot block in [`Engine::wait_final`].
    pub fn on_settled(&self, call: SettledCall) {
        self.shared.waiters.call_once(call);
    }
}
