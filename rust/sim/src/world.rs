//! The loop: one thread, one seed, one step at a time.
//!
//! Calls that are slow let others go on while they are on their way: the loop runs a few steps inside of them, and the
//! thread that made the call counts as busy. So every interleaving of calls can happen, and all of it is decided by the
//! seed.

mod ending;
mod trouble;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};
use tempfile::TempDir;
use zjobs_engine::Result;
use zjobs_engine::clock::Moment;
use zjobs_engine::outcome::Ack;
use zjobs_engine::runtime::Engine;
use zjobs_engine::store::{Store, Subscriber};
use zjobs_engine::telemetry::Silent;

use crate::Run;
use crate::bug::Bug;
use crate::client;
use crate::fault::Fault;
use crate::ground::{Ground, Laid};
use crate::link::Link;
use crate::node::{Action, Life, Node};
use crate::oracle::{Did, Oracle, Violation};
use crate::plan::{POLL, Plan};
use crate::saboteur::Saboteur;
use crate::time::{Skewed, Timeline};
use crate::twins::{Post, Twins};

/// How deep calls may be inside of calls.
const DEPTH: usize = 3;

/// When a call panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panic {
    Before,
    After,
}

/// What becomes of a call.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each fault comes by itself")]
pub(crate) struct Fate {
    pub(crate) slow_before: bool,
    pub(crate) refused: bool,
    pub(crate) slow_after: bool,
    pub(crate) cut: bool,
    /// Where it panics.
    pub(crate) panic: Option<Panic>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) time: Arc<Timeline>,
    bug: Option<Bug>,
    tells: bool,
    store: Saboteur,
    twins: Option<Arc<Twins>>,
    store_clock: Arc<Skewed>,
    /// Collects the signals of one transaction, until the oracle has seen it.
    post: Arc<Post>,
    /// Replaced as a whole, so that a look at it is one count.
    nodes: Mutex<Arc<Vec<Arc<Node>>>>,
    client: Mutex<Option<Arc<Link>>>,
    rng: Mutex<Rng>,
    /// The dice of faults that came later.
    later: Mutex<Rng>,
    oracle: Mutex<Oracle>,
    /// The oracle has seen a violation.
    broken: Arc<AtomicBool>,
    healed: AtomicBool,
    /// When the rule goes that refuses some ends.
    rule_ends: AtomicU64,
    depth: AtomicUsize,
    enqueued: Mutex<u32>,
    steps: AtomicU32,
    births: AtomicUsize,
    /// The first moment at which a frozen node may go on, or an earlier one.
    thaws: AtomicU64,
    digest: AtomicU64,
    felt: [AtomicU32; Fault::ALL.len()],
    spare: Mutex<Vec<Action>>,
    /// Where the store is, gone after it.
    _folder: Option<TempDir>,
}

impl World {
    pub(crate) fn new(seed: u64, ground: Ground, bug: Option<Bug>, tells: bool) -> Result<Arc<Self>> {
        let [mut rng, mut later, mut latest] = [seed, !seed, seed ^ 0x5555].map(Rng::with_seed);
        let plan = ground.fit(Plan::draw(&mut rng, &mut later, &mut latest));
        let time = Arc::new(Timeline::default());
        let store_clock = Arc::new(Skewed::new(time.clone(), 0));
        let Laid { store, twins, folder } = ground.lay(&plan, bug, store_clock.clone())?;
        let post = Arc::new(Post::default());
        let hears: Arc<dyn Subscriber> = post.clone();
        store.subscribe(Arc::downgrade(&hears));
        let broken = Arc::new(AtomicBool::new(false));
        let oracle = Mutex::new(Oracle::new(plan.faults.store_steps == 0, broken.clone()));
        let world = Arc::new(Self {
            time,
            bug,
            tells,
            store: Saboteur::new(store, bug),
            twins,
            store_clock,
            post,
            nodes: Mutex::default(),
            client: Mutex::default(),
            rng: Mutex::new(rng),
            later: Mutex::new(later),
            oracle,
            broken,
            healed: AtomicBool::new(false),
            rule_ends: AtomicU64::new(u64::MAX),
            depth: AtomicUsize::new(0),
            enqueued: Mutex::new(0),
            steps: AtomicU32::new(0),
            births: AtomicUsize::new(0),
            thaws: AtomicU64::new(u64::MAX),
            digest: AtomicU64::new(0),
            felt: Default::default(),
            spare: Mutex::default(),
            _folder: folder,
            plan,
        });
        *world.client.lock() = Some(Arc::new(Link::new(world.clone(), None)));
        Ok(world)
    }

