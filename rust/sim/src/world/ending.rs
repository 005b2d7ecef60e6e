//! How a seed ends: faults stop, everything settles, all nodes stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zjobs_engine::clock::Moment;
use zjobs_engine::job::NodeId;
use zjobs_engine::store::Store;

use super::World;
use crate::node::Life;

/// How long everything may take to settle.
const BOUND: Duration = Duration::from_secs(150);

impl World {
    pub(super) fn settle(self: &Arc<Self>) {
        self.note(|| "faults stop".into());
        self.healed.store(true, Ordering::Relaxed);
        for node in self.nodes().iter() {
            node.thaw(Moment::NEVER);
            node.deploy(&self.plan);
        }
        if self.nodes.lock().iter().all(|node| node.life() != Life::Up) {
            self.start_node();
        }
        let rule_ends = self.time.moment() + crate::plan::RULE;
        self.rule_ends.store(rule_ends.0, Ordering::Relaxed);
        self.oracle().heal(self.store_clock.most(), self.plan.rule.map(|each| (each, rule_ends)));
        for queue in &self.plan.queues {
            if let Some(client) = self.client() {
                drop(client.resume(queue));
            }
        }
        let end = self.time.moment() + BOUND;
        while self.time.moment() < end && !self.is_broken() {
            self.act_all();
            let nodes = self.nodes();
            let standings: Vec<_> = nodes.iter().filter_map(|node| node.standing()).collect();
            let mut oracle = self.oracle();
            oracle.settle(&standings);
            if oracle.is_settled() {
                return;
            }
            drop(oracle);
            self.wait();
        }
        self.oracle().must_be_settled();
    }

    pub(super) fn stop_all(self: &Arc<Self>) {
        let nodes = self.nodes();
        let ids: Vec<NodeId> = nodes.iter().filter_map(|node| node.standing()).map(|standing| standing.node).collect();
        for node in nodes.iter() {
            node.stop(self);
        }
        let end = self.time.moment() + crate::plan::DRAIN + crate::plan::GRACE + Duration::from_secs(10);
        while self.time.moment() < end && !self.is_broken() && nodes.iter().any(|node| node.life() != Life::Gone) {
            self.act_all();
            self.wait();
        }
        let known = self.store.nodes().unwrap_or_default();
        let left = known.iter().filter(|row| ids.contains(&row.node)).count();
        self.oracle().must_be_empty(left);
    }

    /// Lets everybody do what they can do now. Who finds no end is interrupted, so that time passes all the same.
    fn act_all(&self) {
        for _ in 0..1000 {
            if self.is_broken() || !self.act() {
                return;
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }
}
