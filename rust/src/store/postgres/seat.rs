//! A place at the server for one call at a time: the connection, and the event loop that drives it.
//!
//! The thread that calls runs the loop itself. A thread of its own for the connection would cost two more wake-ups for
//! each call, which is what a round trip on one machine costs.
//!
//! A connection that was lost is opened again. A call that certainly did nothing is repeated; so is one that may be
//! repeated without harm. Otherwise the caller learns that nobody knows. All tries together take no longer than a call may,
//! and while no connection can be opened there is one try for each call: whoever calls again paces itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::{Clock, Moment, System};
use crate::error::{Error, Result};
use crate::store::own::Witness;
use crate::store::postgres::address::Address;
use crate::store::postgres::dialect::Dialect;
use crate::store::postgres::meaning::Fate;
use crate::store::postgres::session::{Failed, Plans, Session, Verb};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// So often a call is tried when the server says that it could not do it now.
const TRIES: u32 = 6;

/// The first wait before another try; each is twice as long as the one before, and cut by chance.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// This part of its time a call has for itself, however long it has waited for others.
const LEAST: u32 = 8;

/// How long work may take that has no limit of its own. A server that has gone meanwhile is missed long before, by its network.
const DAY: Duration = Duration::from_secs(86_400);

/// Where beats are sent, a try that is given up leaves the time of a lease for two more.
const TRIES_IN_A_LEASE: u32 = 3;

/// However short a lease is: a server that is busy takes its time.
const LEAST_HASTE: Duration = Duration::from_secs(2);

/// How long the server is asked to give up what nobody waits for any more.
const CANCEL: Duration = Duration::from_millis(50);

/// A connection that has been used so shortly before is not looked at first: that costs a lone call a tenth of its time.
const IDLE: Duration = Duration::from_millis(50);

/// So long a server may take to take the goodbye, unless a call has waited for it in vain already.
const GOODBYE: Duration = Duration::from_millis(200);

/// Whether a call may be made again when nobody knows whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is as once.
    Safe,
    /// It would do it twice.
    Unsafe,
}

#[derive(Debug)]
pub(super) struct Seat {
    address: Arc<Address>,
    dialect: Arc<Dialect>,
    plans: Plans,
    /// How long a call may take.
    patience: Duration,
    /// How long one try may take, in nanoseconds; 0 where it may take all of that.
    haste: AtomicU64,
    line: Mutex<Line>,
    contact: Arc<Contact>,
}

/// Whether the server can be reached, as all seats of a store find it.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// Since when it is there; 0 when it is not.
    since: AtomicU64,
}

impl Contact {
    /// For how long it has been there without a break that was noticed.
    pub(super) fn listened(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => System.moment().since(Moment(since)),
        }
    }

    fn lose(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn find(&self) {
        if self.since.load(Ordering::Acquire) == 0 {
            self.since.store(System.moment().0.max(1), Ordering::Release);
        }
    }
}

#[derive(Debug)]
struct Line {
    open: Option<Open>,
    /// The last connection that was tried could not be opened.
    unreachable: bool,
    /// The last try was a transaction that came to no commit.
    undone: bool,
    random: fastrand::Rng,
}

/// A connection and its loop.
#[derive(Debug)]
struct Open {
    // Dropped in this order: the session says goodbye, the loop sends it.
    session: Option<Session>,
    driver: Option<JoinHandle<()>>,
    runtime: Runtime,
    owner: u32,
    witness: Witness,
    /// When it was called last, by a clock that goes on while the machine sleeps.
    used: Moment,
    /// The server did not answer in time.
    is_silent: bool,
}

impl Seat {
    pub(super) fn new(
        address: Arc<Address>,
        dialect: Arc<Dialect>,
        plans: Plans,
        patience: Duration,
        random: fastrand::Rng,
        contact: Arc<Contact>,
    ) -> Self {
        let line = Mutex::new(Line { open: None, unreachable: false, undone: false, random });
        Self { address, dialect, plans, patience, haste: AtomicU64::new(0), line, contact }
    }

