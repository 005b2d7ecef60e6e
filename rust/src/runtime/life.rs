//! The life of an engine: start order is a list, stop order its reverse.
//!
//! *run* → *drain* (no claims, handlers go on) → *cancel* (they are asked to stop, with a grace) → *release* → stopped. A
//! handler that does not end leaves the engine *lingering*: it goes on beating for it, so that nobody starts its job a
//! second time while it runs.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::job::JobId;
use crate::outcome::Outcome;
use crate::runtime::acker::{self, Acker};
use crate::runtime::claimer::Claimer;
use crate::runtime::engine::Engine;
use crate::runtime::heartbeat::{Heartbeat, beat};
use crate::runtime::pruner::Pruner;
use crate::runtime::rescuer::Rescuer;
use crate::runtime::role::{Seated, Service, Stopper, Surroundings};
use crate::runtime::stager::Stager;
use crate::runtime::usher::Host;
use crate::runtime::watchdog::Watchdog;
use crate::sigmask;
use crate::store::Pulse;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, Ordering};

/// How a stop ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Jobs whose handlers still run. The node goes on beating for them until they end or the process does.
    pub stuck: Vec<JobId>,
}

/// The roles that share one thread, each with its alarm.
pub type Group = Vec<Seated>;

#[derive(Debug, Default)]
pub(super) enum Phase {
    #[default]
    Stopped,
    /// On its way to running. Without the lock: the host is told of work meanwhile, and may be waiting for who waits for it.
    Starting,
    Running(Crew),
    /// Stopped but for handlers that have not ended; the crew beats for them.
    Lingering(Crew),
}

#[derive(Debug, Default)]
pub(super) struct Crew {
    stoppers: Vec<Stopper>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    fn dismiss(self) {
        for stopper in &self.stoppers {
            stopper.stop();
        }
        for thread in self.threads {
            // Where no thread can be had to tell, a listener may stop the engine from one of these very threads.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

/// The threads that take this engine out of its store. A stop is over when there is none.
#[derive(Debug, Default)]
pub(super) struct Parting {
    threads: Mutex<u32>,
    none: Condvar,
}

impl Parting {
    fn begin(&self) -> impl Drop + '_ {
        struct End<'a>(&'a Parting);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                *self.0.threads.lock() -= 1;
                self.0.none.notify_all();
            }
        }
        *self.threads.lock() += 1;
        End(self)
    }

    fn wait_none(&self) {
        let mut threads = self.threads.lock();
        while *threads > 0 {
            threads = self.none.wait(threads);
        }
    }
}

impl Engine {
    /// Registers the node, starts its services and opens its slots.
    pub fn start(&self, host: Arc<dyn Host>) -> Result<()> {
        self.begin(host, Self::spawn)
    }

