//! Start and stop, once each.

use zjobs_engine::State;
use zjobs_engine::runtime::Engine;
use zjobs_engine::store::Store;
use zjobs_engine::sync::{Arc, Ordering, thread};
use zjobs_models::desk::Desk;
use zjobs_models::{Counts, QUEUE, Standing, done, engine, seat, take, wanted};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("of two who start an engine one does", one_starts),
    ("of two who stop an engine one does", one_stops),
    ("the stop or the last handler to end leaves the store, once, and the stop is over when that is done", one_leaves),
    ("a stop beside a handler that goes on waits for acks on their way", a_stop_waits_for_acks),
    ("a job that is claimed while a stop begins goes back", a_late_claim_goes_back),
];

fn world(blocks: bool) -> (Arc<Desk>, Arc<Engine>) {
    world_of(blocks, 1)
}

fn world_of(blocks: bool, slots: u32) -> (Arc<Desk>, Arc<Engine>) {
    let clock = Arc::<Standing>::default();
    let desk = Desk::new(&clock, blocks);
    let store: Arc<dyn Store> = desk.clone();
    (desk, engine(&store, &clock, &Arc::default(), slots))
}

fn one_starts() {
    let (_, engine) = world(false);
    let other = thread::spawn({
        let engine = engine.clone();
        move || engine.start_unattended(Arc::new(Counts::default())).is_ok()
    });
    let mine = engine.start_unattended(Arc::new(Counts::default())).is_ok();
    assert!(mine != other.join().expect("it tried"), "both started it, or neither");
    assert!(engine.is_running());
}

fn one_stops() {
    let (desk, engine) = world(false);
    drop(seat(&engine, "heartbeat"));
    let stop = |engine: &Engine| engine.drain().map(|()| engine.part()).is_ok();
    let other = thread::spawn({
        let engine = engine.clone();
        move || stop(&engine)
    });
    let mine = stop(&engine);
    assert!(mine != other.join().expect("it tried"), "both stopped it, or neither");
    assert!(!engine.is_running());
    assert_eq!(desk.departures.load(Ordering::SeqCst), 1);
}

fn one_leaves() {
    let (desk, engine) = world(true);
    drop(seat(&engine, "heartbeat"));
    let id = engine.enqueue_one(wanted()).expect("it is in memory").job.id;
    engine.claim_here(QUEUE).expect("the node lives");
    let running = take(&engine);
    engine.drain().expect("it is started");
    let has_left = move || {
        let job = desk.get(&[id]).expect("it is in memory").pop().expect("it is there");
        assert_eq!(job.state, State::Completed, "its ack was left behind, or comes later");
        assert_eq!(desk.departures.load(Ordering::SeqCst), 1, "the node stays, leaves later, or leaves twice");
    };
    let stop = thread::spawn({
        let (engine, has_left) = (engine.clone(), has_left.clone());
        move || {
            if engine.part().stuck.is_empty() {
                has_left();
            }
        }
    });
    let slot = thread::spawn(move || engine.finish(&running, done()));
    stop.join().expect("it stopped");
    slot.join().expect("it finished");
    has_left();
}

fn a_stop_waits_for_acks() {
    let (desk, engine) = world_of(true, 2);
    drop(seat(&engine, "heartbeat"));
    for _ in 0..2 {
        engine.enqueue_one(wanted()).expect("it is in memory");
    }
    engine.claim_here(QUEUE).expect("the node lives");
    let (ended, goes_on) = (take(&engine), take(&engine));
    engine.finish(&ended, done());
    engine.drain().expect("it is started");
    // As the acker does, which stays while a handler goes on.
    let writer = thread::spawn({
        let engine = engine.clone();
        move || engine.flush_all()
    });
    assert_eq!(engine.part().stuck, [goes_on.job.id]);
    let job = desk.get(&[ended.job.id]).expect("it is in memory").pop().expect("it is there");
    assert_eq!(job.state, State::Completed, "its ack comes after the stop");
    writer.join().expect("it wrote");
}

fn a_late_claim_goes_back() {
    let (desk, engine) = world(true);
    drop(seat(&engine, "heartbeat"));
    let id = engine.enqueue_one(wanted()).expect("it is in memory").job.id;
    let claimer = thread::spawn({
        let engine = engine.clone();
        move || engine.claim_here(QUEUE).expect("the node lives")
    });
    engine.drain().expect("it is started");
    // A stop joins the thread that claims before the last flush.
    claimer.join().expect("it claimed");
    engine.part();
    let job = desk.get(&[id]).expect("it is in memory").pop().expect("it is there");
    assert_eq!((job.state, job.attempt), (State::Available, 0), "it runs nowhere");
}