    /// How long a call may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// From now on beats are sent here that must come within the time of a lease: a connection that the network has dropped
    /// without a word is left early enough for another one.
    pub(super) fn hurry(&self, lease: Duration) {
        self.haste.store(nanos((lease / TRIES_IN_A_LEASE).max(LEAST_HASTE)), Ordering::Relaxed);
    }

    /// How long one try of a call may take.
    fn most(&self) -> Duration {
        self.hasty(self.patience)
    }

    fn hasty(&self, patience: Duration) -> Duration {
        match self.haste.load(Ordering::Relaxed) {
            0 => patience,
            haste => patience.min(Duration::from_nanos(haste)),
        }
    }

    /// Runs a verb on the connection.
    pub(super) fn call<T>(&self, repeat: Repeat, verb: &impl AsyncFn(&Session) -> Verb<T>) -> Result<T> {
        self.call_since(System.moment(), repeat, verb)
    }

    /// The same for work that takes as long as it takes.
    pub(super) fn call_long<T>(&self, repeat: Repeat, verb: &impl AsyncFn(&Session) -> Verb<T>) -> Result<T> {
        self.call_within(System.moment(), DAY, repeat, verb)
    }

    /// The same for a call that came earlier, and has waited for others since.
    pub(super) fn call_since<T>(
        &self,
        came: Moment,
        repeat: Repeat,
        verb: &impl AsyncFn(&Session) -> Verb<T>,
    ) -> Result<T> {
        self.call_within(came, self.patience, repeat, verb)
    }

    fn call_within<T>(
        &self,
        came: Moment,
        patience: Duration,
        repeat: Repeat,
        verb: &impl AsyncFn(&Session) -> Verb<T>,
    ) -> Result<T> {
        let until = deadline(came, System.moment(), patience);
        let mut line = self.line.lock();
        let mut wait = FIRST_WAIT;
        let tries = if line.unreachable { 1 } else { TRIES };
        for attempt in 1.. {
            let left = until.since(System.moment()).min(self.hasty(patience));
            let (error, fate) = match self.attempt(&mut line, verb, left) {
                Ok(reply) => return Ok(reply),
                Err(failed) => self.meaning(failed),
            };
            let again = match fate {
                Fate::Final => false,
                Fate::NotDone => true,
                Fate::Unknown => repeat == Repeat::Safe || line.undone,
            };
            if !again || attempt == tries || until.since(System.moment()) < wait {
                return Err(match fate {
                    Fate::Unknown if repeat == Repeat::Unsafe && !line.undone => uncertain(&error),
                    Fate::Final | Fate::NotDone | Fate::Unknown => error,
                });
            }
            let part = line.random.f64();
            std::thread::park_timeout(wait.mul_f64(0.5 + part / 2.0));
            wait *= 2;
        }
        Err(Error::Internal("unreachable: the last try returns".into()))
    }

