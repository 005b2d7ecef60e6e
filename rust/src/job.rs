//! The row of work: ids, the job a caller wants (`NewJob`, validated once) and the job as stored (`Job`).

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::limits;
use crate::state::State;
use crate::sync::Arc;
use crate::unique::Unique;

/// A job's number in its store, from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// The lease number of a job: how often it has been claimed. Only grows; the fencing token of every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lease(pub u32);

/// One start of one process, random, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

/// Lower runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(pub i32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A validated name of a queue, worker or tag; cheap to copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A queue's name.
    pub fn queue(name: &str) -> Result<Self> {
        limits::queue_name(name)?;
        Ok(Self(name.into()))
    }

    /// A worker's name.
    pub fn worker(name: &str) -> Result<Self> {
        limits::worker_name(name)?;
        Ok(Self(name.into()))
    }

    /// The name of a schedule.
    pub fn cron(name: &str) -> Result<Self> {
        limits::cron_name(name)?;
        Ok(Self(name.into()))
    }

    /// One tag of a job.
    pub fn tag(name: &str) -> Result<Self> {
        limits::label("tag", name, limits::TAG_BYTES)?;
        Ok(Self(name.into()))
    }

    /// A name that a store keeps: it was validated when it came in.
    pub(crate) fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// JSON text, shared and immutable.
pub type Payload = Arc<[u8]>;

/// When a new job becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// This long after the store's now.
    In(Duration),
    /// At that moment of the store's clock; a moment in the past is due at once and keeps its place in the order.
    At(Timestamp),
}

impl When {
    /// The due time and the state that a job starts in, on the store's clock.
    pub fn initial(self, now: Timestamp) -> (State, Timestamp) {
        let due = match self {
            Self::Now => now,
            Self::In(delay) => now + delay,
            Self::At(at) => at,
        };
        (if due > now { State::Scheduled } else { State::Available }, due)
    }
}

/// Whether somebody still has to prove that arguments are JSON that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nobody has.
    #[default]
    Needed,
    /// The encoder that wrote them has.
    Given,
}

/// A job that somebody wants, valid by construction of its parts and [`NewJob::validate`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Where it waits.
    pub queue: Name,
    /// Which kind of work it is.
    pub worker: Name,
    /// The arguments as JSON text.
    pub args: Payload,
    /// What is known of that text.
    pub proof: Proof,
    /// Lower runs first.
    pub priority: Priority,
    /// How often it may run, at least once.
    pub max_attempts: u32,
    /// When it is due.
    pub when: When,
    /// The limit of one attempt; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Its idempotency key and what happens when the key is taken.
    pub unique: Option<Unique>,
    /// Labels to find it by.
    pub tags: Vec<Name>,
    /// A JSON object of the caller's.
    pub meta: Option<Payload>,
}

impl NewJob {
    /// The default of `max_attempts`.
    pub const MAX_ATTEMPTS: u32 = 20;
    /// The default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(300);

    /// A job with every option at its default.
    pub fn new(queue: Name, worker: Name, args: Payload) -> Self {
        Self {
            queue,
            worker,
            args,
            proof: Proof::Needed,
            priority: Priority(0),
            max_attempts: Self::MAX_ATTEMPTS,
            when: When::Now,
            timeout: Some(Self::TIMEOUT),
            unique: None,
            tags: Vec::new(),
            meta: None,
        }
    }

    /// Checks everything that the parts' own types do not.
    pub fn validate(&self) -> Result<()> {
        if self.proof == Proof::Needed || self.args.len() > limits::PAYLOAD_BYTES {
            limits::json("args", &self.args, limits::PAYLOAD_BYTES)?;
        }
        limits::integer::<u32>("max_attempts", self.max_attempts.into(), 1, limits::MAX_ATTEMPTS.into())?;
        if self.tags.len() > limits::TAGS {
            return Err(Error::invalid("tags", format!("must be at most {}", limits::TAGS), self.tags.len()));
        }
        if let Some(meta) = &self.meta {
            limits::json("meta", meta, limits::META_BYTES)?;
        }
        match self.when {
            When::At(at) if !(Timestamp::MIN..=Timestamp::MAX).contains(&at) => {
                Err(Error::invalid("scheduled_at", "must be between the years 1 and 9999", at.micros()))
            }
            When::At(_) | When::In(_) | When::Now => Ok(()),
        }
    }
}

/// One failed attempt, as kept in the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// When, on the store's clock.
    pub at: Timestamp,
    /// The exception's type name.
    pub kind: String,
    /// Its text, bounded.
    pub message: String,
    /// Its traceback without locals, bounded; empty when there is none.
    pub traceback: String,
}

/// How far a running job says it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Units done.
    pub done: f64,
    /// Units in all, when known.
    pub total: Option<f64>,
    /// A short text.
    pub message: String,
}

/// The parts of a job that most jobs do not have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// The idempotency key it was enqueued with; kept for reading when the job is no longer live.
    pub unique_key: Option<Arc<str>>,
    /// Labels.
    pub tags: Vec<Name>,
    /// The caller's JSON object.
    pub meta: Option<Payload>,
    /// The newest failed attempts, oldest first.
    pub errors: Vec<AttemptError>,
    /// What the handler returned, when its worker keeps results.
    pub result: Option<Payload>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Somebody asked to cancel it while it was running.
    pub cancel_requested: bool,
    /// How often the node that ran it died.
    pub crashes: u16,
}

/// A job as the store has it at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Where it is in its life.
    pub state: State,
    /// Where it waits.
    pub queue: Name,
    /// Which kind of work it is.
    pub worker: Name,
    /// The arguments as JSON text.
    pub args: Payload,
    /// Lower runs first.
    pub priority: Priority,
    /// 0 before the first run, from 1 while running.
    pub attempt: u32,
    /// How often it may run.
    pub max_attempts: u32,
    /// How often it has been claimed.
    pub lease: Lease,
    /// Who runs it, while it is executing.
    pub node: Option<NodeId>,
    /// When it is or was due.
    pub scheduled_at: Timestamp,
    /// When it was enqueued.
    pub inserted_at: Timestamp,
    /// When its last attempt was claimed.
    pub attempted_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// The limit of one attempt.
    pub timeout: Option<Duration>,
    /// What most jobs do not have.
    pub details: Option<Arc<Details>>,
}

impl Job {
    /// The parts that most jobs do not have, to change them; copies of the job keep theirs.
    pub fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(self.details.get_or_insert_default())
    }

    /// The parts that most jobs do not have, empty where there are none.
    pub fn details(&self) -> &Details {
        static NONE: Details = Details {
            unique_key: None,
            tags: Vec::new(),
            meta: None,
            errors: Vec::new(),
            result: None,
            progress: None,
            cancel_requested: false,
            crashes: 0,
        };
        self.details.as_deref().unwrap_or(&NONE)
    }

    /// Whether the attempt that is running now is the last one.
    pub fn attempts(&self) -> crate::state::Attempts {
        if self.attempt >= self.max_attempts { crate::state::Attempts::Spent } else { crate::state::Attempts::Left }
    }
}
