//! The naive model: plain vectors, looked through from end to end, and none of the store's code but its pure rules.

use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::{AttemptError, Details, Job, JobId, Lease, NewJob, NodeId};
use zjobs_engine::outcome::{self, Failure, Outcome, RescueReason, settle};
use zjobs_engine::state::{Attempts, Event, State};
use zjobs_engine::store::{Acked, Cancelled, Retried};
use zjobs_engine::sync::Arc;
use zjobs_engine::unique::UniqueStrategy;

use std::time::Duration;

use super::TTL;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Alive,
    Leaving,
    Dead(RescueReason),
    Gone,
}

#[derive(Debug, Clone)]
pub struct ModelNode {
    id: NodeId,
    expires_at: Timestamp,
    standing: Standing,
}

/// A job and what the model remembers beside it.
#[derive(Debug, Clone)]
pub struct Kept {
    pub job: Job,
    pub has_key: bool,
    pub acked: bool,
}

/// The naive model: plain vectors, looked through from end to end.
#[derive(Debug, Default)]
pub struct Model {
    pub now: Timestamp,
    pub jobs: Vec<Kept>,
    pub last: i64,
    pub nodes: Vec<ModelNode>,
    pub paused: [bool; 2],
}

impl Model {
    pub fn find(&mut self, id: JobId) -> Option<&mut Kept> {
        self.jobs.iter_mut().find(|kept| kept.job.id == id)
    }

    fn holder_of(&self, key: &str) -> Option<JobId> {
        let has = |kept: &&Kept| kept.has_key && kept.job.details().unique_key.as_deref() == Some(key);
        self.jobs.iter().find(has).map(|kept| kept.job.id)
    }

    fn node(&mut self, id: NodeId) -> Option<&mut ModelNode> {
        self.nodes.iter_mut().find(|node| node.id == id && node.standing != Standing::Gone)
    }

    pub fn enqueue(&mut self, new: NewJob) -> (JobId, bool) {
        if let Some(unique) = &new.unique
            && let Some(holder) = self.holder_of(&unique.key)
        {
            if unique.strategy == UniqueStrategy::IgnoreNew {
                return (holder, true);
            }
            self.cancel(holder);
            self.find(holder).unwrap().has_key = false;
        }
        self.last += 1;
        let (state, scheduled_at) = new.when.initial(self.now);
        let has_key = new.unique.is_some();
        let details = Details { unique_key: new.unique.map(|unique| unique.key), ..Details::default() };
        let job = Job {
            id: JobId(self.last),
            state,
            queue: new.queue,
            worker: new.worker,
            args: new.args,
            priority: new.priority,
            attempt: 0,
            max_attempts: new.max_attempts,
            lease: Lease(0),
            node: None,
            scheduled_at,
            inserted_at: self.now,
            attempted_at: None,
            finished_at: None,
            timeout: new.timeout,
            details: Some(Arc::new(details)),
        };
        self.jobs.push(Kept { job, has_key, acked: false });
        (JobId(self.last), false)
    }

    pub fn claim(&mut self, node: NodeId, number: usize, limit: usize) -> Option<Vec<JobId>> {
        let now = self.now;
        self.node(node).filter(|node| node.standing == Standing::Alive && node.expires_at >= now)?;
        if self.paused[number] {
            return Some(Vec::new());
        }
        let name = super::queue(number);
        let ready = self.jobs.iter().filter(|kept| kept.job.state == State::Available && kept.job.queue == name);
        let mut order: Vec<_> = ready.map(|kept| (kept.job.priority, kept.job.scheduled_at, kept.job.id)).collect();
        order.sort();
        let ids: Vec<_> = order.into_iter().take(limit).map(|(_, _, id)| id).collect();
        for id in &ids {
            let kept = self.find(*id).unwrap();
            kept.acked = false;
            kept.job.state = State::Executing;
            kept.job.node = Some(node);
            kept.job.attempt += 1;
            kept.job.lease.0 += 1;
            kept.job.attempted_at = Some(now);
        }
        Some(ids)
    }

    pub fn ack(&mut self, node: NodeId, was: &Job, outcome: Outcome) -> Acked {
        let now = self.now;
        let ack = settle(was, outcome).unwrap();
        let lives = self.node(node).is_some_and(|node| !matches!(node.standing, Standing::Dead(_)));
        let Some(kept) = self.find(was.id).filter(|kept| kept.job.lease == was.lease) else { return Acked::LeaseLost };
        if kept.acked && kept.job.state == ack.to {
            return Acked::Already;
        }
        if kept.job.state != State::Executing || kept.job.node != Some(node) || !lives {
            return Acked::LeaseLost;
        }
        let attempt = kept.job.attempt;
        let details = kept.job.details_mut();
        if details.cancel_requested && ack.event != Event::Cancel {
            return Acked::CancelRequested;
        }
        if let Some(failure) = ack.error {
            note(details, attempt, now, failure);
        }
        if ack.result.is_some() {
            details.result = ack.result;
        }
        kept.acked = true;
        kept.job.attempt = ack.attempt;
        if let Some(delay) = ack.delay {
            kept.job.scheduled_at = now + delay;
        }
        self.move_to(was.id, ack.to);
        Acked::Stored
    }

