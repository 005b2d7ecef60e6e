//! *acker*: writes what became of jobs, many at a time, and tells who listens.
//!
//! Where the store never waits, an ack is written by the slot itself and this role has nothing to do. Otherwise acks
//! wait here for company: at most the ack window, less when the node is idle, never more than a batch. A write that
//! fails is kept and tried again; acks leave only when the store has answered for them. One that the store refuses, by a
//! rule that somebody has added to its tables, is set aside, so that it holds up no other, and tried again from time to
//! time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::job::JobId;
use crate::outcome::{Ack, Outcome, settle};
use crate::runtime::role::{Alarm, Now, Role, Wake};
use crate::runtime::running::Running;
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::shared::Shared;
use crate::state::{Event as Move, State};
use crate::store::{Acked, Store};
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering};
use crate::telemetry::{Event, JobResult, Kind, Sink};

/// After that long an ack that was set aside is tried again: somebody may have mended the rule that refused it.
const SET_ASIDE: Duration = Duration::from_secs(5);

/// An attempt that ended and whose ack is not yet answered.
#[derive(Debug)]
pub struct Finished {
    /// What ran.
    pub running: Arc<Running>,
    /// What to write.
    pub ack: Ack,
    /// When it ended.
    pub ended: Moment,
}

impl Finished {
    /// Settles `outcome`. A cancel that a person asked for wins over what the handler says.
    pub fn new(running: Arc<Running>, outcome: Outcome, ended: Moment) -> Result<Self> {
        let outcome = if running.cancel_wanted() && !matches!(outcome, Outcome::Cancelled { .. }) {
            cancelled()
        } else {
            outcome
        };
        let ack = settle(&running.job, outcome)?;
        Ok(Self { running, ack, ended })
    }

    /// The same attempt where the store wants a cancel instead.
    fn cancelled_instead(self) -> Option<Self> {
        let ack = settle(&self.running.job, cancelled()).ok()?;
        Some(Self { ack, ..self })
    }
}

fn cancelled() -> Outcome {
    Outcome::Cancelled { reason: "cancelled while it was running".into() }
}

/// The acks that wait to be written, and those that are being written.
#[derive(Debug, Default)]
pub struct Backlog {
    acks: Mutex<Acks>,
    /// Told when acks that were on their way have landed.
    landed: Condvar,
    length: AtomicUsize,
    /// How many are set aside.
    aside: AtomicUsize,
    /// Wakes the role.
    pub alarm: Arc<Alarm>,
}

#[derive(Debug, Default)]
struct Acks {
    waiting: Vec<Finished>,
    /// Refused by the store.
    aside: Vec<Finished>,
    /// On their way to the store and not answered for: their jobs still belong to this node.
    flying: Vec<JobId>,
}

/// Acks on their way. They land with this, whatever happens to whoever carries them: those that the store did not answer
/// for wait again.
#[derive(Debug)]
pub struct Flight<'a> {
    backlog: &'a Backlog,
    ids: Vec<JobId>,
    left: Vec<Finished>,
    refused: Refused,
}

/// What the store refuses by itself, and why it refused the last of them.
#[derive(Debug, Default)]
struct Refused {
    acks: Vec<Finished>,
    why: Option<Error>,
}

impl Refused {
    fn add(&mut self, finished: Finished, error: &Error) {
        let id = finished.ack.id.0;
        self.why = Some(Error::Internal(format!(
            "the end of job {id} is not written: {error}; it is tried again every {} seconds",
            SET_ASIDE.as_secs()
        )));
        self.acks.push(finished);
    }
}

impl Flight<'_> {
    /// Writes them, and tells what came of it. What the store refuses is set aside with the end of the flight.
    pub fn write(&mut self, store: &dyn Store, sink: &dyn Sink) -> Result<()> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            failpoint::pass(Point::Flush);
            write(store, sink, &mut self.left, &mut self.refused)
        }));
        let lost = if written.is_err() { Sabotage::LoseAcksInPanics } else { Sabotage::DropFailedAcks };
        if sabotage::is_on(lost) {
            self.left.clear();
        }
        if sabotage::is_on(Sabotage::DropRefusedAcks) {
            self.refused.acks.clear();
        }
        written.unwrap_or_else(|_| Err(Error::Internal("writing acks panicked".into())))
    }

    /// Why something was refused, when something was.
    pub fn refusal(&mut self) -> Option<Error> {
        self.refused.why.take()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut acks = self.backlog.acks.lock();
        for id in &self.ids {
            if let Some(place) = acks.flying.iter().position(|flying| flying == id) {
                acks.flying.swap_remove(place);
            }
        }
        if !self.left.is_empty() {
            acks.waiting.splice(0..0, self.left.drain(..));
            self.backlog.length.store(acks.waiting.len(), Ordering::Release);
        }
        if !self.refused.acks.is_empty() {
            acks.aside.append(&mut self.refused.acks);
            self.backlog.aside.store(acks.aside.len(), Ordering::Release);
            // The role has to know when to take them up again.
            self.backlog.alarm.ring();
        }
        drop(acks);
        self.backlog.landed.notify_all();
    }
}

