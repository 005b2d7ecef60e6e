//! The slots of a queue.

use std::time::Duration;

use zjobs_engine::clock::Moment;
use zjobs_engine::job::JobId;
use zjobs_engine::runtime::pool::{Pool, STALL};
use zjobs_engine::runtime::usher::{Call, Host, Usher};
use zjobs_engine::runtime::{Lane, Next, QueueIndex, Running};
use zjobs_engine::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering, thread};
use zjobs_models::{Counts, QUEUE, START, Standing, claimed, slots};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("a slot that waits is woken for each job, and no job is handed out twice", a_slot_is_woken),
    ("a slot that was woken before is woken again", a_slot_is_woken_again),
    ("the last slot to end a job is heard by whoever waits for quiet", quiet_is_heard),
    ("jobs are left to a lead only while somebody will look after it", a_stalled_lead_is_relieved),
    ("a closed pool lets every slot retire and gives back what did not run", a_closed_pool_retires),
    ("the event loop hears of every job and every interrupt", the_loop_hears),
    ("a ring that failed on the thread that rang is made by another", a_failed_ring_is_rung),
    ("what is left to a thread of its own is called once, also while it ends", what_is_left_is_called),
];

/// Handlers take so long, which is too long for one slot to lead through them.
const LONG: Duration = Duration::from_millis(1);
const NOW: Moment = Moment(START);

fn pool(concurrency: u32) -> Arc<Pool> {
    let pool = Pool::new(&[slots(concurrency)]);
    pool.open();
    Arc::new(pool)
}

/// A slot's thread: runs what it gets until it retires.
fn serve(pool: &Pool, mut run: impl FnMut(&Arc<Running>)) {
    loop {
        match pool.next(QUEUE, Lane::Thread, NOW) {
            Next::Job(running) => {
                run(&running);
                pool.finish(&running, NOW + LONG);
            }
            Next::Empty => pool.wait(QUEUE),
            Next::Retire => return,
        }
    }
}

fn a_slot_is_woken() {
    serve_two_jobs::<2>();
}

fn a_slot_is_woken_again() {
    serve_two_jobs::<1>();
}

fn serve_two_jobs<const SLOTS: usize>() {
    let (pool, ran) = (pool(2), Arc::new(AtomicUsize::new(0)));
    let serving = [(); SLOTS].map(|()| {
        let (pool, ran) = (pool.clone(), ran.clone());
        thread::spawn(move || {
            // Nobody closes the pool before both have run.
            serve(&pool, |_| {
                if ran.fetch_add(1, Ordering::SeqCst) == 1 {
                    assert!(pool.close().is_empty(), "a job that ran is still there");
                }
            });
        })
    });
    for id in [1, 2] {
        assert!(pool.push(QUEUE, vec![claimed(id, Lane::Thread)], NOW).is_empty(), "the slots are open");
    }
    for slot in serving {
        slot.join().expect("it retired");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

fn quiet_is_heard() {
    let pool = pool(1);
    assert!(pool.push(QUEUE, vec![claimed(1, Lane::Thread)], NOW).is_empty());
    let Next::Job(running) = pool.next(QUEUE, Lane::Thread, NOW) else { panic!("it is there") };
    let slot = thread::spawn({
        let pool = pool.clone();
        move || pool.finish(&running, NOW + LONG)
    });
    while !pool.is_quiet() {
        pool.wait_quiet(LONG);
    }
    assert!(slot.join().expect("it finished"), "its slot was not replaced");
}

/// What the engine does after each push and each look for work: the watchdog comes when the lead may have stalled.
fn watch(pool: &Pool) {
    while pool.take_unattended() {
        pool.relieve(NOW + STALL);
    }
}

fn a_stalled_lead_is_relieved() {
    let pool = pool(2);
    // A queue whose handlers have been short so far.
    assert!(pool.push(QUEUE, vec![claimed(1, Lane::Thread)], NOW).is_empty());
    let Next::Job(first) = pool.next(QUEUE, Lane::Thread, NOW) else { panic!("it is there") };
    assert!(pool.finish(&first, Moment(START + 1)));
    // The lead is in a handler that does not end before another job has run.
    assert!(pool.push(QUEUE, vec![claimed(2, Lane::Thread)], NOW).is_empty());
    let Next::Job(lead) = pool.next(QUEUE, Lane::Thread, NOW) else { panic!("it is there") };
    let other = thread::spawn({
        let pool = pool.clone();
        move || loop {
            match pool.next(QUEUE, Lane::Thread, NOW) {
                Next::Job(running) => break assert_eq!(running.job.id, JobId(3)),
                Next::Empty => {
                    watch(&pool);
                    pool.wait(QUEUE);
                }
                Next::Retire => panic!("the slots are open"),
            }
        }
    });
    assert!(pool.push(QUEUE, vec![claimed(3, Lane::Thread)], NOW).is_empty());
    watch(&pool);
    other.join().expect("it ran the other job");
    assert!(pool.finish(&lead, NOW + LONG));
}

fn a_closed_pool_retires() {
    let (pool, ran) = (pool(2), Arc::new(AtomicUsize::new(0)));
    let slot = thread::spawn({
        let (pool, ran) = (pool.clone(), ran.clone());
        move || serve(&pool, |_| _ = ran.fetch_add(1, Ordering::SeqCst))
    });
    let claimer = thread::spawn({
        let pool = pool.clone();
        move || pool.push(QUEUE, vec![claimed(1, Lane::Thread)], NOW).len()
    });
    let unrun = pool.close().len();
    let late = claimer.join().expect("it pushed");
    slot.join().expect("it retired");
    assert_eq!(ran.load(Ordering::SeqCst) + unrun + late, 1, "a job is lost or there twice");
}

/// An event loop that sleeps until it is rung; some rings fail first.
#[derive(Default)]
struct Bell {
    fails: Mutex<u32>,
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            rung = self.heard.wait(rung);
        }
        *rung = false;
    }
}

