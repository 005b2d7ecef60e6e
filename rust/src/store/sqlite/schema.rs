//! The tables of a file: what it has, what it lacks, and the way from one to the other.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::clock::{Clock, System, Timestamp};
use crate::error::Result;
use crate::failpoint::{self, Point};
use crate::store::migrate::{self, Applied, Migration, Step, known, plan};
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::connection::{Trust, trust};
use crate::store::sqlite::place::{Create, Place};

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS zjobs_migrations (
    version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
) STRICT";

/// The steps of this version's schema, and which of them the file has. A file that does not exist has none.
pub fn steps(path: &Path) -> Result<Vec<Step>> {
    let known = known(sql::MIGRATIONS);
    let applied = if path.exists() {
        let place = Place::prepare(path, Create::No)?;
        let (connection, _) = place.open_read_only()?;
        let applied = applied(&connection).map_err(|error| place.error(&error))?;
        plan(&known, &applied, &place.path.display().to_string())?;
        applied
    } else {
        Vec::new()
    };
    Ok(migrate::steps(sql::MIGRATIONS, &applied))
}

/// Brings a file up to this version's schema; says which steps were applied now.
pub fn apply(path: &Path) -> Result<Vec<Migration>> {
    let place = Place::prepare(path, Create::Yes)?;
    let mut connection = place.open_writer()?;
    let applied = migrate(&mut connection, &place, System.now())?;
    trust(&connection, Trust::Yes).map_err(|error| place.error(&error))?;
    Ok(applied)
}

/// Makes the tables of a new file. A file that has some must have them all: changing it is `zjobs migrate`'s.
pub(super) fn prepare(connection: &mut Connection, place: &Place, now: Timestamp) -> Result<()> {
    let has = applied(connection).map_err(|error| place.error(&error))?;
    if has.is_empty() {
        return migrate(connection, place, now).map(drop);
    }
    check(connection, place)
}

/// Refuses a file that does not have exactly the tables of this version.
pub(super) fn check(connection: &Connection, place: &Place) -> Result<()> {
    let known = known(sql::MIGRATIONS);
    let name = place.path.display().to_string();
    let has = applied(connection).map_err(|error| place.error(&error))?;
    if plan(&known, &has, &name)?.is_empty() {
        return Ok(());
    }
    Err(crate::error::Error::SchemaMismatch(format!(
        "{name} has schema {}, and this version of zjobs needs {}: run `zjobs migrate --store sqlite:///{name}`",
        has.len(),
        known.len()
    )))
}

/// Applies what is missing, each step in a transaction with its row. Two at once: the second finds nothing to do.
fn migrate(connection: &mut Connection, place: &Place, now: Timestamp) -> Result<Vec<Migration>> {
    let name = place.path.display().to_string();
    let failed = |error: rusqlite::Error| place.error(&error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let missing = plan(&known(sql::MIGRATIONS), &applied(&transaction).map_err(failed)?, &name)?;
    if missing.is_empty() {
        return Ok(missing);
    }
    failpoint::pass(Point::Locked);
    let steps = || -> rusqlite::Result<()> {
        transaction.execute_batch(LEDGER)?;
        for step in &missing {
            transaction.execute_batch(step.sql)?;
            failpoint::pass(Point::Migrated);
            transaction.execute(
                "INSERT INTO zjobs_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
                params![step.version, step.name, step.checksum(), now.0],
            )?;
        }
        Ok(())
    };
    steps().map_err(failed)?;
    failpoint::pass(Point::Recorded);
    transaction.commit().map_err(failed)?;
    failpoint::pass(Point::Settled);
    Ok(missing)
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let there: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'zjobs_migrations'", [], |row| {
            row.get(0)
        })
        .optional()?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare("SELECT version, checksum, applied_at FROM zjobs_migrations ORDER BY version")?;
    let rows = statement
        .query_map([], |row| Ok(Applied { version: row.get(0)?, checksum: row.get(1)?, at: Timestamp(row.get(2)?) }))?;
    rows.collect()
}