    /// Starts without threads: the caller ticks the roles, each when its alarm rang or when it asked to be. Roles of
    /// one group never run at the same time.
    pub fn start_unattended(&self, host: Arc<dyn Host>) -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        self.begin(host, |engine| {
            groups = engine.roles();
            Crew::default()
        })?;
        Ok(groups)
    }

    fn begin(&self, host: Arc<dyn Host>, crew: impl FnOnce(&Self) -> Crew) -> Result<()> {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Stopped) {
            return Err(Error::AlreadyStarted(already(&phase).to_owned()));
        }
        *phase = Phase::Starting;
        drop(phase);
        let begun = self.open(host, crew);
        let failed = begun.as_ref().err().cloned();
        *self.phase.lock() = begun.map_or(Phase::Stopped, Phase::Running);
        if let Some(error) = failed {
            return Err(error);
        }
        for queue in self.shared.pool.indexes() {
            self.shared.follow(self.shared.pool.name(queue));
        }
        Ok(())
    }

    fn open(&self, host: Arc<dyn Host>, crew: impl FnOnce(&Self) -> Crew) -> Result<Crew> {
        let shared = &self.shared;
        self.hurry.store(false, Ordering::Release);
        shared.node.reincarnate();
        shared.node.set_departs(false);
        if let Pulse::Dead = beat(shared, &*shared.store, shared.clock.moment())? {
            return Err(Error::Internal("the store refused a new incarnation".into()));
        }
        shared.pool.set_host(Some(host));
        // Before the slots open and look for the jobs that are here.
        shared.attention.listen_for_ready(true);
        shared.pool.open();
        Ok(crew(self))
    }

    /// The roles of this node, each with its alarm, grouped by the thread that they share.
    fn roles(&self) -> Vec<Group> {
        let shared = &self.shared;
        let heartbeat: Seated = (Box::new(Heartbeat::new(shared.clone())), shared.heartbeat_alarm.clone());
        let claimer: Seated = (Box::new(Claimer::new(shared.clone())), shared.claim_alarm.clone());
        let acker: Seated = (Box::new(Acker::new(shared.clone())), shared.backlog.alarm.clone());
        let upkeep: Group = vec![
            (Box::new(Stager::new(shared.clone())), shared.agenda.alarm()),
            (Box::new(Watchdog::new(shared.clone())), shared.deadlines.alarm()),
            (Box::new(Rescuer::new(shared.clone())), shared.rescue_alarm.clone()),
            (Box::new(Pruner::new(shared.clone())), Arc::default()),
        ];
        if shared.blocks {
            vec![vec![heartbeat], vec![claimer], vec![acker], upkeep]
        } else {
            vec![[heartbeat, acker].into_iter().chain(upkeep).collect()]
        }
    }

    fn spawn(&self) -> Crew {
        let roles = self.roles();
        let alarms: Vec<_> = roles.iter().flatten().map(|(_, alarm)| alarm.clone()).collect();
        let services: Vec<Service> = roles.into_iter().map(Service::new).collect();
        let stoppers = services.iter().map(Service::stopper).collect();
        let shared = &self.shared;
        let threads = services
            .into_iter()
            .filter_map(|service| {
                let around = Surroundings {
                    store: shared.store.clone(),
                    clock: shared.clock.clone(),
                    sink: shared.sink.clone(),
                    outage: shared.outage.clone(),
                    beat: shared.config.heartbeat,
                    alarms: alarms.clone(),
                };
                sigmask::spawn("zjobs-service", move || service.run(&around)).ok()
            })
            .collect();
        Crew { stoppers, threads }
    }

    /// Stops: *drain* (no claims, handlers go on up to `timeout`), *cancel* (they are asked to stop, with a grace),
    /// *release*. Every ack is written before it returns, as far as the store answers.
    pub fn stop(&self, timeout: Option<Duration>) -> Result<Stopped> {
        self.stop_heeding(timeout, &|| ())
    }

    /// As [`Engine::stop`]; calls `heed` ten times a second while it waits, which may [`Engine::hurry`] it.
    pub fn stop_heeding(&self, timeout: Option<Duration>, heed: &dyn Fn()) -> Result<Stopped> {
        self.drain()?;
        self.wait_quiet(timeout, heed);
        if !self.shared.pool.is_quiet() {
            self.interrupt();
            self.hurry.store(false, Ordering::Release);
            self.wait_quiet(Some(self.shared.config.cancel_grace), heed);
        }
        Ok(self.part())
    }

    /// The first step of a stop: no job starts any more, and those that wait here go back.
    pub fn drain(&self) -> Result<()> {
        let mut phase = self.phase.lock();
        let crew = match std::mem::take(&mut *phase) {
            Phase::Running(crew) => crew,
            other @ (Phase::Stopped | Phase::Starting) => {
                *phase = other;
                return Err(Error::NotStarted("the supervisor is not started".into()));
            }
            lingering @ Phase::Lingering(_) => {
                *phase = lingering;
                return Err(Error::NotStarted(
                    "the supervisor is stopped already; some handlers have not ended".into(),
                ));
            }
        };
        *phase = Phase::Lingering(crew);
        drop(phase);
        let shared = &self.shared;
        let unrun = shared.pool.close();
        shared.attention.listen_for_ready(false);
        for unrun in unrun {
            shared.settle(unrun, Outcome::Released, shared.clock.moment());
        }
        failpoint::pass(Point::Drained);
        Ok(())
    }

    /// The second step of a stop: asks the handlers that still run to stop.
    pub fn interrupt(&self) {
        for running in self.shared.pool.running() {
            self.shared.pool.interrupt(&running);
        }
    }

    /// The last step of a stop: writes the acks and leaves, at once or when the handlers that still run have ended.
    pub fn part(&self) -> Stopped {
        let stopped = self.part_unattended();
        // A listener may stop the engine from one of its own threads, which would wait for itself.
        if !sigmask::is_ours() {
            // The last handler that ended may have been the first here, and be at it.
            self.parting.wait_none();
            // Where others still run the acker stays, and may be writing.
            self.shared.backlog.wait_landed();
        }
        stopped
    }

    /// As [`Engine::part`], and waits for no thread.
    pub fn part_unattended(&self) -> Stopped {
        let stuck = self.shared.pool.running().iter().map(|running| running.job.id).collect();
        self.flush();
        self.lingers.store(true, Ordering::Release);
        self.stop_lingering();
        Stopped { stuck }
    }

    /// The process ends, and handlers do not: their jobs go back, with their attempts refunded, when it has been silent
    /// for [`departure`](crate::Config::departure). Until then it says so again and again. Nothing for an engine that was
    /// not stopped, or whose handlers have ended.
    pub fn depart(&self) {
        let phase = self.phase.lock();
        if !matches!(*phase, Phase::Lingering(_)) {
            return;
        }
        let shared = &self.shared;
        let node = shared.node.id();
        shared.node.set_departs(true);
        drop(phase);
        // Here, too: the process may have ended before the service has had its turn.
        if let Err(error) = shared.store.depart(node, shared.config.departure) {
            shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
        }
        shared.heartbeat_alarm.ring();
    }

    /// Makes a stop that waits for handlers go on to its next step.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
        self.shared.pool.stir();
    }

    fn wait_quiet(&self, most: Option<Duration>, heed: &dyn Fn()) {
        const STEP: Duration = Duration::from_millis(100);
        let shared = &self.shared;
        let until = most.map_or(Moment::NEVER, |most| shared.clock.moment() + most);
        while !shared.pool.is_quiet() && !self.hurry.load(Ordering::Acquire) {
            let left = until.since(shared.clock.moment());
            if left.is_zero() {
                return;
            }
            shared.pool.wait_quiet(left.min(STEP));
            heed();
        }
    }

    /// Writes the acks that wait, waits for those on their way, and until listeners have heard of them; not for threads
    /// of the engine.
    pub fn flush_all(&self) {
        acker::flush_all(&self.shared);
        self.shared.sink.wait_told();
    }

    fn flush(&self) {
        acker::flush(&self.shared);
    }

    /// Whether it has stopped but for handlers, of which the last to end finishes the stop.
    pub fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Acquire)
    }

    /// Finishes a stop when the last handler has ended. Waits for the engine's threads.
    pub fn stop_lingering(&self) {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Lingering(_)) || !self.shared.pool.is_quiet() {
            return;
        }
        // From here on it may be started again, as another incarnation.
        let node = self.shared.node.id();
        let Phase::Lingering(crew) = std::mem::take(&mut *phase) else { return };
        let _parting = self.parting.begin();
        drop(phase);
        self.lingers.store(false, Ordering::Release);
        crew.dismiss();
        self.shared.backlog.take_up();
        self.flush();
        failpoint::pass(Point::Parted);
        let shared = &self.shared;
        if let Err(error) = shared.store.depart(node, Duration::ZERO) {
            shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
        }
        shared.sink.close(shared.config.cancel_grace, &*shared.clock);
        // Under the lock: a start sets its own host after it has taken the phase.
        let phase = self.phase.lock();
        if matches!(*phase, Phase::Stopped) {
            shared.pool.set_host(None);
        }
        drop(phase);
        shared.pool.usher().wait_gone(shared.config.cancel_grace, &*shared.clock);
    }

    /// Whether it is started and not stopped.
    pub fn is_running(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Running(_))
    }
}

