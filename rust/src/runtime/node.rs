//! Who this node is and how long it may trust its own lease.

use crate::clock::Moment;
use crate::job::NodeId;
use crate::runtime::sabotage::{self, Sabotage};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// The identity of a running node. An incarnation that was declared dead is never used again.
#[derive(Debug)]
pub struct Node {
    id: Mutex<NodeId>,
    trusted_until: AtomicU64,
    starts: AtomicU64,
    departs: AtomicBool,
    random: Mutex<fastrand::Rng>,
}

impl Node {
    /// A node whose incarnations come from `random`.
    pub fn new(mut random: fastrand::Rng) -> Self {
        let id = NodeId(random.u128(1..));
        Self {
            id: Mutex::new(id),
            trusted_until: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            departs: AtomicBool::new(false),
            random: Mutex::new(random),
        }
    }

    /// The incarnation now.
    pub fn id(&self) -> NodeId {
        *self.id.lock()
    }

    /// Whether `id` is an incarnation that is over. Costs nothing for a node that never lost its lease.
    pub fn is_former(&self, id: NodeId) -> bool {
        self.starts.load(Ordering::Acquire) > 1 && self.id() != id
    }

    /// Whether handlers may start and claims may open.
    pub fn is_trusted(&self, now: Moment) -> bool {
        let until = self.trusted_until.load(Ordering::Acquire);
        now.0 < until || (until > 0 && sabotage::is_on(Sabotage::TrustForEver))
    }

    /// A heartbeat succeeded; its request began long enough before this.
    pub fn trust_until(&self, until: Moment) {
        self.trusted_until.store(until.0, Ordering::Release);
    }

    /// The store says that the incarnation `id` is not alive.
    pub fn distrust(&self, id: NodeId) {
        if self.id() == id {
            self.trusted_until.store(0, Ordering::Release);
        }
    }

    /// Whether the process is at its end: each beat is a departure.
    pub fn departs(&self) -> bool {
        self.departs.load(Ordering::Acquire)
    }

    /// The process is at its end, or a start shows that it is not.
    pub fn set_departs(&self, departs: bool) {
        self.departs.store(departs, Ordering::Release);
    }

    /// The old incarnation is dead or over: takes a new one, not yet trusted.
    pub fn reincarnate(&self) {
        self.trusted_until.store(0, Ordering::Release);
        let fresh = NodeId(self.random.lock().u128(1..));
        *self.id.lock() = fresh;
        self.starts.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node::new(fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_lease_is_trusted_until_the_moment_that_was_said_or_until_the_store_knows_the_node_no_more() {
        let node = node();
        assert!(!node.is_trusted(Moment(0)), "no beat has succeeded");
        node.trust_until(Moment(10));
        assert!(node.is_trusted(Moment(9)) && !node.is_trusted(Moment(10)));
        node.distrust(NodeId(1));
        assert!(node.is_trusted(Moment(9)), "that was about another");
        node.distrust(node.id());
        assert!(!node.is_trusted(Moment(9)));
    }

    #[test]
    fn a_new_incarnation_has_a_name_of_its_own_and_is_not_trusted_yet() {
        let node = node();
        // As each start does. No incarnation before it had jobs.
        let unused = node.id();
        node.reincarnate();
        let first = node.id();
        assert!(unused != first && !node.is_former(unused));
        node.trust_until(Moment(10));
        node.reincarnate();
        assert!(!node.is_trusted(Moment(9)));
        assert!(node.is_former(first) && !node.is_former(node.id()));
    }

    #[test]
    fn a_node_departs_until_it_starts_again() {
        let node = node();
        assert!(!node.departs());
        node.set_departs(true);
        assert!(node.departs());
        node.set_departs(false);
        assert!(!node.departs());
    }
}
