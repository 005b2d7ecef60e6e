//! *rescue*.

use zjobs_engine::job::{NewJob, NodeId};
use zjobs_engine::outcome::RescueReason;
use zjobs_engine::state::State;
use zjobs_engine::store::Acked;

use super::fixture::{ALICE, BOB, Fixture, TTL, cancelled, done, ids, new_job, secs};

pub fn jobs_of_a_silent_node_are_taken_back(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.advance(TTL + secs(1));
    let rescued = on.store().rescue(9).unwrap();
    assert_eq!(rescued.len(), 1);
    assert_eq!((rescued[0].job.id, rescued[0].reason), (job.id, RescueReason::NodeDied));
    let now = on.get(job.id);
    assert_eq!(rescued[0].job, now);
    assert_eq!((now.state, now.attempt, now.lease, now.node), (State::Available, 1, job.lease, None));
    assert_eq!((now.details().crashes, now.details().errors.len()), (1, 1));
    assert_eq!((now.details().errors[0].attempt, now.details().errors[0].kind.as_str()), (1, "NodeLost"));
    on.beat(BOB, &[]);
    let again = on.claim(BOB, 1).remove(0);
    assert_eq!((again.id, again.attempt, again.lease.0), (job.id, 2, 2));
}

pub fn a_living_node_keeps_its_jobs(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.advance(TTL / 2);
    assert!(on.store().rescue(9).unwrap().is_empty());
    assert_eq!(on.get(job.id), job);
}

pub fn a_dead_node_writes_nothing_any_more(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.advance(TTL + secs(1));
    on.store().rescue(9).unwrap();
    assert_eq!(on.ack(ALICE, &job, done()), Acked::LeaseLost);
    on.beat(BOB, &[]);
    let second = on.claim(BOB, 1).remove(0);
    assert_eq!(on.ack(ALICE, &job, done()), Acked::LeaseLost);
    assert_eq!(on.get(job.id), second);
    assert_eq!(on.ack(BOB, &second, done()), Acked::Stored);
    assert_eq!(on.ack(ALICE, &job, done()), Acked::LeaseLost);
}

pub fn the_third_crash_discards(on: &dyn Fixture) {
    let id = on.enqueue_default().id;
    for (crash, to) in [(1, State::Available), (2, State::Available), (3, State::Discarded)] {
        let node = NodeId(crash);
        on.beat(node, &[]);
        assert_eq!(on.claim(node, 1).len(), 1);
        on.advance(TTL + secs(1));
        assert_eq!(on.store().rescue(9).unwrap().len(), 1);
        assert_eq!(on.state(id), to);
    }
    let job = on.get(id);
    assert_eq!((job.details().crashes, job.details().errors.len()), (3, 3));
    assert!(job.finished_at.is_some());
}

pub fn the_last_attempt_discards(on: &dyn Fixture) {
    let job = on.running(ALICE, NewJob { max_attempts: 1, ..new_job() });
    on.advance(TTL + secs(1));
    on.store().rescue(9).unwrap();
    assert_eq!(on.state(job.id), State::Discarded);
}

pub fn a_shutdown_is_refunded_after_its_grace(on: &dyn Fixture) {
    let job = on.running(ALICE, NewJob { max_attempts: 1, ..new_job() });
    on.store().depart(ALICE, secs(5)).unwrap();
    on.advance(secs(5));
    assert!(on.store().rescue(9).unwrap().is_empty(), "the grace is not over");
    on.advance(secs(1));
    let rescued = on.store().rescue(9).unwrap();
    assert_eq!(rescued.iter().map(|r| r.reason).collect::<Vec<_>>(), [RescueReason::Shutdown]);
    let now = on.get(job.id);
    assert_eq!((now.state, now.attempt, now.details().crashes), (State::Available, 0, 0));
    assert_eq!(now.details().errors.len(), 1);
    assert_eq!(on.ack(ALICE, &job, done()), Acked::LeaseLost);
}

pub fn a_wanted_cancel_becomes_one(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.store().cancel(&ids(&[job.id])).unwrap();
    on.advance(TTL + secs(1));
    on.store().rescue(9).unwrap();
    assert_eq!(on.state(job.id), State::Cancelled);
}

pub fn a_limit_leaves_the_rest_for_the_next_call(on: &dyn Fixture) {
    let jobs: Vec<_> = (0..5).map(|_| on.running(ALICE, new_job())).collect();
    on.advance(TTL + secs(1));
    assert_eq!(on.store().rescue(3).unwrap().len(), 3);
    let left = jobs.iter().find(|job| on.state(job.id) == State::Executing).unwrap();
    assert_eq!(on.ack(ALICE, left, cancelled()), Acked::LeaseLost, "it is dead already");
    assert_eq!(on.store().rescue(3).unwrap().len(), 2);
    assert!(on.store().rescue(3).unwrap().is_empty());
    assert!(on.store().nodes().unwrap().iter().all(|node| node.executing == 0));
}
