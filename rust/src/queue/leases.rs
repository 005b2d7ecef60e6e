//! Nodes, how long each may be silent, and who holds which job.
//!
//! A node that was declared dead, or has departed, never comes back under the same incarnation. A job is held by a node
//! if and only if it is executing.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::clock::Timestamp;
use crate::job::{JobId, Name, NodeId};
use crate::outcome::RescueReason;

/// The small number of a node within one store, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(u32);

impl Holder {
    /// No node at all.
    pub const NOBODY: Self = Self(0);
}

/// What a node may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Beats and claims.
    Alive,
    /// Has announced its end: it may ack what it holds, until its lease ends.
    Leaving,
    /// Declared dead: it may do nothing, and its jobs are taken back for this reason.
    Dead(RescueReason),
}

/// What a node says of itself when it beats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its human name.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// The queues it works on, with their concurrency.
    pub queues: Vec<(Name, u32)>,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Which incarnation.
    pub id: NodeId,
    /// What it says of itself.
    pub about: About,
    /// When it registered.
    pub started_at: Timestamp,
    /// When it last beat.
    pub beat_at: Timestamp,
    /// When its lease ends.
    pub expires_at: Timestamp,
    /// What it may do.
    pub standing: Standing,
    holds: FxHashSet<JobId>,
}

impl Node {
    /// How many jobs it holds.
    pub fn executing(&self) -> usize {
        self.holds.len()
    }

