//! The places as they are with the feature: their names, what is armed, and what happens there.

use std::cell::Cell;
use std::env;
use std::pin::pin;

use futures_util::future::{Either, select};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;

use super::{Point, Role, Step};
use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Ordering};

/// Which places are armed from the start: `name=actions;name=actions`, the actions as the crate `fail` has them:
/// `return(kill)`, `return(freeze)`, `return(error)`, `panic`, `sleep(20)`, and before any of them `5*off->`, `1%`, `2*`.
pub const VARIABLE: &str = "ZJOBS_FAILPOINTS";

static ARMED: AtomicBool = AtomicBool::new(false);

std::thread_local! {
    static IN_HAND: Cell<Option<Verb>> = const { Cell::new(None) };
}

macro_rules! verbs {
    ($($verb:ident $name:literal,)*) => {
        /// A call to a store that changes something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "they are the methods of a store")]
        pub enum Verb {
            $($verb,)*
        }

        const VERBS: &[Verb] = &[$(Verb::$verb,)*];

        const fn step_name(verb: Verb, step: Step) -> &'static str {
            match (verb, step) {
                $(
                    (Verb::$verb, Step::Asked) => concat!($name, ".asked"),
                    (Verb::$verb, Step::Written) => concat!($name, ".written"),
                    (Verb::$verb, Step::Sent) => concat!($name, ".sent"),
                    (Verb::$verb, Step::Committed) => concat!($name, ".committed"),
                    (Verb::$verb, Step::Answered) => concat!($name, ".answered"),
                )*
            }
        }
    };
}

verbs! {
    Enqueue "enqueue",
    Claim "claim",
    Ack "ack",
    Report "report",
    Stage "stage",
    Heartbeat "heartbeat",
    Depart "depart",
    Rescue "rescue",
    Cancel "cancel",
    Retry "retry",
    Delete "delete",
    Prune "prune",
    Pause "pause",
    Resume "resume",
    Scale "scale",
    SaveCron "save_cron",
    SetCronPaused "set_cron_paused",
    DeleteCron "delete_cron",
    Tick "tick",
}

const STEPS: [Step; 5] = [Step::Asked, Step::Written, Step::Sent, Step::Committed, Step::Answered];

const POINTS: [Point; 26] = [
    Point::Dispatch,
    Point::Taken,
    Point::Ended,
    Point::Queued,
    Point::Flush,
    Point::Flushed,
    Point::Orphan,
    Point::Dead,
    Point::Drained,
    Point::Parted,
    Point::Between,
    Point::Grouped,
    Point::Shared,
    Point::Checkpoint,
    Point::Checkpointed,
    Point::Locked,
    Point::Migrated,
    Point::Recorded,
    Point::Settled,
    Point::Tick(Role::Heartbeat),
    Point::Tick(Role::Claimer),
    Point::Tick(Role::Acker),
    Point::Tick(Role::Stager),
    Point::Tick(Role::Watchdog),
    Point::Tick(Role::Rescuer),
    Point::Tick(Role::Pruner),
];

const fn point_name(point: Point) -> &'static str {
    match point {
        Point::Dispatch => "claimer.dispatch",
        Point::Taken => "slot.taken",
        Point::Ended => "slot.ended",
        Point::Queued => "acker.queued",
        Point::Flush => "acker.flush",
        Point::Flushed => "acker.flushed",
        Point::Orphan => "heartbeat.orphan",
        Point::Dead => "heartbeat.dead",
        Point::Drained => "stop.drained",
        Point::Parted => "stop.parted",
        Point::Between => "group.between",
        Point::Grouped => "group.written",
        Point::Shared => "group.committed",
        Point::Checkpoint => "checkpoint.begun",
        Point::Checkpointed => "checkpoint.done",
        Point::Locked => "migrate.locked",
        Point::Migrated => "migrate.migrated",
        Point::Recorded => "migrate.recorded",
        Point::Settled => "migrate.committed",
        Point::Tick(Role::Heartbeat) => "heartbeat.tick",
        Point::Tick(Role::Claimer) => "claimer.tick",
        Point::Tick(Role::Acker) => "acker.tick",
        Point::Tick(Role::Stager) => "stager.tick",
        Point::Tick(Role::Watchdog) => "watchdog.tick",
        Point::Tick(Role::Rescuer) => "rescuer.tick",
        Point::Tick(Role::Pruner) => "pruner.tick",
    }
}

