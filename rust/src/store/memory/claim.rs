//! *claim* and *stage*: the way from waiting to running.

use crate::error::{Error, Result};
use crate::job::{Job, Lease, NodeId};
use crate::queue::jobs::Ended;
use crate::state::{Attempts, Event};
use crate::store::memory::tables::Tables;
use crate::store::{Claim, Staged};

impl Tables {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<Job>> {
        let Self { jobs, index, .. } = self;
        let holder = index.leases.claimant(claim.node, index.now).ok_or_else(|| not_alive(claim.node))?;
        let Some(symbol) = index.queues.find(&claim.queue) else { return Ok(Vec::new()) };
        let queue = index.queues.value_mut(symbol).filter(|queue| !queue.settings.paused);
        let most = queue.map_or(0, |queue| queue.ready.len()).min(claim.limit);
        let mut claimed = Vec::with_capacity(most);
        while claimed.len() < most {
            let Some(id) = index.queues.value_mut(symbol).and_then(|queue| queue.ready.pop()) else { break };
            let Some(row) = jobs.get_mut(id) else { continue };
            let to = row.state.on(Event::Claim, Attempts::Left)?;
            row.attempt += 1;
            row.lease = Lease(row.lease.0.saturating_add(1));
            row.holder = holder;
            row.ended = Ended::Otherwise;
            row.set_attempted_at(index.now);
            index.shift(id, row, to);
            if let Some(worker) = index.worker_name(row.worker) {
                claimed.push(row.to_job(id, claim.queue.clone(), worker, Some(claim.node)));
            }
        }
        Ok(claimed)
    }

    pub(super) fn stage(&mut self, limit: usize) -> Result<Staged> {
        let Self { jobs, index, .. } = self;
        let mut moved = 0;
        while moved < limit {
            let Some(id) = index.delayed.pop_due(index.now) else { break };
            let Some(row) = jobs.get_mut(id) else { continue };
            let to = row.state.on(Event::Stage, Attempts::Left)?;
            index.shift(id, row, to);
            moved += 1;
        }
        Ok(Staged { moved, next: index.delayed.next_due(), now: index.now })
    }
}

fn not_alive(node: NodeId) -> Error {
    Error::LeaseLost(format!("node {node} is not alive in this store; it must register with a new incarnation"))
}
