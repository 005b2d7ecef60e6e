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
