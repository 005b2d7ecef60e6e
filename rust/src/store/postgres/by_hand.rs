//! *cancel*, *retry*, deletion, *prune*, *pause* and *resume*: what people do, and what age does. In a transaction each.

use std::collections::HashMap;
use std::time::Duration;

use postgres_types::Type;

use crate::job::{JobId, Name};
use crate::state::State;
use crate::store::postgres::reads::{Matcher, NO_LIMIT};
use crate::store::postgres::rows;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::Span;
use crate::store::sql::postgres as sql;
use crate::store::{Cancelled, Filter, Order, Retention, Retried, Signal};

/// How long the row of a tick is kept, and that of a node that is gone.
pub(super) const TICKS_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

/// A job that is held until the transaction ends.
struct Picked {
    id: JobId,
    state: State,
    queue: Name,
    unique_key: Option<String>,
}

async fn pick(session: &Session, filter: &Filter, states: impl Fn(State) -> bool) -> Verb<Vec<Picked>> {
    let statement = match filter.order {
        Order::OldestFirst => sql::pick,
        Order::NewestFirst => sql::pick_newest,
    };
    let matcher = Matcher::of(filter, states);
    let mut parameters = matcher.parameters();
    let limit = filter.limit.map_or(NO_LIMIT, rows::limit);
    parameters.push((&limit, Type::INT8));
    let found = session.query(statement, &parameters).await?;
    let picked = |row: &tokio_postgres::Row| {
        Ok(Picked {
            id: JobId(row.try_get(0)?),
            state: rows::state(row.try_get(1)?)?,
            queue: Name::stored(row.try_get(2)?),
            unique_key: row.try_get(3)?,
        })
    };
    found.iter().map(picked).collect()
}

fn ids<'a>(picked: impl IntoIterator<Item = &'a Picked>) -> Vec<i64> {
    picked.into_iter().map(|job| job.id.0).collect()
}

pub(super) async fn cancel(session: &Session, filter: &Filter) -> Verb<(Vec<Cancelled>, Vec<Signal>)> {
    let found = pick(session, filter, State::is_live).await?;
    let (running, waiting): (Vec<_>, Vec<_>) = found.iter().partition(|job| job.state == State::Executing);
    let mut news = Vec::new();
    if !waiting.is_empty() {
        session.execute(sql::cancel, &[(&ids(waiting), Type::INT8_ARRAY)]).await?;
        news.push(Signal::Settled);
    }
    if !running.is_empty() {
        news.push(Signal::Cancel(running.iter().map(|job| job.id).collect()));
        session.execute(sql::ask, &[(&ids(running), Type::INT8_ARRAY)]).await?;
    }
    let reply = |job: &Picked| match job.state {
        State::Executing => Cancelled::Requested(job.id),
        _ => Cancelled::Done(job.id),
    };
    Ok((found.iter().map(reply).collect(), news))
}

pub(super) async fn retry(session: &Session, filter: &Filter) -> Verb<(Vec<Retried>, Vec<Signal>)> {
    let rests = |state| !matches!(state, State::Available | State::Executing);
    let found = pick(session, filter, rests).await?;
    let mut holders = holders(session, &found).await?;
    let (mut retried, mut news, mut free) = (Vec::new(), Vec::new(), Vec::new());
    for job in found {
        // Of two that match and have the same key the first takes it.
        let holder = job.unique_key.map(|key| *holders.entry(key).or_insert(job.id)).filter(|holder| *holder != job.id);
        if let Some(holder) = holder {
            retried.push(Retried::KeyTaken { id: job.id, holder });
            continue;
        }
        free.push(job.id.0);
        retried.push(Retried::Done(job.id));
        let ready = Signal::Ready(job.queue);
        if !news.contains(&ready) {
            news.push(ready);
        }
    }
    if !free.is_empty() {
        session.execute(sql::retry, &[(&free, Type::INT8_ARRAY)]).await?;
    }
    Ok((retried, news))
}

/// The live jobs that have the unique keys of these.
async fn holders(session: &Session, picked: &[Picked]) -> Verb<HashMap<String, JobId>> {
    let keys: Vec<&str> = picked.iter().filter_map(|job| job.unique_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let found = session.query(sql::find_keys, &[(&keys, Type::TEXT_ARRAY)]).await?;
    found.iter().map(|row| Ok((row.try_get(0)?, JobId(row.try_get(1)?)))).collect()
}

pub(super) async fn delete(session: &Session, filter: &Filter) -> Verb<usize> {
    let found = pick(session, filter, |state| state != State::Executing).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let deleted = session.execute(sql::delete, &[(&ids(&found), Type::INT8_ARRAY)]).await?;
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}

pub(super) async fn prune(session: &Session, retention: &Retention, limit: usize) -> Verb<usize> {
    let ages = [
        (State::Completed, retention.completed),
        (State::Cancelled, retention.cancelled),
        (State::Discarded, retention.discarded),
    ];
    let mut pruned = 0;
    for (state, age) in ages {
        let Some(age) = age else { continue };
        let parameters: [Parameter<'_>; 3] = [
            (&rows::number(state), Type::INT2),
            (&Span(age), Type::INTERVAL),
            (&rows::limit(limit - pruned), Type::INT8),
        ];
        pruned += usize::try_from(session.execute(sql::prune, &parameters).await?).unwrap_or(0);
    }
    for statement in [sql::forget_ticks, sql::forget_nodes] {
        session.execute(statement, &[(&Span(TICKS_KEPT), Type::INTERVAL)]).await?;
    }
    Ok(pruned)
}

/// What people set for a queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    Paused(bool),
    /// `None` goes back to each node's own.
    Concurrency(Option<u32>),
}

pub(super) async fn set(session: &Session, queue: &Name, setting: Setting) -> Verb<()> {
    let (paused, scales, concurrency) = match setting {
        Setting::Paused(paused) => (Some(paused), false, None),
        Setting::Concurrency(concurrency) => (None, true, concurrency.map(rows::signed)),
    };
    let parameters: [Parameter<'_>; 4] =
        [(&queue.as_str(), Type::TEXT), (&paused, Type::BOOL), (&concurrency, Type::INT4), (&scales, Type::BOOL)];
    session.execute(sql::settings, &parameters).await.map(drop)
}
