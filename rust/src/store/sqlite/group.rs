//! The writer's connection, and one transaction for a group of calls.

use rusqlite::{Connection, TransactionState, ffi};

use crate::clock::Timestamp;
use crate::failpoint::{self, Point};
use crate::store::Signal;
use crate::store::sqlite::connection::{Synchronous, Trust, trust};
use crate::store::sqlite::line::Ticket;
use crate::store::sqlite::meaning::is_poison;
use crate::store::sqlite::writer::{Call, Durable, Failed, Transaction, Verb};
use crate::sync::{Arc, AtomicBool, AtomicU32, Ordering};

/// A connection that writes.
pub(super) struct Open {
    connection: Connection,
    pressed: Synchronous,
    /// How many pages the WAL had after the last commit that changed something.
    pages: Arc<AtomicU32>,
    /// Whether there was such a commit since anybody looked.
    changed: Arc<AtomicBool>,
    /// The last of them was not pressed onto the disk.
    loose: bool,
}

impl Open {
    pub(super) fn new(mut connection: Connection) -> rusqlite::Result<Self> {
        let pressed = Synchronous::Full;
        connection.pragma_update(None, "synchronous", pressed.name())?;
        let pages = Arc::new(AtomicU32::new(0));
        let changed = Arc::new(AtomicBool::new(false));
        let (counted, noted) = (pages.clone(), changed.clone());
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            noted.store(true, Ordering::Relaxed);
            Ok(())
        }))?;
        trust(&connection, Trust::Yes)?;
        Ok(Self { connection, pressed, pages, changed, loose: false })
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Whether it is in no transaction.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    pub(super) fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    pub(super) fn has_loose_ends(&self) -> bool {
        self.loose
    }

    /// What is in the WAL may be copied into the file again.
    pub(super) fn trusted(&mut self) -> rusqlite::Result<()> {
        self.loose = false;
        trust(&self.connection, Trust::Yes)
    }

    /// Copies what is in the WAL into the file, as far as readers allow; both are pressed onto the disk.
    pub(super) fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.pages.store(0, Ordering::Relaxed);
        failpoint::pass(Point::Checkpoint);
        self.connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))?;
        failpoint::pass(Point::Checkpointed);
        self.loose = false;
        Ok(())
    }

    /// Does something while nobody writes; changes nothing in the database.
    pub(super) fn alone<T>(&mut self, act: impl FnOnce() -> T) -> rusqlite::Result<T> {
        trust(&self.connection, Trust::No)?;
        alone(&self.connection, act)
    }

    fn press(&mut self, wanted: Synchronous) -> rusqlite::Result<()> {
        if self.pressed != wanted {
            self.connection.pragma_update(None, "synchronous", wanted.name())?;
            self.pressed = wanted;
        }
        Ok(())
    }
}

/// Does something while nobody writes; changes nothing in the database. Fails on a connection that can only read: SQLite
/// takes no lock for it, and says that it has begun.
pub(super) fn alone<T>(connection: &Connection, act: impl FnOnce() -> T) -> rusqlite::Result<T> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let done = match connection.transaction_state(None::<&str>)? {
        TransactionState::Write => Ok(act()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), None)),
    };
    execute(connection, "ROLLBACK")?;
    done
}

type Outcomes = (Vec<Verb<()>>, Vec<Signal>);

/// Where a transaction came to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// Before its commit: nothing of it is there.
    Before(rusqlite::Error),
    /// At its commit. When that was the disk, the whole of it may be in the log, and is found by whoever opens the file
    /// after this process has ended.
    AtCommit(rusqlite::Error),
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Before(error)
    }
}

