//! An engine with its service threads on a store in memory.

use std::time::Duration;

use zjobs_engine::job::JobId;
use zjobs_engine::runtime::{Engine, Lane, Next};
use zjobs_engine::store::{Filter, Store};
use zjobs_engine::sync::{Arc, Condvar, Mutex, Ordering, thread};
use zjobs_engine::{Outcome, State};
use zjobs_models::desk::Desk;
use zjobs_models::{Counts, QUEUE, Standing, done, engine, wanted};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("every job of several producers runs once, one slot leading through them", || all_run(false, SHORT)),
    ("every job of several producers runs once, in slots that take turns", || all_run(false, LONG)),
    ("every job of a store that may wait runs once, and its acks go in batches", || all_run(true, LONG)),
    ("a stop that comes at any time leaves each job over or waiting", || a_stop_at_any_time(false)),
    ("a stop that comes at any time flushes a store that may wait", || a_stop_at_any_time(true)),
    ("jobs that are cancelled while they wait or run end once", cancels),
];

const PRODUCERS: usize = 2;
const EACH: usize = 3;
const SLOTS: u32 = 2;
/// How long handlers take: so short that one slot leads through them, and longer than that.
const SHORT: Duration = Duration::from_nanos(100);
const LONG: Duration = Duration::from_millis(1);

struct World {
    desk: Arc<Desk>,
    engine: Arc<Engine>,
    clock: Arc<Standing>,
    takes: Duration,
    /// Which jobs have run, in any order.
    ran: Mutex<Vec<JobId>>,
    /// How many have ended, for whoever waits for all.
    ended: Mutex<usize>,
    more: Condvar,
}

fn world(blocks: bool, takes: Duration) -> Arc<World> {
    let clock = Arc::<Standing>::default();
    let desk = Desk::new(&clock, blocks);
    let store: Arc<dyn Store> = desk.clone();
    let engine = engine(&store, &clock, &Arc::default(), SLOTS);
    engine.start(Arc::new(Counts::default())).expect("it was not started");
    Arc::new(World {
        desk,
        engine,
        clock,
        takes,
        ran: Mutex::default(),
        ended: Mutex::default(),
        more: Condvar::default(),
    })
}

impl World {
    /// The threads of the slots, which run what they get until they retire.
    fn slots(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let serve = |world: Arc<Self>| {
            move || loop {
                match world.engine.next(QUEUE, Lane::Thread) {
                    Next::Job(running) => {
                        world.ran.lock().push(running.job.id);
                        thread::yield_now();
                        world.clock.advance(world.takes);
                        let outcome = if running.stop_wanted() { stopped() } else { done() };
                        world.engine.finish(&running, outcome);
                        *world.ended.lock() += 1;
                        world.more.notify_all();
                    }
                    Next::Empty => world.engine.wait(QUEUE),
                    Next::Retire => return,
                }
            }
        };
        (0..SLOTS).map(|_| thread::spawn(serve(self.clone()))).collect()
    }

    fn producers(self: &Arc<Self>) -> Vec<thread::JoinHandle<()>> {
        let produce = |world: Arc<Self>| {
            move || (0..EACH).for_each(|_| drop(world.engine.enqueue_one(wanted()).expect("it is in memory")))
        };
        (0..PRODUCERS).map(|_| thread::spawn(produce(self.clone()))).collect()
    }

    fn wait_for(&self, count: usize) {
        let mut ended = self.ended.lock();
        while *ended < count {
            ended = self.more.wait(ended);
        }
    }

    fn states(&self) -> Vec<(JobId, State, u32)> {
        let jobs = self.desk.list(&Filter::default()).expect("it is in memory");
        jobs.into_iter().map(|job| (job.id, job.state, job.attempt)).collect()
    }

    /// The jobs that have run; none has twice.
    fn ran(&self) -> Vec<JobId> {
        let mut ran = self.ran.lock().clone();
        ran.sort_unstable();
        assert!(ran.windows(2).all(|pair| pair[0] != pair[1]), "a job ran twice: {ran:?}");
        ran
    }
}

fn stopped() -> Outcome {
    Outcome::Cancelled { reason: "it was asked to stop".into() }
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("it ended");
    }
}

fn all_run(blocks: bool, takes: Duration) {
    let world = world(blocks, takes);
    let (slots, producers) = (world.slots(), world.producers());
    world.wait_for(PRODUCERS * EACH);
    let left = world.engine.stop(None).expect("it is started");
    assert!(left.stuck.is_empty(), "{left:?}");
    join(producers);
    join(slots);
    assert_eq!(world.ran().len(), PRODUCERS * EACH);
    let states = world.states();
    assert!(states.iter().all(|(_, state, attempt)| (*state, *attempt) == (State::Completed, 1)), "{states:?}");
    assert!(world.engine.pool().is_quiet() && !world.engine.is_running());
}

fn a_stop_at_any_time(blocks: bool) {
    let world = world(blocks, LONG);
    let (slots, producers) = (world.slots(), world.producers());
    world.engine.stop(None).expect("it is started");
    join(producers);
    join(slots);
    let ran = world.ran();
    for (id, state, attempt) in world.states() {
        let expected = if ran.contains(&id) { (State::Completed, 1) } else { (State::Available, 0) };
        assert_eq!((state, attempt), expected, "job {id}; these ran: {ran:?}");
    }
    assert_eq!(world.desk.departures.load(Ordering::SeqCst), 1);
}

fn cancels() {
    let world = world(false, SHORT);
    let (slots, producers) = (world.slots(), world.producers());
    let person = thread::spawn({
        let world = world.clone();
        move || (0..EACH).for_each(|_| drop(world.desk.cancel(&Filter::default()).expect("it is in memory")))
    });
    join(producers);
    for (id, ..) in world.states() {
        let ended =
            || world.engine.wait_final(id, LONG).expect("it is in memory").expect("it is there").state.is_final();
        while !ended() {}
    }
    person.join().expect("they cancelled");
    world.engine.stop(None).expect("it is started");
    join(slots);
    let (ran, states) = (world.ran(), world.states());
    assert_eq!(states.len(), PRODUCERS * EACH);
    for (id, state, _) in states {
        assert!(state == State::Cancelled || state == State::Completed && ran.contains(&id), "job {id} is {state:?}");
    }
}
