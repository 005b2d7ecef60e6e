//! Where jobs are kept: one trait, one method per verb.
//!
//! Invariants that every store keeps, and that the conformance suite checks on each:
//!
//! * A write about a running job changes its row only if id, lease, node and state match ([`Store::ack`],
//!   [`Store::report`]); otherwise nothing changes and the reply says so.
//! * The store's own clock decides what is due, expired and old. Callers pass durations, never "now".
//! * Bulk verbs are atomic per row and isolated: one bad row never harms its neighbours. [`Store::enqueue`] is atomic as
//!   a whole.
//! * A signal follows the commit; correctness never depends on it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::job::{Job, JobId, Lease, Name, NewJob, NodeId, Progress};
use crate::outcome::{Ack, RescueReason};
use crate::state::State;
use crate::sync::{Arc, Weak};

pub mod attention;
#[cfg(feature = "fuzz")]
pub mod fuzzing;
pub mod group;
mod json;
pub mod memory;
pub mod migrate;
mod news;
mod own;
pub mod pages;
#[cfg(feature = "failpoints")]
pub mod pierced;
pub mod postgres;
pub mod sql;
pub mod sqlite;
mod steady;
pub mod subscribers;

pub use attention::Attention;
pub use memory::{MemoryConfig, MemoryStore};
pub use postgres::{PostgresConfig, PostgresStore};
pub use sqlite::{SqliteConfig, SqliteStore};

/// So many jobs a *rescue* goes past that rules of others refuse, to those behind them.
const MOST_REFUSED: usize = 1_000;

/// A store of jobs. One method per verb; a single job is a batch of one.
pub trait Store: Send + Sync {
    /// Whether a call may wait for a disk, a network or an interpreter. The runtime calls a store that never waits on
    /// whatever thread it is on; it keeps one that may wait away from handlers and event loops.
    fn blocks(&self) -> bool;

    /// Asks to be told what commits. A subscriber that is gone is forgotten.
    fn subscribe(&self, subscriber: Weak<dyn Subscriber>);

    /// The store's clock.
    fn now(&self) -> Result<Timestamp>;

    // --- the walk of a job ---

    /// *enqueue*: inserts jobs, or finds those whose unique key is taken. All or none. Replies in the same order.
    fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>>;

    /// As [`Store::enqueue`], for one job; a store that can do without the two vectors says how.
    fn enqueue_one(&self, job: NewJob) -> Result<Enqueued> {
        let enqueued = self.enqueue(vec![job])?.into_iter().next();
        enqueued.ok_or_else(|| Error::Internal("the store gave no reply to an enqueue".into()))
    }

    /// *claim*: takes up to `limit` due jobs of one queue, best first, and leases them to a living node. A paused queue
    /// gives none. Fails with `LeaseLost` when the node is not alive.
    fn claim(&self, claim: &Claim) -> Result<Vec<Job>>;

