//! The one loop that every periodic role uses.
//!
//! A role is a function of `(now, store)` that returns when it wants to run next. It never sleeps and never reads a
//! clock; threads drive it here, the simulator drives it elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::{Clock, Moment, Timestamp};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::runtime::sabotage::{self, Sabotage};
use crate::store::Store;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::telemetry::{Event, Kind, Sink};

/// The node's clocks at one tick.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Boot-time, for intervals.
    pub moment: Moment,
    /// Wall-clock time.
    pub wall: Timestamp,
}

impl Now {
    /// Reads both clocks.
    pub fn read(clock: &dyn Clock) -> Self {
        Self { moment: clock.moment(), wall: clock.now() }
    }
}

/// When a role wants to run next. Its alarm may wake it earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Then.
    At(Moment),
    /// When its alarm rings.
    OnAlarm,
}

/// A periodic duty of a node.
pub trait Role: Send {
    /// The verb's agent noun.
    fn name(&self) -> &'static str;
    /// Does what is due now; must not wait for time to pass.
    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake>;
    /// How much earlier than asked it may run when its thread is awake anyway; saves wake-ups at idle.
    fn slack(&self) -> Duration {
        Duration::ZERO
    }
}

/// Wakes one role.
#[derive(Debug, Default)]
pub struct Alarm {
    rung: AtomicBool,
    bell: Mutex<Option<Arc<Bell>>>,
}

impl Alarm {
    /// Makes the role tick soon. Cheap when it is about to already.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let bell = self.bell.lock().clone();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
    }

    /// Whether it rang since the last look; resets it.
    pub fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

/// A role and what wakes it.
pub type Seated = (Box<dyn Role>, Arc<Alarm>);

/// Wakes one service thread.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.heard.notify_one();
    }

    fn wait(&self, most: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            match most {
                Some(most) => rung = self.heard.wait_for(rung, most),
                None => rung = self.heard.wait(rung),
            }
        }
        *rung = false;
    }
}

struct Seat {
    role: Box<dyn Role>,
    alarm: Arc<Alarm>,
    due: Moment,
    retries: u32,
}

/// Some roles and the thread they share.
pub struct Service {
    seats: Vec<Seat>,
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.seats.iter().map(|seat| seat.role.name())).finish()
    }
}

/// What a service needs besides its roles.
pub struct Surroundings {
    /// The store that the roles work on.
    pub store: Arc<dyn Store>,
    /// Where time is read.
    pub clock: Arc<dyn Clock>,
    /// Who hears of outages.
    pub sink: Arc<dyn Sink>,
    /// The outage that all services of the node share.
    pub outage: Arc<Outage>,
    /// No role waits longer than this before it is tried again: a beat must not come too late for that.
    pub beat: Duration,
    /// Those of all roles of the node: when one has found the store again, none waits any more.
    pub alarms: Vec<Arc<Alarm>>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// Since when the store does not answer.
#[derive(Debug, Default)]
pub struct Outage {
    since: AtomicU64,
}

impl Outage {
    /// Notes a failed call; the first one of an outage is told.
    pub fn failed(&self, now: Moment, sink: &dyn Sink, error: &Error) {
        let began = self.since.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Acquire).is_ok();
        if began && sink.wants(Kind::StoreUnavailable) {
            sink.emit(Event::StoreUnavailable(error.clone()));
        }
    }

    /// Notes an answer; the first one after an outage is told. Says how long that was, to the one who ended it.
    pub fn answered(&self, now: Moment, sink: &dyn Sink) -> Option<Duration> {
        if self.since.load(Ordering::Acquire) == 0 {
            return None;
        }
        let since = self.since.swap(0, Ordering::AcqRel);
        if since == 0 {
            return None;
        }
        let lasted = now.since(Moment(since));
        if sink.wants(Kind::StoreRecovered) {
            sink.emit(Event::StoreRecovered(lasted));
        }
        Some(lasted)
    }
}

/// Ends a service's thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
}

impl Stopper {
    /// Makes the loop return after the tick it is in.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl Service {
    /// A service of these roles, each with its alarm.
    pub fn new(roles: Vec<Seated>) -> Self {
        let bell = Arc::new(Bell::default());
        let seats = roles
            .into_iter()
            .map(|(role, alarm)| {
                *alarm.bell.lock() = Some(bell.clone());
                Seat { role, alarm, due: Moment(0), retries: 0 }
            })
            .collect();
        Self { seats, bell, stop: Arc::default() }
    }

    /// The handle that ends the loop.
    pub fn stopper(&self) -> Stopper {
        Stopper { bell: self.bell.clone(), stop: self.stop.clone() }
    }

