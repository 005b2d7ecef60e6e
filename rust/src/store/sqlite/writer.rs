//! One writer with group commit.
//!
//! Invariants:
//!
//! * Calls that arrive while a commit is on its way share the next one; a lone call is not delayed, and no thread is
//!   needed: whoever comes first leads, and hands the lead to one who waits.
//! * A call that fails takes only its own changes back. A commit that fails fails for everybody in it; where the disk
//!   failed all are told that nobody knows what becomes of it ([`Error::EnqueueUncertain`]).
//! * Nobody is answered before the commit; signals go out after it, when the lead has been handed over.
//! * After an error of the disk the connection is opened again, and what is in the WAL is pressed onto the disk anew: nothing
//!   rests on a write that failed.
//! * A file that was found damaged is not written any more.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::Signal;
use crate::store::sqlite::SqliteConfig;
use crate::store::sqlite::connection::{Synchronous, retire};
use crate::store::sqlite::group::{Broken, Open, transact};
use crate::store::sqlite::line::{Line, Ticket};
use crate::store::sqlite::meaning::{in_doubt, is_failed_disk, is_poison};
use crate::store::sqlite::place::Place;
use crate::sync::{Arc, Mutex};

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

/// One call in the line.
pub(super) struct Call {
    pub(super) durable: Durable,
    job: Mutex<Option<Job>>,
}

/// The one who writes.
pub(super) struct Writer {
    place: Place,
    synchronous: Synchronous,
    line: Line<Call>,
    /// How many pages the WAL has before they are copied into the file.
    checkpoint_pages: u32,
    press_again: fn(&Path) -> io::Result<()>,
    /// Used by whoever leads only.
    seat: Mutex<Seat>,
}

/// The connection, and whether what others have committed before may rest on it.
struct Seat {
    open: Option<Open>,
    /// The one that met a failed disk. It is kept until there is another: whoever opens the file as the only one reads the
    /// WAL anew, and would find the commit there that has failed.
    last: Option<Connection>,
    /// The disk has failed since the WAL was last known to be on it.
    doubtful: bool,
}

impl Writer {
    pub(super) fn new(place: Place, connection: Connection, config: &SqliteConfig) -> Result<Self> {
        let open = Open::new(connection).map_err(|error| place.error(&error))?;
        place.note_beside()?;
        let (synchronous, checkpoint_pages) = (config.synchronous, config.checkpoint_pages);
        let seat = Mutex::new(Seat { open: Some(open), last: None, doubtful: false });
        let press_again = config.press_again;
        Ok(Self { place, synchronous, line: Line::default(), checkpoint_pages, press_again, seat })
    }

    /// Runs a verb in a transaction, perhaps with others, and returns its reply after the commit.
    pub(super) fn write<T: Send + 'static>(
        &self,
        durable: Durable,
        clock: impl Fn(&Connection) -> rusqlite::Result<Timestamp>,
        tell: impl Fn(&[Signal]),
        verb: impl FnOnce(&mut Transaction<'_>) -> Verb<T> + Send + 'static,
    ) -> Result<T> {
        let reply = Arc::new(Mutex::new(None));
        let kept = reply.clone();
        let job: Job = Box::new(move |transaction| {
            *kept.lock() = Some(verb(transaction)?);
            Ok(())
        });
        let mut news = Vec::new();
        let run = |group: &[Arc<Ticket<Call>>]| {
            let (outcomes, told) = self.run(group, clock);
            news = told;
            outcomes
        };
        let outcome = self.line.pass(Call { durable, job: Mutex::new(Some(job)) }, run, || self.checkpoint());
        // Whoever led tells the news of all, even when its own call failed.
        if outcome.is_ok() || !news.is_empty() {
            tell(&news);
        }
        outcome?;
        let reply = reply.lock().take();
        reply.ok_or_else(|| Error::Internal("a call to the store ended without a reply".into()))
    }

    fn run(
        &self,
        group: &[Arc<Ticket<Call>>],
        clock: impl Fn(&Connection) -> rusqlite::Result<Timestamp>,
    ) -> (Vec<Result<()>>, Vec<Signal>) {
        let mut seat = self.seat.lock();
        let failed = |error: &Error| group.iter().map(|_| Err(error.clone())).collect();
        let open = match self.opened(&mut seat) {
            Ok(open) => open,
            Err(error) => return (failed(&error), Vec::new()),
        };
        match transact(open, self.synchronous, group, clock) {
            Ok((outcomes, news)) => {
                let ours = |outcome: Verb<()>| outcome.map_err(|failed| self.place.meaning(failed));
                (outcomes.into_iter().map(ours).collect(), news)
            }
            Err(broken) => {
                let (error, meaning): (_, fn(Error) -> Error) = match broken {
                    Broken::AtCommit(error) if is_failed_disk(&error) => (error, in_doubt),
                    Broken::AtCommit(error) | Broken::Before(error) => (error, |meaning| meaning),
                };
                if is_poison(&error) || !open.is_idle() {
                    self.leave(&mut seat, &error);
                }
                (failed(&meaning(self.place.error(&error))), Vec::new())
            }
        }
    }

