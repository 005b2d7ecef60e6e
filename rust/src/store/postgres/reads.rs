//! Reads, and the one matcher of filters that reads and bulk verbs share.

use std::collections::BTreeMap;

use postgres_types::Type;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::job::{Job, JobId, Name};
use crate::state::State;
use crate::store::json;
use crate::store::postgres::rows;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::{At, Id, Json};
use crate::store::sql::postgres as sql;
use crate::store::{Filter, NodeRow, Order, QueueRow};

pub(super) const NO_LIMIT: i64 = i64::MAX;

/// A filter as the statements take it.
pub(super) struct Matcher<'a> {
    ids: Option<Vec<i64>>,
    above: Option<i64>,
    below: Option<i64>,
    states: Vec<i16>,
    queue: Option<&'a str>,
    worker: Option<&'a str>,
    unique_key: Option<&'a str>,
    tags: Option<Vec<&'a str>>,
}

impl<'a> Matcher<'a> {
    /// Of the states that the filter means, those that `states` allows.
    pub(super) fn of(filter: &'a Filter, states: impl Fn(State) -> bool) -> Self {
        let meant = |state: &State| (filter.states.is_empty() || filter.states.contains(state)) && states(*state);
        let after = filter.after.map(|after| after.0);
        let (above, below) = match filter.order {
            Order::OldestFirst => (after, None),
            Order::NewestFirst => (None, after),
        };
        Self {
            ids: filter.ids.as_ref().map(|ids| ids.iter().map(|id| id.0).collect()),
            above,
            below,
            states: State::ALL.into_iter().filter(meant).map(rows::number).collect(),
            queue: filter.queue.as_ref().map(Name::as_str),
            worker: filter.worker.as_ref().map(Name::as_str),
            unique_key: filter.unique_key.as_deref(),
            tags: (!filter.tags.is_empty()).then(|| filter.tags.iter().map(Name::as_str).collect()),
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![
            (&self.ids, Type::INT8_ARRAY),
            (&self.above, Type::INT8),
            (&self.below, Type::INT8),
            (&self.states, Type::INT2_ARRAY),
            (&self.queue, Type::TEXT),
            (&self.worker, Type::TEXT),
            (&self.unique_key, Type::TEXT),
            (&self.tags, Type::TEXT_ARRAY),
        ]
    }
}

pub(super) async fn get(session: &Session, ids: &[JobId]) -> Verb<Vec<Job>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    session.query(sql::get, &[(&ids, Type::INT8_ARRAY)]).await?.iter().map(rows::job).collect()
}

pub(super) async fn list(session: &Session, filter: &Filter) -> Verb<Vec<Job>> {
    let statement = match filter.order {
        Order::OldestFirst => sql::list,
        Order::NewestFirst => sql::list_newest,
    };
    let matcher = Matcher::of(filter, |_| true);
    let mut parameters = matcher.parameters();
    let limit = filter.limit.map_or(NO_LIMIT, rows::limit);
    parameters.push((&limit, Type::INT8));
    session.query(statement, &parameters).await?.iter().map(rows::job).collect()
}

pub(super) async fn count(session: &Session, filter: &Filter) -> Verb<u64> {
    let matcher = Matcher::of(filter, |_| true);
    let found = session.query(sql::count, &matcher.parameters()).await?;
    let count: i64 = found.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
    Ok(count.unsigned_abs())
}

pub(super) async fn count_by_state(session: &Session, queue: Option<&Name>) -> Verb<[u64; 7]> {
    let mut sums = [0; 7];
    for counts in counts(session, queue).await?.values() {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    Ok(sums)
}

async fn counts(session: &Session, queue: Option<&Name>) -> Verb<BTreeMap<Name, [u64; 7]>> {
    let queue = queue.map(Name::as_str);
    let mut all: BTreeMap<Name, [u64; 7]> = BTreeMap::new();
    for row in session.query(sql::counts, &[(&queue, Type::TEXT)]).await? {
        let state = rows::state(row.try_get(1)?)?;
        let counts = all.entry(Name::stored(row.try_get(0)?)).or_default();
        counts[usize::from(state.number())] = row.try_get::<_, i64>(2)?.unsigned_abs();
    }
    Ok(all)
}

pub(super) async fn queues(session: &Session) -> Verb<Vec<QueueRow>> {
    let row = |(name, counts)| (Name::clone(&name), QueueRow { name, paused: false, concurrency: None, counts });
    let mut all: BTreeMap<Name, QueueRow> = counts(session, None).await?.into_iter().map(row).collect();
    for set in settings(session).await? {
        let counts = all.get(&set.name).map(|row| row.counts).unwrap_or_default();
        all.insert(set.name.clone(), QueueRow { counts, ..set });
    }
    Ok(all.into_values().collect())
}

/// What people have set for queues, without the counts.
pub(super) async fn settings(session: &Session) -> Verb<Vec<QueueRow>> {
    let row = |row: &tokio_postgres::Row| {
        let concurrency = row.try_get::<_, Option<i32>>(2)?.map(rows::unsigned);
        Ok(QueueRow { name: Name::stored(row.try_get(0)?), paused: row.try_get(1)?, concurrency, counts: [0; 7] })
    };
    session.query(sql::queues, &[]).await?.iter().map(row).collect()
}

pub(super) async fn nodes(session: &Session) -> Verb<Vec<NodeRow>> {
    let row = |row: &tokio_postgres::Row| {
        let Json(queues) = row.try_get(6)?;
        Ok(NodeRow {
            node: row.try_get::<_, Id>(0)?.0,
            name: row.try_get(1)?,
            pid: rows::unsigned(row.try_get(2)?),
            started_at: row.try_get::<_, At>(3)?.0,
            beat_at: row.try_get::<_, At>(4)?.0,
            expires_at: row.try_get::<_, At>(5)?.0,
            queues: json::queues_of(queues),
            executing: usize::try_from(row.try_get::<_, i64>(7)?).unwrap_or(0),
        })
    };
    session.query(sql::nodes, &[]).await?.iter().map(row).collect()
}

pub(super) async fn now(session: &Session) -> Verb<Timestamp> {
    let found = session.query(sql::now, &[]).await?;
    let Some(row) = found.first() else { return Err(Error::Internal("the server told no time".into()).into()) };
    Ok(row.try_get::<_, At>(0)?.0)
}