    /// Runs until stopped. A role that fails or panics is tried again with growing pauses; the others go on.
    pub fn run(mut self, around: &Surroundings) {
        while !self.stop.load(Ordering::Acquire) {
            let now = Now::read(&*around.clock);
            for seat in &mut self.seats {
                if seat.alarm.take() || seat.due <= now.moment + seat.role.slack() {
                    seat.tick(now, around);
                }
            }
            let due = self.seats.iter().map(|seat| seat.due).min().unwrap_or(Moment::NEVER);
            let wait = (due != Moment::NEVER).then(|| due.since(around.clock.moment()));
            if wait != Some(Duration::ZERO) {
                self.bell.wait(wait);
            }
        }
    }
}

impl Seat {
    fn tick(&mut self, now: Now, around: &Surroundings) {
        match attempt(&mut *self.role, now, &*around.store) {
            Ok(wake) => {
                self.retries = 0;
                let lasted = around.outage.answered(now.moment, &*around.sink);
                if lasted.is_some_and(|lasted| lasted > LONG) {
                    for alarm in &around.alarms {
                        alarm.ring();
                    }
                }
                self.due = match wake {
                    Wake::At(moment) => moment,
                    Wake::OnAlarm => Moment::NEVER,
                };
            }
            Err(error) => {
                around.outage.failed(now.moment, &*around.sink, &error);
                self.due = now.moment + pause(self.retries, around);
                self.retries = self.retries.saturating_add(1);
            }
        }
    }
}

/// One tick. A panic in it is an error like others, after which the role is tried again.
pub fn attempt(role: &mut dyn Role, now: Now, store: &dyn Store) -> Result<Wake> {
    let ticked = catch_unwind(AssertUnwindSafe(|| {
        failpoint::tick(role.name());
        role.tick(now, store)
    }));
    ticked.unwrap_or_else(|_| {
        if sabotage::is_on(Sabotage::EndAtPanics) {
            return Ok(Wake::OnAlarm);
        }
        Err(Error::Internal(format!("the {} panicked", role.name())))
    })
}

/// An outage after which all roles look at once. One role that fails while the others work makes none so long.
const LONG: Duration = Duration::from_millis(200);

/// The longest pause of a role that fails: a server that is back waits for nobody much longer.
const LONGEST: Duration = Duration::from_secs(2);

