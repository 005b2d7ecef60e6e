//! *heartbeat*, departure and *rescue*: who lives, and what becomes of the jobs of those who do not.

use std::collections::HashMap;
use std::time::Duration;

use postgres_types::Type;

use crate::error::Result;
use crate::job::{Job, JobId, Lease, NodeId};
use crate::outcome::{self, RescueReason};
use crate::state::State;
use crate::store::json;
use crate::store::postgres::ack::{error_entry, kept};
use crate::store::postgres::rows;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::{Id, Span};
use crate::store::sql::postgres as sql;
use crate::store::{Heartbeat, Pulse, Rescued, Signal};

pub(super) async fn heartbeat(session: &Session, beat: &Heartbeat) -> Verb<Pulse> {
    let queues = json::queues_text(&beat.queues);
    let pid = rows::signed(beat.pid);
    let parameters: [Parameter<'_>; 5] = [
        (&Id(beat.node), Type::UUID),
        (&beat.name, Type::TEXT),
        (&pid, Type::INT4),
        (&Span(beat.ttl), Type::INTERVAL),
        (&queues, Type::TEXT),
    ];
    if let Some(row) = session.query(sql::heartbeat, &parameters).await?.first() {
        return reconcile(session, row.try_get(0)?, &beat.holds).await;
    }
    if !session.query(sql::node, &[(&Id(beat.node), Type::UUID)]).await?.is_empty() {
        return Ok(Pulse::Dead);
    }
    session.execute(sql::register, &parameters).await?;
    Ok(Pulse::Alive { cancel: Vec::new(), lost: sorted(&beat.holds), unknown: Vec::new() })
}

/// Compares what the node says it runs with what is leased to it.
async fn reconcile(session: &Session, number: i64, says: &[JobId]) -> Verb<Pulse> {
    let mut lost = sorted(says);
    let (mut cancel, mut unknown) = (Vec::new(), Vec::new());
    for row in session.query(sql::held, &[(&number, Type::INT8)]).await? {
        let id = JobId(row.try_get(0)?);
        match lost.binary_search(&id) {
            Ok(place) => {
                lost.remove(place);
                if row.try_get(2)? {
                    cancel.push(id);
                }
            }
            Err(_) => unknown.push((id, Lease(rows::unsigned(row.try_get(1)?)))),
        }
    }
    cancel.sort_unstable();
    unknown.sort_unstable();
    Ok(Pulse::Alive { cancel, lost, unknown })
}

fn sorted(ids: &[JobId]) -> Vec<JobId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

pub(super) async fn depart(session: &Session, node: NodeId, grace: Duration) -> Verb<()> {
    session.execute(sql::depart, &[(&Id(node), Type::UUID), (&Span(grace), Type::INTERVAL)]).await?;
    retire(session).await
}

/// Nodes that ended and hold nothing are gone.
pub(super) async fn retire(session: &Session) -> Verb<()> {
    session.execute(sql::retire, &[]).await.map(drop)
}

/// Whether a rescue would find anything.
pub(super) async fn has_orphans(session: &Session) -> Verb<bool> {
    let found = session.query(sql::orphaned, &[]).await?;
    Ok(found.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Declares nodes dead whose lease has ended, and takes back up to `limit` jobs of all that are. In a transaction.
pub(super) async fn rescue(session: &Session, limit: usize) -> Verb<(Vec<Rescued>, Vec<Signal>)> {
    session.execute(sql::bury, &[]).await?;
    let found = session.query(sql::orphans, &[(&rows::limit(limit), Type::INT8)]).await?;
    let orphans = found.iter().map(|row| Ok((rows::job(row)?, reason(row.try_get(23)?)))).collect::<Verb<Vec<_>>>()?;
    let mut rescued = if orphans.is_empty() { Vec::new() } else { take_back(session, &orphans).await? };
    rescued.sort_unstable_by_key(|one| one.job.id);
    retire(session).await?;
    let mut news = Vec::new();
    for one in &rescued {
        let available = one.job.state == State::Available;
        let signal = if available { Signal::Ready(one.job.queue.clone()) } else { Signal::Settled };
        if !news.contains(&signal) {
            news.push(signal);
        }
    }
    Ok((rescued, news))
}

fn reason(standing: i16) -> RescueReason {
    const AFTER_A_DEPARTURE: i16 = 3;
    if standing == AFTER_A_DEPARTURE { RescueReason::Shutdown } else { RescueReason::NodeDied }
}

async fn take_back(session: &Session, orphans: &[(Job, RescueReason)]) -> Verb<Vec<Rescued>> {
    let moves = orphans.iter().map(|(job, reason)| outcome::rescue(job, *reason)).collect::<Result<Vec<_>>>()?;
    let ids: Vec<i64> = orphans.iter().map(|(job, _)| job.id.0).collect();
    let leases: Vec<i32> = orphans.iter().map(|(job, _)| rows::signed(job.lease.0)).collect();
    let states: Vec<i16> = moves.iter().map(|rescue| rows::number(rescue.to)).collect();
    let attempts: Vec<i32> = moves.iter().map(|rescue| rows::signed(rescue.attempt)).collect();
    let crashes: Vec<i16> = moves.iter().map(|rescue| i16::try_from(rescue.crashes).unwrap_or(i16::MAX)).collect();
    let entry = |((job, _), rescue): (&(Job, RescueReason), &outcome::Rescue)| error_entry(job.attempt, &rescue.error);
    let errors: Vec<String> = orphans.iter().zip(&moves).map(entry).collect();
    let reasons: HashMap<JobId, RescueReason> = orphans.iter().map(|(job, reason)| (job.id, *reason)).collect();
    let found = session
        .query(
            sql::rescue,
            &[
                (&ids, Type::INT8_ARRAY),
                (&leases, Type::INT4_ARRAY),
                (&states, Type::INT2_ARRAY),
                (&attempts, Type::INT4_ARRAY),
                (&crashes, Type::INT2_ARRAY),
                (&errors, Type::TEXT_ARRAY),
                (&kept(), Type::INT4),
            ],
        )
        .await?;
    let rescued = |row: &tokio_postgres::Row| {
        let job = rows::job(row)?;
        let reason = reasons.get(&job.id).copied().unwrap_or(RescueReason::NodeDied);
        Ok(Rescued { job, reason })
    };
    found.iter().map(rescued).collect()
}