fn already(phase: &Phase) -> &'static str {
    match phase {
        Phase::Lingering(_) => "the supervisor was stopped but some of its handlers have not ended yet",
        Phase::Starting => "the supervisor is being started by another thread",
        Phase::Running(_) | Phase::Stopped => "the supervisor is started already; call stop() first",
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let phase = std::mem::take(&mut *self.phase.lock());
        if let Phase::Running(crew) | Phase::Lingering(crew) = phase {
            drop(self.shared.pool.close());
            crew.dismiss();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::clock::Clock;
    use crate::job::NewJob;
    use crate::runtime::fixture::{Fixture, Nobody};
    use crate::runtime::pool::QueueIndex;
    use crate::runtime::running::Running;
    use crate::state::State;
    use crate::store::Store;

    const TIME: Duration = Duration::from_secs(10);

    /// A node that was started, with a job that runs.
    fn started() -> (Fixture, Arc<Running>) {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        on.enqueue(|job| NewJob { timeout: None, ..job });
        let running = on.next();
        (on, running)
    }

    fn state(on: &Fixture, id: JobId) -> State {
        on.store.get(&[id]).unwrap()[0].state
    }

    fn completed() -> Outcome {
        Outcome::Completed { result: None }
    }

    fn refusal<T>(refused: Result<T>) -> String {
        refused.err().unwrap().to_string()
    }

    #[test]
    fn a_stop_waits_for_handlers_then_asks_them_to_end_and_leaves_after_a_grace() {
        let (on, running) = started();
        let (began, grace) = (on.clock.moment(), on.engine.shared.config.cancel_grace);
        let heard = Mutex::new(Vec::new());
        let heed = || {
            heard.lock().push(running.stop_wanted());
            on.clock.advance(if running.stop_wanted() { grace / 2 } else { TIME / 2 });
        };
        let stopped = on.engine.stop_heeding(Some(TIME), &heed).unwrap();
        assert_eq!(heard.into_inner(), [false, false, true, true]);
        assert_eq!(on.clock.moment().since(began), TIME + grace);
        assert_eq!(stopped.stuck, [running.job.id]);
        assert!(!on.engine.is_running() && on.engine.lingers());
        assert_eq!(state(&on, running.job.id), State::Executing, "it still runs, and nobody else may have it");
        assert!(refusal(on.engine.start(Arc::new(Nobody))).contains("some of its handlers have not ended yet"));
        assert!(refusal(on.engine.stop(None)).contains("stopped already; some handlers have not ended"));
        on.engine.finish(&running, completed());
        assert_eq!((on.engine.lingers(), state(&on, running.job.id)), (false, State::Completed));
        assert!(refusal(on.engine.stop(None)).contains("is not started"));
    }

    #[test]
    fn a_stop_is_over_as_soon_as_no_handler_runs() {
        let (on, running) = started();
        let heed = || {
            on.engine.finish(&running, completed());
        };
        assert_eq!(on.engine.stop_heeding(None, &heed).unwrap(), Stopped::default());
        assert!(!on.engine.is_running() && !on.engine.lingers() && !running.stop_wanted());
        assert_eq!(state(&on, running.job.id), State::Completed);
    }

    #[test]
    fn who_is_in_a_hurry_goes_on_to_the_next_step_each_time() {
        let (on, running) = started();
        let heeds = Mutex::new(0);
        let heed = || {
            *heeds.lock() += 1;
            on.engine.hurry();
        };
        assert_eq!(on.engine.stop_heeding(None, &heed).unwrap().stuck, [running.job.id]);
        assert_eq!((heeds.into_inner(), running.stop_wanted()), (2, true));
    }

    #[test]
    fn jobs_that_wait_for_a_slot_go_back_unrun_and_no_others_come() {
        let (on, running) = started();
        let waits = on.enqueue(|job| job);
        on.engine.claim_here(QueueIndex(0)).unwrap();
        assert_eq!(state(&on, waits), State::Executing);
        on.engine.drain().unwrap();
        let job = on.store.get(&[waits]).unwrap().remove(0);
        assert_eq!((job.state, job.attempt), (State::Available, 0));
        on.engine.claim_here(QueueIndex(0)).unwrap();
        assert_eq!(state(&on, waits), State::Available);
        assert!(!running.stop_wanted());
        on.engine.interrupt();
        assert!(running.stop_wanted());
    }

    fn groups<S: Store + 'static>(on: &Fixture<S>) -> Vec<Vec<&'static str>> {
        let groups = on.engine.roles();
        groups.iter().map(|group| group.iter().map(|(role, _)| role.name()).collect()).collect()
    }

    #[test]
    fn one_thread_does_all_where_the_store_never_waits_and_else_nobody_waits_for_the_upkeep() {
        assert_eq!(groups(&Fixture::new()), [["heartbeat", "acker", "stager", "watchdog", "rescuer", "pruner"]]);
        let (_folder, on) = Fixture::on_a_file();
        let upkeep = ["stager", "watchdog", "rescuer", "pruner"];
        assert_eq!(groups(&on), [&["heartbeat"][..], &["claimer"], &["acker"], &upkeep]);
    }

    #[test]
    fn it_starts_once_and_again_when_it_has_stopped_as_another_incarnation() {
        let on = Fixture::new();
        assert!(refusal(on.engine.stop(None)).contains("is not started"));
        on.engine.start(Arc::new(Nobody)).unwrap();
        let first = on.engine.node();
        assert!(on.engine.is_running());
        assert!(refusal(on.engine.start(Arc::new(Nobody))).contains("started already; call stop() first"));
        on.engine.stop(None).unwrap();
        on.engine.start(Arc::new(Nobody)).unwrap();
        assert_ne!(on.engine.node(), first);
        on.engine.stop(None).unwrap();
    }

    #[test]
    fn the_jobs_of_a_process_that_ends_before_its_handlers_go_back_soon_with_their_attempts() {
        let (on, running) = started();
        on.engine.depart();
        assert!(on.store.rescue(9).unwrap().is_empty(), "it was not stopped");
        on.engine.drain().unwrap();
        on.engine.part();
        on.engine.shared.heartbeat_alarm.take();
        on.engine.depart();
        assert!(on.engine.shared.heartbeat_alarm.take(), "it has to say so again and again");
        assert!(on.store.rescue(9).unwrap().is_empty(), "its last word is too young");
        on.clock.advance(on.engine.shared.config.departure * 2);
        assert_eq!(on.store.rescue(9).unwrap().len(), 1);
        let job = on.store.get(&[running.job.id]).unwrap().remove(0);
        assert_eq!((job.state, job.attempt), (State::Available, 0));
    }

    #[test]
    fn its_threads_end_with_a_stop_and_with_the_engine() {
        let on = Fixture::new();
        // Each thread holds the store.
        let holders = || Arc::strong_count(&on.store);
        let before = holders();
        on.engine.start(Arc::new(Nobody)).unwrap();
        assert!(holders() > before);
        on.engine.stop(None).unwrap();
        assert_eq!(holders(), before);
        on.engine.start(Arc::new(Nobody)).unwrap();
        let Fixture { engine, store, .. } = on;
        drop(engine);
        assert_eq!(Arc::strong_count(&store), 1);
    }

    #[test]
    fn what_handlers_left_is_written_when_it_stops_though_others_do_not_end() {
        let (_folder, on) = Fixture::on_a_file();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        for _ in 0..2 {
            on.enqueue(|job| job);
        }
        on.engine.claim_here(QueueIndex(0)).unwrap();
        let (ends, stays) = (on.next(), on.next());
        on.engine.finish(&ends, completed());
        let state = |running: &Running| on.store.get(&[running.job.id]).unwrap()[0].state;
        assert_eq!(state(&ends), State::Executing, "it waits for company");
        on.engine.drain().unwrap();
        assert_eq!(on.engine.part_unattended().stuck, [stays.job.id]);
        assert_eq!((state(&ends), state(&stays)), (State::Completed, State::Executing));
        on.engine.finish(&stays, completed());
        assert_eq!(state(&stays), State::Completed);
    }

    #[test]
    fn a_stop_is_over_when_whoever_takes_the_engine_out_of_its_store_is_done() {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        on.engine.drain().unwrap();
        let (ends, ended) = channel();
        std::thread::scope(|scope| {
            let takes_out = on.engine.parting.begin();
            scope.spawn(|| {
                on.engine.part();
                ends.send(()).unwrap();
            });
            assert!(ended.recv_timeout(Duration::from_millis(50)).is_err());
            drop(takes_out);
            ended.recv().unwrap();
        });
    }

    #[test]
    fn a_node_that_has_left_is_not_waited_for() {
        let on = Fixture::new();
        on.engine.start_unattended(Arc::new(Nobody)).unwrap();
        assert_eq!(on.store.nodes().unwrap().len(), 1);
        on.engine.stop(None).unwrap();
        assert_eq!(on.store.nodes().unwrap(), []);
    }
}
