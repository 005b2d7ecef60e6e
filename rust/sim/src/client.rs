//! What people and programs ask of the store while the nodes work.

use std::time::Duration;

use fastrand::Rng;
use zjobs_engine::job::{JobId, Name, NewJob, Priority, When};
use zjobs_engine::store::{CronEntry, CronTick, Filter, Store};
use zjobs_engine::unique::{Unique, UniqueStrategy};
use zjobs_engine::{Result, Timestamp};

use crate::link::Link;
use crate::plan::{Plan, UNKNOWN};

/// The one schedule.
const CRON: &str = "schedule";

/// Declares the schedule.
pub(crate) fn declare(store: &dyn Store) -> Result<()> {
    let entry = CronEntry {
        name: Name::cron(CRON)?,
        expression: "* * * * *".into(),
        timezone: "UTC".into(),
        worker: Name::worker("thread")?,
    };
    store.save_cron(&entry)
}

/// Does one thing. `enqueued` counts the jobs so far, so that a seed stays small.
pub(crate) fn act(rng: &mut Rng, plan: &Plan, link: &Link, enqueued: &mut u32) -> Result<()> {
    let ids = 1..=i64::from((*enqueued).max(1));
    let ids: Vec<JobId> = (0..rng.usize(1..=3)).map(|_| JobId(rng.i64(ids.clone()))).collect();
    let jobs = Filter { ids: Some(ids), ..Filter::default() };
    let queue = rng.choice(&plan.queues).cloned();
    match (rng.u32(..100), queue) {
        (0..55, _) if *enqueued < plan.jobs => {
            let batch = (0..rng.u32(1..=4)).map(|_| job(rng, plan)).collect::<Result<Vec<_>>>()?;
            *enqueued += u32::try_from(batch.len()).unwrap_or(0);
            link.enqueue(batch).map(drop)
        }
        (0..68, _) => {
            let at = link.now()?.micros().div_euclid(5_000_000) - rng.i64(0..2);
            let job = job(rng, plan)?;
            let tick = CronTick { name: Name::cron(CRON)?, at: Timestamp(at * 5_000_000), job: Some(job) };
            link.tick(tick).map(drop)
        }
        (68..78, _) => link.cancel(&jobs).map(drop),
        (78..86, _) => link.retry(&jobs).map(drop),
        (86..88, _) => link.delete(&jobs).map(drop),
        (88..91, Some(queue)) => link.pause(&queue),
        (91..96, Some(queue)) => link.resume(&queue),
        (96..98, Some(queue)) => link.scale(&queue, rng.bool().then(|| rng.u32(1..=3))),
        _ => link.prune(&crate::plan::KEPT, rng.usize(1..=100)).map(drop),
    }
}

fn job(rng: &mut Rng, plan: &Plan) -> Result<NewJob> {
    let queue = plan.queues[rng.usize(..plan.queues.len())].clone();
    let worker = if plan.unknown && rng.u32(..10) == 0 {
        Name::worker(UNKNOWN)?
    } else {
        plan.workers[rng.usize(..plan.workers.len())].0.clone()
    };
    let args = format!("{{\"n\":{}}}", rng.u32(..1000));
    let unique = match rng.u32(..4) {
        0 => Some(Unique::by_key(["k", "l", "m"][rng.usize(..3)], UniqueStrategy::IgnoreNew)?),
        1 if rng.bool() => Some(Unique::by_key(["k", "l", "m"][rng.usize(..3)], UniqueStrategy::CancelExisting)?),
        _ => None,
    };
    let when = if rng.u32(..4) == 0 { When::In(Duration::from_millis(rng.u64(1..8000))) } else { When::Now };
    let timeout = rng.bool().then(|| Duration::from_millis(rng.u64(200..2500)));
    let max_attempts = rng.u32(1..=5);
    let priority = Priority(rng.i32(-1..=1));
    Ok(NewJob { priority, max_attempts, when, timeout, unique, ..NewJob::new(queue, worker, args.as_bytes().into()) })
}
