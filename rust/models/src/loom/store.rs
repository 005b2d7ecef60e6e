//! The store in memory, and an engine that looks at it while it changes.

use std::time::Duration;

use zjobs_engine::clock::{Clock, Moment};
use zjobs_engine::job::{JobId, NewJob, NodeId, When};
use zjobs_engine::runtime::{Engine, Lane, Next, Now, Wake};
use zjobs_engine::store::{Cancelled, Claim, Filter, Heartbeat, Store};
use zjobs_engine::sync::{Arc, Condvar, Mutex, thread};
use zjobs_engine::{State, Timestamp};
use zjobs_models::desk::Desk;
use zjobs_models::{QUEUE, START, Standing, done, engine, queue, seat, take, wanted};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("a job is claimed once or cancelled, never both", claimed_once_or_cancelled),
    ("of two claims on their way one looks again for the other", fill_looks_again),
    ("two jobs run at once in two free slots", free_slots_take_all),
    ("whoever waits for a job hears of its end", waiting_for_a_job),
    ("a job that comes while the stager looks is staged at its time", the_stager_is_told),
    ("an attempt that starts while the watchdog looks ends at its deadline", the_watchdog_is_told),
    ("a job whose claim is on its way is not taken for lost", an_open_claim_is_not_lost),
    ("a cancel that meets the end of a job leaves it over, once", a_cancel_meets_the_end),
];

struct World {
    clock: Arc<Standing>,
    desk: Arc<Desk>,
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
}

fn world(blocks: bool) -> World {
    let clock = Arc::<Standing>::default();
    let desk = Desk::new(&clock, blocks);
    let store: Arc<dyn Store> = desk.clone();
    let engine = engine(&store, &clock, &Arc::default(), 2);
    World { clock, desk, store, engine }
}

impl World {
    fn now(&self) -> Now {
        Now::read(&*self.clock)
    }

    fn state(&self, id: JobId) -> State {
        self.store.get(&[id]).expect("it is in memory").first().expect("it is there").state
    }
}

fn claimed_once_or_cancelled() {
    let clock = Arc::<Standing>::default();
    let store = Desk::new(&clock, false);
    let nodes = [NodeId(1), NodeId(2)];
    for node in nodes {
        let (name, ttl) = (String::new(), Duration::from_secs(20));
        let beat = Heartbeat { node, name, pid: 1, ttl, queues: Vec::new(), holds: Vec::new() };
        store.heartbeat(&beat).expect("it is in memory");
    }
    let id = store.enqueue_one(wanted()).expect("it is in memory").job.id;
    let claims = nodes.map(|node| {
        let store = store.clone();
        thread::spawn(move || store.claim(&Claim { node, queue: queue(), limit: 2 }).expect("the node lives").len())
    });
    let cancelled = store.cancel(&Filter { ids: Some(vec![id]), ..Filter::default() }).expect("it is in memory");
    let claimed: usize = claims.map(|claim| claim.join().expect("it claimed")).iter().sum();
    match cancelled[..] {
        [Cancelled::Done(_)] => assert_eq!(claimed, 0, "a cancelled job was claimed"),
        [Cancelled::Requested(_)] => assert_eq!(claimed, 1, "it runs, and not twice"),
        _ => panic!("{cancelled:?}"),
    }
}

fn fill_looks_again() {
    let world = world(false);
    drop(seat(&world.engine, "heartbeat"));
    let other = thread::spawn({
        let engine = world.engine.clone();
        move || drop(engine.enqueue_one(wanted()).expect("it is in memory"))
    });
    world.engine.enqueue_one(wanted()).expect("it is in memory");
    other.join().expect("it enqueued");
    assert_eq!(world.engine.pool().ready(QUEUE, Lane::Thread), 2, "a free slot has nothing to take");
}

