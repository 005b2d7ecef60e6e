//! Names: one rule in code and in the schema, and none that SQL could take for something else.

use std::cell::OnceCell;

use rusqlite::{Connection, params};
use zjobs_engine::error::Result;
use zjobs_engine::job::Name;
use zjobs_engine::limits;
use zjobs_engine::store::postgres::fuzzing;
use zjobs_engine::store::sql::sqlite::MIGRATIONS;
use zjobs_engine::unique::{Unique, UniqueStrategy};

use crate::words::{assert_shown, made};

/// Letters and length of a name; the rule once more, in other words.
fn fits(name: &str, letters: &str, most: usize) -> bool {
    !name.is_empty() && name.chars().count() <= most && name.chars().all(|letter| letters.contains(letter))
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
const ANY: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:";

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_line =
        |most| (1..=most).contains(&text.len()) && !text.chars().any(|c| c < ' ' || ('\x7f'..='\u{9f}').contains(&c));
    judge(Name::queue(&text), fits(&text, LOWER, 64), &text);
    judge(Name::worker(&text), fits(&text, ANY, 128), &text);
    judge(Name::cron(&text), fits(&text, ANY, 128), &text);
    judge(Name::tag(&text), is_line(limits::TAG_BYTES), &text);
    let key = Unique::by_key(&text, UniqueStrategy::IgnoreNew);
    assert_eq!(key.is_ok(), is_line(limits::UNIQUE_KEY_BYTES), "{text:?}");
    if let Ok(queue) = Name::queue(&text) {
        assert_eq!(Name::worker(&text).ok(), Some(queue), "every queue's name could be a worker's");
    }
    if let Ok(name) = Name::worker(&text) {
        assert!(is_taken_by_the_schema(&name), "{name} is let in, and the schema refuses it");
    }
}

fn judge(name: Result<Name>, expected: bool, text: &str) {
    match name {
        Ok(name) => {
            assert!(expected, "{text:?} is let in");
            assert_eq!(name.as_str(), text);
        }
        Err(error) => {
            assert!(!expected, "{text:?} is refused: {error}");
            assert_shown(&error.to_string());
        }
    }
}

/// A database in memory with the tables of jobs.
pub(crate) fn tables() -> Connection {
    let connection = made(Connection::open_in_memory());
    for (_, step) in MIGRATIONS {
        made(connection.execute_batch(step));
    }
    connection
}

fn is_taken_by_the_schema(name: &Name) -> bool {
    thread_local! {
        static TABLES: OnceCell<Connection> = const { OnceCell::new() };
    }
    TABLES.with(|connection| {
        let connection = connection.get_or_init(tables);
        made(connection.execute_batch("BEGIN"));
        let queue = Name::queue(name.as_str()).map_or_else(|_| "q".to_owned(), |queue| queue.to_string());
        let row = "INSERT INTO zjobs_jobs (state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at) \
                   VALUES (0, ?, ?, '{}', 0, 1, 0, 0)";
        let done = connection.prepare_cached(row).and_then(|mut insert| insert.execute(params![queue, name.as_str()]));
        made(connection.execute_batch("ROLLBACK"));
        done.is_ok()
    })
}

/// The name of a schema in PostgreSQL becomes part of statements.
pub(crate) fn schema(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && !name.starts_with("pg_");
    let expected = starts && fits(&name, "abcdefghijklmnopqrstuvwxyz0123456789_", 48);
    match fuzzing::rendered(&name, "SELECT id FROM zjobs.jobs") {
        Ok((statement, channel)) => {
            assert!(expected, "{name:?} is let in");
            let (plain, quoted) = (format!("SELECT id FROM {name}.jobs"), format!("SELECT id FROM \"{name}\".jobs"));
            assert!(statement == quoted || (name == "zjobs" && statement == plain), "{statement}");
            assert!(channel.len() < 64 && channel.starts_with("zjobs_"), "{channel} is no name of a channel");
        }
        Err(error) => {
            assert!(!expected, "{name:?} is refused: {error}");
            assert_shown(&error.to_string());
        }
    }
}
