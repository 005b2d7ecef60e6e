//! News of other processes.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use zjobs_engine::job::Name;
use zjobs_engine::store::postgres::{PostgresConfig, PostgresStore};
use zjobs_engine::store::{Heartbeat, Signal, Store, Subscriber};
use zjobs_engine::sync::{Arc, Mutex};

use crate::conformance::fixture::ALICE;
use crate::postgres::fixture::{Beside, config, fresh_schema};

/// Longer than news take, and less than a test may.
const LONG: Duration = Duration::from_secs(20);

/// Looks at the queues when it hears something of them.
struct Curious {
    store: PostgresStore,
    seen: Mutex<Sender<Vec<bool>>>,
}

impl Subscriber for Curious {
    fn signal(&self, signal: &Signal) {
        if matches!(signal, Signal::Control(_)) {
            let queues = self.store.queues().unwrap();
            self.seen.lock().send(queues.iter().map(|queue| queue.paused).collect()).unwrap();
        }
    }
}

#[test]
fn who_hears_of_another_process_may_call_the_store_and_hears_the_next_news_too() {
    let schema = fresh_schema();
    let (seen, heard) = channel();
    let curious = Arc::new(Curious { store: PostgresStore::open(config(&schema)).unwrap(), seen: Mutex::new(seen) });
    let subscriber: Arc<dyn Subscriber> = curious.clone();
    curious.store.subscribe(Arc::downgrade(&subscriber));
    let beat =
        Heartbeat { node: ALICE, name: "host".into(), pid: 42, ttl: LONG, queues: Vec::new(), holds: Vec::new() };
    curious.store.heartbeat(&beat).unwrap(); // those who work listen
    let random = fastrand::Rng::with_seed(2); // each tells its own news by a number that it drew
    let other = PostgresStore::open(PostgresConfig { random, ..config(&schema) }).unwrap();
    let mail = Name::queue("mail").unwrap();
    // It may not listen yet.
    let first = (0..100).find_map(|_| {
        other.pause(&mail).unwrap();
        heard.recv_timeout(LONG / 100).ok()
    });
    assert_eq!(first, Some(vec![true]));
    other.pause(&Name::queue("post").unwrap()).unwrap();
    while heard.recv_timeout(LONG).expect("it hears nothing any more") != [true, true] {}
    drop((subscriber, curious, other));
    Beside::new().run(&format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"));
}

/// Notes when it was told that it may have missed something.
struct Forgetful(Mutex<Sender<()>>);

impl Subscriber for Forgetful {
    fn signal(&self, signal: &Signal) {
        if *signal == Signal::Missed {
            self.0.lock().send(()).unwrap();
        }
    }
}

#[test]
fn who_begins_to_listen_and_who_listens_again_is_told_that_something_may_have_been_missed() {
    let schema = fresh_schema();
    let (missed, told) = channel();
    let store = PostgresStore::open(config(&schema)).unwrap();
    let subscriber: Arc<dyn Subscriber> = Arc::new(Forgetful(Mutex::new(missed)));
    store.subscribe(Arc::downgrade(&subscriber));
    let beat =
        Heartbeat { node: ALICE, name: "host".into(), pid: 42, ttl: LONG, queues: Vec::new(), holds: Vec::new() };
    store.heartbeat(&beat).unwrap();
    told.recv_timeout(LONG).expect("it begins to listen, and is told nothing");
    let beside = Beside::new();
    for _ in 0..3 {
        let ended =
            format!("SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%{schema}%'");
        assert_eq!(beside.texts(&ended), ["true"]);
        told.recv_timeout(LONG).expect("it listens again, and is told nothing");
    }
    drop((subscriber, store));
    beside.run(&format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"));
}
