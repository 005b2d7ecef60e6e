//! *heartbeat*, departure and *rescue*: who lives, and what becomes of the jobs of those who do not.

use std::time::Duration;

use crate::error::Result;
use crate::job::{JobId, NodeId};
use crate::outcome::{self, RescueReason};
use crate::queue::leases::{About, Holder, Node};
use crate::state::State;
use crate::store::memory::tables::Tables;
use crate::store::{Heartbeat, NodeRow, Pulse, Rescued};

impl Tables {
    pub(super) fn heartbeat(&mut self, beat: &Heartbeat) -> Pulse {
        let about = About { name: beat.name.clone(), pid: beat.pid, queues: beat.queues.clone() };
        let now = self.index.now;
        match self.index.leases.beat(beat.node, about, now, now + beat.ttl) {
            Some(holder) => self.reconcile(holder, &beat.holds),
            None => Pulse::Dead,
        }
    }

    /// Compares what the node says it runs with what is leased to it.
    fn reconcile(&self, holder: Holder, says: &[JobId]) -> Pulse {
        let mut says = says.to_vec();
        says.sort_unstable();
        let (mut cancel, mut lost) = (Vec::new(), Vec::new());
        for id in says.iter().copied() {
            match self.jobs.get(id).filter(|row| row.state == State::Executing && row.holder == holder) {
                Some(row) if row.is_cancel_requested() => cancel.push(id),
                Some(_) => {}
                None => lost.push(id),
            }
        }
        let leased = self.index.leases.node(holder).map(Node::holds).unwrap_or_default();
        let unknown = leased
            .into_iter()
            .filter(|id| says.binary_search(id).is_err())
            .filter_map(|id| Some((id, self.jobs.get(id)?.lease)))
            .collect();
        Pulse::Alive { cancel, lost, unknown }
    }

    pub(super) fn depart(&mut self, node: NodeId, grace: Duration) {
        self.index.leases.depart(node, self.index.now + grace);
    }

    pub(super) fn rescue(&mut self, limit: usize) -> Result<Vec<Rescued>> {
        self.index.leases.declare_dead(self.index.now);
        let orphans = self.index.leases.orphans(limit);
        let rescued = orphans.into_iter().filter_map(|(id, reason)| self.rescue_one(id, reason).transpose()).collect();
        self.trim();
        rescued
    }

    fn rescue_one(&mut self, id: JobId, reason: RescueReason) -> Result<Option<Rescued>> {
        let Self { jobs, index, .. } = self;
        let Some(row) = jobs.get_mut(id) else { return Ok(None) };
        let Some(job) = index.job(id, row) else { return Ok(None) };
        let rescue = outcome::rescue(&job, reason)?;
        index.take(id, row);
        index.add_error(row, rescue.error);
        row.attempt = rescue.attempt;
        row.details_mut().crashes = rescue.crashes;
        index.shift(id, row, rescue.to);
        Ok(index.job(id, row).map(|job| Rescued { job, reason }))
    }

    pub(super) fn nodes(&self) -> Vec<NodeRow> {
        let row = |node: &Node| NodeRow {
            node: node.id,
            name: node.about.name.clone(),
            pid: node.about.pid,
            started_at: node.started_at,
            beat_at: node.beat_at,
            expires_at: node.expires_at,
            queues: node.about.queues.clone(),
            executing: node.executing(),
        };
        self.index.leases.iter().map(row).collect()
    }
}
