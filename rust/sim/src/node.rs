//! One process: an engine, its roles as actors, and its slots, whose handlers take virtual time.

mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use zjobs_engine::clock::{Clock, Moment};
use zjobs_engine::job::{JobId, Name};
use zjobs_engine::runtime::life::Group;
use zjobs_engine::runtime::role::{self, Alarm};
use zjobs_engine::runtime::usher::Host;
use zjobs_engine::runtime::{Engine, Lane, Now, QueueIndex, Role, Wake};
use zjobs_engine::store::Signal;

use self::slots::{ALL, Task, bit};
use crate::link::{Caller, Link};
use crate::oracle::Standing;
use crate::plan::{Plan, UNKNOWN};
use crate::time::Skewed;
use crate::world::World;

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Up,
    Frozen(Moment),
    /// No new jobs; until then handlers may go on.
    Draining(Moment),
    /// Handlers have been asked to stop; until then they may go on.
    Interrupted(Moment),
    /// Has left but for handlers that did not end.
    Lingering,
    Gone,
}

/// One role and when it wants to run.
struct Seat {
    role: Mutex<Option<Box<dyn Role>>>,
    alarm: Arc<Alarm>,
    rung: AtomicBool,
    due: AtomicU64,
    /// When its last tick ended in a panic; 0 when it did not.
    fell: AtomicU64,
    group: usize,
}

impl Seat {
    fn due(&self) -> Moment {
        Moment(self.due.load(Ordering::Relaxed))
    }
}

/// What the slots hear from the engine.
#[derive(Default)]
struct Ears {
    rung: AtomicBool,
    /// The slots, a bit per queue and lane, that have reason to ask for work.
    asks: AtomicU32,
}

impl Host for Ears {
    fn ring(&self) -> bool {
        self.rung.store(true, Ordering::Relaxed);
        true
    }

    fn reinforce(&self, _: QueueIndex, _: u32) -> bool {
        self.asks.store(ALL, Ordering::Relaxed);
        true
    }

    fn give_up(&self, _: JobId) -> bool {
        true
    }
}

/// Something that a node can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Tick(usize),
    Hear,
    Ask(QueueIndex, Lane),
    End(usize),
    GoOn,
}

pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) clock: Arc<Skewed>,
    pub(crate) link: Arc<Link>,
    engine: Engine,
    ears: Arc<Ears>,
    seats: Vec<Seat>,
    busy: Vec<AtomicBool>,
    tasks: Mutex<Vec<Task>>,
    /// Slots that hand back an outcome now.
    ending: AtomicU32,
    life: Mutex<Life>,
    missed: Mutex<Vec<Signal>>,
    /// When a slot last asked in vain.
    refused: Mutex<Moment>,
}

impl Node {
    /// Starts a node; none when the store does not answer.
    pub(crate) fn start(number: usize, clock: Arc<Skewed>, link: Arc<Link>, engine: Engine) -> Option<Arc<Self>> {
        let ears = Arc::new(Ears { rung: AtomicBool::new(false), asks: AtomicU32::new(ALL) });
        let groups: Vec<Group> = engine.start_unattended(ears.clone()).ok()?;
        let busy = groups.iter().map(|_| AtomicBool::new(false)).collect();
        let seat = |group: usize, (role, alarm)| Seat {
            role: Mutex::new(Some(role)),
            alarm,
            rung: AtomicBool::new(false),
            due: AtomicU64::new(0),
            fell: AtomicU64::new(0),
            group,
        };
        let seats = groups.into_iter().enumerate();
        let seats = seats.flat_map(|(group, roles)| roles.into_iter().map(move |role| seat(group, role))).collect();
        let (tasks, missed, refused) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (ending, life) = (AtomicU32::new(0), Mutex::new(Life::Up));
        Some(Arc::new(Self { number, clock, link, engine, ears, seats, busy, tasks, ending, life, missed, refused }))
    }

    pub(crate) fn life(&self) -> Life {
        *self.life.lock()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.iter().any(|busy| busy.load(Ordering::Relaxed))
    }

    fn is_quiet(&self) -> bool {
        self.tasks.lock().is_empty() && self.ending.load(Ordering::Relaxed) == 0
    }