    fn opened<'a>(&self, seat: &'a mut Seat) -> Result<&'a mut Open> {
        self.place.check_sound()?;
        self.place.check_open()?;
        self.place.check()?;
        self.place.begin();
        if let Some(open) = &mut seat.open {
            self.check_beside(open)?;
        } else {
            let open = Open::new(self.place.open_writer()?).map_err(|error| self.place.error(&error))?;
            self.place.note_beside()?;
            seat.open = Some(open);
            seat.last.take().into_iter().for_each(retire);
        }
        self.settle(seat)?;
        seat.open.as_mut().ok_or_else(|| Error::Internal("the writer has no connection".into()))
    }

    /// Fails when the log was deleted under us. What was committed there is saved into the file first, before it is gone with
    /// the last process that has it open.
    fn check_beside(&self, open: &mut Open) -> Result<()> {
        let checked = self.place.check_beside();
        if checked.is_err() && self.place.log_is_adrift() {
            // When it fails the next call tries it again.
            drop(open.checkpoint());
        }
        checked
    }

    /// Presses the WAL onto the disk again when that has failed, with nobody writing into it meanwhile.
    fn settle(&self, seat: &mut Seat) -> Result<()> {
        if !seat.doubtful {
            return Ok(());
        }
        let Some(open) = &mut seat.open else { return Ok(()) };
        let pressed = open.alone(|| (self.press_again)(&self.place.wal()));
        match pressed {
            Ok(Ok(())) => {
                seat.doubtful = false;
                open.trusted().map_err(|error| self.place.error(&error))
            }
            Ok(Err(error)) => Err(Error::StoreUnavailable(format!(
                "the disk under {} has failed and still does ({error}): look at the system's log",
                self.place.wal().display()
            ))),
            Err(error) => {
                if is_poison(&error) {
                    self.leave(seat, &error);
                }
                Err(self.place.error(&error))
            }
        }
    }

    fn leave(&self, seat: &mut Seat, error: &rusqlite::Error) {
        self.place.forget_beside();
        seat.leave(error);
    }

    /// Copies what is in the WAL into the file when there is much of it. Those who waited for the commit are answered by now;
    /// what fails here has taken nothing back, and whoever comes next finds the WAL in doubt.
    fn checkpoint(&self) {
        let mut seat = self.seat.lock();
        let Some(open) = &mut seat.open else { return };
        if open.pages() < self.checkpoint_pages {
            return;
        }
        self.place.begin();
        if let Err(error) = open.checkpoint()
            && is_poison(&error)
        {
            // Damage is noted.
            drop(self.place.error(&error));
            self.leave(&mut seat, &error);
        }
    }

    /// Leaves the connection as it is, neither used nor closed. Waits for nobody: who had the lock at a fork is not here.
    pub(super) fn abandon(&mut self) {
        let seat = self.seat.get_mut();
        std::mem::forget((seat.open.take(), seat.last.take()));
    }

    /// Closes the connection. What is in the WAL only is pressed onto the disk first, since whoever closes last copies it into
    /// the file and cannot say that it failed.
    pub(super) fn close(&mut self) {
        self.place.begin();
        let mut seat = self.seat.lock();
        if let Some(open) = &mut seat.open
            && self.place.check_sound().and_then(|()| self.place.check_open()).is_ok()
            && open.has_loose_ends()
            && let Err(error) = open.checkpoint()
        {
            seat.doubtful |= is_failed_disk(&error);
        }
        // A last try; when it fails nothing is copied.
        let trusted = self.opened(&mut seat).is_ok();
        let (open, last) = (seat.open.take(), seat.last.take());
        last.into_iter().for_each(retire);
        match open {
            Some(open) if trusted => drop(open),
            Some(open) => retire(open.into_connection()),
            None => {}
        }
    }
}

impl Seat {
    fn leave(&mut self, error: &rusqlite::Error) {
        let Some(open) = self.open.take() else { return };
        let connection = open.into_connection();
        if is_failed_disk(error) {
            self.doubtful = true;
            self.last = Some(connection);
        } else {
            retire(connection);
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Call {
    /// A verb that panics has failed, as one with an error has: those who share its commit go on.
    pub(super) fn run(&self, transaction: &mut Transaction<'_>) -> Verb<()> {
        let Some(job) = self.job.lock().take() else { return Ok(()) };
        let run = catch_unwind(AssertUnwindSafe(|| job(transaction)));
        run.unwrap_or_else(|_| Err(Failed::Engine(Error::Internal("a call to the store panicked".into()))))
    }
}