/// All places, by name.
pub fn names() -> Vec<&'static str> {
    let steps = VERBS.iter().flat_map(|verb| STEPS.map(|step| step_name(*verb, step)));
    steps.chain(POINTS.map(point_name)).collect()
}

/// Arms places: `name=actions;name=actions`.
pub fn arm(text: &str) -> Result<()> {
    let known = names();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let (name, actions) = part.split_once('=').map_or((part, ""), |(name, actions)| (name.trim(), actions.trim()));
        if !known.contains(&name) {
            return Err(Error::Internal(format!("no failpoint is named {name:?}")));
        }
        fail::cfg(name, actions).map_err(|why| Error::Internal(format!("failpoint {part:?}: {why}")))?;
    }
    ARMED.store(true, Ordering::Release);
    Ok(())
}

/// Arms what the environment names.
pub fn arm_by_environment() -> Result<()> {
    env::var(VARIABLE).map_or(Ok(()), |text| arm(&text))
}

/// The verb that a thread has in hand as long as this lives.
#[derive(Debug)]
pub struct Scope {
    before: Option<Verb>,
}

impl Scope {
    /// The thread begins it.
    pub fn enter(verb: Verb) -> Self {
        Self { before: IN_HAND.replace(Some(verb)) }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        IN_HAND.set(self.before);
    }
}

pub(super) fn in_hand() -> Option<Verb> {
    IN_HAND.get()
}

pub(super) fn step(verb: Option<Verb>, step: Step) -> Result<()> {
    match verb {
        Some(verb) if ARMED.load(Ordering::Relaxed) => reach(step_name(verb, step)),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn pass(point: Point) {
    if ARMED.load(Ordering::Relaxed) {
        drop(reach(point_name(point)));
    }
}

pub(super) fn tick(role: &str) {
    if !ARMED.load(Ordering::Relaxed) {
        return;
    }
    let point = format!("{role}.tick");
    let ticks = POINTS.into_iter().filter(|one| matches!(one, Point::Tick(_)));
    ticks.filter(|one| point_name(*one) == point).for_each(pass);
}

pub(super) async fn sending<F: Future>(request: F) -> F::Output {
    let verb = in_hand();
    let request = pin!(request);
    // The first turn puts the request in line, the next hands it to the system; then the server has it.
    let turns = pin!(async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    });
    let reply = match select(request, turns).await {
        Either::Left((reply, _)) => reply,
        Either::Right(((), request)) => {
            drop(step(verb, Step::Sent));
            request.await
        }
    };
    drop(step(verb, Step::Committed));
    reply
}

/// What is armed here happens; a panic and a sleep are the crate's own.
fn reach(name: &str) -> Result<()> {
    let Some(told) = told(name) else { return Ok(()) };
    match told.as_str() {
        "kill" => signal(name, Signal::SIGKILL),
        "freeze" => signal(name, Signal::SIGSTOP),
        "error" => Err(Error::StoreUnavailable(format!("failpoint {name}"))),
        other => Err(Error::Internal(format!("failpoint {name}: {other:?} is neither kill, freeze nor error"))),
    }
}

/// The word that a place is armed with, when its turn has come.
fn told(name: &str) -> Option<String> {
    fail::fail_point!(name, |word| word);
    None
}

fn signal(name: &str, signal: Signal) -> Result<()> {
    // To this thread, which goes no further; the others end or stop with it.
    pthread_kill(pthread_self(), signal).map_err(|error| Error::Internal(format!("failpoint {name}: {error}")))
}
