//! Any text and any number through every place where a store in SQLite takes one, beside the store in memory, which has no
//! SQL to break out of.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use rusqlite::Connection;
use tempfile::TempDir;
use zjobs_engine::clock::Manual;
use zjobs_engine::job::{JobId, NewJob, Priority, When};
use zjobs_engine::state::State;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, Synchronous};
use zjobs_engine::store::{CronEntry, Filter, MemoryConfig, MemoryStore, Order, Retention, SqliteStore, Store};
use zjobs_engine::sync::Arc;
use zjobs_engine::unique::{Unique, UniqueStrategy};
use zjobs_engine::{Timestamp, limits};

use crate::words::{self, made};

/// Two stores that are asked the same, and a look past the second one.
struct Pair {
    memory: MemoryStore,
    sqlite: SqliteStore,
    file: Connection,
    tables: i64,
    _folder: TempDir,
}

impl Pair {
    fn new() -> Self {
        let folder = made(tempfile::tempdir());
        let path: PathBuf = folder.path().join("jobs.db");
        let clock = Arc::new(Manual::default());
        let memory = MemoryStore::new(MemoryConfig { clock: clock.clone(), ..MemoryConfig::default() });
        let random = fastrand::Rng::with_seed(1);
        let (liveness, synchronous) = (Liveness::Leases, Synchronous::Normal);
        let config = SqliteConfig { clock, liveness, synchronous, ..SqliteConfig::new(path.clone(), random) };
        let sqlite = made(SqliteStore::open(config));
        let file = made(Connection::open(path));
        made(file.execute_batch("CREATE TABLE canary (sings TEXT) STRICT; INSERT INTO canary VALUES ('yes')"));
        let tables = count_tables(&file);
        Self { memory, sqlite, file, tables, _folder: folder }
    }

    /// What both reply, which must be the same.
    fn ask<T: std::fmt::Debug + PartialEq>(&self, ask: impl Fn(&dyn Store) -> zjobs_engine::Result<T>) -> Option<T> {
        match (ask(&self.memory), ask(&self.sqlite)) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one, other);
                Some(one)
            }
            (Err(one), Err(other)) => {
                assert_eq!(one.to_string(), other.to_string());
                words::assert_shown(&one.to_string());
                None
            }
            (one, other) => panic!("memory says {one:?}, SQLite {other:?}"),
        }
    }
}

fn count_tables(file: &Connection) -> i64 {
    made(file.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)))
}

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static PAIR: OnceCell<Pair> = const { OnceCell::new() };
    }
    PAIR.with(|pair| {
        let pair = pair.get_or_init(Pair::new);
        // Bytes that are used up end the session.
        session(pair, &mut Unstructured::new(data)).unwrap_or_default();
        pair.ask(|store| store.delete(&Filter::default()));
        assert_eq!(count_tables(&pair.file), pair.tables, "a table came or went");
        let sings: String = made(pair.file.query_row("SELECT sings FROM canary", [], |row| row.get(0)));
        assert_eq!(sings, "yes");
    });
}

fn session(pair: &Pair, u: &mut Unstructured<'_>) -> Result<()> {
    let mut ids = Vec::new();
    for _ in 0..u.int_in_range(1..=3)? {
        let job = job(u)?;
        // The engine asks this before it asks a store.
        if let Err(error) = job.validate() {
            words::assert_shown(&error.to_string());
            continue;
        }
        let wanted = job.clone();
        if let Some(found) = pair.ask(|store| store.enqueue(vec![job.clone()])).and_then(|all| all.into_iter().next()) {
            ids.push(found.job.id);
            if !found.conflict {
                assert_eq!((&found.job.queue, &found.job.worker), (&wanted.queue, &wanted.worker));
                assert_eq!((&found.job.args, &found.job.details().tags), (&wanted.args, &wanted.tags));
                let key = wanted.unique.map(|unique| unique.key);
                assert_eq!((&found.job.details().unique_key, &found.job.details().meta), (&key, &wanted.meta));
            }
        }
    }
    for _ in 0..u.int_in_range(0..=4)? {
        let filter = filter(u, &ids)?;
        match u.int_in_range(0..=6)? {
            0 | 1 => drop(pair.ask(|store| store.list(&filter))),
            2 => drop(pair.ask(|store| store.count(&filter))),
            3 => drop(pair.ask(|store| store.cancel(&filter))),
            4 => drop(pair.ask(|store| store.retry(&filter))),
            5 => drop(pair.ask(|store| store.delete(&filter))),
            _ => schedules(pair, u)?,
        }
    }
    let queue = words::queue(u)?;
    pair.ask(|store| store.count_by_state(Some(&queue)));
    pair.ask(|store| store.pause(&queue));
    pair.ask(|store| store.scale(&queue, Some(3)));
    pair.ask(|store| store.queues());
    pair.ask(|store| store.resume(&queue));
    pair.ask(|store| store.scale(&queue, None));
    let keep = u.arbitrary::<Option<u64>>()?.map(Duration::from_micros);
    pair.ask(|store| store.prune(&Retention { completed: keep, cancelled: keep, discarded: keep }, 10));
    Ok(())
}