impl Backlog {
    /// Adds one; wakes the role for the first of a batch and for a full one.
    pub fn push(&self, finished: Finished, batch: usize) {
        let mut acks = self.acks.lock();
        acks.waiting.push(finished);
        let length = acks.waiting.len();
        drop(acks);
        self.length.store(length, Ordering::Release);
        failpoint::pass(Point::Queued);
        if length == 1 || length == batch {
            self.alarm.ring();
        }
    }

    /// How many are not written, those that were refused among them.
    pub fn unwritten(&self) -> usize {
        self.len() + self.aside.load(Ordering::Acquire)
    }

    /// Whether some are set aside.
    fn has_aside(&self) -> bool {
        self.aside.load(Ordering::Acquire) > 0
    }

    /// Those that were refused wait with the others again.
    pub fn take_up(&self) {
        let mut acks = self.acks.lock();
        let mut aside = std::mem::take(&mut acks.aside);
        acks.waiting.append(&mut aside);
        self.aside.store(0, Ordering::Release);
        self.length.store(acks.waiting.len(), Ordering::Release);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `most` acks to write.
    pub fn take(&self, most: usize) -> Flight<'_> {
        let mut acks = self.acks.lock();
        let most = most.min(acks.waiting.len());
        let keep = acks.waiting.split_off(most);
        let left = std::mem::replace(&mut acks.waiting, keep);
        let ids: Vec<JobId> = left.iter().map(|finished| finished.ack.id).collect();
        acks.flying.extend(&ids);
        self.length.store(acks.waiting.len(), Ordering::Release);
        Flight { backlog: self, ids, left, refused: Refused::default() }
    }

    /// One that is written beside the backlog.
    pub(crate) fn send(&self, finished: Finished) -> Flight<'_> {
        let id = finished.ack.id;
        self.acks.lock().flying.push(id);
        Flight { backlog: self, ids: vec![id], left: vec![finished], refused: Refused::default() }
    }

    /// Waits for those that others have on their way.
    pub fn wait_landed(&self) {
        let mut acks = self.acks.lock();
        while !acks.flying.is_empty() {
            acks = self.landed.wait(acks);
        }
    }

    /// The jobs whose acks wait or are not answered for; they still belong to this node.
    pub fn ids(&self) -> Vec<JobId> {
        let acks = self.acks.lock();
        let flying = acks.flying.iter().copied().filter(|_| !sabotage::is_on(Sabotage::ForgetAcksOnTheirWay));
        acks.waiting.iter().chain(&acks.aside).map(|finished| finished.ack.id).chain(flying).collect()
    }
}

/// Flushes the backlog.
#[derive(Debug)]
pub struct Acker {
    shared: Arc<Shared>,
    since: Option<Moment>,
    /// When those that were set aside are tried again.
    again: Option<Moment>,
}

impl Acker {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, since: None, again: None }
    }

    /// Wakes for those that are set aside, too.
    fn until(&mut self, wake: Wake, now: Moment) -> Wake {
        if !self.shared.backlog.has_aside() {
            self.again = None;
            return wake;
        }
        let again = *self.again.get_or_insert(now + SET_ASIDE);
        Wake::At(if let Wake::At(other) = wake { again.min(other) } else { again })
    }
}

impl Role for Acker {
    fn name(&self) -> &'static str {
        "acker"
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let shared = &self.shared;
        let config = &shared.config;
        let backlog = &shared.backlog;
        if self.again.is_some_and(|again| again <= now.moment) {
            self.again = None;
            backlog.take_up();
        }
        if backlog.is_empty() {
            self.since = None;
            return Ok(self.until(Wake::OnAlarm, now.moment));
        }
        let since = *self.since.get_or_insert(now.moment);
        let flush_at = since + config.ack_window;
        if backlog.len() < config.ack_batch && now.moment < flush_at && !shared.is_idle() {
            return Ok(self.until(Wake::At(flush_at), now.moment));
        }
        write_all(shared, store)?;
        self.since = None;
        shared.claim_alarm.ring();
        Ok(self.until(Wake::OnAlarm, now.moment))
    }
}

