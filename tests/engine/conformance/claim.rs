//! *claim*.

use zjobs_engine::Error;
use zjobs_engine::job::{Lease, NewJob, NodeId, Priority, When};
use zjobs_engine::state::State;
use zjobs_engine::store::Claim;

use super::fixture::{ALICE, BOB, Fixture, TTL, new_job, queue, secs};

pub fn order_is_priority_then_due_time_then_id(on: &dyn Fixture) {
    let now = on.store().now().unwrap();
    let wish = |priority, ago| {
        let when = When::At(now - secs(ago));
        on.enqueue(NewJob { priority: Priority(priority), when, ..new_job() }).id
    };
    let expected = {
        let (late, second, first) = (wish(0, 1), wish(0, 9), wish(-1, 0));
        let (tie, last) = (wish(0, 1), wish(i32::MAX, 99));
        let very_first = wish(i32::MIN, 0);
        [very_first, first, second, late, tie, last]
    };
    on.beat(ALICE, &[]);
    let mut got: Vec<_> = on.claim(ALICE, 2).iter().map(|job| job.id).collect();
    got.extend(on.claim(ALICE, 100).iter().map(|job| job.id));
    assert_eq!(got, expected);
}

pub fn a_claim_leases_and_counts(on: &dyn Fixture) {
    let before = on.store().now().unwrap();
    let job = on.running(ALICE, new_job());
    assert_eq!((job.state, job.attempt, job.lease, job.node), (State::Executing, 1, Lease(1), Some(ALICE)));
    assert!(job.attempted_at.is_some_and(|at| at >= before && at >= job.scheduled_at));
    assert_eq!(job.finished_at, None);
    assert_eq!(on.get(job.id), job);
    on.ack(ALICE, &job, zjobs_engine::Outcome::Released);
    let again = on.claim(ALICE, 1).remove(0);
    assert_eq!((again.id, again.attempt, again.lease), (job.id, 1, Lease(2)));
}

pub fn nothing_is_claimed_twice(on: &dyn Fixture) {
    let ids: Vec<_> = (0..5).map(|_| on.enqueue_default().id).collect();
    on.beat(ALICE, &[]);
    on.beat(BOB, &[]);
    let mut got: Vec<_> = on.claim(ALICE, 3).into_iter().chain(on.claim(BOB, 3)).map(|job| job.id).collect();
    got.sort();
    assert_eq!(got, ids);
    assert!(on.claim(ALICE, 3).is_empty());
}

pub fn nothing_is_claimed_before_its_time(on: &dyn Fixture) {
    on.enqueue(NewJob { when: When::In(secs(10)), ..new_job() });
    on.beat(ALICE, &[]);
    assert_eq!(on.store().stage(10).unwrap().moved, 0);
    assert!(on.claim(ALICE, 1).is_empty());
    on.advance(secs(10));
    assert_eq!(on.store().stage(10).unwrap().moved, 1);
    assert_eq!(on.claim(ALICE, 1).len(), 1);
}

pub fn queues_do_not_mix(on: &dyn Fixture) {
    let mail = on.enqueue(NewJob { queue: queue("mail"), ..new_job() }).id;
    on.enqueue_default();
    on.beat(ALICE, &[]);
    assert_eq!(on.claim_from(ALICE, "mail", 9).iter().map(|job| job.id).collect::<Vec<_>>(), [mail]);
    assert!(on.claim_from(ALICE, "nowhere", 9).is_empty());
}

pub fn a_limit_of_none_claims_none(on: &dyn Fixture) {
    let id = on.enqueue_default().id;
    on.beat(ALICE, &[]);
    assert!(on.claim(ALICE, 0).is_empty());
    assert_eq!(on.state(id), State::Available);
}

pub fn only_a_living_node_may_claim(on: &dyn Fixture) {
    let id = on.enqueue_default().id;
    let refused = |node| {
        let reply = on.store().claim(&Claim { node, queue: queue("default"), limit: 1 });
        assert!(matches!(reply, Err(Error::LeaseLost(_))), "{reply:?}");
        assert_eq!(on.state(id), State::Available);
    };
    refused(NodeId(404));
    on.beat(ALICE, &[]);
    on.advance(TTL + secs(1));
    refused(ALICE);
    on.store().rescue(10).unwrap();
    refused(ALICE);
    on.beat(BOB, &[]);
    on.store().depart(BOB, secs(60)).unwrap();
    refused(BOB);
}