    /// One try, for which so much time is left.
    fn attempt<T>(
        &self,
        line: &mut Line,
        verb: &impl AsyncFn(&Session) -> Verb<T>,
        left: Duration,
    ) -> Result<T, Missed> {
        let began = System.moment();
        line.undone = false;
        self.opened(line, left.min(self.most()))?;
        // Out of the line: a verb that panics takes the connection along, whose transaction may be open.
        let Some(mut open) = line.open.take() else { return Err(Missed::NotSent(closed())) };
        open.used = System.moment();
        let left = left.saturating_sub(open.used.since(began));
        if left.is_zero() {
            // All of it went by while others were called, or the connection was opened.
            line.open = Some(open);
            return Err(Missed::NotSent(self.address.late(self.most())));
        }
        let Some(session) = &open.session else { return Err(Missed::NotSent(closed())) };
        session.begin();
        let mut run = Box::pin(async { timeout(left, verb(session)).await });
        let ended = drive(&open.runtime, run.as_mut());
        if !open.witness.is_there() {
            // An event loop whose files are gone panics, and does so again when it, or what runs in it, is dropped.
            std::mem::forget(run);
            std::mem::forget(open);
            let ended = ended.unwrap_or(Ok(Err(Failed::Engine(lost()))));
            return ended.ok().and_then(Result::ok).ok_or(Missed::Lost);
        }
        drop(run);
        let ended = ended.unwrap_or_else(|panic| resume_unwind(panic));
        line.undone = session.is_undone();
        let goes_on = match &ended {
            Ok(Ok(_)) => true,
            // Whatever the server has ended, or said as a follower that once led, nothing more is asked of it.
            Ok(Err(failed)) => !(session.is_closed() || failed.ends_the_session()),
            Err(_elapsed) => {
                open.is_silent = true;
                false
            }
        };
        if goes_on {
            line.open = Some(open);
        } else if ended.is_err() {
            self.give_up(open);
        }
        ended.map_err(|_elapsed| Missed::Late)?.map_err(Missed::Failed)
    }

    /// Nobody waits for the answer any more: the server need not work on it either, nor keep its locks.
    fn give_up(&self, open: Open) {
        if self.haste.load(Ordering::Relaxed) > 0 {
            // Others may find it as silent as we do.
            self.contact.lose();
        }
        if let Some(session) = &open.session {
            let asked = Box::pin(async { drop(timeout(CANCEL, self.address.cancel(session)).await) });
            drop(drive(&open.runtime, asked));
        }
        if !open.witness.is_there() {
            std::mem::forget(open);
        }
    }

    /// Sees to it that there is a connection.
    fn opened(&self, line: &mut Line, left: Duration) -> Result<(), Missed> {
        let here = std::process::id();
        if line.is_not_ours(here) {
            line.leave();
        }
        let gone = line.open.as_ref().map(|open| {
            // Lets the loop notice that the server has closed an idle connection: one turn hears of it, the next acts on it.
            let turned =
                if System.moment().since(open.used) < IDLE { Ok(()) } else { drive(&open.runtime, two_turns()) };
            turned.map(|()| open.session.as_ref().is_none_or(Session::is_closed))
        });
        match gone {
            Some(Err(_broken)) => line.leave(),
            Some(Ok(true)) => line.open = None,
            Some(Ok(false)) | None => {}
        }
        if line.open.is_none() {
            line.unreachable = true;
            line.open = Some(self.open(here, left).inspect_err(|_| self.contact.lose())?);
            line.unreachable = false;
            self.contact.find();
        }
        Ok(())
    }

    fn open(&self, owner: u32, left: Duration) -> Result<Open, Missed> {
        // The first of its files: whoever closes a range of them closes this one before the others.
        let witness = Witness::new()
            .map_err(|error| Missed::NotSent(Error::StoreUnavailable(format!("no file is left: {error}"))))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Missed::NotSent(Error::StoreUnavailable(format!("no event loop: {error}"))))?;
        let mut connect = Box::pin(async {
            let (session, connection) =
                timeout(left, self.address.connect(self.plans, &self.dialect)).await.map_err(|_| Missed::Late)??;
            let driver = tokio::spawn(async move { drop(connection.await) });
            Ok::<_, Missed>((session, driver))
        });
        let connected = drive(&runtime, connect.as_mut());
        if !witness.is_there() {
            std::mem::forget((connected, connect, runtime));
            return Err(Missed::NotSent(closed()));
        }
        drop(connect);
        let (session, driver) =
            connected.unwrap_or_else(|panic| resume_unwind(panic)).map_err(|missed| match missed {
                Missed::Late => Missed::NotSent(self.address.late(self.most())),
                other => other,
            })?;
        Ok(Open {
            session: Some(session),
            driver: Some(driver),
            runtime,
            owner,
            witness,
            used: System.moment(),
            is_silent: false,
        })
    }

    fn meaning(&self, missed: Missed) -> (Error, Fate) {
        match missed {
            Missed::NotSent(error) => (error, Fate::NotDone),
            Missed::Late => (self.address.late(self.most()), Fate::Unknown),
            Missed::Lost => (lost(), Fate::Unknown),
            Missed::Failed(Failed::Engine(error)) => (error, Fate::Final),
            Missed::Failed(Failed::Postgres(error)) => (self.address.error(&error), Fate::of(&error)),
        }
    }
}

