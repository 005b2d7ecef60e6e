//! The judge: it knows the invariants of the design, watches every commit, and never asks the engine.
//!
//! After each call that may write it reads the rows again and compares them with what it saw before. What the call was,
//! what it replied, and what had been there decide which changes may be. `rows` judges changes, `replies` the answers,
//! `nodes` trust and handlers, `settling` what must happen in time once faults have stopped.

mod nodes;
mod replies;
mod rows;
mod settling;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use zjobs_engine::clock::Moment;
use zjobs_engine::job::{Job, JobId, Lease, Name, NewJob, NodeId};
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::State;
use zjobs_engine::store::{
    Acked, Cancelled, Claim, CronTick, Enqueued, Filter, Heartbeat, Pulse, Report, Rescued, Retention, Retried, Staged,
    Store, Ticked,
};
use zjobs_engine::{Result, Timestamp};

pub(crate) use settling::Standing;

use nodes::Tenure;

/// The invariants that are checked, by number, with what is looked at.
pub const CHECKS: &[(u8, &str)] = &[
    (1, "every job whose enqueue was confirmed is a row until it is pruned or deleted"),
    (2, "every row comes from a call that replied with it"),
    (3, "executing and leased are the same, and each lease is handed out once"),
    (4, "the lease number grows by one with a claim and never otherwise"),
    (5, "a write without the lease changes nothing and is told so"),
    (6, "an ack that is repeated is confirmed and changes nothing"),
    (7, "only jobs of nodes that are gone by the store's clock are taken back"),
    (8, "an incarnation that was declared dead neither beats, claims nor acks"),
    (9, "no claim opens and no handler starts outside of the trust window"),
    (10, "a confirmed ack is written, and no job stays leased to a living node that does not have it"),
    (11, "the attempt is between zero and max_attempts"),
    (12, "only moves of the state table happen, and what a job is never changes"),
    (13, "attempts are counted by claims and given back by documented refunds only"),
    (14, "a unique key has one live job"),
    (15, "result and error are those of the lease that finished the job"),
    (16, "inserted, attempted and finished are in order, and nothing runs before it was scheduled"),
    (17, "nothing is due before its time"),
    (18, "claims are in order and leave out nothing better"),
    (19, "nothing is claimed from a paused queue"),
    (20, "no more handlers run than the limit says"),
    (21, "what was cancelled does not start, and what was asked to stop ends cancelled"),
    (22, "each tick fires once"),
    (23, "a job that crashed too often is not started again"),
    (24, "prune deletes final jobs past their retention only"),
    (25, "the fate of an ack does not depend on its batch"),
    (26, "two stores that get the same calls answer and look the same"),
    (29, "every due job of a queue with a living node is claimed and settles"),
    (30, "jobs of dead nodes are taken back in time"),
    (31, "acks are answered in time once the store answers"),
    (32, "a lost wake-up costs one poll interval at most"),
    (33, "a stop ends, and leaves nothing behind"),
    (35, "a role that panicked runs again"),
];

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: u8,
    /// What was seen.
    pub story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I-{}: {}", self.invariant, self.story)
    }
}