fn schedules(pair: &Pair, u: &mut Unstructured<'_>) -> Result<()> {
    let name = words::worker(u)?;
    let text = |u: &mut Unstructured<'_>| Ok(u.arbitrary::<&str>()?.replace('\0', ""));
    let entry = CronEntry { name: name.clone(), expression: text(u)?, timezone: text(u)?, worker: words::worker(u)? };
    pair.ask(|store| store.save_cron(&entry));
    let kept = pair.ask(|store| store.crons()).unwrap_or_default();
    assert!(kept.iter().any(|row| row.entry == entry), "a schedule is not what was declared");
    pair.ask(|store| store.delete_cron(&name));
    Ok(())
}

fn job(u: &mut Unstructured<'_>) -> Result<NewJob> {
    let args = serde_json::json!({ "text": u.arbitrary::<&str>()?.replace('\0', "") }).to_string();
    let mut job = NewJob::new(words::queue(u)?, words::worker(u)?, args.into_bytes().into());
    job.priority = Priority(u.arbitrary()?);
    job.max_attempts = u.arbitrary()?;
    job.when = match u.int_in_range(0..=3)? {
        0 => When::In(Duration::from_micros(u.arbitrary()?)),
        1 => When::At(Timestamp(u.arbitrary()?)),
        _ => When::Now,
    };
    job.timeout = u.arbitrary::<Option<u32>>()?.map(|millis| Duration::from_millis(millis.into()));
    if u.arbitrary()? {
        let strategy = if u.arbitrary()? { UniqueStrategy::CancelExisting } else { UniqueStrategy::IgnoreNew };
        let key = words::line(u, limits::UNIQUE_KEY_BYTES)?;
        job.unique = Some(Unique::by_key(&key, strategy).map_err(|_| arbitrary::Error::IncorrectFormat)?);
    }
    for _ in 0..u.int_in_range(0..=3)? {
        job.tags.push(words::tag(u)?);
    }
    if u.arbitrary()? {
        let meta = serde_json::json!({ "m": u.arbitrary::<&str>()?.replace('\0', "") }).to_string();
        job.meta = Some(meta.into_bytes().into());
    }
    Ok(job)
}

fn filter(u: &mut Unstructured<'_>, ids: &[JobId]) -> Result<Filter> {
    let id = |u: &mut Unstructured<'_>| {
        Ok(match (u.ratio(1, 4)?, ids) {
            (true, _) | (_, []) => JobId(u.arbitrary()?),
            (false, ids) => *u.choose(ids)?,
        })
    };
    let state = |u: &mut Unstructured<'_>| u.choose(&State::ALL).copied();
    Ok(Filter {
        ids: if u.ratio(1, 3)? {
            Some((0..u.int_in_range(0..=4)?).map(|_| id(u)).collect::<Result<_>>()?)
        } else {
            None
        },
        states: (0..u.int_in_range(0..=2)?).map(|_| state(u)).collect::<Result<_>>()?,
        queue: if u.ratio(1, 4)? { Some(words::queue(u)?) } else { None },
        worker: if u.ratio(1, 4)? { Some(words::worker(u)?) } else { None },
        tags: (0..u.int_in_range(0..=2)?).map(|_| words::tag(u)).collect::<Result<_>>()?,
        unique_key: if u.ratio(1, 4)? { Some(words::line(u, 255)?) } else { None },
        after: if u.ratio(1, 4)? { Some(id(u)?) } else { None },
        order: if u.arbitrary()? { Order::NewestFirst } else { Order::OldestFirst },
        limit: if u.ratio(1, 4)? { Some(u.arbitrary::<u8>()?.into()) } else { None },
    })
}
