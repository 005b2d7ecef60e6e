//! One writer with group commit.
//!
//! Invariants:
//!
//! * Calls that arrive while a commit is on its way share the next one; a lone call is not delayed, and no thread is
//!   needed: whoever comes first leads, and hands the lead to one who waits.
//! * A call that fails takes only its own changes back. A commit that fails fails for everybody in it.
//! * Nobody is answered before the commit; signals go out after it, when the lead has been handed over.
//! * After an error of the disk the connection is opened again: nothing rests on a write that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::Signal;
use crate::store::sqlite::connection::{Place, Synchronous, is_poison};
use crate::sync::{Arc, Condvar, Mutex};

/// Whether a change must survive a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durable {
    /// What a power loss takes back is done again: a claim, a beat.
    No,
    /// Somebody is told that it is done.
    Yes,
}

/// What a verb works on: the connection inside a transaction, the time, and the news that go out after the commit.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) now: Timestamp,
    pub(super) news: Vec<Signal>,
}

impl Transaction<'_> {
    pub(super) fn tell(&mut self, signal: Signal) {
        if !self.news.contains(&signal) {
            self.news.push(signal);
        }
    }
}

/// An error of a verb: SQLite's, or one of ours.
#[derive(Debug)]
pub(super) enum Failed {
    Sqlite(rusqlite::Error),
    Engine(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Failed {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

pub(super) type Verb<T> = std::result::Result<T, Failed>;

type Job = Box<dyn FnOnce(&mut Transaction<'_>) -> Verb<()> + Send>;

/// One call that waits for its turn.
struct Ticket {
    durable: Durable,
    job: Mutex<Option<Job>>,
    state: Mutex<Turn>,
    changed: Condvar,
}

enum Turn {
    Waiting,
    /// The lead is handed over: run the next group.
    Lead,
    Done(Result<()>),
}

#[derive(Default)]
struct Line {
    led: bool,
    waiting: Vec<Arc<Ticket>>,
}

/// The one who writes.
pub(super) struct Writer {
    place: Place,
    synchronous: Synchronous,
    line: Mutex<Line>,
    /// Used by whoever leads only.
    connection: Mutex<Option<Open>>,
}

struct Open {
    connection: Connection,
    pressed: Synchronous,
}

impl Writer {
    pub(super) fn new(place: Place, connection: Connection, synchronous: Synchronous) -> Result<Self> {
        let open = Open::new(&place, connection)?;
        Ok(Self { place, synchronous, line: Mutex::default(), connection: Mutex::new(Some(open)) })
    }

    /// Runs a verb in a transaction, perhaps with others, and returns its reply after the commit.
    pub(super) fn write<T: Send + 'static>(
        &self,
        durable: Durable,
        clock: impl Fn() -> Timestamp,
        tell: impl Fn(&[Signal]),
        verb: impl FnOnce(&mut Transaction<'_>) -> Verb<T> + Send + 'static,
    ) -> Result<T> {
        let reply = Arc::new(Mutex::new(None));
        let kept = reply.clone();
        let job: Job = Box::new(move |transaction| {
            *kept.lock() = Some(verb(transaction)?);
            Ok(())
        });
        let ticket = Arc::new(Ticket {
            durable,
            job: Mutex::new(Some(job)),
            state: Mutex::new(Turn::Waiting),
            changed: Condvar::new(),
        });
        if self.queue_up(&ticket) {
            let news = self.lead(&ticket, clock);
            tell(&news);
        }
        ticket.outcome()?;
        let reply = reply.lock().take();
        reply.ok_or_else(|| Error::Internal("a call to the store ended without a reply".into()))
    }

    /// Waits in line. True for the one who must lead.
    fn queue_up(&self, ticket: &Arc<Ticket>) -> bool {
        let mut line = self.line.lock();
        if !line.led {
            line.led = true;
            return true;
        }
        line.waiting.push(ticket.clone());
        drop(line);
        let mut state = ticket.state.lock();
        while matches!(*state, Turn::Waiting) {
            state = ticket.changed.wait(state);
        }
        matches!(*state, Turn::Lead)
    }

    /// Runs a group, answers it, and hands the lead over. Returns the news.
    fn lead(&self, own: &Arc<Ticket>, clock: impl Fn() -> Timestamp) -> Vec<Signal> {
        let mut group = vec![own.clone()];
        group.append(&mut self.line.lock().waiting);
        let (outcomes, news) = self.run(&group, clock());
        for (ticket, outcome) in group.iter().zip(outcomes).rev() {
            ticket.answer(outcome);
        }
        self.hand_over();
        news
    }

    fn hand_over(&self) {
        let mut line = self.line.lock();
        if line.waiting.is_empty() {
            line.led = false;
            return;
        }
        let next = line.waiting.remove(0);
        drop(line);
        next.lead();
    }

    fn run(&self, group: &[Arc<Ticket>], now: Timestamp) -> (Vec<Result<()>>, Vec<Signal>) {
        let mut slot = self.connection.lock();
        let failed = |error: &Error| group.iter().map(|_| Err(error.clone())).collect();
        let open = match self.opened(&mut slot) {
            Ok(open) => open,
            Err(error) => return (failed(&error), Vec::new()),
        };
        match transact(open, self.synchronous, group, now) {
            Ok((outcomes, news)) => {
                let ours = |outcome: Verb<()>| outcome.map_err(|failed| self.meaning(failed));
                (outcomes.into_iter().map(ours).collect(), news)
            }
            Err(error) => {
                if is_poison(&error) || !open.connection.is_autocommit() {
                    *slot = None;
                }
                (failed(&self.place.error(&error)), Vec::new())
            }
        }
    }

    fn opened<'a>(&self, slot: &'a mut Option<Open>) -> Result<&'a mut Open> {
        self.place.check()?;
        self.place.begin();
        if slot.is_none() {
            *slot = Some(Open::new(&self.place, self.place.open_writer()?)?);
        }
        slot.as_mut().ok_or_else(|| Error::Internal("the writer has no connection".into()))
    }

    /// Leaves the connection as it is, neither used nor closed. Waits for nobody: who had the lock at a fork is not here.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.connection.get_mut().take());
    }

    pub(super) fn meaning(&self, failed: Failed) -> Error {
        match failed {
            Failed::Sqlite(error) => self.place.error(&error),
            Failed::Engine(error) => error,
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Ticket {
    /// A verb that panics has failed, as one with an error has: those who share its commit go on.
    fn run(&self, transaction: &mut Transaction<'_>) -> Verb<()> {
        let Some(job) = self.job.lock().take() else { return Ok(()) };
        let run = catch_unwind(AssertUnwindSafe(|| job(transaction)));
        run.unwrap_or_else(|_| Err(Failed::Engine(Error::Internal("a call to the store panicked".into()))))
    }

    fn lead(&self) {
        *self.state.lock() = Turn::Lead;
        self.changed.notify_one();
    }

    fn answer(&self, outcome: Result<()>) {
        *self.state.lock() = Turn::Done(outcome);
        self.changed.notify_one();
    }

    fn outcome(&self) -> Result<()> {
        match &*self.state.lock() {
            Turn::Done(outcome) => outcome.clone(),
            Turn::Waiting | Turn::Lead => Err(Error::Internal("a call to the store was not answered".into())),
        }
    }
}

impl Open {
    fn new(place: &Place, connection: Connection) -> Result<Self> {
        let pressed = Synchronous::Full;
        connection.pragma_update(None, "synchronous", pressed.name()).map_err(|error| place.error(&error))?;
        Ok(Self { connection, pressed })
    }

    fn press(&mut self, wanted: Synchronous) -> rusqlite::Result<()> {
        if self.pressed != wanted {
            self.connection.pragma_update(None, "synchronous", wanted.name())?;
            self.pressed = wanted;
        }
        Ok(())
    }
}

type Outcomes = (Vec<Verb<()>>, Vec<Signal>);

/// One transaction for the whole group. An error here is one for everybody.
fn transact(open: &mut Open, most: Synchronous, group: &[Arc<Ticket>], now: Timestamp) -> rusqlite::Result<Outcomes> {
    let durable = group.iter().map(|ticket| ticket.durable).max();
    open.press(if durable == Some(Durable::Yes) { most } else { Synchronous::Normal })?;
    let connection = &open.connection;
    execute(connection, "BEGIN IMMEDIATE")?;
    let mut transaction = Transaction { connection, now, news: Vec::new() };
    let done = match group {
        [alone] => one(&mut transaction, alone),
        several => all(&mut transaction, several),
    };
    let news = transaction.news;
    let end = done.and_then(|outcomes| {
        // A lone call that failed has taken everything back.
        if !connection.is_autocommit() {
            execute(connection, "COMMIT")?;
        }
        Ok((outcomes, news))
    });
    if end.is_err() && !connection.is_autocommit() {
        // When even this fails the connection is not used again, and the error that led here says why.
        drop(execute(connection, "ROLLBACK"));
    }
    end
}

fn one(transaction: &mut Transaction<'_>, ticket: &Ticket) -> rusqlite::Result<Vec<Verb<()>>> {
    let outcome = ticket.run(transaction);
    if outcome.is_err() {
        transaction.news.clear();
        if !transaction.connection.is_autocommit() {
            execute(transaction.connection, "ROLLBACK")?;
        }
    }
    Ok(vec![outcome])
}

fn all(transaction: &mut Transaction<'_>, group: &[Arc<Ticket>]) -> rusqlite::Result<Vec<Verb<()>>> {
    let connection = transaction.connection;
    let mut outcomes = Vec::with_capacity(group.len());
    for ticket in group {
        let told = transaction.news.len();
        execute(connection, "SAVEPOINT call")?;
        let outcome = ticket.run(transaction);
        if outcome.is_err() {
            // Some errors have taken the whole transaction back by themselves.
            if connection.is_autocommit() {
                return Err(cause(outcome));
            }
            transaction.news.truncate(told);
            execute(connection, "ROLLBACK TO call")?;
        }
        execute(connection, "RELEASE call")?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn cause(outcome: Verb<()>) -> rusqlite::Error {
    match outcome {
        Err(Failed::Sqlite(error)) => error,
        Err(Failed::Engine(_)) | Ok(()) => rusqlite::Error::InvalidQuery,
    }
}

pub(super) fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
