//! Reads, and the one matcher of filters that reads and bulk verbs share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::clock::Timestamp;
use crate::job::{Job, JobId, Name, NodeId};
use crate::state::State;
use crate::store::json;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::by_hand::TICKS_KEPT;
use crate::store::sqlite::nodes::Standing;
use crate::store::sqlite::rows;
use crate::store::sqlite::writer::Verb;
use crate::store::{CronEntry, CronRow, Filter, NodeRow, Order, QueueRow, Retention};

/// A node's row, with what only the store looks at.
#[derive(Debug)]
pub(super) struct NodeRecord {
    pub(super) number: i64,
    pub(super) standing: Standing,
    pub(super) process: String,
    pub(super) row: NodeRow,
}

pub(super) fn get(connection: &Connection, id: JobId) -> Verb<Option<Job>> {
    let mut statement = connection.prepare_cached(sql::get)?;
    let found = statement.query_row(named_params! {":id": id.0}, rows::job).optional()?;
    found.map(|(job, node)| with_node(connection, job, node)).transpose()
}

fn with_node(connection: &Connection, job: Job, number: Option<i64>) -> Verb<Job> {
    let Some(number) = number else { return Ok(job) };
    let mut statement = connection.prepare_cached(sql::node_id)?;
    let id = statement.query_row(named_params! {":number": number}, |row| Ok(rows::node_of(&rows::string(row, 0)?)));
    Ok(Job { node: Some(id.optional()?.unwrap_or(NodeId(0))), ..job })
}

/// The jobs that match, in the filter's order, up to its limit.
pub(super) fn list(connection: &Connection, filter: &Filter) -> Verb<Vec<Job>> {
    let statement = match filter.order {
        Order::OldestFirst => sql::list,
        Order::NewestFirst => sql::list_newest,
    };
    let found = matching(connection, filter, |_| true, statement, rows::job)?;
    found.into_iter().map(|(job, node)| with_node(connection, job, node)).collect()
}

/// What changes by hand must know of a job.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) id: JobId,
    pub(super) queue: Name,
    pub(super) unique_key: Option<String>,
}

/// The jobs that match the filter and whose state is one of `states`, in the filter's order, up to its limit.
pub(super) fn pick(connection: &Connection, filter: &Filter, states: impl Fn(State) -> bool) -> Verb<Vec<Picked>> {
    let statement = match filter.order {
        Order::OldestFirst => sql::pick,
        Order::NewestFirst => sql::pick_newest,
    };
    matching(connection, filter, states, statement, |row| {
        let unique_key = rows::text(row, 2)?.map(Cow::into_owned);
        Ok(Picked { id: JobId(row.get(0)?), queue: rows::name(row, 1)?, unique_key })
    })
}