/// Why an attempt gave no reply.
#[derive(Debug)]
pub(super) enum Missed {
    /// There was no connection; nothing was asked.
    NotSent(Error),
    /// The server did not answer in time.
    Late,
    /// Other code of this process closed the connection meanwhile.
    Lost,
    /// It answered with an error, or the connection ended meanwhile.
    Failed(Failed),
}

impl From<Failed> for Missed {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Drives a loop until the work is done. A loop panics when other code has closed its files, and again when it is dropped:
/// then it is left as it is.
fn drive<T>(runtime: &Runtime, work: impl Future<Output = T>) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)))
}

async fn two_turns() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// When a call that came at some time must be over. One that has waited for most of its time in line still gets a try.
fn deadline(came: Moment, now: Moment, patience: Duration) -> Moment {
    (came + patience).max(now + patience / LEAST)
}

fn lost() -> Error {
    Error::StoreUnavailable(
        "other code of this process has closed the connection to PostgreSQL (os.close, os.closerange, a library that does so \
         at a fork): another one is opened by the next call; nobody knows whether this one was done"
            .into(),
    )
}

fn closed() -> Error {
    Error::StoreUnavailable("the connection was closed".into())
}

fn uncertain(error: &Error) -> Error {
    Error::EnqueueUncertain(format!(
        "the connection ended while the enqueue was on its way, and nobody knows whether it was committed ({error}): enqueue \
         it again with a unique key, which makes twice as once, or look for it first"
    ))
}

impl Line {
    /// Whether the connection is another process's, or was closed by other code of this one.
    fn is_not_ours(&self, here: u32) -> bool {
        self.open.as_ref().is_some_and(|open| open.owner != here || !open.witness.is_there())
    }

    /// In the child of a fork the connection is the parent's: it is left alone, neither ended nor closed. Its loop, too:
    /// what one process takes out of a set of files that it waits for, the other one does not wait for any more. Of one that
    /// others have closed the numbers belong to somebody else by now.
    fn leave(&mut self) {
        std::mem::forget(self.open.take());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_not_ours(std::process::id()) {
            self.leave();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.session.take());
        // The goodbye is on its way; nobody waits for a server that does not take it. All of a call's time is over when
        // there was no answer.
        if let Some(driver) = self.driver.take() {
            let goodbye = async {
                if self.is_silent {
                    two_turns().await;
                } else {
                    drop(timeout(GOODBYE, driver).await);
                }
            };
            self.runtime.block_on(goodbye);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_been_there_since_it_was_found_and_not_lost() {
        let contact = Contact::default();
        assert_eq!(contact.listened(), Duration::ZERO);
        contact.find();
        let first = contact.since.load(Ordering::Acquire);
        contact.find();
        assert_eq!(contact.since.load(Ordering::Acquire), first, "it was there");
        contact.lose();
        assert_eq!(contact.listened(), Duration::ZERO);
        contact.find();
        assert!(contact.since.load(Ordering::Acquire) > 0);
    }

    #[test]
    fn a_call_that_has_waited_in_line_has_the_rest_of_its_time_and_at_least_an_eighth() {
        let (patience, second) = (Duration::from_secs(16), Duration::from_secs(1));
        let came = Moment(0) + second * 100;
        assert_eq!(deadline(came, came, patience), came + patience);
        assert_eq!(deadline(came, came + second * 10, patience), came + patience);
        assert_eq!(deadline(came, came + second * 15, patience), came + second * 17);
        assert_eq!(deadline(came, came + second * 30, patience), came + second * 32);
    }
}