    fn move_to(&mut self, id: JobId, to: State) {
        let now = self.now;
        let kept = self.find(id).unwrap();
        kept.job.node = None;
        kept.job.state = to;
        if to.is_final() {
            kept.job.finished_at = Some(now);
            kept.has_key = false;
        }
        let emptied = |node: &ModelNode, jobs: &[Kept]| {
            matches!(node.standing, Standing::Leaving | Standing::Dead(_))
                && !jobs.iter().any(|kept| kept.job.node == Some(node.id))
        };
        for node in self.nodes.iter_mut().filter(|node| emptied(node, &self.jobs)) {
            node.standing = Standing::Gone;
        }
    }

    pub fn stage(&mut self, limit: usize) -> usize {
        let waits = |kept: &&Kept| matches!(kept.job.state, State::Scheduled | State::Retryable);
        let due = self.jobs.iter().filter(waits).filter(|kept| kept.job.scheduled_at <= self.now);
        let mut order: Vec<_> = due.map(|kept| (kept.job.scheduled_at, kept.job.id)).collect();
        order.sort();
        order.truncate(limit);
        for (_, id) in &order {
            self.move_to(*id, State::Available);
        }
        order.len()
    }

    pub fn beat(&mut self, id: NodeId) -> bool {
        let expires_at = self.now + TTL;
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            if node.standing == Standing::Alive {
                node.expires_at = node.expires_at.max(expires_at);
            }
            return matches!(node.standing, Standing::Alive | Standing::Leaving);
        }
        self.nodes.push(ModelNode { id, expires_at, standing: Standing::Alive });
        true
    }

    pub fn depart(&mut self, id: NodeId) {
        let expires_at = self.now + Duration::from_secs(5);
        let busy = self.jobs.iter().any(|kept| kept.job.node == Some(id));
        let Some(node) = self.node(id).filter(|node| !matches!(node.standing, Standing::Dead(_))) else { return };
        node.expires_at = expires_at;
        node.standing = if busy { Standing::Leaving } else { Standing::Gone };
    }

    pub fn rescue(&mut self, limit: usize) -> Vec<JobId> {
        for node in self.nodes.iter_mut().filter(|node| node.expires_at < self.now) {
            let busy = self.jobs.iter().any(|kept| kept.job.node == Some(node.id));
            node.standing = match node.standing {
                Standing::Alive if busy => Standing::Dead(RescueReason::NodeDied),
                Standing::Leaving if busy => Standing::Dead(RescueReason::Shutdown),
                Standing::Alive | Standing::Leaving => Standing::Gone,
                other => other,
            };
        }
        let dead = self.nodes.iter().filter_map(|node| match node.standing {
            Standing::Dead(reason) => Some((node.id, reason)),
            _ => None,
        });
        let held = |node: NodeId| self.jobs.iter().filter(move |kept| kept.job.node == Some(node));
        let orphans: Vec<_> =
            dead.flat_map(|(node, reason)| held(node).map(move |kept| (kept.job.id, reason))).take(limit).collect();
        for (id, reason) in &orphans {
            let now = self.now;
            let kept = self.find(*id).unwrap();
            let rescue = outcome::rescue(&kept.job, *reason).unwrap();
            let attempt = kept.job.attempt;
            let details = kept.job.details_mut();
            details.crashes = rescue.crashes;
            note(details, attempt, now, rescue.error);
            kept.job.attempt = rescue.attempt;
            self.move_to(*id, rescue.to);
        }
        orphans.into_iter().map(|(id, _)| id).collect()
    }

    pub fn cancel(&mut self, id: JobId) -> Option<Cancelled> {
        let kept = self.find(id)?;
        if kept.job.state == State::Executing {
            kept.job.details_mut().cancel_requested = true;
            return Some(Cancelled::Requested(id));
        }
        kept.job.state.on(Event::Cancel, Attempts::Left).ok()?;
        self.move_to(id, State::Cancelled);
        Some(Cancelled::Done(id))
    }

    pub fn retry(&mut self, id: JobId) -> Option<Retried> {
        let now = self.now;
        let job = self.find(id)?.job.clone();
        job.state.on(Event::Retry, Attempts::Left).ok()?;
        if let Some(key) = &job.details().unique_key {
            match self.holder_of(key) {
                Some(holder) if holder != id => return Some(Retried::KeyTaken { id, holder }),
                _ => self.find(id)?.has_key = true,
            }
        }
        let kept = self.find(id)?;
        kept.acked = false;
        kept.job.scheduled_at = now;
        kept.job.finished_at = None;
        kept.job.max_attempts = kept.job.max_attempts.max(kept.job.attempt + 1);
        let details = kept.job.details_mut();
        (details.cancel_requested, details.progress, details.result, details.crashes) = (false, None, None, 0);
        self.move_to(id, State::Available);
        Some(Retried::Done(id))
    }

    pub fn delete(&mut self, id: JobId) -> usize {
        let before = self.jobs.len();
        self.jobs.retain(|kept| kept.job.id != id || kept.job.state == State::Executing);
        before - self.jobs.len()
    }
}

fn note(details: &mut Details, attempt: u32, at: Timestamp, failure: Failure) {
    let Failure { kind, message, traceback } = failure;
    details.errors.push(AttemptError { attempt, at, kind, message, traceback });
    if details.errors.len() > zjobs_engine::limits::ERRORS_KEPT {
        details.errors.remove(0);
    }
}
