//! *acker*: writes what became of jobs, many at a time, and tells who listens.
//!
//! Where the store never waits, an ack is written by the slot itself and this role has nothing to do. Otherwise acks
//! wait here for company: at most the ack window, less when the node is idle, never more than a batch. A write that
//! fails is kept and tried again; acks leave only when the store has answered for them.

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
    /// Wakes the role.
    pub alarm: Arc<Alarm>,
}

#[derive(Debug, Default)]
struct Acks {
    waiting: Vec<Finished>,
    /// On their way to the store and not answered for: their jobs still belong to this node.
    flying: Vec<JobId>,
}

/// Acks on their way; they land with this, even when whoever hears of them panics.
pub(crate) struct Flight<'a> {
    backlog: &'a Backlog,
    ids: Vec<JobId>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut acks = self.backlog.acks.lock();
        for id in &self.ids {
            if let Some(place) = acks.flying.iter().position(|flying| flying == id) {
                acks.flying.swap_remove(place);
            }
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

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes up to `most` acks. Those that the store did not answer for wait again.
    fn write(&self, most: usize, store: &dyn Store, sink: &dyn Sink) -> Result<()> {
        let (batch, _flight) = self.take(most);
        failpoint::pass(Point::Flush);
        write(store, sink, batch).map_err(|(error, unwritten)| {
            if !sabotage::is_on(Sabotage::DropFailedAcks) {
                let mut acks = self.acks.lock();
                acks.waiting.splice(0..0, unwritten);
                self.length.store(acks.waiting.len(), Ordering::Release);
            }
            error
        })
    }

    fn take(&self, most: usize) -> (Vec<Finished>, Flight<'_>) {
        let mut acks = self.acks.lock();
        let most = most.min(acks.waiting.len());
        let keep = acks.waiting.split_off(most);
        let taken = std::mem::replace(&mut acks.waiting, keep);
        let ids: Vec<JobId> = taken.iter().map(|finished| finished.ack.id).collect();
        acks.flying.extend(&ids);
        self.length.store(acks.waiting.len(), Ordering::Release);
        drop(acks);
        (taken, Flight { backlog: self, ids })
    }

    /// An ack that is written beside the backlog is on its way until the reply is dropped.
    pub(crate) fn send(&self, id: JobId) -> Flight<'_> {
        self.acks.lock().flying.push(id);
        Flight { backlog: self, ids: vec![id] }
    }

    /// Waits for those that others have on their way.
    fn wait_landed(&self) {
        let mut acks = self.acks.lock();
        while !acks.flying.is_empty() {
            acks = self.landed.wait(acks);
        }
    }

    /// The jobs whose acks wait or are not answered for; they still belong to this node.
    pub fn ids(&self) -> Vec<JobId> {
        let acks = self.acks.lock();
        let flying = acks.flying.iter().copied().filter(|_| !sabotage::is_on(Sabotage::ForgetAcksOnTheirWay));
        acks.waiting.iter().map(|finished| finished.ack.id).chain(flying).collect()
    }
}

/// Flushes the backlog.
#[derive(Debug)]
pub struct Acker {
    shared: Arc<Shared>,
    since: Option<Moment>,
}

impl Acker {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, since: None }
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
        if backlog.is_empty() {
            self.since = None;
            return Ok(Wake::OnAlarm);
        }
        let since = *self.since.get_or_insert(now.moment);
        let flush_at = since + config.ack_window;
        if backlog.len() < config.ack_batch && now.moment < flush_at && !shared.is_idle() {
            return Ok(Wake::At(flush_at));
        }
        while !backlog.is_empty() {
            backlog.write(config.ack_batch, store, &*shared.sink)?;
        }
        self.since = None;
        shared.claim_alarm.ring();
        Ok(Wake::OnAlarm)
    }
}

/// Writes a batch and tells what came of it. When the store fails, returns what is not known to be written.
pub fn write(store: &dyn Store, sink: &dyn Sink, batch: Vec<Finished>) -> Result<(), (Error, Vec<Finished>)> {
    let mut left = batch;
    while let Some(node) = left.first().map(|finished| finished.running.node) {
        let (mut mine, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|f| f.running.node == node);
        left = others;
        let acks: Vec<Ack> = mine.iter().map(|finished| finished.ack.clone()).collect();
        let replies = match store.ack(node, &acks) {
            Ok(replies) => replies,
            Err(error) => {
                mine.extend(left);
                return Err((error, mine));
            }
        };
        failpoint::pass(Point::Flushed);
        for (finished, reply) in mine.into_iter().zip(replies) {
            if let Some(again) = answered(sink, finished, reply) {
                left.push(again);
            }
        }
    }
    Ok(())
}

/// Writes one ack without the detour over vectors that would be thrown away.
pub fn write_one(store: &dyn Store, sink: &dyn Sink, finished: Finished) -> Result<(), Box<(Error, Finished)>> {
    let node = finished.running.node;
    match store.ack_one(node, &finished.ack) {
        Ok(reply) => match answered(sink, finished, reply) {
            Some(again) => write_one(store, sink, again),
            None => Ok(()),
        },
        Err(error) => Err(Box::new((error, finished))),
    }
}

/// Tells the reply to one ack; gives back the ack that must follow when the store wants a cancel instead.
fn answered(sink: &dyn Sink, finished: Finished, reply: Acked) -> Option<Finished> {
    match reply {
        Acked::Stored | Acked::Already => told(sink, &finished),
        Acked::LeaseLost => {
            if sink.wants(Kind::LeaseLost) {
                sink.emit(Event::LeaseLost(finished.running.job.clone()));
            }
        }
        Acked::CancelRequested => {
            let again = settle(&finished.running.job, cancelled()).ok()?;
            return Some(Finished { ack: again, ..finished });
        }
    }
    None
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
    let queued = job.attempted_at.map(|at| at.since(job.scheduled_at)).unwrap_or_default();
    let duration = finished.ended.since(finished.running.started().max(Moment(1)));
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
    while !shared.backlog.is_empty() {
        if let Err(error) = shared.backlog.write(shared.config.ack_batch, &*shared.store, &*shared.sink) {
            shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
            return;
        }
    }
}