    /// Runs the whole seed. Returns what it was like.
    pub(crate) fn run(self: &Arc<Self>) -> std::result::Result<Run, Violation> {
        self.note(|| format!("{:?}", self.plan));
        drop(client::declare(&self.store));
        for _ in 0..self.plan.nodes {
            self.start_node();
        }
        while self.steps.load(Ordering::Relaxed) < self.plan.steps && !self.is_broken() {
            self.step();
        }
        if !self.is_broken() {
            self.settle();
        }
        if !self.is_broken() {
            self.stop_all();
        }
        if let Some(violation) = self.oracle().violation() {
            return Err(violation.clone());
        }
        Ok(Run {
            steps: self.steps.load(Ordering::Relaxed),
            digest: self.digest.load(Ordering::Relaxed),
            faults: std::array::from_fn(|kind| self.felt[kind].load(Ordering::Relaxed)),
        })
    }

    /// Lets go of everybody.
    pub(crate) fn part(&self) {
        drop(std::mem::take(&mut *self.nodes.lock()));
        *self.client.lock() = None;
    }

    // --- what the others need ---

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        let mut oracle = self.oracle.lock();
        oracle.reach(self.time.moment());
        oracle
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &self.store
    }

    pub(crate) fn observe(&self, did: &Did<'_>) {
        let mut oracle = self.oracle.lock();
        if let Some(difference) = self.twins.as_ref().and_then(|twins| twins.difference()) {
            oracle.differ(&difference);
        }
        oracle.observe(did, &self.store, self.time.moment());
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Whether somebody's rule refuses one of these.
    pub(crate) fn refuses(&self, acks: &[Ack]) -> bool {
        let Some(each) = self.plan.rule else { return false };
        let refused = |ack: &Ack| ack.to.is_final() && ack.id.0 % each == 0;
        self.time.moment().0 < self.rule_ends.load(Ordering::Relaxed) && acks.iter().any(refused)
    }

    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock())
    }

    /// True so often per thousand.
    pub(crate) fn chance(&self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.random(|rng| rng.u32(..1000) < per_thousand)
    }

    /// A fault has come where it makes a difference.
    pub(crate) fn felt(&self, fault: Fault) {
        self.felt[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if self.tells {
            let millis = self.time.micros() / 1000;
            println!("{:>4}.{:03} {}", millis / 1000, millis % 1000, line());
        }
    }

    /// What becomes of a call; it may panic when its caller `survives` that.
    pub(crate) fn fate(&self, survives: bool) -> Fate {
        if !self.plan.blocks || self.is_healed() {
            return Fate::default();
        }
        let faults = &self.plan.faults;
        Fate {
            slow_before: self.chance(faults.slow),
            refused: self.chance(faults.refuse),
            slow_after: self.chance(faults.slow),
            cut: self.chance(faults.cut),
            panic: if survives { self.panic() } else { None },
        }
    }

    fn panic(&self) -> Option<Panic> {
        let rate = self.plan.faults.panics;
        let mut dice = self.later.lock();
        let hit = rate > 0 && dice.u32(..1000) < rate;
        hit.then(|| if dice.bool() { Panic::Before } else { Panic::After })
    }

    /// Others go on while a call of this node is on its way; a node that freezes meanwhile comes back first.
    pub(crate) fn meanwhile(self: &Arc<Self>, node: Option<usize>) {
        if self.depth.load(Ordering::Relaxed) >= DEPTH || self.is_broken() {
            return;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        // Most slow calls take a few steps of others; some take longer than a beat, or than a lease.
        let (most, length) = self.random(|rng| match rng.u32(..6) {
            0 | 1 => (100, rng.u64(500..6000)),
            _ => (rng.u32(1..8), 0),
        });
        let until = self.time.moment() + Duration::from_millis(length);
        let before = self.steps.load(Ordering::Relaxed);
        for step in 0..most {
            if self.is_broken() || (length > 0 && step > 8 && self.time.moment() >= until) {
                break;
            }
            self.step();
        }
        let node = node.and_then(|number| self.node(number));
        for _ in 0..60 {
            match node.as_ref().map(|node| node.life()) {
                Some(Life::Frozen(_)) if !self.is_broken() => self.step(),
                _ => break,
            }
        }
        if let Some(node) = node {
            node.thaw(Moment::NEVER);
        }
        if self.steps.load(Ordering::Relaxed) > before {
            self.felt(Fault::Delay);
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hands the signals of the last transaction to the nodes; some get lost.
    pub(crate) fn deliver(&self) {
        let signals = self.post.take();
        if signals.is_empty() {
            return;
        }
        let nodes = self.nodes();
        let deaf = if self.plan.blocks { self.plan.faults.deaf } else { 0 };
        for signal in &signals {
            for node in nodes.iter().filter(|node| node.life() != Life::Gone) {
                if self.chance(deaf) {
                    self.felt(Fault::Deafness);
                } else {
                    node.signal(signal, self.plan.blocks);
                }
            }
        }
    }

    // --- the loop ---

    fn step(self: &Arc<Self>) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        match self.random(|rng| rng.u32(..100)) {
            0..60 => {
                if !self.act() {
                    self.wait();
                }
            }
            60..74 => self.ask_for_something(),
            74..90 => self.pass_time(),
            _ => self.make_trouble(),
        }
        self.thaw();
    }

    /// Lets one of those who can do something do it.
    fn act(&self) -> bool {
        let now = self.time.moment();
        let nodes = self.nodes();
        let mut actions = self.spare.lock();
        let mut rng = self.rng.lock();
        let first = rng.usize(..nodes.len().max(1));
        let (before, after) = nodes.split_at(first.min(nodes.len()));
        let found = after.iter().chain(before).find_map(|node| {
            actions.clear();
            node.ready(now, &mut actions);
            Some((node, rng.choice(&*actions).copied()?))
        });
        drop((rng, actions));
        let Some((node, action)) = found else { return false };
        self.digest(node.number, action);
        node.act(action, self);
        true
    }

    fn ask_for_something(&self) {
        let Some(client) = self.client() else { return };
        let mut rng = self.random(Rng::fork);
        let mut enqueued = *self.enqueued.lock();
        let _refused = client::act(&mut rng, &self.plan, &client, &mut enqueued);
        let mut known = self.enqueued.lock();
        *known = enqueued.max(*known);
    }

    fn pass_time(&self) {
        let by = self.random(|rng| match rng.u32(..10) {
            0..6 => rng.u64(..50),
            6..9 => rng.u64(..500),
            _ => rng.u64(..2500),
        });
        self.time.advance(Duration::from_millis(by));
    }

    /// Goes on to the next moment at which somebody wants to do something.
    fn wait(&self) {
        let due = self.nodes.lock().iter().map(|node| node.due()).min().unwrap_or(Moment::NEVER);
        let most = self.time.moment() + Duration::from_secs(1);
        self.time.reach(due.min(most).max(Moment(self.time.moment().0 + 1000)));
    }

    fn thaw(&self) {
        let now = self.time.moment();
        if now.0 < self.thaws.load(Ordering::Relaxed) {
            return;
        }
        for node in self.nodes().iter() {
            node.thaw(now);
        }
        let frozen = self
            .nodes
            .lock()
            .iter()
            .filter_map(|node| match node.life() {
                Life::Frozen(until) => Some(until.0),
                _ => None,
            })
            .min();
        self.thaws.store(frozen.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    // --- small parts ---

    /// Folds one act into the digest.
    fn digest(&self, number: usize, action: Action) {
        let mut hasher = rustc_hash::FxHasher::default();
        (self.digest.load(Ordering::Relaxed), self.time.micros(), number, action).hash(&mut hasher);
        self.digest.store(hasher.finish(), Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn nodes(&self) -> Arc<Vec<Arc<Node>>> {
        self.nodes.lock().clone()
    }

    fn client(&self) -> Option<Arc<Link>> {
        self.client.lock().clone()
    }

    fn node(&self, number: usize) -> Option<Arc<Node>> {
        self.nodes.lock().iter().find(|node| node.number == number).cloned()
    }
}

impl World {
    fn start_node(self: &Arc<Self>) {
        let number = self.births.fetch_add(1, Ordering::Relaxed);
        let (skew, rng) = self.random(|rng| (rng.i64(-60_000_000..60_000_000), rng.fork()));
        let clock = Arc::new(Skewed::new(self.time.clone(), skew));
        let link = Arc::new(Link::new(self.clone(), Some(number)));
        let poll = if self.bug == Some(Bug::NeverPolls) { Duration::from_secs(3600) } else { POLL };
        let config = self.plan.config(number, poll);
        let Ok(engine) = Engine::new(link.clone(), config, clock.clone(), Arc::new(Silent), rng) else { return };
        for (worker, registration) in &self.plan.workers {
            engine.register(worker.clone(), registration.clone());
        }
        self.note(|| format!("node {number} starts"));
        if let Some(node) = Node::start(number, clock, link, engine) {
            if self.is_healed() {
                node.deploy(&self.plan);
            }
            Arc::make_mut(&mut self.nodes.lock()).push(node);
        }
    }
}
