//! Who may do what: incarnations by the store's clock, trust by their own, and the handlers that run.

use zjobs_engine::Timestamp;
use zjobs_engine::clock::Moment;
use zjobs_engine::job::{Job, Name, NodeId};
use zjobs_engine::state::State;

use super::{Oracle, Run};

/// How an incarnation stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Leaving,
    /// Declared dead; true when it had departed.
    Dead(bool),
}

/// One incarnation, by the oracle's own bookkeeping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tenure {
    pub(super) life: Life,
    pub(super) expires: Timestamp,
}

impl Oracle {
    /// The node has heard that its beat was accepted: it may act until then.
    pub(crate) fn trusts(&mut self, node: NodeId, until: Moment) {
        self.trusted.insert(node, until);
    }

    /// The node is about to claim.
    pub(crate) fn opens_claim(&mut self, node: NodeId) {
        let trusted = self.is_trusted(node);
        self.require(trusted, 9, || "a claim was opened outside of the trust window".into());
    }

    /// A slot got a job. `runs` counts the queue's handlers on the node with this one.
    pub(crate) fn starts(&mut self, job: &Job, claimant: NodeId, node: NodeId, runs: u32) {
        let id = job.id;
        self.require(claimant == node && self.is_trusted(node), 9, || {
            format!("a handler of job {id} was started outside of the trust window")
        });
        let limit = self.limits.get(&job.queue).map_or(crate::plan::CONCURRENCY, |(_, most)| *most);
        self.require(runs <= limit, 20, || format!("{runs} handlers of queue {} run, {limit} may", job.queue));
        let holds = self
            .row(id)
            .is_some_and(|row| row.state == State::Executing && row.lease == job.lease && row.node == Some(claimant));
        self.require(holds || !self.steady_store, 9, || format!("a handler of job {id} was started without its lease"));
        let twice = self.runs.insert((id, job.lease), Run { ended: None }).is_some();
        self.require(!twice, 3, || format!("job {id} was started twice under one lease"));
    }

    /// A slot has handed back an outcome.
    pub(crate) fn ends(&mut self, job: &Job) {
        if let Some(run) = self.runs.get_mut(&(job.id, job.lease)) {
            run.ended = Some(self.moment);
        }
    }

    /// Time passes without a call.
    pub(crate) fn reach(&mut self, moment: Moment) {
        self.moment = moment;
    }

    fn is_trusted(&self, node: NodeId) -> bool {
        self.trusted.get(&node).is_some_and(|until| self.moment < *until)
    }

    pub(super) fn scaled(&mut self, queue: &Name, concurrency: Option<u32>) {
        let normal = crate::plan::CONCURRENCY;
        let entry = self.limits.entry(queue.clone()).or_insert((None, normal));
        entry.0 = concurrency;
        entry.1 = entry.1.max(concurrency.unwrap_or(normal));
    }

    pub(super) fn beaten(&mut self, node: NodeId, expires: Timestamp) {
        let tenure = self.nodes.entry(node).or_insert(Tenure { life: Life::Alive, expires });
        let dead = matches!(tenure.life, Life::Dead(_));
        if tenure.life == Life::Alive {
            tenure.expires = tenure.expires.max(expires);
        }
        self.require(!dead, 8, || "an incarnation that was declared dead beats again".into());
    }

    /// The store does not take the node for alive.
    pub(super) fn refused(&mut self, node: NodeId) {
        let now = self.now;
        let lives = |tenure: &Tenure| tenure.life == Life::Alive && tenure.expires >= now;
        let lives = self.nodes.get(&node).is_some_and(lives);
        self.require(!lives, 7, || "a node whose lease has not ended was told that it is dead".into());
    }

    pub(super) fn left(&mut self, node: NodeId, expires: Timestamp) {
        if let Some(tenure) = self.nodes.get_mut(&node)
            && !matches!(tenure.life, Life::Dead(_))
        {
            *tenure = Tenure { life: Life::Leaving, expires };
        }
    }

    /// A look for dead nodes is committed: those whose lease has ended are dead from now on.
    pub(super) fn declare_dead(&mut self) {
        for tenure in self.nodes.values_mut() {
            if tenure.expires < self.now && !matches!(tenure.life, Life::Dead(_)) {
                tenure.life = Life::Dead(tenure.life == Life::Leaving);
            }
        }
    }

    pub(super) fn is_dead(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_none_or(|tenure| matches!(tenure.life, Life::Dead(_)))
    }

    /// Whether the job's node is gone by the store's clock.
    pub(super) fn gone(&self, job: &Job) -> bool {
        job.node.is_none_or(|node| self.is_dead(node))
    }

    /// Whether the job's node had announced its end.
    pub(super) fn departed(&self, job: &Job) -> bool {
        let tenure = job.node.and_then(|node| self.nodes.get(&node));
        tenure.is_some_and(|tenure| tenure.life == Life::Dead(true))
    }
}