impl Host for Bell {
    fn ring(&self) -> bool {
        let mut fails = self.fails.lock();
        if *fails > 0 {
            *fails -= 1;
            return false;
        }
        drop(fails);
        *self.rung.lock() = true;
        self.heard.notify_one();
        true
    }

    fn reinforce(&self, _: QueueIndex, _: u32) -> bool {
        true
    }

    fn give_up(&self, _: JobId) -> bool {
        true
    }
}

fn the_loop_hears() {
    let (pool, bell) = (pool(2), Arc::new(Bell::default()));
    pool.set_host(Some(bell.clone()));
    let running = claimed(1, Lane::Loop);
    let canceller = thread::spawn({
        let (pool, running) = (pool.clone(), running.clone());
        move || pool.interrupt(&running)
    });
    let claimer = thread::spawn({
        let pool = pool.clone();
        move || assert!(pool.push(QUEUE, vec![claimed(2, Lane::Loop)], NOW).is_empty())
    });
    let (mut interrupted, mut taken) = (0, 0);
    while interrupted < 1 || taken < 1 {
        bell.wait();
        interrupted += pool.hear().len();
        while let Next::Job(_) = pool.next(QUEUE, Lane::Loop, NOW) {
            taken += 1;
        }
    }
    canceller.join().expect("it interrupted");
    claimer.join().expect("it pushed");
    assert_eq!((interrupted, taken), (1, 1));
    assert!(running.stop_wanted());
}

/// Nobody leaves anything any more: the thread makes what is left and ends.
fn close(usher: &Usher) {
    usher.set_host(None);
    // No time passes.
    usher.wait_gone(LONG, &Standing::default());
}

fn a_failed_ring_is_rung() {
    let pool = pool(2);
    let bell = Arc::new(Bell { fails: Mutex::new(1), ..Bell::default() });
    pool.set_host(Some(bell.clone()));
    let claimer = thread::spawn({
        let pool = pool.clone();
        move || assert!(pool.push(QUEUE, vec![claimed(1, Lane::Loop)], NOW).is_empty())
    });
    while !matches!(pool.next(QUEUE, Lane::Loop, NOW), Next::Job(_)) {
        bell.wait();
        pool.hear();
    }
    claimer.join().expect("it pushed");
    close(pool.usher());
}

fn what_is_left_is_called() {
    let usher = Arc::<Usher>::default();
    usher.set_host(Some(Arc::new(Counts::default())));
    let called = Arc::new(AtomicUsize::new(0));
    let leave = {
        let (usher, called) = (usher.clone(), called.clone());
        move || {
            let called = called.clone();
            usher.leave(Call::Settled(Box::new(move || called.fetch_add(1, Ordering::SeqCst) < 2)));
        }
    };
    let other = thread::spawn(leave.clone());
    leave();
    close(&usher);
    other.join().expect("it left its call");
    // What came after the end has a thread that does not stay.
    close(&usher);
    assert_eq!(called.load(Ordering::SeqCst), 2);
}