    /// Another version is installed, which knows all workers.
    pub(crate) fn deploy(&self, plan: &Plan) {
        if let (Ok(worker), Some((_, registration))) = (Name::worker(UNKNOWN), plan.workers.first()) {
            self.engine.register(worker, registration.clone());
        }
    }

    // --- faults ---

    pub(crate) fn crash(&self) {
        self.link.cut_for_good();
        *self.life.lock() = Life::Gone;
    }

    pub(crate) fn freeze(&self, until: Moment) {
        let mut life = self.life.lock();
        if *life == Life::Up {
            *life = Life::Frozen(until);
        }
    }

    /// Goes on when it is time, and hears what it has missed.
    pub(crate) fn thaw(&self, now: Moment) {
        let mut life = self.life.lock();
        if matches!(*life, Life::Frozen(until) if until <= now) {
            *life = Life::Up;
            drop(life);
            let missed = std::mem::take(&mut *self.missed.lock());
            for signal in &missed {
                self.hear(signal);
            }
        }
    }

    /// A signal arrives; a frozen process hears it later.
    pub(crate) fn signal(&self, signal: &Signal, blocks: bool) {
        match self.life() {
            Life::Gone => {}
            Life::Frozen(_) if blocks => self.missed.lock().push(signal.clone()),
            Life::Up | Life::Frozen(_) | Life::Draining(_) | Life::Interrupted(_) | Life::Lingering => {
                self.hear(signal);
            }
        }
    }

    fn hear(&self, signal: &Signal) {
        // On the thread of whoever tells it, which a role of this node may be waiting for.
        let before = self.link.set_caller(Caller::Person);
        self.link.subscribers().iter().for_each(|subscriber| subscriber.signal(signal));
        self.link.set_caller(before);
    }

    // --- what it can do ---

    /// Adds what it can do now.
    pub(crate) fn ready(&self, now: Moment, actions: &mut Vec<Action>) {
        let life = self.life();
        if matches!(life, Life::Gone | Life::Frozen(_)) {
            return;
        }
        let mut add = |action| actions.push(action);
        for (index, seat) in self.seats.iter().enumerate() {
            if seat.alarm.take() {
                seat.rung.store(true, Ordering::Relaxed);
            }
            let due = seat.rung.load(Ordering::Relaxed) || seat.due() <= now;
            if due && !self.busy[seat.group].load(Ordering::Relaxed) {
                add(Action::Tick(index));
            }
        }
        if self.ears.rung.load(Ordering::Relaxed) {
            add(Action::Hear);
        }
        let asks = self.ears.asks.load(Ordering::Relaxed);
        let pool = self.engine.pool();
        let refused = *self.refused.lock() == now;
        for queue in pool.indexes() {
            for lane in [Lane::Thread, Lane::Loop] {
                if asks & bit(queue, lane) > 0 || (!refused && pool.ready(queue, lane) > 0) {
                    add(Action::Ask(queue, lane));
                }
            }
        }
        for (index, task) in self.tasks.lock().iter().enumerate() {
            if task.ends <= now || (task.obeys && task.running.stop_wanted()) {
                add(Action::End(index));
            }
        }
        match life {
            Life::Draining(until) | Life::Interrupted(until)
                if (until <= now || self.is_quiet()) && !self.is_busy() =>
            {
                add(Action::GoOn);
            }
            Life::Lingering if self.is_quiet() => add(Action::GoOn),
            _ => {}
        }
    }

    /// When it next wants to do something, as far as is known.
    pub(crate) fn due(&self) -> Moment {
        match self.life() {
            Life::Gone => Moment::NEVER,
            Life::Frozen(until) => until,
            life => {
                let roles = self.seats.iter().map(Seat::due);
                let tasks = self.tasks.lock().iter().map(|task| task.ends).min();
                let stop = match life {
                    Life::Draining(until) | Life::Interrupted(until) => until,
                    _ => Moment::NEVER,
                };
                roles.chain(tasks).chain([stop]).min().unwrap_or(Moment::NEVER)
            }
        }
    }

