//! The way from one node to the store: calls are refused, cut, slow, or arrive after the node has died.
//!
//! Every call that writes is shown to the oracle right after its commit, before anybody else can act.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId};
use zjobs_engine::outcome::Ack;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use zjobs_engine::sync::Weak;
use zjobs_engine::{Error, Result, Timestamp};

use crate::fault::Fault;
use crate::oracle::Did;
use crate::world::{Panic, World};

/// On whose thread a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Person,
    Slot,
    Role,
}

/// One node's connection, or a client's.
pub(crate) struct Link {
    world: Arc<World>,
    /// Nodes by number from 0; clients have none.
    pub(crate) node: Option<usize>,
    dead: AtomicBool,
    caller: Mutex<Caller>,
    /// A role's call has panicked since the last look.
    fell: AtomicBool,
    subscribers: Mutex<Vec<Weak<dyn Subscriber>>>,
}

impl Link {
    pub(crate) fn new(world: Arc<World>, node: Option<usize>) -> Self {
        Self {
            world,
            node,
            dead: AtomicBool::new(false),
            caller: Mutex::new(Caller::Person),
            fell: AtomicBool::new(false),
            subscribers: Mutex::default(),
        }
    }

    /// From now on nothing passes.
    pub(crate) fn cut_for_good(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Says who calls from now on. Returns who did before.
    pub(crate) fn set_caller(&self, caller: Caller) -> Caller {
        std::mem::replace(&mut self.caller.lock(), caller)
    }

    /// Whether a role's call has panicked since the last look.
    pub(crate) fn take_fell(&self) -> bool {
        self.fell.swap(false, Ordering::Relaxed)
    }

    /// As a defect in a store would: without a word on the terminal.
    fn fall(&self, verb: &str) -> ! {
        self.world.note(|| format!("{verb} of {} panics", self.who()));
        self.world.felt(Fault::Panic);
        // Whoever writes acks catches that itself; the role goes on.
        self.fell.store(*self.caller.lock() == Caller::Role && verb != "ack", Ordering::Relaxed);
        std::panic::resume_unwind(Box::new("a call panicked on purpose"))
    }

    pub(crate) fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        self.subscribers.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn living(&self) -> Result<()> {
        if self.dead.load(Ordering::Relaxed) { Err(down("the process is gone")) } else { Ok(()) }
    }

    fn call<T: std::fmt::Debug>(
        &self,
        verb: &str,
        commit: impl FnOnce(&dyn Store) -> Result<T>,
        judge: impl FnOnce(&World, &Result<T>),
    ) -> Result<T> {
        let world = &self.world;
        self.living()?;
        let survives = match *self.caller.lock() {
            Caller::Person => false,
            Caller::Slot => verb == "ack",
            Caller::Role => true,
        };
        let fate = world.fate(survives);
        if fate.slow_before {
            world.meanwhile(self.node);
            self.living()?;
        }
        if fate.refused {
            world.note(|| format!("{verb} of {} is refused", self.who()));
            world.felt(Fault::Refusal);
            return Err(down("refused"));
        }
        if fate.panic == Some(Panic::Before) {
            self.fall(verb);
        }
        let result = commit(world.store());
        judge(world, &result);
        world.note(|| match &result {
            Ok(reply) => format!("{verb} of {}: {reply:?}", self.who()),
            Err(error) => format!("{verb} of {}: {error}", self.who()),
        });
        world.deliver();
        if fate.slow_after {
            world.meanwhile(self.node);
        }
        self.living()?;
        if fate.panic == Some(Panic::After) {
            self.fall(verb);
        }
        if fate.cut {
            world.note(|| format!("{verb} of {} is cut", self.who()));
            world.felt(Fault::Cut);
            return Err(down("cut"));
        }
        result
    }

    fn read<T: std::fmt::Debug>(&self, verb: &str, read: impl FnOnce(&dyn Store) -> Result<T>) -> Result<T> {
        self.call(verb, read, |_, _| {})
    }

    fn who(&self) -> String {
        self.node.map_or_else(|| "a client".to_owned(), |node| format!("node {node}"))
    }
}

fn down(why: &str) -> Error {
    Error::StoreUnavailable(why.into())
}

impl Store for Link {
    fn blocks(&self) -> bool {
        self.world.plan.blocks
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.subscribers.lock().push(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.read("now", |store| store.now())
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let wanted = jobs.clone();
        self.call(
            "enqueue",
            |store| store.enqueue(jobs),
            |world, got| world.observe(&Did::Enqueue { wanted: &wanted, got }),
        )
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        self.living()?;
        self.world.oracle().opens_claim(claim.node);
        self.call("claim", |store| store.claim(claim), |world, got| world.observe(&Did::Claim { claim, got }))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.world.note(|| {
            let acks = acks.iter().map(|ack| format!("{} of job {} lease {}", ack.event, ack.id, ack.lease.0));
            format!("{} writes {}", self.who(), acks.collect::<Vec<_>>().join(", "))
        });
        let write = |store: &dyn Store| {
            if self.world.refuses(acks) {
                self.world.felt(Fault::Rule);
                return Err(Error::Internal("a rule refuses it".into()));
            }
            store.ack(node, acks)
        };
        self.call("ack", write, |world, got| world.observe(&Did::Ack { node, acks, got }))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.call(
            "report",
            |store| store.report(node, reports),
            |world, _| world.observe(&Did::Report { node, reports }),
        )
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.call("stage", |store| store.stage(limit), |world, got| world.observe(&Did::Stage { got }))
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        let began = self.world.time.moment();
        let pulse = self.call(
            "heartbeat",
            |store| store.heartbeat(beat),
            |world, got| world.observe(&Did::Heartbeat { beat, got }),
        )?;
        if matches!(pulse, Pulse::Alive { .. }) {
            self.world.oracle().trusts(beat.node, began + beat.ttl * 3 / 4);
        }
        Ok(pulse)
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.call("depart", |store| store.depart(node, grace), |world, _| world.observe(&Did::Depart { node, grace }))
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.call("rescue", |store| store.rescue(limit), |world, got| world.observe(&Did::Rescue { got }))
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.read("nodes", |store| store.nodes())
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.call("cancel", |store| store.cancel(filter), |world, got| world.observe(&Did::Cancel { got }))
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.call("retry", |store| store.retry(filter), |world, got| world.observe(&Did::Retry { got }))
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.call("delete", |store| store.delete(filter), |world, _| world.observe(&Did::Delete { filter }))
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.call(
            "prune",
            |store| store.prune(retention, limit),
            |world, got| world.observe(&Did::Prune { retention, got }),
        )
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.call("pause", |store| store.pause(queue), |world, _| world.observe(&Did::Pause { queue }))
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.call("resume", |store| store.resume(queue), |world, _| world.observe(&Did::Resume { queue }))
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.call(
            "scale",
            |store| store.scale(queue, concurrency),
            |world, _| world.observe(&Did::Scale { queue, concurrency }),
        )
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.read("get", |store| store.get(ids))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.read("list", |store| store.list(filter))
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.read("count", |store| store.count(filter))
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.read("count_by_state", |store| store.count_by_state(queue))
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.read("queues", |store| store.queues())
    }

    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.read("settings", |store| store.settings())
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.read("save_cron", |store| store.save_cron(entry))
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.read("crons", |store| store.crons())
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.read("set_cron_paused", |store| store.set_cron_paused(name, paused))
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.read("delete_cron", |store| store.delete_cron(name))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        let wanted = tick.clone();
        self.call("tick", |store| store.tick(tick), |world, got| world.observe(&Did::Tick { tick: &wanted, got }))
    }
}
