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

    /// How long its newest attempt had been due when it was claimed; zero before the first.
    pub fn queued(&self) -> std::time::Duration {
        self.attempted_at.map(|at| at.since(self.scheduled_at)).unwrap_or_default()
    }

    /// Whether the attempt that is running now is the last one.
    pub fn attempts(&self) -> crate::state::Attempts {
        if self.attempt >= self.max_attempts { crate::state::Attempts::Spent } else { crate::state::Attempts::Left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Attempts;
    use std::collections::BTreeMap;

    fn wanted() -> NewJob {
        NewJob::new(Name::queue("mail").unwrap(), Name::worker("send").unwrap(), b"{}".as_slice().into())
    }

    fn refused(job: &NewJob) -> String {
        job.validate().unwrap_err().to_string()
    }

    fn stored(attempt: u32, max_attempts: u32) -> Job {
        let NewJob { queue, worker, args, priority, .. } = wanted();
        Job {
            id: JobId(7),
            state: State::Executing,
            queue,
            worker,
            args,
            priority,
            attempt,
            max_attempts,
            lease: Lease(1),
            node: None,
            scheduled_at: Timestamp(1),
            inserted_at: Timestamp(1),
            attempted_at: None,
            finished_at: None,
            timeout: None,
            details: None,
        }
    }

    #[test]
    fn ids_and_names_are_printed_as_people_write_them() {
        assert_eq!(format!("{:>4}", JobId(42)), "  42");
        assert_eq!(NodeId(0xAB).to_string(), format!("{}ab", "0".repeat(30)));
        assert_eq!(format!("{:?}", NodeId(0xAB)), NodeId(0xAB).to_string());
        let name = Name::worker("App:send").unwrap();
        assert_eq!((name.to_string().as_str(), format!("{name:?}").as_str()), ("App:send", "\"App:send\""));
        assert_eq!((name.as_str(), &name), ("App:send", &Name::stored("App:send")));
    }

    #[test]
    fn each_kind_of_name_has_its_own_rule() {
        assert!(Name::queue("App:send").is_err() && Name::worker("App send").is_err());
        assert!(Name::cron("a b").is_err() && Name::cron("App:send").is_ok());
        assert!(Name::tag("a b").is_ok() && Name::tag(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_name_is_found_by_its_text() {
        let numbers = BTreeMap::from([(Name::stored("a"), 1), (Name::stored("b"), 2)]);
        assert_eq!((numbers.get("a"), numbers.get("b"), numbers.get("c")), (Some(&1), Some(&2), None));
    }

    #[test]
    fn a_job_waits_while_its_time_lies_ahead() {
        let now = Timestamp(100);
        assert_eq!(When::Now.initial(now), (State::Available, now));
        assert_eq!(When::In(Duration::ZERO).initial(now), (State::Available, now));
        assert_eq!(When::In(Duration::from_micros(5)).initial(now), (State::Scheduled, Timestamp(105)));
        assert_eq!(When::At(Timestamp(101)).initial(now), (State::Scheduled, Timestamp(101)));
        assert_eq!(When::At(now).initial(now), (State::Available, now));
        assert_eq!(When::At(Timestamp(99)).initial(now), (State::Available, Timestamp(99)));
    }

    #[test]
    fn a_job_of_valid_parts_is_valid_up_to_every_limit() {
        wanted().validate().unwrap();
        let tags = vec![Name::tag("t").unwrap(); limits::TAGS];
        let meta = Some(b"{}".as_slice().into());
        for at in [Timestamp::MIN, Timestamp::MAX] {
            let when = When::At(at);
            NewJob { tags: tags.clone(), meta: meta.clone(), when, max_attempts: 1, ..wanted() }.validate().unwrap();
        }
    }

    #[test]
    fn a_part_beyond_its_limit_is_refused_by_name() {
        let tags = vec![Name::tag("t").unwrap(); limits::TAGS + 1];
        assert!(refused(&NewJob { tags, ..wanted() }).starts_with("tags must be at most 16 (got 17"));
        assert!(refused(&NewJob { max_attempts: 0, ..wanted() }).starts_with("max_attempts must be"));
        assert!(refused(&NewJob { args: b"{".as_slice().into(), ..wanted() }).starts_with("args must be valid JSON"));
        assert!(refused(&NewJob { meta: Some(b"{".as_slice().into()), ..wanted() }).starts_with("meta must be"));
        for micros in [Timestamp::MIN.micros() - 1, Timestamp::MAX.micros() + 1] {
            let when = When::At(Timestamp(micros));
            assert!(refused(&NewJob { when, ..wanted() }).starts_with("scheduled_at must be between"));
        }
    }

    #[test]
    fn proven_arguments_are_not_read_again_but_never_longer_than_they_may_be() {
        let of = |bytes: usize| NewJob { args: vec![b'x'; bytes].into(), proof: Proof::Given, ..wanted() };
        of(limits::PAYLOAD_BYTES).validate().unwrap();
        assert!(refused(&of(limits::PAYLOAD_BYTES + 1)).contains("at most 1048576 bytes"));
    }

    #[test]
    fn rare_parts_are_kept_by_the_copy_that_has_them() {
        let mut one = stored(1, 2);
        assert_eq!(one.details(), &Details::default());
        one.details_mut().crashes = 1;
        let other = one.clone();
        one.details_mut().crashes += 1;
        assert_eq!((one.details().crashes, other.details().crashes), (2, 1));
    }

    #[test]
    fn the_last_attempt_is_the_one_of_that_number() {
        assert_eq!(stored(1, 2).attempts(), Attempts::Left);
        assert_eq!(stored(2, 2).attempts(), Attempts::Spent);
        assert_eq!(stored(3, 2).attempts(), Attempts::Spent);
    }
}
