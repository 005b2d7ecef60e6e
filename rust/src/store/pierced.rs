//! A store whose calls are places where a process may die (`failpoint`): the thread has the verb in hand while it runs.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::failpoint::{Hand, Scope, Step, Verb};
use crate::job::{Job, JobId, Name, NewJob, NodeId};
use crate::outcome::Ack;
use crate::store::{
    Acked, Cancelled, Claim, CronEntry, CronRow, CronTick, Enqueued, Filter, Heartbeat, NodeRow, Paused, Pulse,
    QueueRow, Report, Rescued, Retention, Retried, Staged, Store, Subscriber, Ticked,
};
use crate::sync::{Arc, Weak};

/// Another store, and the places before and after each call that changes something.
pub struct Pierced(Arc<dyn Store>);

impl Pierced {
    /// Around a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    fn call<T>(&self, verb: Verb, run: impl FnOnce(&dyn Store) -> Result<T>) -> Result<T> {
        let _scope = Scope::enter(verb);
        Hand::now().step(Step::Asked)?;
        let reply = run(&*self.0)?;
        match Hand::now().step(Step::Answered) {
            // As when the reply is lost on its way.
            Err(error) if verb == Verb::Enqueue => Err(Error::EnqueueUncertain(error.to_string())),
            other => other.map(|()| reply),
        }
    }
}

impl std::fmt::Debug for Pierced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pierced").finish_non_exhaustive()
    }
}

impl Store for Pierced {
    fn blocks(&self) -> bool {
        self.0.blocks()
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        self.0.subscribe(subscriber);
    }

    fn now(&self) -> Result<Timestamp> {
        self.0.now()
    }

    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.call(Verb::Enqueue, |store| store.enqueue(jobs))
    }

    fn enqueue_one(&self, job: NewJob) -> Result<Enqueued> {
        self.call(Verb::Enqueue, |store| store.enqueue_one(job))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Job>> {
        self.call(Verb::Claim, |store| store.claim(claim))
    }

    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        self.call(Verb::Ack, |store| store.ack(node, acks))
    }

    fn ack_one(&self, node: NodeId, ack: &Ack) -> Result<Acked> {
        self.call(Verb::Ack, |store| store.ack_one(node, ack))
    }

    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        self.call(Verb::Report, |store| store.report(node, reports))
    }

    fn stage(&self, limit: usize) -> Result<Staged> {
        self.call(Verb::Stage, |store| store.stage(limit))
    }

    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse> {
        self.call(Verb::Heartbeat, |store| store.heartbeat(beat))
    }

    fn depart(&self, node: NodeId, grace: Duration) -> Result<()> {
        self.call(Verb::Depart, |store| store.depart(node, grace))
    }

    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>> {
        self.call(Verb::Rescue, |store| store.rescue(limit))
    }

    fn nodes(&self) -> Result<Vec<NodeRow>> {
        self.0.nodes()
    }

    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        self.call(Verb::Cancel, |store| store.cancel(filter))
    }

    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>> {
        self.call(Verb::Retry, |store| store.retry(filter))
    }

    fn delete(&self, filter: &Filter) -> Result<usize> {
        self.call(Verb::Delete, |store| store.delete(filter))
    }

    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize> {
        self.call(Verb::Prune, |store| store.prune(retention, limit))
    }

    fn pause(&self, queue: &Name) -> Result<()> {
        self.call(Verb::Pause, |store| store.pause(queue))
    }

    fn resume(&self, queue: &Name) -> Result<()> {
        self.call(Verb::Resume, |store| store.resume(queue))
    }

    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()> {
        self.call(Verb::Scale, |store| store.scale(queue, concurrency))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.0.get(ids)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>> {
        self.0.list(filter)
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        self.0.count(filter)
    }

    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]> {
        self.0.count_by_state(queue)
    }

    fn queues(&self) -> Result<Vec<QueueRow>> {
        self.0.queues()
    }

    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.0.settings()
    }

    fn save_cron(&self, entry: &CronEntry) -> Result<()> {
        self.call(Verb::SaveCron, |store| store.save_cron(entry))
    }

    fn crons(&self) -> Result<Vec<CronRow>> {
        self.0.crons()
    }

    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool> {
        self.call(Verb::SetCronPaused, |store| store.set_cron_paused(name, paused))
    }

    fn delete_cron(&self, name: &Name) -> Result<bool> {
        self.call(Verb::DeleteCron, |store| store.delete_cron(name))
    }

    fn tick(&self, tick: CronTick) -> Result<Ticked> {
        self.call(Verb::Tick, |store| store.tick(tick))
    }
}
