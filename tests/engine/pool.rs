//! Slots: leads, relief, limits and lanes, without threads of the engine's own.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use zjobs_engine::clock::{Clock, Manual, Moment};
use zjobs_engine::job::{Job, JobId, Lease, Name, NodeId, Priority};
use zjobs_engine::runtime::pool::{Pool, STALL};
use zjobs_engine::runtime::{Lane, Next, QueueConfig, QueueIndex, Running, StuckPolicy};
use zjobs_engine::{State, Timestamp};

const QUEUE: QueueIndex = QueueIndex(0);

fn pool(concurrency: u32) -> Arc<Pool> {
    let name = Name::queue("default").unwrap();
    let pool = Pool::new(&[QueueConfig { name, concurrency, prefetch: Some(100), stuck: StuckPolicy::Report }]);
    pool.open();
    Arc::new(pool)
}

fn claimed(id: i64, lane: Lane) -> Arc<Running> {
    let job = Job {
        id: JobId(id),
        state: State::Executing,
        queue: Name::queue("default").unwrap(),
        worker: Name::worker("w").unwrap(),
        args: b"{}".as_slice().into(),
        priority: Priority(0),
        attempt: 1,
        max_attempts: 20,
        lease: Lease(1),
        node: Some(NodeId(1)),
        scheduled_at: Timestamp(1),
        inserted_at: Timestamp(1),
        attempted_at: Some(Timestamp(1)),
        finished_at: None,
        timeout: None,
        details: None,
    };
    Arc::new(Running::new(job, QUEUE, lane, NodeId(1)))
}

fn take(pool: &Pool, now: Moment) -> Option<Arc<Running>> {
    match pool.next(QUEUE, Lane::Thread, now) {
        Next::Job(running) => Some(running),
        Next::Empty | Next::Retire => None,
    }
}

fn elsewhere<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::Builder::new().spawn(move || sender.send(call())).unwrap().join().unwrap().unwrap();
    receiver.recv().unwrap()
}

/// A queue whose handlers have taken a microsecond so far.
fn short_handlers(pool: &Arc<Pool>, clock: &Manual) {
    assert!(pool.push(QUEUE, vec![claimed(1, Lane::Thread)], clock.moment()).is_empty());
    let first = take(pool, clock.moment()).unwrap();
    clock.advance(Duration::from_micros(1));
    assert!(pool.finish(&first, clock.moment()));
}

#[test]
fn another_slot_leaves_short_jobs_to_the_lead_until_it_stalls() {
    let (pool, clock) = (pool(10), Manual::default());
    short_handlers(&pool, &clock);
    let jobs = (2..6).map(|id| claimed(id, Lane::Thread)).collect();
    assert!(pool.push(QUEUE, jobs, clock.moment()).is_empty());
    assert_eq!(take(&pool, clock.moment()).unwrap().job.id, JobId(2), "this thread leads");
    let (other, now) = (pool.clone(), clock.moment());
    assert!(elsewhere(move || take(&other, now)).is_none(), "another one goes back to sleep");
    clock.advance(STALL);
    let (other, now) = (pool.clone(), clock.moment());
    assert_eq!(elsewhere(move || take(&other, now)).unwrap().job.id, JobId(3), "the lead is in a longer job");
}

#[test]
fn what_is_left_to_a_lead_is_looked_after_though_no_slot_waits_yet() {
    let (pool, clock) = (pool(10), Manual::default());
    short_handlers(&pool, &clock);
    assert!(pool.push(QUEUE, vec![claimed(2, Lane::Thread)], clock.moment()).is_empty());
    assert_eq!(take(&pool, clock.moment()).unwrap().job.id, JobId(2), "this thread leads");
    pool.take_unattended();
    assert!(pool.push(QUEUE, vec![claimed(3, Lane::Thread)], clock.moment()).is_empty());
    assert!(pool.take_unattended(), "a slot that looked before and waits afterwards would never hear of it");
    let (other, now) = (pool.clone(), clock.moment());
    assert!(elsewhere(move || take(&other, now)).is_none(), "it leaves it to the lead");
    assert!(pool.take_unattended(), "and says so");
}

#[test]
fn a_lead_that_stalls_is_relieved_by_a_waiting_slot() {
    let (pool, clock) = (pool(10), Manual::default());
    short_handlers(&pool, &clock);
    assert!(pool.push(QUEUE, vec![claimed(2, Lane::Thread)], clock.moment()).is_empty());
    take(&pool, clock.moment()).unwrap();
    let waiting = pool.clone();
    let slot = std::thread::Builder::new().spawn(move || waiting.wait(QUEUE)).unwrap();
    while pool.idle(QUEUE) == 0 {
        std::thread::yield_now();
    }
    let jobs = (3..5).map(|id| claimed(id, Lane::Thread)).collect();
    assert!(pool.push(QUEUE, jobs, clock.moment()).is_empty());
    clock.advance(STALL);
    while !slot.is_finished() {
        pool.relieve(clock.moment());
        std::thread::yield_now();
    }
    slot.join().unwrap();
}

#[test]
fn threads_and_coroutines_share_the_concurrency_of_their_queue() {
    let (pool, clock) = (pool(2), Manual::default());
    let jobs = vec![claimed(1, Lane::Thread), claimed(2, Lane::Loop), claimed(3, Lane::Loop)];
    assert!(pool.push(QUEUE, jobs, clock.moment()).is_empty());
    let thread = take(&pool, clock.moment()).unwrap();
    assert!(matches!(pool.next(QUEUE, Lane::Loop, clock.moment()), Next::Job(_)));
    assert!(matches!(pool.next(QUEUE, Lane::Loop, clock.moment()), Next::Empty));
    assert_eq!(pool.ready(QUEUE, Lane::Loop), 0);
    assert!(pool.finish(&thread, clock.moment()));
    assert_eq!(pool.ready(QUEUE, Lane::Loop), 1);
}

#[test]
fn a_closed_pool_gives_back_what_never_ran_and_retires_its_slots() {
    let (pool, clock) = (pool(2), Manual::default());
    assert!(pool.push(QUEUE, vec![claimed(1, Lane::Thread), claimed(2, Lane::Loop)], clock.moment()).is_empty());
    let unrun: Vec<JobId> = pool.close().iter().map(|running| running.job.id).collect();
    assert_eq!(unrun, [JobId(1), JobId(2)]);
    assert!(matches!(pool.next(QUEUE, Lane::Thread, clock.moment()), Next::Retire));
    let late = pool.push(QUEUE, vec![claimed(3, Lane::Thread)], clock.moment());
    assert_eq!(late.len(), 1, "what comes too late must be released");
}
