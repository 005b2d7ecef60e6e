//! Slots: which claimed job runs where.
//!
//! Claimed jobs of a queue wait in one buffer that all its slots share, so that a slow job never holds back the ones
//! behind it. Thread slots and coroutine slots take from their own lane and share the queue's concurrency.
//!
//! Invariant: the lock of a queue is never held while a store, a sink or the host is called.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::job::Name;
use crate::runtime::config::{QueueConfig, StuckPolicy};
use crate::runtime::running::{Lane, Running};
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::usher::{Call, Host, Usher};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, ThreadMark};

/// Work that may be claimed ahead of free slots: this much time of it, by the queue's average, so that a slot need not
/// wait for a claim between short jobs and a more urgent job waits hardly longer.
const AHEAD: Duration = Duration::from_millis(2);
/// Never more jobs ahead than this.
const MOST_AHEAD: u64 = 256;
/// Handlers shorter than this, in nanoseconds, cost less than a hand-over between threads: one slot, the *lead*, runs
/// them all, and no other contends with it.
const SHORT: u64 = 20_000;
/// A lead that has not taken a job for so long is in a longer one, and the others step in.
pub const STALL: Duration = Duration::from_millis(1);

/// A queue's place in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueIndex(pub usize);

/// What a slot gets when it asks for work.
#[derive(Debug)]
pub enum Next {
    /// Run this.
    Job(Arc<Running>),
    /// Nothing to do now.
    Empty,
    /// The slot is not needed any more.
    Retire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Closed,
    Open,
}

struct State {
    mode: Mode,
    paused: bool,
    limit: u32,
    running: u32,
    threads: VecDeque<Arc<Running>>,
    coroutines: VecDeque<Arc<Running>>,
    slots: Vec<Option<Arc<Running>>>,
    free: Vec<u32>,
    idle: u32,
    woken: u32,
    average: u64,
    lead: Option<(ThreadMark, Moment)>,
}

struct Queue {
    config: QueueConfig,
    state: Mutex<State>,
    work: Condvar,
    quiet: Condvar,
}

/// The slots of all queues of a node.
pub struct Pool {
    queues: Vec<Queue>,
    usher: Usher,
    unattended: AtomicBool,
    interrupts: Mutex<Vec<Arc<Running>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.queues.iter().map(|queue| &queue.config.name)).finish()
    }
}

impl State {
    /// Whether another slot than `me` leads through short handlers.
    fn is_led(&self, me: Option<ThreadMark>) -> bool {
        (1..SHORT).contains(&self.average) && self.lead.is_some_and(|(lead, _)| Some(lead) != me)
    }

    /// Whether another slot may take a thread job that waits.
    fn has_room(&self) -> bool {
        !self.threads.is_empty() && self.running + self.woken < self.limit
    }

    fn has_idle_slot(&self) -> bool {
        self.idle > self.woken && self.has_room()
    }

    fn buffered(&self) -> usize {
        self.threads.len() + self.coroutines.len()
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Arc<Running>> {
        match lane {
            Lane::Thread => &mut self.threads,
            Lane::Loop => &mut self.coroutines,
        }
    }

    fn seat(&mut self, running: &Arc<Running>, now: Moment) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        running.start(now, place);
        self.slots[place as usize] = Some(running.clone());
        self.running += 1;
    }

