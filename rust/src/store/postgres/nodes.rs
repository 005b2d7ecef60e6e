//! *heartbeat*, departure and *rescue*: who lives, and what becomes of the jobs of those who do not.

use std::collections::HashMap;
use std::time::Duration;

use postgres_types::Type;
use tokio_postgres::Row;

use crate::error::Result;
use crate::job::{Job, JobId, Lease, NodeId};
use crate::outcome::{self, RescueReason};
use crate::state::State;
use crate::store::json;
use crate::store::postgres::ack::{error_entry, kept};
use crate::store::postgres::meaning::Fate;
use crate::store::postgres::rows;
use crate::store::postgres::session::{Failed, Parameter, Session, Verb};
use crate::store::postgres::types::{Id, Span};
use crate::store::sql::postgres as sql;
use crate::store::{Heartbeat, MOST_REFUSED, Rescued, Signal};

/// What came of a beat.
#[derive(Debug)]
pub(super) enum Beaten {
    /// The lease is extended: the node's number, and which of the jobs that were asked about are leased to it.
    Alive(i64, Vec<Leased>),
    /// It was not known, and is registered now.
    New,
    Dead,
}

/// A job that is leased to a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leased {
    pub(super) id: JobId,
    pub(super) lease: Lease,
    pub(super) is_cancel_requested: bool,
}

impl Leased {
    fn read(row: &Row) -> Verb<Self> {
        let lease = Lease(rows::unsigned(row.try_get(1)?));
        Ok(Self { id: JobId(row.try_get(0)?), lease, is_cancel_requested: row.try_get(2)? })
    }
}

pub(super) async fn heartbeat(session: &Session, beat: &Heartbeat, asked: &[JobId]) -> Verb<Beaten> {
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
        let number = row.try_get(0)?;
        return Ok(Beaten::Alive(number, said(session, number, asked).await?));
    }
    if !session.query(sql::node, &[(&Id(beat.node), Type::UUID)]).await?.is_empty() {
        return Ok(Beaten::Dead);
    }
    session.execute(sql::register, &parameters).await?;
    Ok(Beaten::New)
}

/// Which of these jobs are leased to the node.
async fn said(session: &Session, number: i64, asked: &[JobId]) -> Verb<Vec<Leased>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = asked.iter().map(|id| id.0).collect();
    let mut leased = Vec::with_capacity(ids.len());
    for row in session.query(sql::said, &[(&ids, Type::INT8_ARRAY)]).await? {
        let (state, node): (i16, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        if state == i16::from(State::Executing.number()) && node == Some(number) {
            leased.push(Leased::read(&row)?);
        }
    }
    Ok(leased)
}

/// All that is leased to the node, as far as that can be told within the time.
pub(super) async fn held(session: &Session, number: i64, within: Duration) -> Verb<Vec<Leased>> {
    let limit = format!("SET LOCAL statement_timeout = {}", within.as_millis());
    let walk = async |session: &Session| {
        session.script(&limit).await?;
        let rows = session.query(sql::held, &[(&number, Type::INT8)]).await?;
        rows.iter().map(Leased::read).collect()
    };
    match session.transact(walk).await {
        // It took longer, or the connection ended.
        Err(Failed::Postgres(_)) => Ok(Vec::new()),
        told => told,
    }
}

pub(super) async fn depart(session: &Session, node: NodeId, grace: Duration) -> Verb<()> {
    session.execute(sql::depart, &[(&Id(node), Type::UUID), (&Span(grace), Type::INTERVAL)]).await?;
    retire(session).await
}

/// Nodes that ended and hold nothing are gone.
pub(super) async fn retire(session: &Session) -> Verb<()> {
    session.execute(sql::retire, &[]).await.map(drop)
}

/// Whether a node has died whose jobs are to be taken back.
pub(super) async fn has_dead(session: &Session, listened: Option<Duration>) -> Verb<bool> {
    let found = session.query(sql::dead, &[(&listened.map(Span), Type::INTERVAL)]).await?;
    Ok(found.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Whether a job runs under a node that is gone.
pub(super) async fn has_strays(session: &Session) -> Verb<bool> {
    let found = session.query(sql::strays, &[]).await?;
    Ok(found.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Declares nodes dead whose lease has ended, and takes back up to `limit` jobs of all that are. In a transaction.
///
/// A node is dead that was silent for a lease, to one who has listened for so long.
pub(super) async fn rescue(
    session: &Session,
    listened: Option<Duration>,
    limit: usize,
) -> Verb<(Vec<Rescued>, Vec<Signal>)> {
    session.execute(sql::bury, &[(&listened.map(Span), Type::INTERVAL)]).await?;
    let (mut rescued, mut refused) = (Vec::new(), Refused::default());
    loop {
        let known = refused.ids.len();
        let orphans = orphans(session, limit - rescued.len(), &refused).await?;
        take_back_most(session, &orphans, &mut rescued, &mut refused).await?;
        if refused.ids.len() == known || refused.ids.len() >= MOST_REFUSED {
            break;
        }
    }
    if let Some(failed) = refused.why.filter(|_| rescued.is_empty()) {
        return Err(failed);
    }
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

/// Jobs that a rule refuses, which somebody has added: they stay where they are.
#[derive(Default)]
struct Refused {
    ids: Vec<JobId>,
    /// Why, of the last of them.
    why: Option<Failed>,
}

/// Up to `limit` jobs whose node is gone, beside those that are refused.
async fn orphans(session: &Session, limit: usize, refused: &Refused) -> Verb<Vec<(Job, RescueReason)>> {
    let limit = rows::limit(limit + refused.ids.len());
    let found = session.query(sql::orphans, &[(&limit, Type::INT8)]).await?;
    let orphans = found.iter().map(|row| Ok((rows::job(row)?, reason(row.try_get(23)?)))).collect::<Verb<Vec<_>>>()?;
    Ok(orphans.into_iter().filter(|(job, _)| !refused.ids.contains(&job.id)).collect())
}

async fn take_back_most(
    session: &Session,
    orphans: &[(Job, RescueReason)],
    rescued: &mut Vec<Rescued>,
    refused: &mut Refused,
) -> Verb<()> {
    if orphans.is_empty() {
        return Ok(());
    }
    match take_back_or_not(session, orphans).await {
        Err(failed) if Fate::is_bad_data(&failed) => (),
        done => return done.map(|all| rescued.extend(all)),
    }
    for orphan in orphans {
        match take_back_or_not(session, std::slice::from_ref(orphan)).await {
            Err(failed) if Fate::is_bad_data(&failed) => {
                refused.ids.push(orphan.0.id);
                refused.why = Some(failed);
            }
            done => rescued.extend(done?),
        }
    }
    Ok(())
}

/// When it is refused, the transaction is as it was before.
async fn take_back_or_not(session: &Session, orphans: &[(Job, RescueReason)]) -> Verb<Vec<Rescued>> {
    session.script("SAVEPOINT orphans").await?;
    let done = take_back(session, orphans).await;
    if matches!(&done, Err(failed) if Fate::is_bad_data(failed)) {
        session.script("ROLLBACK TO SAVEPOINT orphans").await?;
    }
    done
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