/// Writes everything that waits; what is refused is told of and set aside.
fn write_all(shared: &Shared, store: &dyn Store) -> Result<()> {
    let backlog = &shared.backlog;
    let mut refusal = None;
    while !backlog.is_empty() {
        let mut flight = backlog.take(shared.config.ack_batch);
        let written = flight.write(store, &*shared.sink);
        refusal = flight.refusal().or(refusal);
        written?;
    }
    if let Some(error) = refusal {
        shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
    }
    Ok(())
}

/// Writes a batch and tells what came of it. What the store has answered for leaves the batch before anybody hears of it.
fn write(store: &dyn Store, sink: &dyn Sink, left: &mut Vec<Finished>, refused: &mut Refused) -> Result<()> {
    while let Some(node) = left.first().map(|finished| finished.running.node) {
        let is_mine = |finished: &Finished| finished.running.node == node;
        let acks: Vec<Ack> = left.iter().filter(|one| is_mine(one)).map(|one| one.ack.clone()).collect();
        let replies = match store.ack(node, &acks) {
            Ok(replies) => replies,
            Err(error) if error.is_refusal() && acks.len() == 1 => {
                for one in left.extract_if(.., |one| is_mine(one)) {
                    refused.add(one, &error);
                }
                continue;
            }
            Err(error) if error.is_refusal() && !sabotage::is_on(Sabotage::KeepBatchesWhole) => {
                write_apart(store, sink, left, refused)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        failpoint::pass(Point::Flushed);
        let mine: Vec<Finished> = left.extract_if(.., |one| is_mine(one)).collect();
        let mut told = Vec::with_capacity(mine.len());
        for (finished, reply) in mine.into_iter().zip(replies) {
            if reply == Acked::CancelRequested {
                left.extend(finished.cancelled_instead());
            } else {
                told.push((finished, reply));
            }
        }
        for (finished, reply) in &told {
            tell(sink, finished, *reply);
        }
    }
    Ok(())
}

/// Writes each by itself, since one of them was refused and nobody knows which.
fn write_apart(store: &dyn Store, sink: &dyn Sink, left: &mut Vec<Finished>, refused: &mut Refused) -> Result<()> {
    while let Some(one) = left.first() {
        let reply = store.ack_one(one.running.node, &one.ack);
        if reply.as_ref().is_err_and(|error| !error.is_refusal()) {
            return reply.map(drop);
        }
        let finished = left.remove(0);
        match reply {
            Ok(Acked::CancelRequested) => left.extend(finished.cancelled_instead()),
            Ok(reply) => tell(sink, &finished, reply),
            Err(error) => refused.add(finished, &error),
        }
    }
    Ok(())
}

/// Writes one ack without the detour over vectors that would be thrown away.
pub fn write_one(store: &dyn Store, sink: &dyn Sink, finished: Finished) -> Result<(), Box<(Error, Finished)>> {
    match store.ack_one(finished.running.node, &finished.ack) {
        Ok(Acked::CancelRequested) => match finished.cancelled_instead() {
            Some(again) => write_one(store, sink, again),
            None => Ok(()),
        },
        Ok(reply) => {
            tell(sink, &finished, reply);
            Ok(())
        }
        Err(error) => Err(Box::new((error, finished))),
    }
}

/// Tells the reply to one ack.
fn tell(sink: &dyn Sink, finished: &Finished, reply: Acked) {
    match reply {
        Acked::Stored | Acked::Already => told(sink, finished),
        Acked::LeaseLost if sink.wants(Kind::LeaseLost) => {
            sink.emit(Event::LeaseLost(finished.running.job.clone()));
        }
        Acked::LeaseLost | Acked::CancelRequested => {}
    }
}

fn told(sink: &dyn Sink, finished: &Finished) {
    let ack = &finished.ack;
    let kind = match (ack.event, ack.to) {
        (Move::Complete, _) => Kind::JobCompleted,
        (Move::Fail, State::Discarded) | (Move::Discard, _) => Kind::JobDiscarded,
        (Move::Fail, _) => Kind::JobFailed,
        (Move::Snooze, _) => Kind::JobSnoozed,
        (Move::Cancel, _) => Kind::JobCancelled,
        (Move::Release, _) => Kind::JobReleased,
        (Move::Stage | Move::Claim | Move::Rescue | Move::Retry, _) => return,
    };
    if !sink.wants(kind) {
        return;
    }
    let mut job = finished.running.job.clone();
    job.state = ack.to;
    let queued = job.queued();
    let started = finished.running.started();
    // No handler began: the worker is unknown here, or the job goes back as it was.
    let duration = if started == Moment(0) { Duration::ZERO } else { finished.ended.since(started) };
    let error = ack.error.as_ref().map(|failure| failure.message.clone());
    let result = JobResult { job, duration, queued, error };
    sink.emit(match kind {
        Kind::JobCompleted => Event::JobCompleted(result),
        Kind::JobDiscarded => Event::JobDiscarded(result),
        Kind::JobFailed => Event::JobFailed(result),
        Kind::JobSnoozed => Event::JobSnoozed(result),
        Kind::JobCancelled => Event::JobCancelled(result),
        _ => Event::JobReleased(result.job),
    });
}

/// As [`flush`], and waits for what the role has on its way. Not for threads of the engine, which would wait for themselves.
pub fn flush_all(shared: &Shared) {
    flush(shared);
    shared.backlog.wait_landed();
}

/// Writes everything that waits, once; what the store does not answer for stays.
pub fn flush(shared: &Shared) {
    if let Err(error) = write_all(shared, &*shared.store) {
        shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::runtime::fixture::Fixture;
    use crate::runtime::heartbeat::Heartbeat;
    use crate::runtime::pool::QueueIndex;
    use crate::store::Filter;
    use crate::store::sqlite::{SqliteConfig, SqliteStore};
    use crate::telemetry::Silent;

    #[test]
    fn what_a_rule_of_the_file_refuses_is_tried_again_after_a_while_and_counts_as_unwritten() {
        zjobs_vfs::install();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let config = SqliteConfig::new(path.clone(), fastrand::Rng::with_seed(1));
        let on = Fixture::with(|clock| SqliteStore::open(SqliteConfig { clock, ..config }).unwrap());
        let run = |statement: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(statement).unwrap();
        run("CREATE TRIGGER rule BEFORE UPDATE ON zjobs_jobs WHEN new.state = 2 AND new.id = 1
             BEGIN SELECT RAISE(ABORT, 'no'); END");
        Heartbeat::new(on.engine.shared.clone()).tick(Now::read(&*on.clock), &*on.store).unwrap();
        let made = [on.enqueue(|job| job), on.enqueue(|job| job)];
        on.engine.claim_here(QueueIndex(0)).unwrap();
        let states = || on.store.get(&made).unwrap().iter().map(|job| job.state).collect::<Vec<_>>();
        let mut acker = Acker::new(on.engine.shared.clone());
        let backlog = &on.engine.shared.backlog;
        let mut ticks = || match acker.tick(Now::read(&*on.clock), &*on.store).unwrap() {
            Wake::At(moment) => Some(moment.since(on.clock.moment())),
            Wake::OnAlarm => None,
        };
        for _ in made {
            on.engine.finish(&on.next(), Outcome::Completed { result: None });
        }
        assert_eq!(ticks(), Some(SET_ASIDE));
        assert_eq!(states(), [State::Executing, State::Completed]);
        assert_eq!((backlog.len(), backlog.unwritten(), backlog.ids()), (0, 1, vec![made[0]]));
        on.clock.advance(SET_ASIDE / 2);
        assert_eq!(ticks(), Some(SET_ASIDE / 2), "a look in between does not put it off");
        on.clock.advance(SET_ASIDE / 2);
        assert_eq!(ticks(), Some(SET_ASIDE), "it is refused again");
        run("DROP TRIGGER rule");
        on.clock.advance(SET_ASIDE);
        assert_eq!(ticks(), None);
        assert_eq!(states(), [State::Completed; 2]);
        assert_eq!((backlog.unwritten(), backlog.ids()), (0, Vec::new()));
    }

    #[test]
    fn an_end_that_a_cancel_has_overtaken_is_written_as_a_cancel() {
        let on = Fixture::new();
        let mut heartbeat = Heartbeat::new(on.engine.shared.clone());
        heartbeat.tick(Now::read(&*on.clock), &*on.store).unwrap();
        let id = on.enqueue(|job| job);
        let completed = Outcome::Completed { result: None };
        let finished = Finished::new(on.next(), completed, on.clock.moment()).unwrap();
        on.store.cancel(&Filter { ids: Some(vec![id]), ..Filter::default() }).unwrap();
        write_one(&*on.store, &Silent, finished).unwrap();
        assert_eq!(on.store.get(&[id]).unwrap()[0].state, State::Cancelled);
    }
}
