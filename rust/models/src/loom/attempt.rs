//! One attempt and the lease that it rests on.

use zjobs_engine::clock::Moment;
use zjobs_engine::runtime::node::Node;
use zjobs_engine::runtime::{Lane, Running};
use zjobs_engine::sync::{Arc, thread};
use zjobs_models::claimed;

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("the first to close an attempt settles it, and nobody else", one_settles),
    ("a handler that is asked to stop can see why", a_stop_says_why),
    ("a node that is trusted again knows the jobs of its former self", a_new_self_knows_the_old),
];

fn one_settles() {
    let running = claimed(1, Lane::Thread);
    let others = [(); 2].map(|()| {
        let running = running.clone();
        thread::spawn(move || running.close())
    });
    let mine = running.close();
    let settled = others.map(|other| other.join().expect("it closed")).into_iter().chain([mine]);
    assert_eq!(settled.filter(|first| *first).count(), 1);
}

fn a_stop_says_why() {
    let running = claimed(1, Lane::Thread);
    let asks: [fn(&Running); 2] = [Running::ask_cancel, |running| assert!(running.time_out())];
    let asks = asks.map(|ask| {
        let running = running.clone();
        thread::spawn(move || ask(&running))
    });
    if running.stop_wanted() {
        assert!(running.cancel_wanted() || running.timed_out(), "asked to stop for no reason");
    }
    for ask in asks {
        ask.join().expect("it asked");
    }
}

fn a_new_self_knows_the_old() {
    let node = Arc::new(Node::new(fastrand::Rng::with_seed(1)));
    node.reincarnate();
    node.trust_until(Moment(10));
    let old = node.id();
    let beat = thread::spawn({
        let node = node.clone();
        move || {
            node.reincarnate();
            node.trust_until(Moment(30));
        }
    });
    // The trust in the old one has ended by now.
    if node.is_trusted(Moment(20)) {
        assert!(node.is_former(old), "a job of the former self would start");
        assert_ne!(node.id(), old, "a claim would go out in the name of the former self");
    }
    beat.join().expect("it was accepted");
}