    /// Does one of the things that [`Node::ready`] has named.
    pub(crate) fn act(&self, action: Action, world: &World) {
        let before = self.link.set_caller(match action {
            Action::Tick(_) => Caller::Role,
            Action::End(_) => Caller::Slot,
            Action::Hear | Action::Ask(..) | Action::GoOn => Caller::Person,
        });
        match action {
            Action::Tick(seat) => self.tick(&self.seats[seat], world),
            Action::Hear => {
                self.ears.rung.store(false, Ordering::Relaxed);
                drop(self.engine.pool().hear());
                self.ears.asks.store(ALL, Ordering::Relaxed);
            }
            Action::Ask(queue, lane) => {
                self.ears.asks.fetch_and(!bit(queue, lane), Ordering::Relaxed);
                self.ask(queue, lane, world);
            }
            Action::End(task) => self.end(task, world),
            Action::GoOn => self.go_on(world),
        }
        self.link.set_caller(before);
    }

    fn tick(&self, seat: &Seat, world: &World) {
        let Some(mut role) = seat.role.lock().take() else { return };
        self.busy[seat.group].store(true, Ordering::Relaxed);
        seat.rung.store(false, Ordering::Relaxed);
        let now = Now::read(&*self.clock);
        world.note(|| format!("node {}: the {} ticks", self.number, role.name()));
        let ticked = role::attempt(&mut *role, now, &*self.link);
        let fell = if self.link.take_fell() { world.time.moment() } else { Moment(0) };
        seat.fell.store(fell.0, Ordering::Relaxed);
        let due = match ticked {
            Ok(Wake::At(moment)) => moment,
            Ok(Wake::OnAlarm) => Moment::NEVER,
            Err(error) => {
                world.note(|| format!("node {}: the {} fails: {error}", self.number, role.name()));
                now.moment + world.random(|rng| Duration::from_millis(rng.u64(50..5000)))
            }
        };
        seat.due.store(due.0, Ordering::Relaxed);
        *seat.role.lock() = Some(role);
        self.busy[seat.group].store(false, Ordering::Relaxed);
    }

    // --- stopping ---

    pub(crate) fn stop(&self, world: &World) {
        if self.life() != Life::Up {
            return;
        }
        *self.life.lock() = Life::Draining(world.time.moment() + crate::plan::DRAIN);
        world.note(|| format!("node {} stops", self.number));
        drop(self.engine.drain());
    }

    fn go_on(&self, world: &World) {
        let quiet = self.is_quiet();
        let next = match self.life() {
            Life::Draining(_) if !quiet => {
                self.engine.interrupt();
                Life::Interrupted(world.time.moment() + crate::plan::GRACE)
            }
            Life::Draining(_) | Life::Interrupted(_) => {
                let stopped = self.engine.part_unattended();
                if stopped.stuck.is_empty() {
                    Life::Gone
                } else {
                    // Every other process ends now, though it may take its time.
                    if self.number % 2 == 1 {
                        self.engine.depart();
                    }
                    Life::Lingering
                }
            }
            Life::Lingering => Life::Gone,
            life @ (Life::Up | Life::Frozen(_) | Life::Gone) => life,
        };
        world.note(|| format!("node {}: {next:?}", self.number));
        let mut life = self.life.lock();
        if *life != Life::Gone {
            *life = next;
        }
    }

    /// What the oracle has to know of a node that is up.
    pub(crate) fn standing(&self) -> Option<Standing> {
        if self.life() == Life::Gone {
            return None;
        }
        let pool = self.engine.pool();
        let runs = self.tasks.lock().iter().map(|task| task.running.job.id).collect::<Vec<_>>();
        let buffered = pool.held().iter().map(|held| held.job.id).filter(|id| !runs.contains(id)).collect();
        let hungry = pool.indexes().filter(|queue| pool.is_hungry(*queue));
        let hungry = hungry.map(|queue| pool.name(queue).clone()).collect();
        let fallen = self.seats.iter().map(|seat| Moment(seat.fell.load(Ordering::Relaxed)));
        let fallen = fallen.filter(|fell| fell.0 > 0).min();
        Some(Standing { node: self.engine.node(), buffered, hungry, fallen })
    }

    pub(crate) fn moment(&self) -> Moment {
        self.clock.moment()
    }
}