/// One transaction for the whole group. An error here is one for everybody.
pub(super) fn transact(
    open: &mut Open,
    most: Synchronous,
    group: &[Arc<Ticket<Call>>],
    clock: impl Fn(&Connection) -> rusqlite::Result<Timestamp>,
) -> std::result::Result<Outcomes, Broken> {
    let durable = group.iter().map(|ticket| ticket.call.durable).max();
    open.press(if durable == Some(Durable::Yes) { most } else { Synchronous::Normal })?;
    let connection = &open.connection;
    execute(connection, "BEGIN IMMEDIATE")?;
    // Not before: whoever waits for the lock would write a time from before what others have written meanwhile.
    let done = clock(connection).and_then(|now| {
        let mut transaction = Transaction { connection, now, news: Vec::new() };
        let outcomes = match group {
            [alone] => one(&mut transaction, alone),
            several => all(&mut transaction, several),
        };
        Ok((outcomes?, transaction.news))
    });
    let end = done.map_err(Broken::Before).and_then(|(outcomes, news)| {
        // A lone call that failed has taken everything back.
        if !connection.is_autocommit() {
            failpoint::pass(Point::Grouped);
            execute(connection, "COMMIT").map_err(Broken::AtCommit)?;
            failpoint::pass(Point::Shared);
        }
        Ok((outcomes, news))
    });
    if end.is_err() && !connection.is_autocommit() {
        // When even this fails the connection is not used again, and the error that led here says why.
        drop(execute(connection, "ROLLBACK"));
    }
    if open.changed.swap(false, Ordering::Relaxed) {
        open.loose = open.pressed == Synchronous::Normal;
    }
    end
}

fn one(transaction: &mut Transaction<'_>, ticket: &Ticket<Call>) -> rusqlite::Result<Vec<Verb<()>>> {
    let outcome = unpoisoned(ticket.call.run(transaction))?;
    if outcome.is_err() {
        transaction.news.clear();
        if !transaction.connection.is_autocommit() {
            execute(transaction.connection, "ROLLBACK")?;
        }
    }
    Ok(vec![outcome])
}

fn all(transaction: &mut Transaction<'_>, group: &[Arc<Ticket<Call>>]) -> rusqlite::Result<Vec<Verb<()>>> {
    let connection = transaction.connection;
    let mut outcomes = Vec::with_capacity(group.len());
    for ticket in group {
        let told = transaction.news.len();
        execute(connection, "SAVEPOINT call")?;
        let outcome = unpoisoned(ticket.call.run(transaction))?;
        if outcome.is_err() {
            // Some errors have taken the whole transaction back by themselves.
            if connection.is_autocommit() {
                return Err(cause(outcome));
            }
            transaction.news.truncate(told);
            execute(connection, "ROLLBACK TO call")?;
        }
        execute(connection, "RELEASE call")?;
        failpoint::pass(Point::Between);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// What one call fails by and the others cannot go on after: a disk that failed, a file that is damaged.
fn unpoisoned(outcome: Verb<()>) -> rusqlite::Result<Verb<()>> {
    match outcome {
        Err(Failed::Sqlite(error)) if is_poison(&error) => Err(error),
        other => Ok(other),
    }
}

fn cause(outcome: Verb<()>) -> rusqlite::Error {
    match outcome {
        Err(Failed::Sqlite(error)) => error,
        Err(Failed::Engine(_)) | Ok(()) => rusqlite::Error::InvalidQuery,
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::{ErrorCode, OpenFlags};

    use super::*;

    #[test]
    fn nobody_is_alone_with_a_file_through_a_connection_that_can_only_read() {
        // First: a lock of one kind stands in the way of one of the other kind, also in the same process.
        assert_eq!(zjobs_vfs::install(), zjobs_vfs::Protection::Complete);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let writes = Connection::open(&path).unwrap();
        writes.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n)").unwrap();
        let reads = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut acted = false;
        let refused = alone(&reads, || acted = true).unwrap_err();
        assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::ReadOnly));
        assert!(!acted && reads.is_autocommit());
        assert!(alone(&writes, || alone(&reads, || ()).is_err()).unwrap());
    }
}