    /// *ack*: ends attempts, each guarded by its lease. Replies in the same order.
    fn ack(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>>;

    /// As [`Store::ack`], for one attempt.
    fn ack_one(&self, node: NodeId, ack: &Ack) -> Result<Acked> {
        Ok(self.ack(node, std::slice::from_ref(ack))?.first().copied().unwrap_or(Acked::LeaseLost))
    }

    /// Stores progress of running jobs, each guarded by its lease; stale ones are dropped.
    fn report(&self, node: NodeId, reports: &[Report]) -> Result<()>;

    /// *stage*: makes up to `limit` due jobs available.
    fn stage(&self, limit: usize) -> Result<Staged>;

    // --- nodes ---

    /// *heartbeat*: the first one registers the node; later ones extend its lease on all its jobs.
    fn heartbeat(&self, beat: &Heartbeat) -> Result<Pulse>;

    /// The node ends. Jobs that still run under it may be rescued `grace` from now, with their attempt refunded; its row
    /// goes when it has none. Said again, its grace begins anew.
    fn depart(&self, node: NodeId, grace: Duration) -> Result<()>;

    /// *rescue*: takes back up to `limit` jobs whose node is gone by the store's clock.
    fn rescue(&self, limit: usize) -> Result<Vec<Rescued>>;

    /// The nodes that the store knows.
    fn nodes(&self) -> Result<Vec<NodeRow>>;

    // --- by hand ---

    /// *cancel*: waiting jobs are cancelled, running ones asked to stop; final ones are left out of the reply.
    fn cancel(&self, filter: &Filter) -> Result<Vec<Cancelled>>;

    /// *retry*: starts jobs again; running and available ones are left alone. `max_attempts` is raised when needed.
    fn retry(&self, filter: &Filter) -> Result<Vec<Retried>>;

    /// Deletes jobs that do not run; replies how many.
    fn delete(&self, filter: &Filter) -> Result<usize>;

    /// *prune*: deletes up to `limit` final jobs older than their retention, and old tick rows; replies how many jobs.
    fn prune(&self, retention: &Retention, limit: usize) -> Result<usize>;

    /// *pause*: nothing is claimed from the queue until it is resumed.
    fn pause(&self, queue: &Name) -> Result<()>;

    /// *resume*: undoes a pause.
    fn resume(&self, queue: &Name) -> Result<()>;

    /// Sets how many jobs of the queue each node runs at once; `None` goes back to the node's own setting.
    fn scale(&self, queue: &Name, concurrency: Option<u32>) -> Result<()>;

    // --- reads ---

    /// The jobs with these ids that exist, by id.
    fn get(&self, ids: &[JobId]) -> Result<Vec<Job>>;

    /// Jobs that match, by id in the filter's order, up to its limit.
    fn list(&self, filter: &Filter) -> Result<Vec<Job>>;

    /// How many jobs match, without the filter's limit.
    fn count(&self, filter: &Filter) -> Result<u64>;

    /// How many jobs there are in each state, by state number.
    fn count_by_state(&self, queue: Option<&Name>) -> Result<[u64; 7]>;

    /// The queues that have jobs or settings.
    fn queues(&self) -> Result<Vec<QueueRow>>;

    /// As [`Store::queues`], without those that only have jobs and with counts that mean nothing: what every beat asks
    /// for must not cost a count.
    fn settings(&self) -> Result<Vec<QueueRow>> {
        self.queues()
    }

    // --- schedules ---

    /// Declares a schedule, or changes it and keeps its pause and last tick.
    fn save_cron(&self, entry: &CronEntry) -> Result<()>;

    /// The declared schedules, by name.
    fn crons(&self) -> Result<Vec<CronRow>>;

    /// Pauses or resumes a schedule; false when there is none of that name.
    fn set_cron_paused(&self, name: &Name, paused: Paused) -> Result<bool>;

    /// Forgets a schedule and its ticks; false when there is none of that name.
    fn delete_cron(&self, name: &Name) -> Result<bool>;

    /// Inserts the row of one `(entry, tick)` and its job together. Nothing when the tick exists or the entry is paused
    /// or unknown.
    fn tick(&self, tick: CronTick) -> Result<Ticked>;
}

/// Hears what commits in a store. Called after the commit, without any lock of the store held.
pub trait Subscriber: Send + Sync {
    /// Takes one signal; must return soon.
    fn signal(&self, signal: &Signal);

    /// What it listens for, asked once. A store may keep back the rest, and need not.
    fn attention(&self) -> Arc<Attention> {
        Arc::new(Attention::full())
    }
}

/// What a store tells its subscribers.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// The queue has jobs to claim.
    Ready(Name),
    /// A job becomes due then.
    Due(Timestamp),
    /// Somebody wants these running jobs to stop.
    Cancel(Vec<JobId>),
    /// The queue was paused, resumed or scaled.
    Control(Name),
    /// Jobs have reached a final state.
    Settled,
    /// A node has ended: its jobs wait to be rescued.
    Orphaned,
    /// A node ends: its jobs wait to be rescued when its grace is over. It says so again and again.
    Leaving,
    /// Others may have told something that could not be heard.
    Missed,
}

/// The reply to one enqueued job.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueued {
    /// The job inserted, or the one that has the unique key already.
    pub job: Job,
    /// Whether `job` is one that had been there.
    pub conflict: bool,
}

/// A wish for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// For whom.
    pub node: NodeId,
    /// From which queue.
    pub queue: Name,
    /// At most how many.
    pub limit: usize,
}

/// The reply to one ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// Written now.
    Stored,
    /// This very ack had been written before.
    Already,
    /// Somebody wants the job cancelled: settle it again as cancelled.
    CancelRequested,
    /// The lease has moved on; nothing changed.
    LeaseLost,
}

/// Progress of one running job.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which job.
    pub id: JobId,
    /// The lease that allows the write.
    pub lease: Lease,
    /// How far it is.
    pub progress: Progress,
}

/// The reply to *stage*.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// How many jobs became available now.
    pub moved: usize,
    /// When the next waiting job is due, if one waits. In the past when `limit` was reached.
    pub next: Option<Timestamp>,
    /// The store's clock at the time.
    pub now: Timestamp,
}