    /// The jobs it holds, by id.
    pub fn holds(&self) -> Vec<JobId> {
        let mut ids: Vec<_> = self.holds.iter().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// All nodes that hold jobs or may claim some.
#[derive(Debug, Default)]
pub struct Leases {
    nodes: BTreeMap<Holder, Node>,
    holders: FxHashMap<NodeId, Holder>,
    retired: FxHashSet<NodeId>,
    last: u32,
}

impl Leases {
    /// The small number of a node that is known.
    pub fn holder(&self, node: NodeId) -> Option<Holder> {
        self.holders.get(&node).copied()
    }

    /// The node with that number.
    pub fn node(&self, holder: Holder) -> Option<&Node> {
        self.nodes.get(&holder)
    }

    /// Registers a node or extends its lease; nothing when it was declared dead or has departed.
    pub fn beat(&mut self, node: NodeId, about: About, now: Timestamp, expires_at: Timestamp) -> Option<Holder> {
        if let Some(holder) = self.holder(node) {
            let known = self.nodes.get_mut(&holder)?;
            match known.standing {
                Standing::Dead(_) => return None,
                Standing::Alive => known.expires_at = known.expires_at.max(expires_at),
                // The grace of its departure stands.
                Standing::Leaving => {}
            }
            known.about = about;
            known.beat_at = now;
            return Some(holder);
        }
        if self.retired.contains(&node) {
            return None;
        }
        self.last += 1;
        let holder = Holder(self.last);
        let standing = Standing::Alive;
        let holds = FxHashSet::default();
        let row = Node { id: node, about, started_at: now, beat_at: now, expires_at, standing, holds };
        self.nodes.insert(holder, row);
        self.holders.insert(node, holder);
        Some(holder)
    }

    /// The number of a node that may claim now.
    pub fn claimant(&self, node: NodeId, now: Timestamp) -> Option<Holder> {
        let holder = self.holder(node)?;
        let row = self.nodes.get(&holder)?;
        (row.standing == Standing::Alive && row.expires_at >= now).then_some(holder)
    }

    /// The number of a node whose writes about its jobs still count: any that was not declared dead.
    pub fn writer(&self, node: NodeId) -> Option<Holder> {
        let holder = self.holder(node)?;
        match self.nodes.get(&holder)?.standing {
            Standing::Alive | Standing::Leaving => Some(holder),
            Standing::Dead(_) => None,
        }
    }

    /// The node ends: its lease ends then, and it goes as soon as it holds nothing.
    pub fn depart(&mut self, node: NodeId, expires_at: Timestamp) {
        let Some(holder) = self.writer(node) else { return };
        if let Some(row) = self.nodes.get_mut(&holder) {
            row.standing = Standing::Leaving;
            row.expires_at = expires_at;
            self.retire_if_empty(holder);
        }
    }

    /// Declares those dead whose lease ended before `now`.
    pub fn declare_dead(&mut self, now: Timestamp) {
        let mut empty = Vec::new();
        for (holder, node) in &mut self.nodes {
            let reason = match node.standing {
                Standing::Alive => RescueReason::NodeDied,
                Standing::Leaving => RescueReason::Shutdown,
                Standing::Dead(_) => continue,
            };
            if node.expires_at < now {
                node.standing = Standing::Dead(reason);
                self.retired.insert(node.id);
                empty.push(*holder);
            }
        }
        for holder in empty {
            self.retire_if_empty(holder);
        }
    }

    /// Up to `limit` jobs of dead nodes, with the reason to take each back.
    pub fn orphans(&self, limit: usize) -> Vec<(JobId, RescueReason)> {
        let mut found = Vec::new();
        for node in self.nodes.values() {
            if let Standing::Dead(reason) = node.standing {
                let room = limit - found.len();
                found.extend(node.holds().into_iter().take(room).map(|id| (id, reason)));
            }
        }
        found
    }

    /// The node has the job now.
    pub fn hold(&mut self, holder: Holder, id: JobId) {
        if let Some(node) = self.nodes.get_mut(&holder) {
            node.holds.insert(id);
        }
    }

    /// The node has the job no longer.
    pub fn drop(&mut self, holder: Holder, id: JobId) {
        if let Some(node) = self.nodes.get_mut(&holder) {
            node.holds.remove(&id);
            if node.standing != Standing::Alive {
                self.retire_if_empty(holder);
            }
        }
    }

    /// The nodes, in the order in which they registered.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    fn retire_if_empty(&mut self, holder: Holder) {
        if self.nodes.get(&holder).is_none_or(|node| !node.holds.is_empty()) {
            return;
        }
        if let Some(node) = self.nodes.remove(&holder) {
            self.holders.remove(&node.id);
            self.retired.insert(node.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(name: &str) -> About {
        About { name: name.into(), pid: 1, queues: Vec::new() }
    }

    fn beat(leases: &mut Leases, node: u128, now: i64, expires_at: i64) -> Option<Holder> {
        leases.beat(NodeId(node), about("n"), Timestamp(now), Timestamp(expires_at))
    }

    fn with_nodes(expiries: &[i64]) -> (Leases, Vec<Holder>) {
        let mut leases = Leases::default();
        let holders = (1..).zip(expiries).map(|(node, at)| beat(&mut leases, node, 0, *at).unwrap()).collect();
        (leases, holders)
    }

    fn ids(leases: &Leases) -> Vec<u128> {
        leases.iter().map(|node| node.id.0).collect()
    }

    #[test]
    fn each_node_has_a_number_of_its_own() {
        let (leases, holders) = with_nodes(&[10, 10, 10]);
        assert_eq!(holders, [Holder(1), Holder(2), Holder(3)]);
        assert_eq!((leases.holder(NodeId(2)), leases.holder(NodeId(4))), (Some(Holder(2)), None));
        assert_eq!(leases.node(Holder(2)).map(|node| node.id), Some(NodeId(2)));
        assert!(leases.node(Holder::NOBODY).is_none());
        assert_eq!(ids(&leases), [1, 2, 3]);
    }

    #[test]
    fn a_beat_extends_the_lease_and_never_shortens_it() {
        let (mut leases, holders) = with_nodes(&[10]);
        for (now, expires_at, then) in [(1, 20, 20), (2, 15, 20)] {
            leases.beat(NodeId(1), about("other"), Timestamp(now), Timestamp(expires_at)).unwrap();
            let node = leases.node(holders[0]).unwrap();
            assert_eq!(
                (node.expires_at, node.beat_at, node.started_at),
                (Timestamp(then), Timestamp(now), Timestamp(0))
            );
            assert_eq!((node.about.name.as_str(), node.standing), ("other", Standing::Alive));
        }
    }

    #[test]
    fn a_node_claims_until_its_lease_ends_and_writes_until_it_is_declared_dead() {
        let (mut leases, holders) = with_nodes(&[10]);
        let (node, holder) = (NodeId(1), Some(holders[0]));
        leases.hold(holders[0], JobId(1));
        assert_eq!((leases.claimant(node, Timestamp(10)), leases.claimant(node, Timestamp(11))), (holder, None));
        assert_eq!(
            (leases.writer(node), leases.writer(NodeId(2)), leases.claimant(NodeId(2), Timestamp(1))),
            (holder, None, None)
        );
        leases.declare_dead(Timestamp(11));
        assert_eq!((leases.writer(node), leases.claimant(node, Timestamp(1))), (None, None));
        assert_eq!(beat(&mut leases, 1, 12, 99), None);
    }

    #[test]
    fn a_node_that_leaves_claims_nothing_and_may_write_what_it_holds() {
        let (mut leases, holders) = with_nodes(&[10]);
        let node = NodeId(1);
        leases.hold(holders[0], JobId(1));
        leases.depart(node, Timestamp(20));
        assert_eq!(
            leases.node(holders[0]).map(|node| (node.standing, node.expires_at)),
            Some((Standing::Leaving, Timestamp(20)))
        );
        assert_eq!((leases.claimant(node, Timestamp(1)), leases.writer(node)), (None, Some(holders[0])));
        assert_eq!(beat(&mut leases, 1, 12, 99), Some(holders[0]));
        assert_eq!(leases.node(holders[0]).map(|node| node.expires_at), Some(Timestamp(20)));
        leases.drop(holders[0], JobId(1));
        assert_eq!((ids(&leases), leases.holder(node), beat(&mut leases, 1, 13, 99)), (vec![], None, None));
    }

    #[test]
    fn a_node_that_leaves_with_nothing_in_hand_is_gone_at_once() {
        let (mut leases, _) = with_nodes(&[10, 10]);
        leases.depart(NodeId(1), Timestamp(20));
        leases.depart(NodeId(3), Timestamp(20));
        assert_eq!((ids(&leases), beat(&mut leases, 1, 1, 99)), (vec![2], None));
    }

    #[test]
    fn only_those_whose_lease_has_ended_are_declared_dead() {
        let (mut leases, holders) = with_nodes(&[10, 11, 12, 9]);
        for (holder, id) in holders[..3].iter().zip(1..) {
            leases.hold(*holder, JobId(id));
        }
        leases.depart(NodeId(2), Timestamp(10));
        leases.declare_dead(Timestamp(10));
        assert_eq!((ids(&leases), leases.orphans(9)), (vec![1, 2, 3], vec![]));
        leases.declare_dead(Timestamp(11));
        leases.declare_dead(Timestamp(11));
        assert_eq!(leases.orphans(9), [(JobId(1), RescueReason::NodeDied), (JobId(2), RescueReason::Shutdown)]);
        leases.drop(holders[0], JobId(1));
        assert_eq!(ids(&leases), [2, 3]);
    }

    #[test]
    fn orphans_of_all_dead_nodes_share_one_limit() {
        let (mut leases, holders) = with_nodes(&[1, 1]);
        for id in 1..=4 {
            leases.hold(holders[usize::from(id > 2)], JobId(id));
        }
        leases.declare_dead(Timestamp(2));
        for limit in 0..6 {
            let found: Vec<_> = leases.orphans(limit).into_iter().map(|(id, _)| id.0).collect();
            assert_eq!(found, (1..=4).take(limit).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_a_node_holds_is_counted_and_an_idle_one_stays() {
        let (mut leases, holders) = with_nodes(&[10]);
        let held = |leases: &Leases| leases.node(holders[0]).map(|node| (node.executing(), node.holds()));
        leases.hold(holders[0], JobId(9));
        leases.hold(holders[0], JobId(3));
        assert_eq!(held(&leases), Some((2, vec![JobId(3), JobId(9)])));
        leases.drop(holders[0], JobId(9));
        leases.drop(holders[0], JobId(3));
        assert_eq!(held(&leases), Some((0, vec![])));
    }
}
