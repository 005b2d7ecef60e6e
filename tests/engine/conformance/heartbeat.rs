//! *heartbeat* and departure.

use zjobs_engine::state::State;
use zjobs_engine::store::Pulse;

use super::fixture::{ALICE, BOB, Fixture, TTL, done, ids, new_job, queue, secs};

fn alive() -> Pulse {
    Pulse::Alive { cancel: Vec::new(), lost: Vec::new(), unknown: Vec::new() }
}

pub fn the_first_beat_registers(on: &dyn Fixture) {
    assert!(on.store().nodes().unwrap().is_empty());
    let before = on.store().now().unwrap();
    assert_eq!(on.beat(ALICE, &[]), alive());
    let after = on.store().now().unwrap();
    let [node] = on.store().nodes().unwrap().try_into().unwrap();
    assert_eq!((node.node, node.name.as_str(), node.pid, node.executing), (ALICE, "host", 42, 0));
    assert_eq!(node.queues, [(queue("default"), 10)]);
    assert!((before..=after).contains(&node.started_at));
    assert_eq!((node.beat_at, node.expires_at), (node.started_at, node.started_at + TTL));
}

pub fn a_beat_extends_the_lease(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    for _ in 0..4 {
        on.advance(TTL / 2);
        assert_eq!(on.beat(ALICE, &[job.id]), alive());
        assert!(on.store().rescue(9).unwrap().is_empty());
    }
    let node = on.store().nodes().unwrap().remove(0);
    assert!(node.beat_at > node.started_at);
    assert_eq!((node.expires_at, node.executing), (node.beat_at + TTL, 1));
}

pub fn a_beat_tells_what_is_wanted_lost_and_unknown(on: &dyn Fixture) {
    let wanted = on.running(ALICE, new_job());
    let (unknown, finished) = (on.running(ALICE, new_job()), on.running(ALICE, new_job()));
    let foreign = on.running(BOB, new_job());
    on.store().cancel(&ids(&[wanted.id])).unwrap();
    on.ack(ALICE, &finished, done());
    let Pulse::Alive { cancel, mut lost, unknown: not_held } = on.beat(ALICE, &[wanted.id, foreign.id, finished.id])
    else {
        panic!("the node lives")
    };
    lost.sort();
    assert_eq!(cancel, [wanted.id]);
    assert_eq!(lost, [finished.id, foreign.id]);
    assert_eq!(not_held, [(unknown.id, unknown.lease)]);
}

pub fn a_node_declared_dead_never_comes_back(on: &dyn Fixture) {
    on.running(ALICE, new_job());
    on.beat(BOB, &[]);
    on.advance(TTL + secs(1));
    assert_ne!(on.beat(BOB, &[]), Pulse::Dead, "nobody has declared it dead yet");
    assert_eq!(on.store().rescue(9).unwrap().len(), 1);
    for _ in 0..3 {
        assert_eq!(on.beat(ALICE, &[]), Pulse::Dead);
        on.advance(TTL);
    }
}

pub fn a_departure_that_is_announced_again_has_a_new_grace(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    for _ in 0..3 {
        on.store().depart(ALICE, secs(5)).unwrap();
        on.advance(secs(4));
        assert!(on.store().rescue(9).unwrap().is_empty());
        assert!(matches!(on.beat(ALICE, &[job.id]), Pulse::Alive { .. }));
    }
    on.advance(secs(2));
    assert_eq!(on.store().rescue(9).unwrap().len(), 1, "a beat has made its grace longer");
    on.store().depart(ALICE, secs(5)).unwrap();
    assert_eq!((on.beat(ALICE, &[]), on.state(job.id)), (Pulse::Dead, State::Available));
}

pub fn a_departed_node_without_jobs_is_gone(on: &dyn Fixture) {
    on.beat(ALICE, &[]);
    on.store().depart(ALICE, secs(30)).unwrap();
    assert!(on.store().nodes().unwrap().is_empty());
    on.store().depart(BOB, secs(30)).unwrap();
}