/// A call that has just been committed, with its reply.
pub(crate) enum Did<'a> {
    Enqueue { wanted: &'a [NewJob], got: &'a Result<Vec<Enqueued>> },
    Claim { claim: &'a Claim, got: &'a Result<Vec<Job>> },
    Ack { node: NodeId, acks: &'a [Ack], got: &'a Result<Vec<Acked>> },
    Report { node: NodeId, reports: &'a [Report] },
    Stage { got: &'a Result<Staged> },
    Heartbeat { beat: &'a Heartbeat, got: &'a Result<Pulse> },
    Depart { node: NodeId, grace: Duration },
    Rescue { got: &'a Result<Vec<Rescued>> },
    Cancel { got: &'a Result<Vec<Cancelled>> },
    Retry { got: &'a Result<Vec<Retried>> },
    Delete { filter: &'a Filter },
    Prune { retention: &'a Retention, got: &'a Result<usize> },
    Pause { queue: &'a Name },
    Resume { queue: &'a Name },
    Scale { queue: &'a Name, concurrency: Option<u32> },
    Tick { tick: &'a CronTick, got: &'a Result<Ticked> },
}

/// Of calls that say they changed nothing, every so many are looked at.
const QUIET_LOOK: u32 = 16;

impl Did<'_> {
    /// Whether it says that it changed no row.
    fn is_quiet(&self) -> bool {
        match self {
            Self::Claim { got, .. } => got.as_ref().map_or(true, Vec::is_empty),
            Self::Stage { got } => got.as_ref().map_or(true, |staged| staged.moved == 0),
            Self::Rescue { got } => got.as_ref().map_or(true, Vec::is_empty),
            Self::Cancel { got } => got.as_ref().map_or(true, Vec::is_empty),
            Self::Prune { got, .. } => matches!(got, Ok(0)),
            Self::Tick { got, .. } => !matches!(got, Ok(Ticked::Inserted(_))),
            Self::Heartbeat { .. }
            | Self::Depart { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Scale { .. } => true,
            Self::Enqueue { .. }
            | Self::Ack { .. }
            | Self::Report { .. }
            | Self::Retry { .. }
            | Self::Delete { .. } => false,
        }
    }
}

/// What the oracle keeps of one job beside its row.
#[derive(Default)]
struct Chronicle {
    /// The key it was enqueued with.
    key: Option<String>,
    /// A newer job took its key while it ran.
    superseded: bool,
    /// It was asked to stop.
    cancelled: bool,
    /// How often its node died since a person last started it.
    crashes: u16,
    /// The last ack that was written and whether the row is as it left it.
    acked: Option<(Lease, State)>,
    untouched: bool,
    claimed_at: Moment,
}

/// How an attempt went, as its slot saw it.
#[derive(Clone, Copy)]
struct Run {
    ended: Option<Moment>,
}

pub(crate) struct Oracle {
    rows: Vec<Option<Job>>,
    /// The look that saw each row last.
    seen: Vec<u32>,
    chronicles: Vec<Chronicle>,
    now: Timestamp,
    moment: Moment,
    calls: u32,
    looks: u32,
    nodes: FxHashMap<NodeId, Tenure>,
    trusted: FxHashMap<NodeId, Moment>,
    handed: FxHashSet<(JobId, Lease)>,
    runs: FxHashMap<(JobId, Lease), Run>,
    paused: FxHashSet<Name>,
    /// When each queue was last claimed from in vain.
    looked: FxHashMap<Name, Moment>,
    limits: FxHashMap<Name, (Option<u32>, u32)>,
    ticks: FxHashSet<(Name, Timestamp)>,
    steady_store: bool,
    settling: settling::Settling,
    violation: Option<Violation>,
    /// Set with the violation, for those who ask all the time.
    broken: Arc<AtomicBool>,
}

impl Oracle {
    /// An oracle of an empty store; `steady_store` when the store's clock never steps.
    pub(crate) fn new(steady_store: bool, broken: Arc<AtomicBool>) -> Self {
        Self {
            rows: Vec::new(),
            seen: Vec::new(),
            chronicles: Vec::new(),
            now: Timestamp::MIN,
            moment: Moment(0),
            calls: 0,
            looks: 0,
            nodes: FxHashMap::default(),
            trusted: FxHashMap::default(),
            handed: FxHashSet::default(),
            runs: FxHashMap::default(),
            paused: FxHashSet::default(),
            looked: FxHashMap::default(),
            limits: FxHashMap::default(),
            ticks: FxHashSet::default(),
            steady_store,
            settling: settling::Settling::default(),
            violation: None,
            broken,
        }
    }

    /// The first invariant that did not hold.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Judges a call right after its commit.
    pub(crate) fn observe(&mut self, did: &Did<'_>, store: &dyn Store, moment: Moment) {
        self.moment = moment;
        self.now = store.now().unwrap_or(self.now);
        self.before(did);
        self.calls += 1;
        if !did.is_quiet() || self.calls.is_multiple_of(QUIET_LOOK) {
            self.look(did, store);
        }
        self.after(did);
    }

    /// Two stores that got the same calls are not the same any more.
    pub(crate) fn differ(&mut self, story: &str) {
        self.fail(26, || format!("the stores differ: {story}"));
    }

    /// Every row that the oracle knows now.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Job> {
        self.rows.iter().flatten()
    }

    fn row(&self, id: JobId) -> Option<&Job> {
        self.rows.get(place(id))?.as_ref()
    }

    fn fail(&mut self, invariant: u8, story: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, story: story() });
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    fn require(&mut self, holds: bool, invariant: u8, story: impl FnOnce() -> String) {
        if !holds {
            self.fail(invariant, story);
        }
    }
}

fn place(id: JobId) -> usize {
    usize::try_from(id.0 - 1).unwrap_or(usize::MAX)
}
