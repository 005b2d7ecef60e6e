//! Two stores that get the same calls and must give the same replies, rows and signals: one behaviour (I-26).
//!
//! The first one is the specification. The second one may tell more than it: a signal too many costs a look.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId};
use zjobs_engine::outcome::Ack;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Signal, Staged, Store, Subscriber, Ticked,
};
use zjobs_engine::sync::Weak;
use zjobs_engine::{Result, Timestamp};

use crate::bug::Bug;

/// Keeps what it hears.
#[derive(Default)]
pub(crate) struct Post {
    signals: Mutex<Vec<Signal>>,
}

impl Post {
    pub(crate) fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.signals.lock())
    }
}

impl Subscriber for Post {
    fn signal(&self, signal: &Signal) {
        self.signals.lock().push(signal.clone());
    }
}

/// Both stores behind one interface.
pub(crate) struct Twins {
    first: Box<dyn Store>,
    second: Box<dyn Store>,
    heard: [Arc<Post>; 2],
    bug: Option<Bug>,
    difference: Mutex<Option<String>>,
}

impl Twins {
    pub(crate) fn new(first: Box<dyn Store>, second: Box<dyn Store>, bug: Option<Bug>) -> Arc<Self> {
        let heard = [Arc::new(Post::default()), Arc::new(Post::default())];
        for (store, post) in [&first, &second].into_iter().zip(&heard) {
            let subscriber: Arc<dyn Subscriber> = post.clone();
            store.subscribe(Arc::downgrade(&subscriber));
        }
        Arc::new(Self { first, second, heard, bug, difference: Mutex::default() })
    }

    /// What the first difference was.
    pub(crate) fn difference(&self) -> Option<String> {
        self.difference.lock().clone()
    }

    fn differ(&self, story: impl FnOnce() -> String) {
        self.difference.lock().get_or_insert_with(story);
    }

    fn same<T: PartialEq + Debug>(&self, what: &str, first: &Result<T>, second: &Result<T>) {
        let equal = match (first, second) {
            (Ok(first), Ok(second)) => first == second,
            (Err(first), Err(second)) => first.to_string() == second.to_string(),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if !equal {
            self.differ(|| format!("{what}: {first:?}, but {second:?}"));
        }
    }

    fn read<T: PartialEq + Debug>(&self, verb: &str, call: impl Fn(&dyn Store) -> Result<T>) -> Result<T> {
        // Not every call reads the clock, and one that nobody has read may step back.
        self.same("now", &self.first.now(), &self.second.now());
        let (first, second) = (call(&*self.first), call(&*self.second));
        self.same(verb, &first, &second);
        second
    }

    fn write<T: PartialEq + Debug>(&self, verb: &str, call: impl Fn(&dyn Store) -> Result<T>) -> Result<T> {
        let reply = self.read(verb, call);
        self.compare(verb);
        reply
    }

    fn compare(&self, verb: &str) {
        let after = |what: &str| format!("{what} after {verb}");
        let all = Filter::default();
        self.same(&after("jobs"), &self.first.list(&all), &self.second.list(&all));
        self.same(&after("queues"), &self.first.queues(), &self.second.queues());
        self.same(&after("nodes"), &self.first.nodes(), &self.second.nodes());
        self.same(&after("schedules"), &self.first.crons(), &self.second.crons());
        let [first, second] = self.heard.each_ref().map(|post| spread(&post.take()));
        let missing: Vec<_> = first.iter().filter(|signal| !second.iter().any(|heard| covers(heard, signal))).collect();
        if !missing.is_empty() {
            self.differ(|| format!("signals after {verb}: {missing:?} are missing in {second:?}"));
        }
    }
}

/// One piece of news each.
fn spread(signals: &[Signal]) -> Vec<Signal> {
    let one = |signal: &Signal| match signal {
        Signal::Cancel(ids) => ids.iter().map(|id| Signal::Cancel(vec![*id])).collect(),
        other @ (Signal::Ready(_)
        | Signal::Due(_)
        | Signal::Control(_)
        | Signal::Settled
        | Signal::Orphaned
        | Signal::Leaving
        | Signal::Missed) => {
            vec![other.clone()]
        }
    };
    signals.iter().flat_map(one).collect()
}

/// Whether who heard the one need not hear the other.
fn covers(heard: &Signal, signal: &Signal) -> bool {
    match (heard, signal) {
        (Signal::Due(heard), Signal::Due(due)) => heard <= due,
        // Whoever hears of a change of a queue looks for work there as well.
        (Signal::Control(heard), Signal::Ready(queue)) => heard == queue,
        _ => heard == signal,
    }
}

impl Store for Twins {
    fn blocks(&self) -> bool {
        self.second.blocks()
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.second.subscribe(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.read("now", |store| store.now())
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.write("enqueue", |store| store.enqueue(jobs.clone()))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        self.write("claim", |store| store.claim(claim))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.write("ack", |store| store.ack(node, acks))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.write("report", |store| store.report(node, reports))
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.write("stage", |store| store.stage(limit))
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.write("heartbeat", |store| store.heartbeat(beat))
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.write("depart", |store| store.depart(node, grace))
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.write("rescue", |store| store.rescue(limit))
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.read("nodes", |store| store.nodes())
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        if self.bug == Some(Bug::StoresDiffer) {
            let reply = self.first.cancel(filter);
            self.compare("cancel");
            return reply;
        }
        self.write("cancel", |store| store.cancel(filter))
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.write("retry", |store| store.retry(filter))
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.write("delete", |store| store.delete(filter))
    }

    fn prune(&self, retention: &Retention, _limit: usize) -> Result<usize> {
        // Which of those that ended at the same moment goes first is the store's affair.
        self.write("prune", |store| store.prune(retention, usize::MAX))
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.write("pause", |store| store.pause(queue))
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.write("resume", |store| store.resume(queue))
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.write("scale", |store| store.scale(queue, concurrency))
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
        // Which queues without settings are among them is the store's affair, and so are the counts.
        let set = |store: &dyn Store| {
            let rows = store.settings()?.into_iter().filter(|row| row.paused || row.concurrency.is_some());
            Ok(rows.map(|row| (row.name, row.paused, row.concurrency)).collect::<BTreeSet<_>>())
        };
        drop(self.read("settings", set)?);
        self.second.settings()
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.write("save_cron", |store| store.save_cron(entry))
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.read("crons", |store| store.crons())
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.write("set_cron_paused", |store| store.set_cron_paused(name, paused))
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.write("delete_cron", |store| store.delete_cron(name))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.write("tick", |store| store.tick(tick.clone()))
    }
}