fn matching<T>(
    connection: &Connection,
    filter: &Filter,
    states: impl Fn(State) -> bool,
    statement: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Verb<Vec<T>> {
    let mask = mask(filter, states);
    let mut left = filter.limit.unwrap_or(usize::MAX);
    let mut statement = connection.prepare_cached(statement)?;
    let mut found = Vec::new();
    for (first, last) in spans(filter) {
        if left == 0 {
            break;
        }
        let rows = statement.query_map(
            named_params! {
                ":first": first,
                ":last": last,
                ":states": mask,
                ":queue": filter.queue.as_ref().map(Name::as_str),
                ":worker": filter.worker.as_ref().map(Name::as_str),
                ":unique_key": filter.unique_key,
                ":tags": json::tags_text(&filter.tags),
                ":limit": i64::try_from(left).unwrap_or(i64::MAX),
            },
            &read,
        )?;
        let before = found.len();
        for row in rows {
            found.push(row?);
        }
        left -= found.len() - before;
    }
    Ok(found)
}

pub(super) fn count(connection: &Connection, filter: &Filter) -> Verb<u64> {
    let plain = Filter { states: Vec::new(), queue: None, limit: None, order: Order::default(), ..filter.clone() };
    if plain == Filter::default() {
        let counts = count_by_state(connection, filter.queue.as_ref())?;
        let wanted = |state: &&State| filter.states.is_empty() || filter.states.contains(state);
        return Ok(State::ALL.iter().filter(wanted).map(|state| counts[usize::from(state.number())]).sum());
    }
    let mask = mask(filter, |_| true);
    let mut statement = connection.prepare_cached(sql::count)?;
    let mut sum = 0;
    for (first, last) in spans(filter) {
        let found: i64 = statement.query_row(
            named_params! {
                ":first": first,
                ":last": last,
                ":states": mask,
                ":queue": filter.queue.as_ref().map(Name::as_str),
                ":worker": filter.worker.as_ref().map(Name::as_str),
                ":unique_key": filter.unique_key,
                ":tags": json::tags_text(&filter.tags),
            },
            |row| row.get(0),
        )?;
        sum += found.unsigned_abs();
    }
    Ok(sum)
}

/// The states that are meant, one bit each.
fn mask(filter: &Filter, states: impl Fn(State) -> bool) -> i64 {
    let meant = |state: &State| (filter.states.is_empty() || filter.states.contains(state)) && states(*state);
    State::ALL.into_iter().filter(meant).map(|state| 1 << state.number()).sum()
}

/// The ids that are meant, as spans in the filter's order: one of all that the cursor leaves, or one for each id.
fn spans(filter: &Filter) -> Vec<(i64, i64)> {
    let (first, last) = match (filter.after, filter.order) {
        (None, _) => (1, i64::MAX),
        (Some(JobId(after)), Order::OldestFirst) => (after.saturating_add(1), i64::MAX),
        (Some(JobId(after)), Order::NewestFirst) => (1, after.saturating_sub(1)),
    };
    let Some(ids) = &filter.ids else { return vec![(first, last)] };
    let mut ids: Vec<_> = ids.iter().map(|id| id.0).filter(|id| (first..=last).contains(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    if filter.order == Order::NewestFirst {
        ids.reverse();
    }
    ids.into_iter().map(|id| (id, id)).collect()
}

pub(super) fn count_by_state(connection: &Connection, queue: Option<&Name>) -> Verb<[u64; 7]> {
    let all = counts(connection)?;
    let mut sums = [0; 7];
    for (_, counts) in all.iter().filter(|(name, _)| queue.is_none_or(|queue| queue == *name)) {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    Ok(sums)
}

fn counts(connection: &Connection) -> Verb<BTreeMap<Name, [u64; 7]>> {
    let mut all: BTreeMap<Name, [u64; 7]> = BTreeMap::new();
    let mut statement = connection.prepare_cached(sql::counts)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let state = rows::state(row.get(1)?)?;
        let queue = rows::name(row, 0)?;
        all.entry(queue).or_default()[usize::from(state.number())] = row.get::<_, i64>(2)?.unsigned_abs();
    }
    Ok(all)
}

pub(super) fn queues(connection: &Connection) -> Verb<Vec<QueueRow>> {
    let row = |(name, counts)| (Name::clone(&name), QueueRow { name, paused: false, concurrency: None, counts });
    let mut all: BTreeMap<Name, QueueRow> = counts(connection)?.into_iter().map(row).collect();
    for set in settings(connection)? {
        let counts = all.get(&set.name).map(|row| row.counts).unwrap_or_default();
        all.insert(set.name.clone(), QueueRow { counts, ..set });
    }
    Ok(all.into_values().collect())
}

/// What people have set for queues, without the counts.
pub(super) fn settings(connection: &Connection) -> Verb<Vec<QueueRow>> {
    let mut statement = connection.prepare_cached(sql::queues)?;
    let rows = statement.query_map([], |row| {
        let concurrency = row.get::<_, Option<i64>>(2)?.and_then(|number| number.try_into().ok());
        Ok(QueueRow { name: rows::name(row, 0)?, paused: row.get(1)?, concurrency, counts: [0; 7] })
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

/// Whether the queue runs and has jobs to claim.
pub(super) fn has_work(connection: &Connection, queue: &Name) -> Verb<bool> {
    let mut statement = connection.prepare_cached(sql::peek)?;
    Ok(statement.query_row(named_params! {":queue": queue.as_str()}, |row| row.get(0))?)
}

/// When the next waiting job is due.
pub(super) fn next_due(connection: &Connection) -> Verb<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(sql::next_due)?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.map(Timestamp))
}

pub(super) fn nodes(connection: &Connection) -> Verb<Vec<NodeRecord>> {
    let mut statement = connection.prepare_cached(sql::nodes)?;
    let rows = statement.query_map([], |row| {
        Ok(NodeRecord {
            number: row.get(0)?,
            standing: Standing::of(row.get(2)?),
            process: rows::string(row, 5)?,
            row: NodeRow {
                node: rows::node_of(&rows::string(row, 1)?),
                name: rows::string(row, 3)?,
                pid: row.get::<_, i64>(4)?.try_into().unwrap_or(0),
                started_at: rows::time(row.get(6)?),
                beat_at: rows::time(row.get(7)?),
                expires_at: rows::time(row.get(8)?),
                queues: json::queues_of(&rows::string(row, 9)?),
                executing: row.get::<_, u32>(10)? as usize,
            },
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

/// For each final state that does not stay for ever: the latest time at which it is too old.
pub(super) fn horizons(retention: &Retention, now: Timestamp) -> Vec<(State, Timestamp)> {
    let ages = [
        (State::Completed, retention.completed),
        (State::Cancelled, retention.cancelled),
        (State::Discarded, retention.discarded),
    ];
    ages.into_iter().filter_map(|(state, age)| Some((state, now - age?))).collect()
}

/// Whether a prune would find anything: jobs, or what only they kept.
pub(super) fn has_old(connection: &Connection, retention: &Retention, now: Timestamp) -> Verb<bool> {
    let mut statement = connection.prepare_cached(sql::prunable)?;
    for (state, horizon) in horizons(retention, now) {
        if statement.query_row(named_params! {":state": state.number(), ":horizon": horizon.0}, |row| row.get(0))? {
            return Ok(true);
        }
    }
    let horizon = now - TICKS_KEPT;
    let mut statement = connection.prepare_cached(sql::outdated)?;
    Ok(statement.query_row(named_params! {":horizon": horizon.0}, |row| row.get(0))?)
}

pub(super) fn crons(connection: &Connection) -> Verb<Vec<CronRow>> {
    let mut statement = connection.prepare_cached(sql::crons)?;
    let rows = statement.query_map([], |row| {
        let entry = CronEntry {
            name: rows::name(row, 0)?,
            expression: rows::string(row, 1)?,
            timezone: rows::string(row, 2)?,
            worker: rows::name(row, 3)?,
        };
        let last_tick = row.get::<_, Option<i64>>(6)?.map(rows::time);
        Ok(CronRow { entry, paused: row.get(4)?, known_since: rows::time(row.get(5)?), last_tick })
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

/// Whether a node that is dead still holds jobs, or rows name a node that is unknown.
pub(super) fn has_orphans(connection: &Connection) -> Verb<bool> {
    let mut statement = connection.prepare_cached(sql::orphans)?;
    Ok(statement.exists(named_params! {":limit": 1})?)
}
