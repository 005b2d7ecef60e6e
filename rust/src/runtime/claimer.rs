//! *claimer*: demand → claim → dispatch.
//!
//! Where the store never waits, whoever has news fills the slots on the spot ([`fill`]): the thread that enqueues, or
//! the slot that ran dry. Otherwise this role does, with adaptive polling beneath the wake-ups.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::job::Job;
use crate::outcome::{Again, Failure, Outcome};
use crate::runtime::pool::QueueIndex;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::running::{Lane, Running};
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::shared::Shared;
use crate::store::{Claim, Store};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// How long a job of an unknown worker is put back.
const UNKNOWN_WORKER_DELAY: Duration = Duration::from_secs(15);
/// Polling starts this fast after work was found and slows down to the configured interval.
const FASTEST_POLL: Duration = Duration::from_millis(50);

/// Which claims are on their way, so that nobody takes the jobs of a late reply for lost. One at a time per queue.
#[derive(Debug)]
pub struct OpenClaims {
    // Odd while a claim is open.
    turns: Vec<AtomicU64>,
    alone: Vec<Mutex<()>>,
}

/// A claim on its way; it ends with this.
#[derive(Debug)]
struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl OpenClaims {
    /// None is open.
    pub fn new(queues: usize) -> Self {
        let alone = (0..queues).map(|_| Mutex::new(())).collect();
        Self { turns: (0..queues).map(|_| AtomicU64::new(0)).collect(), alone }
    }

    fn open(&self, queue: QueueIndex) -> Open<'_> {
        let turn = &self.turns[queue.0];
        turn.fetch_add(1, Ordering::AcqRel);
        Open(turn)
    }

    /// The claims that are open now, for [`OpenClaims::have_ended`].
    pub fn now(&self) -> Vec<(QueueIndex, u64)> {
        let turns = self.turns.iter().map(|turn| turn.load(Ordering::Acquire));
        turns.enumerate().filter(|(_, turn)| turn % 2 == 1).map(|(queue, turn)| (QueueIndex(queue), turn)).collect()
    }

    /// Whether all claims that were open then have ended.
    pub fn have_ended(&self, then: &[(QueueIndex, u64)]) -> bool {
        sabotage::is_on(Sabotage::ReleaseOpenClaims)
            || then.iter().all(|(queue, turn)| self.turns[queue.0].load(Ordering::Acquire) != *turn)
    }
}

/// Claims for every queue with free slots.
#[derive(Debug)]
pub struct Claimer {
    shared: Arc<Shared>,
    pause: Duration,
}

impl Claimer {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pause: FASTEST_POLL }
    }
}

impl Role for Claimer {
    fn name(&self) -> &'static str {
        "claimer"
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let mut claimed = 0;
        let mut hungry = false;
        for queue in self.shared.pool.indexes() {
            let (got, wanted) = claim(&self.shared, store, queue)?;
            claimed += got;
            hungry |= wanted > got;
        }
        self.pause = if claimed > 0 { FASTEST_POLL } else { (self.pause * 2).min(self.shared.config.poll) };
        // Without a free slot there is nothing to poll for; the slot that comes free rings.
        Ok(if hungry { Wake::At(now.moment + self.pause) } else { Wake::OnAlarm })
    }
}

/// Fills the queue's slots from a store that never waits. Concurrent callers leave it to the first.
pub fn fill(shared: &Arc<Shared>, queue: QueueIndex) {
    let claiming = &shared.claiming[queue.0];
    loop {
        // 0: nobody claims; 1: somebody does; 2: and must look again.
        match claiming.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            Err(1) if claiming.compare_exchange(1, 2, Ordering::AcqRel, Ordering::Acquire).is_err() => continue,
            Err(_) => return,
        }
        if let Err(error) = claim(shared, &*shared.store, queue) {
            shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
        }
        if claiming.swap(0, Ordering::AcqRel) == 1 {
            return;
        }
    }
}

/// Claims for a thread that cannot wait to be told: what was due before is in the pool afterwards, as far as there is room.
pub fn claim_here(shared: &Arc<Shared>, queue: QueueIndex) -> Result<()> {
    claim(shared, &*shared.store, queue).map(drop)
}

/// Claims what the queue has room for. Returns how many jobs came and how many were wanted.
fn claim(shared: &Arc<Shared>, store: &dyn Store, queue: QueueIndex) -> Result<(usize, usize)> {
    // The role, or a thread that claims for itself. Where the store never waits, `fill` lets in one at a time.
    let _alone = shared.blocks.then(|| shared.claims.alone[queue.0].lock());
    let wanted = shared.pool.demand(queue);
    // Read here: the claims of other queues in the same tick may have taken long.
    let now = shared.clock.moment();
    // Unwritten acks count against the demand: a slow store stops claims instead of growing a backlog.
    if wanted == 0 || !shared.node.is_trusted(now) || shared.backlog.unwritten() >= 4 * shared.config.ack_batch {
        return Ok((0, 0));
    }
    let node = shared.node.id();
    let request = Claim { node, queue: shared.pool.name(queue).clone(), limit: wanted };
    let _open = shared.claims.open(queue);
    let jobs = match store.claim(&request) {
        Ok(jobs) => jobs,
        Err(error @ Error::LeaseLost(_)) => {
            // Wrongly trusted, after a step of the store's clock: the beat that mends it must wake everybody.
            shared.node.distrust(node);
            shared.heartbeat_alarm.ring();
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let count = jobs.len();
    if count > 0 {
        failpoint::pass(Point::Dispatch);
    }
    let mut ready = Vec::with_capacity(count);
    for job in jobs {
        let lane = shared.registry.read().get(job.worker.as_str()).map(|registration| registration.lane);
        match lane {
            Some(lane) => ready.push(Arc::new(Running::new(job, queue, lane, node))),
            None => unknown_worker(shared, job, queue),
        }
    }
    if !ready.is_empty() {
        for late in shared.pool.push(queue, ready, now) {
            shared.settle(late, Outcome::Released, now);
        }
        shared.watch_lead(now);
    }
    Ok((count, wanted))
}

/// No handler of that name here: another deploy may know it, so it waits; after a while it fails with a clear text.
fn unknown_worker(shared: &Arc<Shared>, job: Job, queue: QueueIndex) {
    let waited = job.attempted_at.unwrap_or(job.inserted_at).since(job.inserted_at);
    let outcome = if waited < shared.config.unknown_worker {
        Outcome::Snoozed { delay: UNKNOWN_WORKER_DELAY }
    } else {
        let text = format!(
            "no worker is registered as '{}' in the processes that work on queue '{}'; register it or cancel the job",
            job.worker, job.queue
        );
        let failure = Failure::new("UnknownWorker", &text, "");
        Outcome::Failed { failure, again: Again::By(Backoff::default()) }
    };
    let now = shared.clock.moment();
    let node = shared.node.id();
    shared.settle(Arc::new(Running::new(job, queue, Lane::Thread, node)), outcome, now);
}
