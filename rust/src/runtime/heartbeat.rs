//! *heartbeat*: I live; extend my leases. Also the reconciliation of what the store thinks is here with what is.
//!
//! The trust window runs from the moment before the beat was sent, so that the node stops by itself before anyone else
//! may take its jobs. After a loss everything is dropped and the node starts again as a new incarnation.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::clock::Moment;
use crate::error::Result;
use crate::failpoint::{self, Point};
use crate::job::{Job, JobId, Lease};
use crate::outcome::Outcome;
use crate::runtime::pool::QueueIndex;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::running::{Lane, Running};
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::shared::Shared;
use crate::store::{Heartbeat as Beat, Pulse, Store};
use crate::sync::Arc;
use crate::telemetry::{Event, Kind, Sink};

/// Beats.
#[derive(Debug)]
pub struct Heartbeat {
    shared: Arc<Shared>,
    unknown: FxHashMap<JobId, Suspect>,
}

/// A job that is leased to us and not here.
#[derive(Debug, Clone)]
struct Suspect {
    lease: Lease,
    /// The claims that were on their way when it was first missed; one of them may bring it.
    open: Vec<(QueueIndex, u64)>,
}

impl Heartbeat {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, unknown: FxHashMap::default() }
    }

    /// Jobs leased to us that we do not have for two beats in a row (a claim whose reply was lost): hand them back,
    /// unless the reply may still come.
    fn reconcile(&mut self, store: &dyn Store, unknown: Vec<(JobId, Lease)>, now: Moment) -> Result<()> {
        let before = std::mem::take(&mut self.unknown);
        let mut lost = Vec::new();
        for (id, lease) in unknown {
            let suspect = match before.get(&id).filter(|suspect| suspect.lease == lease) {
                Some(suspect) if self.shared.claims.have_ended(&suspect.open) => {
                    lost.push(id);
                    suspect.clone()
                }
                Some(suspect) => suspect.clone(),
                None => Suspect { lease, open: self.shared.claims.now() },
            };
            self.unknown.insert(id, suspect);
        }
        if lost.is_empty() {
            return Ok(());
        }
        let node = self.shared.node.id();
        for job in store.get(&lost)? {
            let leased =
                job.node == Some(node) && self.unknown.get(&job.id).is_some_and(|suspect| suspect.lease == job.lease);
            if leased && !self.shared.holds(job.id) {
                failpoint::pass(Point::Orphan);
                self.shared.settle(orphan(job, node), Outcome::Released, now);
            }
        }
        Ok(())
    }
}

fn orphan(job: Job, node: crate::job::NodeId) -> Arc<Running> {
    Arc::new(Running::new(job, QueueIndex(0), Lane::Thread, node))
}

impl Role for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let shared = self.shared.clone();
        shared.pool.ring_again();
        // What the reply is about: a job that was retried by hand meanwhile may be here again, under another lease.
        let before: FxHashSet<(JobId, Lease)> = shared.held().iter().map(|held| held.attempt()).collect();
        match beat(&shared, store, now.moment)? {
            Pulse::Alive { mut cancel, lost, unknown } => {
                let told = !(cancel.is_empty() && lost.is_empty());
                let mut meant = if told { shared.held() } else { Vec::new() };
                meant.retain(|held| before.contains(&held.attempt()) || sabotage::is_on(Sabotage::BelieveLateReplies));
                cancel.retain(|id| meant.iter().any(|held| held.job.id == *id));
                shared.cancel_running(&cancel);
                for held in meant.iter().filter(|held| lost.contains(&held.job.id)) {
                    drop_lost(&shared, held);
                }
                self.reconcile(store, unknown, now.moment)?;
                if shared.blocks && !sabotage::is_on(Sabotage::FollowSignalsOnly) {
                    shared.follow_all(store);
                }
                if shared.node.departs() {
                    store.depart(shared.node.id(), shared.config.departure)?;
                    return Ok(Wake::At(now.moment + shared.config.departure_beat()));
                }
                Ok(Wake::At(now.moment + shared.config.heartbeat))
            }
            Pulse::Dead => {
                self.unknown.clear();
                lose_everything(&shared);
                failpoint::pass(Point::Dead);
                shared.node.reincarnate();
                Ok(Wake::At(now.moment))
            }
        }
    }
}

