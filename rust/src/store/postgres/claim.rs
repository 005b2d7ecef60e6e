//! *claim* and *stage*: the way from waiting to running.

use postgres_types::Type;

use crate::clock::{Clock, System, Timestamp};
use crate::error::Error;
use crate::job::{Job, JobId, Name, NodeId};
use crate::store::postgres::marks::{Marks, Stretch};
use crate::store::postgres::rows;
use crate::store::postgres::session::{Failed, Kind, Session, Verb};
use crate::store::postgres::types::{At, Id};
use crate::store::sql::postgres as sql;
use crate::store::{Claim, Staged};

/// What a claim took.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) jobs: Vec<Job>,
    /// A look failed after others had found jobs: it may have taken some of which nobody knows.
    pub(super) is_cut_short: bool,
}

pub(super) async fn claim(session: &Session, claim: &Claim, marks: &Marks) -> Verb<Claimed> {
    let queue = &claim.queue;
    let stretches = marks.stretches(queue, System.moment());
    let (mut jobs, mut is_cut_short) = (Vec::new(), false);
    for stretch in stretches {
        if jobs.len() == claim.limit {
            break;
        }
        match look(session, claim, stretch, claim.limit - jobs.len(), marks).await {
            Ok(more) => jobs.extend(more),
            // Each look is a commit of its own, but where a pooler lends the session: what was claimed is ours.
            Err(Failed::Postgres(_)) if !jobs.is_empty() && session.kind() == Kind::Direct => {
                is_cut_short = true;
                break;
            }
            Err(failed) => return Err(failed),
        }
    }
    if jobs.is_empty()
        && let Some(front) = marks.front(queue, System.moment())
    {
        jobs = look(session, claim, front, claim.limit, marks).await?;
    }
    if jobs.is_empty() && !is_alive(session, claim.node).await? {
        return Err(not_alive(claim.node).into());
    }
    marks.claimed(queue, &jobs);
    // SQL promises no order of what it returns.
    jobs.sort_unstable_by_key(|job| (job.priority, job.scheduled_at, job.id));
    Ok(Claimed { jobs, is_cut_short })
}

/// Claims from one stretch of the queue.
async fn look(session: &Session, claim: &Claim, at: Stretch, limit: usize, marks: &Marks) -> Verb<Vec<Job>> {
    let (queue, most) = (claim.queue.as_str(), rows::limit(limit));
    let ((first, after, JobId(id)), (last, to, JobId(end))) = (at.after, at.to);
    let began = System.moment();
    let found = session
        .query(
            sql::claim,
            &[
                (&queue, Type::TEXT),
                (&most, Type::INT8),
                (&Id(claim.node), Type::UUID),
                (&first, Type::INT4),
                (&At(after), Type::TIMESTAMPTZ),
                (&id, Type::INT8),
                (&last, Type::INT4),
                (&At(to), Type::TIMESTAMPTZ),
                (&end, Type::INT8),
            ],
        )
        .await?;
    marks.looked(&claim.queue, at, found.len() >= limit, began, System.moment());
    found.iter().map(rows::job).collect()
}

async fn is_alive(session: &Session, node: NodeId) -> Verb<bool> {
    let found = session.query(sql::node, &[(&Id(node), Type::UUID)]).await?;
    Ok(found.first().map(|row| row.try_get(1)).transpose()?.unwrap_or(false))
}

fn not_alive(node: NodeId) -> Error {
    Error::LeaseLost(format!("node {node} is not alive in this store; it must register with a new incarnation"))
}

/// The reply, and the queues that have jobs now.
pub(super) async fn stage(session: &Session, limit: usize) -> Verb<(Staged, Vec<Name>)> {
    let (next, now) = next_due(session).await?;
    if next.is_none_or(|next| next > now) {
        return Ok((Staged { moved: 0, next, now }, Vec::new()));
    }
    let moved = session.query(sql::stage, &[(&rows::limit(limit), Type::INT8)]).await?;
    let mut queues = moved.iter().map(|row| Ok(Name::stored(row.try_get(0)?))).collect::<Verb<Vec<_>>>()?;
    let moved = queues.len();
    queues.sort_unstable();
    queues.dedup();
    let (next, now) = next_due(session).await?;
    Ok((Staged { moved, next, now }, queues))
}

async fn next_due(session: &Session) -> Verb<(Option<Timestamp>, Timestamp)> {
    let found = session.query(sql::next_due, &[]).await?;
    let Some(row) = found.first() else { return Err(Error::Internal("the server told no time".into()).into()) };
    Ok((row.try_get::<_, Option<At>>(0)?.map(|At(at)| at), row.try_get::<_, At>(1)?.0))
}
