//! What befalls nodes and clocks between calls; what befalls a call is in `link`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zjobs_engine::clock::Clock;

use super::World;
use crate::fault::Fault;
use crate::node::Life;

impl World {
    pub(super) fn make_trouble(self: &Arc<Self>) {
        let faults = self.plan.faults;
        let node = self.random(|rng| rng.choice(&**self.nodes.lock()).cloned());
        let Some(node) = node else { return self.start_node() };
        if self.chance(faults.crash * 10) {
            self.note(|| format!("node {} crashes", node.number));
            let lived = node.life() != Life::Gone;
            node.crash();
            self.felt_if(Fault::Crash, lived && node.life() == Life::Gone);
        }
        if self.chance(faults.freeze * 5) {
            let length = self.random(|rng| Duration::from_millis(rng.u64(100..9000)));
            self.note(|| format!("node {} freezes for {length:?}", node.number));
            let until = node.moment() + length;
            node.freeze(until);
            self.felt_if(Fault::Freeze, matches!(node.life(), Life::Frozen(_)));
            self.thaws.fetch_min(until.0, Ordering::Relaxed);
        }
        if self.chance(faults.stops * 10) {
            node.stop(self);
        }
        if self.chance(faults.node_steps * 5) {
            let before = node.clock.now();
            node.clock.step(self.random(|rng| rng.i64(-3_600_000_000..3_600_000_000)));
            self.felt_if(Fault::NodeClock, node.clock.now() != before);
        }
        if self.chance(faults.store_steps * 5) {
            let by = self.random(|rng| rng.i64(-5_000_000..5_000_000));
            // Some go back further than anybody waits.
            let by = if by < -3_000_000 { by * 720 } else { by };
            self.note(|| format!("the clock of the store steps by {by} us"));
            let before = self.store_clock.now();
            self.store_clock.step(by);
            self.felt_if(Fault::StoreClock, self.store_clock.now() != before);
        }
        let mut nodes = self.nodes.lock();
        Arc::make_mut(&mut nodes).retain(|node| node.life() != Life::Gone || node.is_busy());
        let missing = nodes.iter().filter(|node| node.life() != Life::Gone).count() < self.plan.nodes;
        drop(nodes);
        if missing && self.chance(700) {
            self.start_node();
        }
    }

    fn felt_if(&self, fault: Fault, came: bool) {
        if came {
            self.felt(fault);
        }
    }
}
