//! *ack* and progress: what a running job may write, guarded by its lease.

use std::collections::{HashMap, HashSet};

use postgres_types::Type;
use serde_json::json;

use crate::error::Result;
use crate::job::{JobId, Name, NodeId};
use crate::limits;
use crate::outcome::{Ack, Failure};
use crate::state::{Event, State};
use crate::store::json;
use crate::store::postgres::meaning::Fate;
use crate::store::postgres::rows;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::{At, Id, Span};
use crate::store::sql::postgres as sql;
use crate::store::{Acked, Report, Signal};

/// The replies, and what there is to tell. One bad row never harms its neighbours: a batch that the server refuses for
/// what is in it is written row by row, and a row that is refused again without what came from the handler.
pub(super) async fn ack(session: &Session, node: NodeId, acks: &[Ack]) -> Verb<(Vec<Acked>, Vec<Signal>)> {
    let mut seen = HashSet::with_capacity(acks.len());
    // One statement changes a row once: whoever names a job again must find what the first has left.
    let Some(again) = acks.iter().position(|ack| !seen.insert(ack.id)) else { return batch(session, node, acks).await };
    let (mut replies, mut news) = batch(session, node, &acks[..again]).await?;
    for ack in &acks[again..] {
        let (reply, told) = batch(session, node, std::slice::from_ref(ack)).await?;
        replies.extend(reply);
        news.extend(told);
    }
    Ok((replies, news))
}

async fn batch(session: &Session, node: NodeId, acks: &[Ack]) -> Verb<(Vec<Acked>, Vec<Signal>)> {
    match write(session, node, acks).await {
        Err(failed) if Fate::is_bad_data(&failed) => {}
        done => return done,
    }
    let (mut replies, mut news) = (Vec::with_capacity(acks.len()), Vec::new());
    for ack in acks {
        let one = std::slice::from_ref(ack);
        let (reply, told) = match write(session, node, one).await {
            Err(failed) if Fate::is_bad_data(&failed) => write(session, node, &[ack.reduced()]).await?,
            done => done?,
        };
        replies.extend(reply);
        news.extend(told);
    }
    Ok((replies, news))
}

async fn write(session: &Session, node: NodeId, acks: &[Ack]) -> Verb<(Vec<Acked>, Vec<Signal>)> {
    let column = |number: fn(&Ack) -> i32| acks.iter().map(number).collect::<Vec<_>>();
    let ids: Vec<i64> = acks.iter().map(|ack| ack.id.0).collect();
    let states: Vec<i16> = acks.iter().map(|ack| rows::number(ack.to)).collect();
    let delays: Vec<_> = acks.iter().map(|ack| ack.delay.map(Span)).collect();
    let cancels: Vec<bool> = acks.iter().map(|ack| ack.event == Event::Cancel).collect();
    let errors: Vec<Option<String>> = acks.iter().map(error_text).collect();
    let results = acks.iter().map(|ack| ack.result.as_deref().map(json::text).transpose());
    let results = results.collect::<Result<Vec<_>>>()?;
    let stored = session
        .query(
            sql::ack,
            &[
                (&Id(node), Type::UUID),
                (&ids, Type::INT8_ARRAY),
                (&column(|ack| rows::signed(ack.lease.0)), Type::INT4_ARRAY),
                (&states, Type::INT2_ARRAY),
                (&column(|ack| rows::signed(ack.attempt)), Type::INT4_ARRAY),
                (&delays, Type::INTERVAL_ARRAY),
                (&cancels, Type::BOOL_ARRAY),
                (&errors, Type::TEXT_ARRAY),
                (&results, Type::TEXT_ARRAY),
                (&kept(), Type::INT4),
            ],
        )
        .await?;
    let mut written = HashMap::with_capacity(stored.len());
    for row in &stored {
        written.insert(JobId(row.try_get(0)?), row);
    }
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !written.contains_key(&JobId(*id))).collect();
    let reasons = if missing.is_empty() { HashMap::new() } else { why(session, node, &missing).await? };
    let (mut replies, mut news) = (Vec::with_capacity(acks.len()), Vec::new());
    for ack in acks {
        let Some(row) = written.remove(&ack.id) else {
            replies.push(reasons.get(&ack.id).map_or(Acked::LeaseLost, |reason| reason.reply(ack)));
            continue;
        };
        replies.push(Acked::Stored);
        let signal = match (ack.to, ack.delay) {
            (State::Available, _) => Signal::Ready(Name::stored(row.try_get(1)?)),
            (_, Some(_)) => Signal::Due(row.try_get::<_, At>(2)?.0),
            (_, None) => Signal::Settled,
        };
        if !news.contains(&signal) {
            news.push(signal);
        }
    }
    Ok((replies, news))
}

pub(super) fn kept() -> i32 {
    i32::try_from(limits::ERRORS_KEPT).unwrap_or(i32::MAX)
}

fn error_text(ack: &Ack) -> Option<String> {
    Some(error_entry(ack.attempted(), ack.error.as_ref()?))
}

/// An entry without its time, which the server stamps.
pub(super) fn error_entry(attempt: u32, failure: &Failure) -> String {
    let Failure { kind, message, traceback } = failure;
    json!({"attempt": attempt, "kind": kind, "message": message, "traceback": traceback}).to_string()
}

/// What a row says that an ack did not fit.
struct Reason {
    state: i16,
    lease: i32,
    runs_here: bool,
    acked: bool,
    cancel_requested: bool,
}

impl Reason {
    fn reply(&self, ack: &Ack) -> Acked {
        if self.lease != rows::signed(ack.lease.0) {
            return Acked::LeaseLost;
        }
        if self.acked && self.state == rows::number(ack.to) {
            return Acked::Already;
        }
        let runs = self.state == rows::number(State::Executing) && self.runs_here;
        if runs && self.cancel_requested { Acked::CancelRequested } else { Acked::LeaseLost }
    }
}

async fn why(session: &Session, node: NodeId, ids: &[i64]) -> Verb<HashMap<JobId, Reason>> {
    let found = session.query(sql::why, &[(&ids, Type::INT8_ARRAY), (&Id(node), Type::UUID)]).await?;
    let reason = |row: &tokio_postgres::Row| {
        let reason = Reason {
            state: row.try_get(1)?,
            lease: row.try_get(2)?,
            runs_here: row.try_get(3)?,
            acked: row.try_get(4)?,
            cancel_requested: row.try_get(5)?,
        };
        Ok((JobId(row.try_get(0)?), reason))
    };
    found.iter().map(reason).collect()
}

pub(super) async fn report(session: &Session, node: NodeId, reports: &[Report]) -> Verb<()> {
    let ids: Vec<i64> = reports.iter().map(|report| report.id.0).collect();
    let leases: Vec<i32> = reports.iter().map(|report| rows::signed(report.lease.0)).collect();
    let texts: Vec<String> = reports.iter().map(|report| json::progress_text(&report.progress)).collect();
    let parameters: [Parameter<'_>; 4] =
        [(&Id(node), Type::UUID), (&ids, Type::INT8_ARRAY), (&leases, Type::INT4_ARRAY), (&texts, Type::TEXT_ARRAY)];
    session.execute(sql::report, &parameters).await.map(drop)
}