/// I live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which incarnation.
    pub node: NodeId,
    /// Its human name; two nodes may share one.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// How long it may be silent before its jobs are rescued.
    pub ttl: Duration,
    /// The queues it works on, with their concurrency.
    pub queues: Vec<(Name, u32)>,
    /// The jobs it holds, for reconciliation.
    pub holds: Vec<JobId>,
}

/// The reply to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulse {
    /// The lease is extended.
    Alive {
        /// Of the jobs it holds: those that somebody wants cancelled.
        cancel: Vec<JobId>,
        /// Of the jobs it holds: those that are not its own any more.
        lost: Vec<JobId>,
        /// Jobs leased to it that it does not hold: it must release or wait for them.
        unknown: Vec<(JobId, Lease)>,
    },
    /// The node had been declared dead: it must drop everything and start a new incarnation.
    Dead,
}

/// One node as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Which incarnation.
    pub node: NodeId,
    /// Its human name.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// When it registered.
    pub started_at: Timestamp,
    /// When it last beat.
    pub beat_at: Timestamp,
    /// When its lease ends.
    pub expires_at: Timestamp,
    /// The queues it works on, with their concurrency.
    pub queues: Vec<(Name, u32)>,
    /// How many jobs are leased to it.
    pub executing: usize,
}

/// One job taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescued {
    /// The job after the move.
    pub job: Job,
    /// Why.
    pub reason: RescueReason,
}

/// One job that a cancel met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It was waiting and is cancelled.
    Done(JobId),
    /// It is running; its handler is asked to stop.
    Requested(JobId),
}

/// One job that a retry met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// It is available again.
    Done(JobId),
    /// Its unique key is taken by another live job; it stays as it was.
    KeyTaken {
        /// The job that stays.
        id: JobId,
        /// The job that has the key.
        holder: JobId,
    },
}

/// Which jobs are meant. Empty parts do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These jobs.
    pub ids: Option<Vec<JobId>>,
    /// In one of these states; empty means any.
    pub states: Vec<State>,
    /// In this queue.
    pub queue: Option<Name>,
    /// Of this worker.
    pub worker: Option<Name>,
    /// With all of these tags.
    pub tags: Vec<Name>,
    /// With this unique key.
    pub unique_key: Option<String>,
    /// The cursor: only jobs that come after this one in the order.
    pub after: Option<JobId>,
    /// The order of the reply.
    pub order: Order,
    /// At most this many; `None` means all.
    pub limit: Option<usize>,
}

/// The order of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// By rising id.
    #[default]
    OldestFirst,
    /// By falling id.
    NewestFirst,
}

/// How long final jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `None` keeps them for ever.
    pub completed: Option<Duration>,
    /// `None` keeps them for ever.
    pub cancelled: Option<Duration>,
    /// `None` keeps them for ever.
    pub discarded: Option<Duration>,
}

impl Default for Retention {
    /// Completed and cancelled jobs for a day, discarded ones for a week.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { completed: Some(day), cancelled: Some(day), discarded: Some(7 * day) }
    }
}

/// One queue as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Its name.
    pub name: Name,
    /// Whether nothing is claimed from it.
    pub paused: bool,
    /// The cluster-wide concurrency per node, when it was scaled.
    pub concurrency: Option<u32>,
    /// How many jobs it has in each state, by state number.
    pub counts: [u64; 7],
}

/// A declared schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronEntry {
    /// Its name.
    pub name: Name,
    /// The expression, as text.
    pub expression: String,
    /// The zone, as text.
    pub timezone: String,
    /// What it enqueues.
    pub worker: Name,
}

/// A schedule as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronRow {
    /// What was declared.
    pub entry: CronEntry,
    /// Whether its ticks are skipped.
    pub paused: bool,
    /// When it was first declared.
    pub known_since: Timestamp,
    /// Its latest tick.
    pub last_tick: Option<Timestamp>,
}

/// Whether a schedule rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// Its ticks are skipped.
    Yes,
    /// It runs.
    No,
}

/// One firing of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct CronTick {
    /// The schedule's name.
    pub name: Name,
    /// The moment it stands for.
    pub at: Timestamp,
    /// Its job; `None` records the tick as skipped.
    pub job: Option<NewJob>,
}

/// The reply to a tick.
#[derive(Debug, Clone, PartialEq)]
pub enum Ticked {
    /// The tick is recorded; with its job, when it has one.
    Inserted(Option<Box<Enqueued>>),
    /// The tick had been recorded before, by this node or another.
    Already,
    /// The schedule is paused or unknown.
    Resting,
}