/// Full jitter over an exponential from 50 ms to 2 s, or to a beat (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
fn pause(retries: u32, around: &Surroundings) -> Duration {
    let most = Duration::from_millis(50) * 2u32.saturating_pow(retries.min(7));
    let seed = fastrand::Rng::with_seed(around.clock.moment().0).f64();
    most.min(LONGEST).min(around.beat).mul_f64(0.2 + 0.8 * seed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::{Manual, System};
    use crate::runtime::fixture::Heard;
    use crate::store::memory::MemoryStore;
    use crate::sync::AtomicUsize;
    use crate::telemetry::Silent;

    fn around(clock: Arc<dyn Clock>, beat: Duration, alarms: Vec<Arc<Alarm>>) -> Surroundings {
        let store = Arc::new(MemoryStore::default());
        Surroundings { store, clock, sink: Arc::new(Silent), outage: Arc::default(), beat, alarms }
    }

    struct Works(Arc<AtomicBool>);

    impl Role for Works {
        fn name(&self) -> &'static str {
            "worker"
        }

        fn tick(&mut self, now: Now, _: &dyn Store) -> Result<Wake> {
            if self.0.load(Ordering::Relaxed) {
                Ok(Wake::At(now.moment + Duration::from_secs(60)))
            } else {
                Err(Error::Internal("the server is down".into()))
            }
        }
    }

    /// Whether the roles of a node are woken by the end of an outage that lasted so long.
    fn wakes_all_after(outage: Duration) -> bool {
        let (clock, alarm) = (Arc::new(Manual::default()), Arc::<Alarm>::default());
        let around = around(clock.clone(), Duration::from_secs(5), vec![alarm.clone()]);
        let works = Arc::new(AtomicBool::new(true));
        let role = Box::new(Works(works.clone()));
        let mut seat = Seat { role, alarm: Arc::default(), due: Moment(0), retries: 0 };
        seat.tick(Now::read(&*clock), &around);
        assert!(!alarm.take(), "nothing was out");
        works.store(false, Ordering::Relaxed);
        seat.tick(Now::read(&*clock), &around);
        assert!(seat.due <= clock.moment() + LONGEST && !alarm.take());
        clock.advance(outage);
        works.store(true, Ordering::Relaxed);
        seat.tick(Now::read(&*clock), &around);
        let rang = alarm.take();
        seat.tick(Now::read(&*clock), &around);
        assert!(!alarm.take(), "it is over");
        rang
    }

    #[test]
    fn the_first_answer_after_an_outage_wakes_all_roles_and_one_after_a_single_failure_does_not() {
        assert!(wakes_all_after(LONG * 2));
        assert!(!wakes_all_after(LONG / 2));
    }

    #[test]
    fn pauses_grow_and_stay_below_their_longest_and_below_a_beat() {
        let around = |beat| around(Arc::new(Manual::default()), beat, Vec::new());
        let (slow, fast) = (around(Duration::from_secs(5)), around(Duration::from_millis(250)));
        assert!(pause(0, &slow) <= Duration::from_millis(50));
        assert!((7..99).all(|retries| pause(retries, &slow) <= LONGEST && pause(retries, &slow) >= LONGEST / 5));
        assert!((7..99).all(|retries| pause(retries, &fast) <= fast.beat));
    }

    /// Tells of each tick, and wants the next one after so long, or when its alarm rings.
    struct Tells(&'static str, Option<Duration>, Sender<&'static str>);

    impl Role for Tells {
        fn name(&self) -> &'static str {
            self.0
        }

        fn tick(&mut self, now: Now, _: &dyn Store) -> Result<Wake> {
            self.2.send(self.0).unwrap();
            Ok(self.1.map_or(Wake::OnAlarm, |after| Wake::At(now.moment + after)))
        }
    }

    fn next(ticks: &Receiver<&'static str>) -> &'static str {
        ticks.recv_timeout(Duration::from_secs(20)).expect("a role has not been run")
    }

    /// Ends a service when a test is over, also one that fails: it would be waited for without end.
    struct Ends(Stopper);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.stop();
        }
    }

    /// The machine's clocks, and how often they were read.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Clock for Counting {
        fn now(&self) -> Timestamp {
            System.now()
        }

        fn moment(&self) -> Moment {
            self.0.fetch_add(1, Ordering::Relaxed);
            System.moment()
        }
    }

    #[test]
    fn a_service_runs_its_roles_at_first_and_when_their_alarms_ring_and_sleeps_in_between_until_it_is_stopped() {
        let (clock, alarms) = (Arc::new(Counting::default()), [Arc::<Alarm>::default(), Arc::default()]);
        let (tells, ticks) = channel();
        let role = |name, alarm: &Arc<Alarm>| -> Seated { (Box::new(Tells(name, None, tells.clone())), alarm.clone()) };
        let service = Service::new(vec![role("first", &alarms[0]), role("second", &alarms[1])]);
        assert_eq!(format!("{service:?}"), r#"["first", "second"]"#);
        let (ends, around) = (Ends(service.stopper()), around(clock.clone(), Duration::from_secs(5), Vec::new()));
        std::thread::scope(|scope| {
            let around = &around;
            let runs = scope.spawn(move || service.run(around));
            let ends = ends;
            assert_eq!([next(&ticks), next(&ticks)], ["first", "second"]);
            alarms[1].ring();
            assert_eq!(next(&ticks), "second");
            alarms[0].ring();
            assert_eq!(next(&ticks), "first");
            assert!(!runs.is_finished());
            assert!(ticks.recv_timeout(Duration::from_millis(50)).is_err(), "nothing is due");
            drop(ends);
            runs.join().unwrap();
        });
        assert!(clock.0.load(Ordering::Relaxed) <= 12, "it woke at every bell and at nothing else");
    }

    #[test]
    fn a_service_runs_a_role_again_when_it_has_asked_for_it() {
        let (tells, ticks) = channel();
        let often = Tells("often", Some(Duration::from_millis(1)), tells.clone());
        let at_once = Tells("at once", Some(Duration::ZERO), tells);
        for role in [often, at_once] {
            let name = role.name();
            let service = Service::new(vec![(Box::new(role), Arc::default())]);
            let (ends, around) =
                (Ends(service.stopper()), around(Arc::new(System), Duration::from_secs(5), Vec::new()));
            std::thread::scope(|scope| {
                let around = &around;
                scope.spawn(move || service.run(around));
                let ends = ends;
                assert_eq!([next(&ticks), next(&ticks), next(&ticks)], [name; 3]);
                drop(ends);
            });
            ticks.try_iter().count();
        }
    }

    #[test]
    fn an_outage_is_told_once_and_only_to_who_wants_to_know() {
        let error = Error::Internal("the server is down".into());
        for (unwanted, expected) in [
            (None, vec![Kind::StoreUnavailable, Kind::StoreRecovered]),
            (Some(Kind::StoreUnavailable), vec![Kind::StoreRecovered]),
            (Some(Kind::StoreRecovered), vec![Kind::StoreUnavailable]),
        ] {
            let (outage, heard) = (Outage::default(), Heard { unwanted, ..Heard::default() });
            assert_eq!(outage.answered(Moment(5), &heard), None);
            outage.failed(Moment(10), &heard, &error);
            outage.failed(Moment(20), &heard, &error);
            assert_eq!(outage.answered(Moment(40), &heard), Some(Duration::from_nanos(30)));
            assert_eq!(outage.answered(Moment(50), &heard), None);
            assert_eq!(heard.events.into_inner().iter().map(Event::kind).collect::<Vec<_>>(), expected);
        }
    }
}