fn free_slots_take_all() {
    let world = world(false);
    drop(seat(&world.engine, "heartbeat"));
    let both = Arc::new((Mutex::new(0), Condvar::new()));
    let slots = [(); 2].map(|()| {
        let (engine, both) = (world.engine.clone(), both.clone());
        thread::spawn(move || {
            while !matches!(engine.next(QUEUE, Lane::Thread), Next::Job(_)) {
                engine.wait(QUEUE);
            }
            // A handler that ends when the other one runs, too.
            let mut running = both.0.lock();
            *running += 1;
            both.1.notify_all();
            while *running < 2 {
                running = both.1.wait(running);
            }
        })
    });
    for _ in 0..2 {
        world.engine.enqueue_one(wanted()).expect("it is in memory");
    }
    for slot in slots {
        slot.join().expect("it ran a job");
    }
}

fn waiting_for_a_job() {
    let world = world(false);
    drop(seat(&world.engine, "heartbeat"));
    let id = world.engine.enqueue_one(wanted()).expect("it is in memory").job.id;
    let running = take(&world.engine);
    let slot = thread::spawn({
        let engine = world.engine.clone();
        move || engine.finish(&running, done())
    });
    let job = world.engine.wait_final(id, Duration::from_secs(1)).expect("it is in memory").expect("it is there");
    assert_eq!(job.state, State::Completed);
    slot.join().expect("it finished");
}

fn the_stager_is_told() {
    let world = world(false);
    let (mut stager, alarm) = seat(&world.engine, "stager");
    let delay = Duration::from_secs(1);
    let other = thread::spawn({
        let engine = world.engine.clone();
        let later = NewJob { when: When::In(delay), ..wanted() };
        move || drop(engine.enqueue_one(later).expect("it is in memory"))
    });
    // As its loop does: the alarm first.
    alarm.take();
    let wake = stager.tick(world.now(), &*world.store).expect("it is in memory");
    other.join().expect("it enqueued");
    let planned = wake == Wake::At(Moment(START) + delay);
    assert!(planned || alarm.take(), "the stager sleeps past the job");
}

fn the_watchdog_is_told() {
    let world = world(false);
    let (mut watchdog, alarm) = seat(&world.engine, "watchdog");
    let limit = Duration::from_secs(1);
    world.engine.enqueue_one(NewJob { timeout: Some(limit), ..wanted() }).expect("it is in memory");
    let slot = thread::spawn({
        let engine = world.engine.clone();
        move || drop(take(&engine))
    });
    alarm.take();
    let wake = watchdog.tick(world.now(), &*world.store).expect("it is in memory");
    slot.join().expect("it took the job");
    let planned = wake == Wake::At(Moment(START) + limit);
    assert!(planned || alarm.take(), "the watchdog sleeps past the deadline");
}

fn an_open_claim_is_not_lost() {
    let world = world(true);
    let (mut heartbeat, _) = seat(&world.engine, "heartbeat");
    let id = world.engine.enqueue_one(wanted()).expect("it is in memory").job.id;
    let claimer = thread::spawn({
        let engine = world.engine.clone();
        move || engine.claim_here(QUEUE).expect("the node lives")
    });
    for _ in 0..2 {
        heartbeat.tick(world.now(), &*world.store).expect("it is in memory");
    }
    claimer.join().expect("it claimed");
    world.engine.flush_all();
    assert!(world.desk.acks.lock().is_empty(), "its own node gave it back");
    assert_eq!((world.engine.pool().ready(QUEUE, Lane::Thread), world.state(id)), (1, State::Executing));
}

fn a_cancel_meets_the_end() {
    let world = world(false);
    drop(seat(&world.engine, "heartbeat"));
    let id = world.engine.enqueue_one(wanted()).expect("it is in memory").job.id;
    let running = take(&world.engine);
    let person = thread::spawn({
        let store = world.store.clone();
        move || store.cancel(&Filter { ids: Some(vec![id]), ..Filter::default() }).expect("it is in memory")
    });
    assert!(world.engine.finish(&running, done()), "its slot was not replaced");
    let cancelled = person.join().expect("it cancelled");
    let expected = if cancelled.is_empty() { State::Completed } else { State::Cancelled };
    assert_eq!(world.state(id), expected, "{cancelled:?}");
    assert!(world.clock.now() > Timestamp(0) && world.engine.pool().is_quiet());
}