/// Sends one beat and, when it is accepted, trusts the lease from `now`, which was read before it was sent.
pub fn beat(shared: &Shared, store: &dyn Store, now: Moment) -> Result<Pulse> {
    let was_trusted = shared.node.is_trusted(now);
    let pool = &shared.pool;
    let beat = Beat {
        node: shared.node.id(),
        name: shared.config.name.clone(),
        pid: std::process::id(),
        ttl: shared.config.ttl,
        queues: pool.indexes().map(|queue| (pool.name(queue).clone(), pool.limit(queue))).collect(),
        holds: shared.held_ids(),
    };
    let pulse = store.heartbeat(&beat)?;
    if let Pulse::Alive { .. } = &pulse {
        shared.node.trust_until(now + shared.config.trust());
        if !was_trusted {
            shared.wake_all();
        }
    }
    Ok(pulse)
}

/// The row of one job is not ours any more: stop its handler, drop its ack. A later attempt of it stays.
fn drop_lost(shared: &Shared, lost: &Arc<Running>) {
    let meant = |held: &Running| {
        held.attempt() == lost.attempt() || (held.job.id == lost.job.id && sabotage::is_on(Sabotage::MistakeAttempts))
    };
    if let Some(waiting) = shared.pool.withdraw(meant) {
        waiting.close();
        tell_lost(shared, &waiting);
    }
    for running in shared.pool.running() {
        // One that its handler has completed by itself is over, and its handler may go on to its end.
        if meant(&running) && !running.is_handed_over() && running.close() {
            running.let_go();
            shared.pool.interrupt(&running);
            tell_lost(shared, &running);
        }
    }
}

fn lose_everything(shared: &Shared) {
    for held in shared.held() {
        drop_lost(shared, &held);
    }
}

/// Tells that a job is not ours any more.
pub(crate) fn tell_lost(shared: &Shared, running: &Running) {
    if shared.sink.wants(Kind::LeaseLost) {
        shared.sink.emit(Event::LeaseLost(running.job.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::NewJob;
    use crate::runtime::fixture::Fixture;
    use crate::runtime::watchdog::Watchdog;

    #[test]
    fn an_attempt_whose_handler_hangs_stands_for_no_later_one_of_its_job() {
        let on = Fixture::new();
        let (Fixture { clock, store, engine }, shared) = (&on, &on.engine.shared);
        let mut heartbeat = Heartbeat::new(shared.clone());
        heartbeat.tick(Now::read(&**clock), &**store).unwrap();

        let limit = shared.config.cancel_grace;
        let id = on.enqueue(|job| NewJob { timeout: Some(limit), ..job });
        let hangs = on.next();
        assert_eq!(shared.held_ids(), [id]);
        clock.advance(limit * 2);
        let mut watchdog = Watchdog::new(shared.clone());
        watchdog.tick(Now::read(&**clock), &**store).unwrap();
        assert_eq!((shared.held_ids(), engine.pool().running().len()), (vec![], 1), "its end is written");

        while store.stage(1).unwrap().moved == 0 {
            clock.advance(Duration::from_secs(1));
            heartbeat.tick(Now::read(&**clock), &**store).unwrap();
        }
        let later = on.next();
        assert_eq!(later.attempt(), (id, Lease(2)));
        // Whatever is told of the first is nothing to the second.
        drop_lost(shared, &hangs);
        assert!(!later.is_closed() && shared.held_ids() == [id]);
        drop_lost(shared, &later);
        assert!(later.is_closed() && shared.held_ids().is_empty());
    }
}
