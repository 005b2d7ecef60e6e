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
pub(super) struct Open<'a>(&'a AtomicU64);

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

    pub(super) fn open(&self, queue: QueueIndex) -> Open<'_> {
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
    let mut ready = Vec::with_capacity(count);
    for job in jobs {
        let lane = shared.registry.read().get(job.worker.as_str()).map(|registration| registration.lane);
        match lane {
            Some(lane) => ready.push(Arc::new(Running::new(job, queue, lane, node))),
            None => unknown_worker(shared, job, queue),
        }
    }
    if !ready.is_empty() {
        failpoint::pass(Point::Dispatch);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Moment};
    use crate::job::{Name, NewJob};
    use crate::runtime::backlog::Finished;
    use crate::runtime::fixture::Fixture;
    use crate::state::State;

    const POLL: Duration = Duration::from_secs(1);

    fn node() -> (Fixture, Claimer) {
        let on = Fixture::new();
        on.beat();
        let claimer = Claimer::new(on.engine.shared.clone());
        (on, claimer)
    }

    fn states(on: &Fixture, ids: &[crate::job::JobId]) -> Vec<State> {
        on.store.get(ids).unwrap().iter().map(|job| job.state).collect()
    }

    #[test]
    fn it_polls_ever_more_slowly_while_there_is_nothing_fast_after_work_and_not_at_all_without_a_free_slot() {
        let (on, mut claimer) = node();
        let waits: Vec<_> = (0..6).map(|_| on.tick(&mut claimer).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, POLL.as_millis(), POLL.as_millis()]);
        on.enqueue(|job| job);
        assert_eq!(on.tick(&mut claimer), Some(FASTEST_POLL), "there was work, and another slot is free");
        on.enqueue(|job| job);
        assert_eq!(on.tick(&mut claimer), None, "all slots have work");
        let last = on.enqueue(|job| job);
        assert_eq!((on.tick(&mut claimer), states(&on, &[last])), (None, vec![State::Available]));
    }

    #[test]
    fn a_node_that_is_not_sure_of_its_lease_claims_nothing() {
        let (on, mut claimer) = node();
        let id = on.enqueue(|job| job);
        on.clock.advance(on.engine.shared.config.trust());
        on.tick(&mut claimer);
        assert_eq!(states(&on, &[id]), [State::Available]);
        on.beat();
        on.tick(&mut claimer);
        assert_eq!(states(&on, &[id]), [State::Executing]);
    }

    #[test]
    fn acks_that_wait_to_be_written_hold_claims_up() {
        let (on, mut claimer) = node();
        let (shared, now) = (&on.engine.shared, on.clock.moment());
        on.enqueue(|job| job);
        let job = on.next().job.clone();
        let waits = || {
            let running = Arc::new(Running::new(job.clone(), QueueIndex(0), Lane::Thread, shared.node.id()));
            let Ok(finished) = Finished::new(running, Outcome::Released, now) else { panic!("it may be written") };
            shared.backlog.push(finished, usize::MAX);
        };
        let most = 4 * shared.config.ack_batch;
        for _ in 1..most {
            waits();
        }
        let ids = [(); 2].map(|()| on.enqueue(|job| job));
        on.tick(&mut claimer);
        assert_eq!(states(&on, &ids), [State::Executing, State::Available], "as many as there are slots");
        waits();
        on.engine.pool().close();
        on.engine.pool().open();
        assert_eq!(on.tick(&mut claimer), None, "and none when so many wait");
        assert_eq!(states(&on, &ids), [State::Executing, State::Available]);
    }

    #[test]
    fn a_node_that_the_store_does_not_know_asks_for_a_beat() {
        let (on, mut claimer) = node();
        let shared = &on.engine.shared;
        let moment = on.clock.moment();
        shared.node.reincarnate();
        shared.node.trust_until(Moment::NEVER);
        shared.heartbeat_alarm.take();
        let failed = claimer.tick(Now::read(&*on.clock), &*on.store).unwrap_err();
        assert!(matches!(failed, Error::LeaseLost(_)) && shared.heartbeat_alarm.take());
        assert!(!shared.node.is_trusted(moment), "until that it claims nothing");
    }

    #[test]
    fn a_job_whose_worker_nobody_knows_is_put_back_for_as_long_as_a_deploy_may_take() {
        let (on, mut claimer) = node();
        let worker = Name::worker("of.another.deploy").unwrap();
        let id = on.enqueue(|job| NewJob { worker, ..job });
        on.tick(&mut claimer);
        let job = on.store.get(&[id]).unwrap().remove(0);
        assert_eq!((job.state, job.attempt), (State::Scheduled, 0));
        assert_eq!(job.scheduled_at.since(on.clock.now()), UNKNOWN_WORKER_DELAY);
        on.clock.advance(on.engine.shared.config.unknown_worker);
        on.beat();
        assert_eq!(on.store.stage(1).unwrap().moved, 1);
        on.tick(&mut claimer);
        let job = on.store.get(&[id]).unwrap().remove(0);
        assert_eq!((job.state, job.attempt), (State::Retryable, 1));
        let error = &job.details().errors[0];
        assert_eq!(error.kind, "UnknownWorker");
        let says = "no worker is registered as 'of.another.deploy' in the processes that work on queue 'default'; \
                    register it or cancel the job";
        assert_eq!(error.message, says);
    }

    #[test]
    fn who_comes_while_another_fills_the_slots_leaves_it_to_him_and_he_looks_again() {
        let (on, _) = node();
        let shared = &on.engine.shared;
        let id = on.enqueue(|job| job);
        let claiming = &shared.claiming[0];
        claiming.store(1, Ordering::Release);
        for _ in 0..2 {
            fill(shared, QueueIndex(0));
            assert_eq!((claiming.load(Ordering::Acquire), states(&on, &[id])), (2, vec![State::Available]));
        }
        claiming.store(0, Ordering::Release);
        fill(shared, QueueIndex(0));
        assert_eq!((claiming.load(Ordering::Acquire), states(&on, &[id])), (0, vec![State::Executing]));
    }

    #[test]
    fn a_claim_is_open_until_it_has_been_answered() {
        let claims = OpenClaims::new(2);
        assert!(claims.now().is_empty() && claims.have_ended(&[]));
        let open = claims.open(QueueIndex(1));
        let then = claims.now();
        assert!(then.iter().map(|(queue, _)| *queue).eq([QueueIndex(1)]) && !claims.have_ended(&then));
        drop(open);
        assert!(claims.now().is_empty() && claims.have_ended(&then));
        let _another = claims.open(QueueIndex(1));
        assert!(claims.have_ended(&then), "another claim is none of those");
    }
}