    fn unseat(&mut self, running: &Arc<Running>) -> bool {
        let place = running.place();
        match self.slots.get_mut(place as usize) {
            Some(slot) if slot.as_ref().is_some_and(|seated| Arc::ptr_eq(seated, running)) => {
                *slot = None;
                self.free.push(place);
                self.running -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Pool {
    /// Closed slots for these queues.
    pub fn new(queues: &[QueueConfig]) -> Self {
        let queues = queues
            .iter()
            .map(|config| Queue {
                state: Mutex::new(State {
                    mode: Mode::Closed,
                    paused: false,
                    limit: config.concurrency,
                    running: 0,
                    threads: VecDeque::new(),
                    coroutines: VecDeque::new(),
                    slots: Vec::new(),
                    free: Vec::new(),
                    idle: 0,
                    woken: 0,
                    average: 0,
                    lead: None,
                }),
                config: config.clone(),
                work: Condvar::new(),
                quiet: Condvar::new(),
            })
            .collect();
        Self { queues, usher: Usher::default(), unattended: AtomicBool::new(false), interrupts: Mutex::default() }
    }

    /// Every queue's place.
    pub fn indexes(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        (0..self.queues.len()).map(QueueIndex)
    }

    /// The queue's name.
    pub fn name(&self, queue: QueueIndex) -> &Name {
        &self.queues[queue.0].config.name
    }

    /// The place of the queue with this name.
    pub fn find(&self, name: &Name) -> Option<QueueIndex> {
        self.queues.iter().position(|queue| queue.config.name == *name).map(QueueIndex)
    }

    /// Who owns the slots from now on.
    pub fn set_host(&self, host: Option<Arc<dyn Host>>) {
        self.usher.set_host(host);
    }

    /// Who calls the host, and those who wait for jobs to settle.
    pub fn usher(&self) -> &Usher {
        &self.usher
    }

    /// Opens the slots.
    pub fn open(&self) {
        for queue in &self.queues {
            queue.state.lock().mode = Mode::Open;
        }
    }

    /// Closes the slots: idle ones retire, busy ones after their job. Returns the claimed jobs that never ran.
    pub fn close(&self) -> Vec<Arc<Running>> {
        let mut unrun = Vec::new();
        for queue in &self.queues {
            let mut state = queue.state.lock();
            state.mode = Mode::Closed;
            unrun.extend(state.threads.drain(..));
            unrun.extend(state.coroutines.drain(..));
            state.woken = state.idle;
            queue.work.notify_all();
            queue.quiet.notify_all();
        }
        self.usher.ring();
        unrun
    }

    // --- claiming ---

    /// How many jobs to claim for the queue now.
    pub fn demand(&self, queue: QueueIndex) -> usize {
        let queue = &self.queues[queue.0];
        let state = queue.state.lock();
        if state.mode == Mode::Closed || state.paused {
            return 0;
        }
        let ahead = match (queue.config.prefetch, state.average) {
            (Some(prefetch), _) => prefetch.into(),
            (None, 0) => 0,
            (None, average) => (u64::try_from(AHEAD.as_nanos()).unwrap_or(0) / average).min(MOST_AHEAD),
        };
        let room = u64::from(state.limit) + ahead;
        let taken = u64::from(state.running) + state.buffered() as u64;
        usize::try_from(room.saturating_sub(taken)).unwrap_or(0)
    }

    /// Whether a free slot has nothing to take.
    pub fn is_hungry(&self, queue: QueueIndex) -> bool {
        let state = self.queues[queue.0].state.lock();
        state.mode == Mode::Open && !state.paused && state.running < state.limit && state.buffered() == 0
    }

    /// Whether there are more free slots than jobs that wait here for one.
    pub fn has_spare_slot(&self, queue: QueueIndex) -> bool {
        let state = self.queues[queue.0].state.lock();
        state.mode == Mode::Open && !state.paused && state.running as usize + state.buffered() < state.limit as usize
    }

    /// Hands claimed jobs to the slots. Returns those that came too late because the slots are closed.
    #[must_use = "jobs that came too late must be released"]
    pub fn push(&self, queue: QueueIndex, jobs: Vec<Arc<Running>>, now: Moment) -> Vec<Arc<Running>> {
        let queue = &self.queues[queue.0];
        let mut state = queue.state.lock();
        if state.mode == Mode::Closed {
            return jobs;
        }
        let mut for_loop = false;
        for job in jobs {
            for_loop |= job.lane == Lane::Loop;
            state.lane(job.lane).push_back(job);
        }
        self.attend(queue, &mut state, now);
        drop(state);
        if for_loop {
            self.usher.ring();
        }
        Vec::new()
    }

    // --- slots ---

    /// Takes a job for a free slot of that lane.
    pub fn next(&self, queue: QueueIndex, lane: Lane, now: Moment) -> Next {
        let queue = &self.queues[queue.0];
        let mut state = queue.state.lock();
        if state.mode == Mode::Closed {
            return Next::Retire;
        }
        if state.paused || (state.running >= state.limit && !sabotage::is_on(Sabotage::IgnoreLimits)) {
            return Next::Empty;
        }
        let me = (lane == Lane::Thread).then(ThreadMark::mine);
        if me.is_some() && state.is_led(me) && state.lead.is_some_and(|(_, at)| now.since(at) < STALL) {
            self.unattended.fetch_or(state.has_room(), Ordering::Release);
            return Next::Empty;
        }
        let Some(running) = state.lane(lane).pop_front() else {
            if state.lead.map(|(lead, _)| lead) == me {
                state.lead = None;
            }
            return Next::Empty;
        };
        state.seat(&running, now);
        if let Some(me) = me {
            state.lead = Some((me, now));
        }
        self.attend(queue, &mut state, now);
        Next::Job(running)
    }

    /// Waits until [`Pool::next`] may have something for a thread slot, or the slot should retire.
    pub fn wait(&self, queue: QueueIndex) {
        let queue = &self.queues[queue.0];
        let mut state = queue.state.lock();
        let open = !state.threads.is_empty() && state.running < state.limit && !state.paused;
        if state.mode == Mode::Closed || open && !state.is_led(Some(ThreadMark::mine())) {
            return;
        }
        state.idle += 1;
        state = queue.work.wait(state);
        state.idle -= 1;
        state.woken = state.woken.saturating_sub(1);
    }

    /// Whether jobs were left to a lead since the last call: somebody must look again after [`STALL`].
    pub fn take_unattended(&self) -> bool {
        self.unattended.load(Ordering::Relaxed) && self.unattended.swap(false, Ordering::AcqRel)
    }

    /// Sends another slot where a lead does not move. Returns whether somebody must look again after [`STALL`].
    pub fn relieve(&self, now: Moment) -> bool {
        for queue in &self.queues {
            let mut state = queue.state.lock();
            if state.lead.is_some_and(|(_, at)| now.since(at) >= STALL) {
                state.lead = None;
            }
            self.attend(queue, &mut state, now);
        }
        self.take_unattended()
    }

    /// Sees to it that somebody comes for the thread jobs that wait.
    fn attend(&self, queue: &Queue, state: &mut State, now: Moment) {
        // Whether or not a slot waits already: one that is about to would leave the job to the lead, too.
        if !state.has_room() {
            return;
        }
        if (1..SHORT).contains(&state.average) && state.lead.is_some_and(|(_, at)| now.since(at) < STALL) {
            self.unattended.store(true, Ordering::Release);
        } else {
            queue.wake_thread(state);
        }
    }

    /// How many thread slots of the queue wait for work.
    pub fn idle(&self, queue: QueueIndex) -> u32 {
        self.queues[queue.0].state.lock().idle
    }

    /// Waits until somebody wakes the slots, at most so long, whatever jobs are here.
    pub fn wait_idle(&self, queue: QueueIndex, most: Duration) {
        let queue = &self.queues[queue.0];
        let mut state = queue.state.lock();
        if state.mode == Mode::Closed {
            return;
        }
        state.idle += 1;
        state = queue.work.wait_for(state, most);
        state.idle -= 1;
        state.woken = state.woken.saturating_sub(1);
    }

    /// A handler ended: its slot is free. False when the slot had been replaced, so that it must retire.
    pub fn finish(&self, running: &Arc<Running>, now: Moment) -> bool {
        let queue = &self.queues[running.queue.0];
        let mut state = queue.state.lock();
        let seated = state.unseat(running);
        let took = u64::try_from(now.since(running.started()).as_nanos()).unwrap_or(u64::MAX).max(1);
        // An eighth of the news: one slow job is felt at once, a run of short ones soon.
        state.average = if state.average == 0 { took } else { (state.average - state.average / 8 + took / 8).max(1) };
        if state.running == 0 {
            queue.quiet.notify_all();
        }
        let other = match running.lane {
            Lane::Thread => Lane::Loop,
            Lane::Loop => Lane::Thread,
        };
        let blocked = !state.lane(other).is_empty();
        if blocked && other == Lane::Thread {
            queue.wake_thread(&mut state);
        }
        drop(state);
        if blocked && other == Lane::Loop {
            self.usher.ring();
        }
        seated
    }

    /// Waits until a busy queue falls quiet, at most so long; returns at once when none is busy.
    pub fn wait_quiet(&self, most: Duration) {
        for queue in &self.queues {
            let state = queue.state.lock();
            if state.running > 0 {
                drop(queue.quiet.wait_for(state, most));
                return;
            }
        }
    }

    /// Whether any handler runs.
    pub fn is_quiet(&self) -> bool {
        self.queues.iter().all(|queue| queue.state.lock().running == 0)
    }

    /// Wakes those who wait for quiet, so that they look at what else they wait for.
    pub fn stir(&self) {
        for queue in &self.queues {
            queue.quiet.notify_all();
        }
    }

    /// Wakes idle thread slots and the event loop, so that they look for work again.
    pub fn stir_slots(&self) {
        for queue in &self.queues {
            let mut state = queue.state.lock();
            state.woken = state.idle;
            queue.work.notify_all();
        }
        self.usher.ring();
    }

    // --- control ---

    /// Follows the queue's row: nothing starts while it is paused. Returns the claimed jobs that must go back.
    pub fn control(&self, queue: QueueIndex, paused: bool, concurrency: Option<u32>) -> Vec<Arc<Running>> {
        let at = queue;
        let queue = &self.queues[queue.0];
        let mut state = queue.state.lock();
        state.paused = paused;
        let limit = concurrency.unwrap_or(queue.config.concurrency);
        let grown = limit > state.limit;
        state.limit = limit;
        let mut back = Vec::new();
        if paused {
            back.extend(state.threads.drain(..));
            back.extend(state.coroutines.drain(..));
        }
        drop(state);
        if grown {
            self.usher.call(Call::Reinforce(at, limit));
        }
        back
    }

    /// How many of the queue's jobs may run at once now.
    pub fn limit(&self, queue: QueueIndex) -> u32 {
        self.queues[queue.0].state.lock().limit
    }

    /// Takes the first waiting job that is meant out of its buffer.
    pub fn withdraw(&self, meant: impl Fn(&Running) -> bool) -> Option<Arc<Running>> {
        self.queues.iter().find_map(|queue| {
            let mut state = queue.state.lock();
            [Lane::Thread, Lane::Loop].into_iter().find_map(|lane| {
                let lane = state.lane(lane);
                let place = lane.iter().position(|running| meant(running))?;
                lane.remove(place)
            })
        })
    }

    /// The jobs in slots.
    pub fn running(&self) -> Vec<Arc<Running>> {
        self.queues
            .iter()
            .flat_map(|queue| queue.state.lock().slots.iter().flatten().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Every claimed job that is here: in the buffers and in slots.
    pub fn held(&self) -> Vec<Arc<Running>> {
        let mut held = self.running();
        for queue in &self.queues {
            let state = queue.state.lock();
            held.extend(state.threads.iter().chain(&state.coroutines).cloned());
        }
        held
    }

    /// Tells the handler to stop: a flag for threads, a cancellation for coroutines.
    pub fn interrupt(&self, running: &Arc<Running>) {
        running.ask_stop();
        if running.lane == Lane::Loop {
            self.interrupts.lock().push(running.clone());
            self.usher.ring();
        }
    }

    /// The slot of `running` hangs: acts as its queue's policy says.
    pub fn stuck(&self, running: &Arc<Running>) {
        let queue = &self.queues[running.queue.0];
        match queue.config.stuck {
            StuckPolicy::Report => {}
            StuckPolicy::Exit => self.usher.call(Call::GiveUp(running.job.id)),
            StuckPolicy::Replace => {
                running.abandon();
                let mut state = queue.state.lock();
                state.unseat(running);
                let slots = state.limit;
                drop(state);
                self.usher.call(Call::Reinforce(running.queue, slots));
            }
        }
    }

    // --- the event loop's side ---

    /// The loop answers a ring: from now on it will be rung again.
    pub fn hear(&self) -> Vec<Arc<Running>> {
        self.usher.hear();
        std::mem::take(&mut *self.interrupts.lock())
    }

    /// Rings the loop again when it has work to take or somebody to interrupt: a ring may have failed, or the answer to it.
    pub fn ring_again(&self) {
        let has_work = self.indexes().any(|queue| self.ready(queue, Lane::Loop) > 0);
        if has_work || !self.interrupts.lock().is_empty() {
            self.usher.hear();
            self.usher.ring();
        }
    }

    /// How many jobs of that lane could start now.
    pub fn ready(&self, queue: QueueIndex, lane: Lane) -> usize {
        let mut state = self.queues[queue.0].state.lock();
        let free = state.limit.saturating_sub(state.running) as usize;
        if state.paused { 0 } else { state.lane(lane).len().min(free) }
    }
}

impl Queue {
    fn wake_thread(&self, state: &mut State) {
        if state.has_idle_slot() {
            state.woken += 1;
            self.work.notify_one();
        }
    }
}
