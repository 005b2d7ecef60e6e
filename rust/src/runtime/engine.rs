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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::clock::Timestamp;
    use crate::job::Payload;
    use crate::outcome::Outcome;
    use crate::runtime::fixture::{Fixture, Nobody, new_job};
    use crate::runtime::running::Lane;
    use crate::state::State;
    use crate::store::{CronEntry, Filter};
    use crate::telemetry::Kind;
    use crate::unique::{Unique, UniqueStrategy};

    const QUEUE: QueueIndex = QueueIndex(0);

    fn completed() -> Outcome {
        Outcome::Completed { result: None }
    }

    /// A job whose arguments are too long.
    fn too_long() -> NewJob {
        NewJob { args: Payload::from(vec![b' '; 1 << 24].as_slice()), ..new_job() }
    }

    #[test]
    fn a_job_is_told_of_when_it_was_enqueued_and_not_when_it_was_there() {
        let on = Fixture::new();
        let unique = Some(Unique::by_key("one", UniqueStrategy::IgnoreNew).unwrap());
        let (job, one) = (new_job(), NewJob { unique, ..new_job() });
        on.engine.enqueue(vec![job.clone(), one.clone()]).unwrap();
        assert_eq!(on.told(), [Kind::JobEnqueued; 2]);
        assert!(on.engine.enqueue(vec![one.clone()]).unwrap()[0].conflict);
        assert!(on.engine.enqueue_one(one).unwrap().conflict);
        assert_eq!(on.told(), []);
        on.engine.enqueue_one(job.clone()).unwrap();
        assert_eq!(on.told(), [Kind::JobEnqueued]);
        assert!(on.engine.enqueue(vec![job, too_long()]).is_err() && on.engine.enqueue_one(too_long()).is_err());
        assert_eq!((on.told(), on.store.count(&Filter::default()).unwrap()), (vec![], 3), "all or none");
    }

    #[test]
    fn who_looks_at_an_engine_sees_its_node_and_its_queues_and_nothing_endless() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let shows = format!("{:?}", on.engine);
        assert!(shows.contains(&format!("{:?}", on.engine.node())) && shows.contains("pool: [\"default\"]"), "{shows}");
        let parts: [&dyn std::fmt::Debug; 3] = [&shared.waiters, shared.pool.usher(), &shared.sink];
        let starts = ["Waiters { attention: Attention {", "Usher { .. }", "Teller { .. }"];
        for (part, start) in parts.into_iter().zip(starts) {
            assert!(format!("{part:?}").starts_with(start), "{part:?}");
        }
    }

    #[test]
    fn the_tick_of_a_schedule_is_told_of_with_its_job() {
        let on = Fixture::new();
        let (name, worker) = (Name::cron("nightly").unwrap(), new_job().worker);
        let entry = CronEntry { name: name.clone(), expression: "* * * * *".into(), timezone: "UTC".into(), worker };
        on.store.save_cron(&entry).unwrap();
        let tick = |at, job| on.engine.tick(CronTick { name: name.clone(), at: Timestamp(at), job });
        assert!(matches!(tick(60, Some(new_job())).unwrap(), Ticked::Inserted(Some(_))));
        assert_eq!(on.told(), [Kind::JobEnqueued]);
        assert_eq!(tick(60, Some(new_job())).unwrap(), Ticked::Already);
        assert_eq!(tick(120, None).unwrap(), Ticked::Inserted(None));
        assert!(tick(180, Some(too_long())).is_err());
        assert_eq!(on.told(), []);
        assert!(matches!(tick(180, Some(new_job())).unwrap(), Ticked::Inserted(Some(_))), "it was not recorded");
    }

    #[test]
    fn a_slot_gets_what_waits_or_what_it_claims_and_nothing_without_a_lease() {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        let id = on.enqueue(|job| job);
        let next = || on.engine.next(QUEUE, Lane::Thread);
        on.clock.advance(on.engine.shared.config.trust());
        assert!(matches!(next(), Next::Empty), "others may have it soon");
        on.beat();
        on.told();
        assert!(matches!(next(), Next::Job(running) if running.job.id == id));
        assert_eq!(on.told(), [Kind::JobStarted]);
        assert!(matches!(next(), Next::Empty));
        on.engine.drain().unwrap();
        assert!(matches!(next(), Next::Retire));
    }

    #[test]
    fn what_was_claimed_by_an_incarnation_that_is_over_is_never_run() {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        on.enqueue(|job| job);
        let waits = on.engine.pool().held();
        assert_eq!(waits.len(), 1);
        on.engine.shared.node.reincarnate();
        on.told();
        // As if a beat of the new one had been answered, and the claim of the old one after that.
        on.engine.shared.node.trust_until(Moment::NEVER);
        assert!(matches!(on.engine.next(QUEUE, Lane::Thread), Next::Empty));
        assert_eq!(on.told()[0], Kind::LeaseLost);
        assert!(waits[0].is_closed() && on.engine.pool().held().is_empty());
        on.beat();
        on.enqueue(|job| job);
        assert_eq!(on.next().node, on.engine.node());
    }

    #[test]
    fn a_slot_of_a_store_that_may_wait_rings_for_more_while_others_are_free() {
        let (_folder, on) = Fixture::on_a_file();
        on.beat();
        let rung = || on.engine.shared.claim_alarm.take();
        rung();
        assert!(matches!(on.engine.next(QUEUE, Lane::Thread), Next::Empty));
        assert!(rung(), "nothing waits here");
        for _ in 0..2 {
            on.enqueue(|job| job);
        }
        on.engine.claim_here(QUEUE).unwrap();
        rung();
        on.next();
        assert!(!rung(), "another one waits");
        on.next();
        assert!(!rung(), "no slot is free");
    }

    #[test]
    fn a_handler_that_returns_after_its_deadline_has_failed() {
        let on = Fixture::new();
        on.beat();
        let id = on.enqueue(|job| job);
        let running = on.next();
        running.time_out();
        assert!(on.engine.finish(&running, completed()));
        let job = on.store.get(&[id]).unwrap().remove(0);
        assert_eq!((job.state, &*job.details().errors[0].kind), (State::Retryable, "TimeoutError"));
        assert!(!on.engine.finish(&running, completed()), "its slot has been given up");
    }

    #[test]
    fn a_job_is_waited_for_until_it_is_final_or_it_takes_too_long() {
        let on = Fixture::new();
        on.beat();
        let id = on.enqueue(|job| job);
        let waits = |most| on.engine.wait_final(id, most).unwrap().unwrap().state;
        let running = on.next();
        assert_eq!(waits(Duration::from_millis(1)), State::Executing);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| waits(Duration::from_secs(60)));
            while !on.engine.shared.attention.hears_settled() {
                std::thread::yield_now();
            }
            on.engine.finish(&running, completed());
            assert_eq!(waits.join().unwrap(), State::Completed);
        });
        assert_eq!(waits(Duration::from_secs(60)), State::Completed);
        assert!(on.engine.wait_final(JobId(99), Duration::from_secs(60)).unwrap().is_none());
    }

    #[test]
    fn by_hand_what_is_too_old_is_deleted_and_what_the_dead_held_is_taken_back() {
        let on = Fixture::new();
        on.beat();
        let ids = [(); 2].map(|()| on.enqueue(|job| job));
        on.engine.finish(&on.next(), completed());
        on.clock.advance(Duration::from_secs(3_600) * 24 * 400);
        assert_eq!((on.engine.prune().unwrap(), on.engine.prune().unwrap()), (1, 0));
        assert_eq!(on.store.get(&ids).unwrap().len(), 1, "the other one was claimed and never ended");
        assert_eq!((on.engine.rescue().unwrap(), on.engine.rescue().unwrap()), (1, 0));
    }

    #[test]
    fn a_slot_waits_for_work_and_without_a_lease_for_a_beat() {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        let waits = |ends: &dyn Fn()| {
            std::thread::scope(|scope| {
                let slot = scope.spawn(|| on.engine.wait(QUEUE));
                while on.engine.pool().idle(QUEUE) == 0 {
                    std::thread::yield_now();
                }
                ends();
                slot.join().unwrap();
            });
        };
        waits(&|| {
            on.enqueue(|job| job);
        });
        on.clock.advance(on.engine.shared.config.trust());
        // A job waits here; it may not start.
        waits(&|| on.beat());
    }

    #[test]
    fn a_call_is_made_when_the_next_job_has_settled() {
        let on = Fixture::new();
        on.beat();
        on.enqueue(|job| job);
        let running = on.next();
        let (call, called) = channel();
        on.engine.on_settled(Box::new(move || call.send(()).is_ok()));
        assert!(called.try_recv().is_err());
        on.engine.finish(&running, completed());
        called.recv().unwrap();
    }
}
