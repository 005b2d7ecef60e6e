//! The slots of a node and the handlers in them, which take virtual time and say what the dice say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use zjobs_engine::clock::Moment;
use zjobs_engine::job::Progress;
use zjobs_engine::outcome::{Again, Failure, Outcome};
use zjobs_engine::runtime::{Lane, Next, QueueIndex, Running};
use zjobs_engine::store::{Report, Store};

use super::Node;
use crate::world::World;

/// A handler that runs.
pub(super) struct Task {
    pub(super) running: Arc<Running>,
    pub(super) ends: Moment,
    /// Whether it ends when it is asked to.
    pub(super) obeys: bool,
}

impl Node {
    pub(super) fn ask(&self, queue: QueueIndex, lane: Lane, world: &World) {
        let Next::Job(running) = self.engine.next(queue, lane) else {
            *self.refused.lock() = world.time.moment();
            return;
        };
        let job = running.job.clone();
        world.note(|| format!("node {}: job {} starts, lease {}", self.number, job.id, job.lease.0));
        let runs = self.tasks.lock().iter().filter(|task| task.running.queue == queue).count() + 1;
        let runs = u32::try_from(runs).unwrap_or(u32::MAX);
        world.oracle().starts(&job, running.node, self.engine.node(), runs);
        let (length, obeys) = world.random(|rng| (length(rng), rng.bool()));
        let ends = world.time.moment() + length;
        self.tasks.lock().push(Task { running, ends, obeys });
        self.wakes(queue);
    }

    pub(super) fn end(&self, task: usize, world: &World) {
        let task = self.tasks.lock().swap_remove(task);
        let job = &task.running.job;
        self.ending.fetch_add(1, Ordering::Relaxed);
        if world.chance(150) {
            let progress = Progress { done: f64::from(job.lease.0), total: None, message: String::new() };
            let report = Report { id: job.id, lease: job.lease, progress };
            drop(self.link.report(task.running.node, &[report]));
        }
        let outcome = outcome(&task.running, world);
        world.note(|| format!("node {}: job {} ends, lease {}", self.number, job.id, job.lease.0));
        world.oracle().ends(job);
        self.engine.finish(&task.running, outcome);
        self.ending.fetch_sub(1, Ordering::Relaxed);
        self.wakes(task.running.queue);
    }

    fn wakes(&self, queue: QueueIndex) {
        let both = bit(queue, Lane::Thread) | bit(queue, Lane::Loop);
        self.ears.asks.fetch_or(both, Ordering::Relaxed);
    }
}

/// Every slot of every queue.
pub(super) const ALL: u32 = u32::MAX;

pub(super) fn bit(queue: QueueIndex, lane: Lane) -> u32 {
    1 << (2 * queue.0 + usize::from(lane == Lane::Loop))
}

fn length(rng: &mut Rng) -> Duration {
    Duration::from_millis(match rng.u32(..10) {
        0..6 => rng.u64(..100),
        6..8 => rng.u64(..1500),
        _ => rng.u64(..6000),
    })
}

/// What the handler says; its words name the run, so that the oracle can tell whose they are.
fn outcome(running: &Running, world: &World) -> Outcome {
    let job = &running.job;
    let stamp = format!("[{},{}]", job.id, job.lease.0);
    let failure = Failure::new("Failed", &stamp, "");
    let dice = world.random(|rng| rng.u32(..100));
    match dice {
        0..60 => Outcome::Completed { result: Some(stamp.as_bytes().into()) },
        60..75 => Outcome::Failed { failure, again: Again::In(Duration::from_millis(u64::from(dice) * 10)) },
        75..80 => Outcome::Failed { failure, again: Again::Never },
        80..85 => Outcome::Discarded { failure },
        85..90 => Outcome::Cancelled { reason: "by its handler".into() },
        _ if world.is_healed() => Outcome::Completed { result: None },
        _ => Outcome::Snoozed { delay: Duration::from_millis(u64::from(dice) * 20) },
    }
}
