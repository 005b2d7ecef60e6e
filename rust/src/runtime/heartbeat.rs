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
    use crate::clock::{Clock, Manual};
    use crate::job::NewJob;
    use crate::outcome::settle;
    use crate::runtime::backlog::Finished;
    use crate::runtime::fixture::Fixture;
    use crate::runtime::watchdog::Watchdog;
    use crate::state::State;
    use crate::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
    use crate::store::{Claim, Filter};

    #[test]
    fn an_attempt_whose_handler_hangs_stands_for_no_later_one_of_its_job() {
        let on = Fixture::new();
        let (Fixture { clock, store, engine, .. }, shared) = (&on, &on.engine.shared);
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

    /// When the next beat is due, from now.
    fn tick(heartbeat: &mut Heartbeat, on: &Fixture) -> Duration {
        on.tick(heartbeat).expect("it beats by itself")
    }

    /// The store leases a job to the node, whose reply never comes.
    fn a_lost_reply(on: &Fixture) -> JobId {
        let id = on.enqueue(|job| job);
        let queue = on.engine.pool().name(QueueIndex(0)).clone();
        assert_eq!(on.store.claim(&Claim { node: on.engine.node(), queue, limit: 1 }).unwrap().len(), 1);
        id
    }

    #[test]
    fn a_job_that_is_ours_and_was_never_here_goes_back_at_the_second_beat_that_misses_it() {
        let on = Fixture::new();
        let mut heartbeat = Heartbeat::new(on.engine.shared.clone());
        tick(&mut heartbeat, &on);
        let id = a_lost_reply(&on);
        let mut state_after_a_beat = || {
            tick(&mut heartbeat, &on);
            let job = on.store.get(&[id]).unwrap().remove(0);
            (job.state, job.attempt)
        };
        assert_eq!(state_after_a_beat(), (State::Executing, 1), "the reply may be on its way");
        assert_eq!(state_after_a_beat(), (State::Available, 0));
    }

    #[test]
    fn it_does_not_go_back_while_a_claim_is_open_that_may_bring_it() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let mut heartbeat = Heartbeat::new(shared.clone());
        tick(&mut heartbeat, &on);
        let id = a_lost_reply(&on);
        let state = || on.store.get(&[id]).unwrap()[0].state;
        let open = shared.claims.open(QueueIndex(0));
        for _ in 0..3 {
            tick(&mut heartbeat, &on);
        }
        assert_eq!(state(), State::Executing);
        drop(open);
        // Another one was sent too late to bring it.
        let _another = shared.claims.open(QueueIndex(0));
        tick(&mut heartbeat, &on);
        assert_eq!(state(), State::Available);
    }

    #[test]
    fn what_is_here_or_waits_to_be_written_stays() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let mut heartbeat = Heartbeat::new(shared.clone());
        tick(&mut heartbeat, &on);
        let (runs, ends) = (on.enqueue(|job| job), on.enqueue(|job| job));
        let _running = on.next();
        let ended = on.next();
        ended.close();
        shared.pool.finish(&ended, on.clock.moment());
        let outcome = Outcome::Completed { result: None };
        shared.backlog.push(Finished::new(ended, outcome, on.clock.moment()).unwrap(), 9);
        for _ in 0..3 {
            assert_eq!(tick(&mut heartbeat, &on), shared.config.heartbeat);
        }
        let states: Vec<_> = on.store.get(&[runs, ends]).unwrap().iter().map(|job| job.state).collect();
        assert_eq!(states, [State::Executing; 2]);
    }

    #[test]
    fn a_job_that_is_not_ours_any_more_is_dropped_and_no_other() {
        let on = Fixture::new();
        let mut heartbeat = Heartbeat::new(on.engine.shared.clone());
        tick(&mut heartbeat, &on);
        for _ in 0..2 {
            on.enqueue(|job| job);
        }
        let (lost, ours) = (on.next(), on.next());
        let ack = settle(&lost.job, Outcome::Released).unwrap();
        on.store.ack_one(lost.node, &ack).unwrap();
        on.told();
        tick(&mut heartbeat, &on);
        let is_over = |running: &Running| (running.is_closed(), running.stop_wanted(), running.cancel_wanted());
        assert_eq!((is_over(&lost), is_over(&ours)), ((true, true, false), (false, false, false)));
        assert_eq!(on.told(), [Kind::LeaseLost]);
    }

    #[test]
    fn a_beat_tells_of_cancels_and_of_paused_queues_whose_signals_were_lost() {
        zjobs_vfs::install();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let open = |clock: Arc<Manual>| {
            let config = SqliteConfig::new(path.clone(), fastrand::Rng::with_seed(1));
            // Neighbours hear nothing of each other.
            SqliteStore::open(SqliteConfig { clock, liveness: Liveness::Leases, ..config }).unwrap()
        };
        let on = Fixture::with(open);
        on.beat();
        let id = on.enqueue(|job| job);
        on.engine.claim_here(QueueIndex(0)).unwrap();
        let cancelled = on.next();
        on.beat();
        assert!(!cancelled.stop_wanted());
        let elsewhere = open(on.clock.clone());
        elsewhere.cancel(&Filter { ids: Some(vec![id]), ..Filter::default() }).unwrap();
        elsewhere.pause(on.engine.pool().name(QueueIndex(0))).unwrap();
        on.beat();
        assert!(cancelled.cancel_wanted());
        on.engine.finish(&cancelled, Outcome::Completed { result: None });
        assert_eq!(on.engine.pool().demand(QueueIndex(0)), 0, "it is paused");
        elsewhere.resume(on.engine.pool().name(QueueIndex(0))).unwrap();
        let is_told_to_claim = || {
            on.engine.shared.claim_alarm.take();
            on.beat();
            on.engine.shared.claim_alarm.take()
        };
        assert_eq!([is_told_to_claim(), is_told_to_claim()], [true, false]);
    }

    #[test]
    fn a_node_that_was_declared_dead_drops_all_it_has_and_starts_anew_at_once() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let mut heartbeat = Heartbeat::new(shared.clone());
        tick(&mut heartbeat, &on);
        on.enqueue(|job| job);
        let (running, before) = (on.next(), on.engine.node());
        on.clock.advance(shared.config.ttl * 2);
        assert_eq!(on.store.rescue(9).unwrap().len(), 1);
        assert_eq!(tick(&mut heartbeat, &on), Duration::ZERO);
        assert!(running.is_closed() && running.is_let_go() && running.stop_wanted());
        assert_ne!(on.engine.node(), before);
        assert!(!shared.node.is_trusted(on.clock.moment()), "until the next beat");
        assert_eq!(tick(&mut heartbeat, &on), shared.config.heartbeat);
        assert!(shared.node.is_trusted(on.clock.moment()));
    }

    #[test]
    fn a_lease_is_trusted_for_three_quarters_of_its_time_from_before_the_beat() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let now = on.clock.moment();
        assert!(!shared.node.is_trusted(now));
        shared.claim_alarm.take();
        beat(shared, &*on.store, now).unwrap();
        assert!(shared.claim_alarm.take(), "work may have waited for it");
        let trust = shared.config.ttl * 3 / 4;
        let last = Moment((now + trust).0 - 1);
        assert!(shared.node.is_trusted(last) && !shared.node.is_trusted(now + trust));
        beat(shared, &*on.store, now).unwrap();
        assert!(!shared.claim_alarm.take(), "it was trusted all the time");
    }

    #[test]
    fn a_process_that_ends_says_so_often_and_its_jobs_go_back_soon_after_its_last_word() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let mut heartbeat = Heartbeat::new(shared.clone());
        tick(&mut heartbeat, &on);
        on.enqueue(|job| job);
        let _running = on.next();
        shared.node.set_departs(true);
        let departure = shared.config.departure;
        assert_eq!(tick(&mut heartbeat, &on), departure / 5);
        on.clock.advance(departure / 5);
        assert_eq!(tick(&mut heartbeat, &on), departure / 5);
        on.clock.advance(departure * 4 / 5);
        assert!(on.store.rescue(9).unwrap().is_empty(), "it has said so again");
        on.clock.advance(departure);
        assert_eq!(on.store.rescue(9).unwrap().len(), 1);
    }
}
