//! *claim* and *stage*: the way from waiting to running.

use rusqlite::named_params;

use crate::error::Error;
use crate::job::{Job, NodeId};
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::nodes::Standing;
use crate::store::sqlite::reads;
use crate::store::sqlite::rows;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::{Claim, Signal, Staged};

impl Transaction<'_> {
    pub(super) fn claim(&mut self, claim: &Claim) -> Verb<Vec<Job>> {
        let alive = |node: &super::nodes::Known| node.standing == Standing::Alive && node.expires_at >= self.now;
        let node = self.node(claim.node)?.filter(alive).ok_or_else(|| not_alive(claim.node))?;
        if !reads::has_work(self.connection, &claim.queue)? {
            return Ok(Vec::new());
        }
        let mut statement = self.connection.prepare_cached(sql::claim)?;
        let claimed = statement.query_map(
            named_params! {
                ":node": node.number,
                ":now": self.now.0,
                ":queue": claim.queue.as_str(),
                ":limit": i64::try_from(claim.limit).unwrap_or(i64::MAX),
            },
            rows::job,
        )?;
        let mut jobs = claimed
            .map(|row| row.map(|(job, _)| Job { node: Some(claim.node), ..job }))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        // SQL promises no order of what it returns.
        jobs.sort_unstable_by_key(|job| (job.priority, job.scheduled_at, job.id));
        Ok(jobs)
    }

    pub(super) fn stage(&mut self, limit: usize) -> Verb<Staged> {
        let mut statement = self.connection.prepare_cached(sql::stage)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let moved =
            statement.query_map(named_params! {":now": self.now.0, ":limit": limit}, |row| rows::name(row, 0))?;
        let queues = moved.collect::<rusqlite::Result<Vec<_>>>()?;
        let count = queues.len();
        for queue in queues {
            self.tell(Signal::Ready(queue));
        }
        Ok(Staged { moved: count, next: reads::next_due(self.connection)?, now: self.now })
    }
}

pub(super) fn not_alive(node: NodeId) -> Error {
    Error::LeaseLost(format!("node {node} is not alive in this store; it must register with a new incarnation"))
}
