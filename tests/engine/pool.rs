//! Slots: leads, relief, limits and lanes, without threads of the engine's own.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zjobs_engine::clock::{Clock, Manual, Moment};
use zjobs_engine::job::{Job, JobId, Lease, Name, NodeId, Priority};
use zjobs_engine::runtime::pool::{Pool, STALL};
use zjobs_engine::runtime::usher::Host;
use zjobs_engine::runtime::{Lane, Next, QueueConfig, QueueIndex, Running, StuckPolicy};
use zjobs_engine::{State, Timestamp};

const QUEUE: QueueIndex = QueueIndex(0);

fn config(concurrency: u32) -> QueueConfig {
    let name = Name::queue("default").unwrap();
    QueueConfig { name, concurrency, prefetch: Some(100), stuck: StuckPolicy::Report }
}

fn open(config: QueueConfig) -> Arc<Pool> {
    let pool = Pool::new(&[config]);
    pool.open();
    Arc::new(pool)
}

fn pool(concurrency: u32) -> Arc<Pool> {
    open(config(concurrency))
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

/// Puts jobs of these lanes, numbered from one, into the buffers.
fn push(pool: &Pool, lanes: &[Lane]) {
    let jobs = (1..).zip(lanes).map(|(id, lane)| claimed(id, *lane)).collect();
    assert!(pool.push(QUEUE, jobs, Moment(0)).is_empty());
}

/// Runs one job on a thread for so long.
fn run(pool: &Pool, took: Duration) {
    push(pool, &[Lane::Thread]);
    let running = take(pool, Moment(0)).unwrap();
    assert!(pool.finish(&running, Moment(0) + took));
}

/// Writes down what it is told.
#[derive(Default)]
struct House(Mutex<Vec<String>>);

impl House {
    /// Who owns the pool's slots from now on.
    fn of(pool: &Pool) -> Arc<Self> {
        let house = Arc::<Self>::default();
        pool.set_host(Some(house.clone()));
        house
    }

    fn note(&self, call: String) -> bool {
        self.0.lock().unwrap().push(call);
        true
    }

    /// What it was told since the last look.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Host for House {
    fn ring(&self) -> bool {
        self.note("ring".to_owned())
    }

    fn reinforce(&self, queue: QueueIndex, slots: u32) -> bool {
        self.note(format!("reinforce {} {slots}", queue.0))
    }

    fn give_up(&self, job: JobId) -> bool {
        self.note(format!("give up {job}"))
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

#[test]
fn jobs_are_asked_for_as_there_is_room_and_ahead_as_a_queue_is_set_to() {
    let fixed = pool(2);
    assert_eq!(fixed.demand(QUEUE), 102);
    push(&fixed, &[Lane::Thread, Lane::Thread, Lane::Loop]);
    take(&fixed, Moment(0)).unwrap();
    assert_eq!(fixed.demand(QUEUE), 99, "but for what waits here and what runs");
    fixed.control(QUEUE, false, Some(5));
    assert_eq!(fixed.demand(QUEUE), 102);
    fixed.control(QUEUE, true, None);
    assert_eq!(fixed.demand(QUEUE), 0, "it is paused");
    fixed.control(QUEUE, false, None);
    fixed.close();
    assert_eq!(fixed.demand(QUEUE), 0);
}

#[test]
fn a_queue_of_short_jobs_asks_for_two_milliseconds_of_them_ahead() {
    let ahead = |took: &[Duration]| {
        let pool = open(QueueConfig { prefetch: None, ..config(2) });
        for took in took {
            run(&pool, *took);
        }
        pool.demand(QUEUE) - 2
    };
    let micros = Duration::from_micros;
    assert_eq!(ahead(&[]), 0, "nothing is known of them");
    assert_eq!(ahead(&[micros(100)]), 20);
    assert_eq!(ahead(&[micros(100), micros(900)]), 10, "an eighth of the news");
    assert_eq!(ahead(&[micros(3_000)]), 0);
    assert_eq!(ahead(&[micros(1)]), 256, "never more");
}

#[test]
fn a_queue_is_hungry_while_a_slot_is_free_and_nothing_waits_and_has_a_spare_slot_while_more_are_free_than_wait() {
    let pool = pool(3);
    let wants = || (pool.is_hungry(QUEUE), pool.has_spare_slot(QUEUE));
    assert_eq!(wants(), (true, true));
    push(&pool, &[Lane::Thread, Lane::Loop]);
    assert_eq!(wants(), (false, true));
    push(&pool, &[Lane::Thread]);
    assert_eq!(wants(), (false, false));
    let running = [Lane::Thread, Lane::Loop, Lane::Thread].map(|lane| pool.next(QUEUE, lane, Moment(0)));
    assert!(running.iter().all(|next| matches!(next, Next::Job(_))));
    assert_eq!(wants(), (false, false));
    let [Next::Job(first), ..] = running else { panic!("they run") };
    pool.finish(&first, Moment(0));
    assert_eq!(wants(), (true, true));
    pool.control(QUEUE, true, None);
    assert_eq!(wants(), (false, false));
    pool.control(QUEUE, false, None);
    pool.close();
    assert_eq!(wants(), (false, false));
}

#[test]
fn a_paused_queue_gives_back_what_waits_and_starts_nothing() {
    let pool = pool(2);
    push(&pool, &[Lane::Thread, Lane::Loop]);
    let back: Vec<_> = pool.control(QUEUE, true, None).iter().map(|running| running.job.id).collect();
    assert_eq!(back, [JobId(1), JobId(2)]);
    push(&pool, &[Lane::Thread, Lane::Loop]);
    assert!(matches!(pool.next(QUEUE, Lane::Thread, Moment(0)), Next::Empty));
    assert_eq!(pool.ready(QUEUE, Lane::Loop), 0);
    assert!(pool.control(QUEUE, false, None).is_empty());
    assert!(take(&pool, Moment(0)).is_some() && pool.ready(QUEUE, Lane::Loop) == 1);
}

#[test]
fn a_queue_that_grows_asks_for_more_slots() {
    let pool = pool(2);
    let house = House::of(&pool);
    let told_at = |limit| {
        pool.control(QUEUE, false, limit);
        (pool.limit(QUEUE), house.told().concat())
    };
    assert_eq!(told_at(None), (2, String::new()));
    assert_eq!(told_at(Some(3)), (3, "reinforce 0 3".to_owned()));
    assert_eq!(told_at(Some(3)), (3, String::new()));
    assert_eq!(told_at(Some(1)), (1, String::new()));
    assert_eq!(told_at(None), (2, "reinforce 0 2".to_owned()));
}

#[test]
fn the_loop_hears_of_its_jobs_of_those_that_a_thread_made_room_for_and_of_the_end() {
    let pool = pool(1);
    let house = House::of(&pool);
    let told = || {
        pool.hear();
        house.told().concat()
    };
    push(&pool, &[Lane::Thread]);
    assert_eq!(told(), "");
    push(&pool, &[Lane::Loop]);
    assert_eq!(told(), "ring");
    let running = take(&pool, Moment(0)).unwrap();
    assert_eq!(told(), "");
    pool.finish(&running, Moment(0));
    assert_eq!(told(), "ring");
    pool.stir_slots();
    assert_eq!(told(), "ring");
    pool.close();
    assert_eq!(told(), "ring");
}

#[test]
fn a_loop_that_has_work_or_somebody_to_interrupt_is_rung_once_more_though_it_has_not_answered() {
    let pool = pool(1);
    let house = House::of(&pool);
    pool.ring_again();
    assert!(house.told().is_empty());
    push(&pool, &[Lane::Loop]);
    pool.ring_again();
    assert_eq!(house.told(), ["ring", "ring"]);
    let Next::Job(running) = pool.next(QUEUE, Lane::Loop, Moment(0)) else { panic!("it waits") };
    pool.ring_again();
    assert!(house.told().is_empty());
    pool.interrupt(&running);
    pool.ring_again();
    assert_eq!(house.told(), ["ring"], "the first was not answered");
    assert_eq!(pool.hear().len(), 1);
    pool.ring_again();
    assert!(house.told().is_empty());
}

#[test]
fn a_handler_on_a_thread_is_interrupted_by_a_flag_and_one_on_the_loop_by_the_loop_too() {
    let pool = pool(2);
    let (thread, coroutine) = (claimed(1, Lane::Thread), claimed(2, Lane::Loop));
    pool.interrupt(&thread);
    pool.interrupt(&coroutine);
    assert!(thread.stop_wanted() && coroutine.stop_wanted());
    let loops: Vec<_> = pool.hear().iter().map(|running| running.job.id).collect();
    assert_eq!(loops, [JobId(2)]);
    assert!(pool.hear().is_empty());
}

#[test]
fn a_slot_that_hangs_is_reported_replaced_or_the_end_of_the_process_as_its_queue_says() {
    let hang = |stuck| {
        let pool = open(QueueConfig { stuck, ..config(1) });
        let house = House::of(&pool);
        push(&pool, &[Lane::Thread, Lane::Thread]);
        let running = take(&pool, Moment(0)).unwrap();
        pool.stuck(&running);
        let next = take(&pool, Moment(0)).is_some();
        (house.told().concat(), running.is_abandoned(), next, pool.finish(&running, Moment(0)))
    };
    assert_eq!(hang(StuckPolicy::Report), (String::new(), false, false, true));
    assert_eq!(hang(StuckPolicy::Replace), ("reinforce 0 1".to_owned(), true, true, false));
    assert_eq!(hang(StuckPolicy::Exit), ("give up 1".to_owned(), false, false, true));
}

#[test]
fn a_job_that_waits_is_withdrawn_from_either_lane() {
    let pool = pool(2);
    push(&pool, &[Lane::Thread, Lane::Loop, Lane::Thread]);
    let held = || pool.held().iter().map(|running| running.job.id.0).collect::<Vec<_>>();
    take(&pool, Moment(0)).unwrap();
    assert_eq!(held(), [1, 3, 2]);
    assert_eq!(pool.running().len(), 1);
    let withdraw = |id| pool.withdraw(|running| running.job.id == JobId(id)).is_some();
    assert_eq!([1, 2, 3, 2].map(withdraw), [false, true, true, false], "what runs does not wait");
    assert_eq!(held(), [1]);
}

#[test]
fn a_slot_comes_free_for_another_job_and_once_only() {
    let pool = pool(1);
    push(&pool, &[Lane::Thread, Lane::Thread]);
    let first = take(&pool, Moment(0)).unwrap();
    assert!(take(&pool, Moment(0)).is_none() && !pool.is_quiet());
    assert!(pool.finish(&first, Moment(0)) && pool.is_quiet());
    let second = take(&pool, Moment(0)).unwrap();
    assert!(!pool.finish(&first, Moment(0)), "the second has its place");
    assert!(!pool.is_quiet() && pool.finish(&second, Moment(0)) && pool.is_quiet());
}

#[test]
fn who_waits_for_quiet_waits_while_a_handler_runs_and_for_as_long_as_he_wants() {
    let pool = pool(1);
    pool.wait_quiet(Duration::MAX);
    push(&pool, &[Lane::Thread]);
    let running = take(&pool, Moment(0)).unwrap();
    pool.wait_quiet(Duration::from_millis(1));
    assert!(!pool.is_quiet());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            while !pool.is_quiet() {
                pool.wait_quiet(Duration::from_secs(60));
            }
        });
        pool.finish(&running, Moment(0));
        waits.join().unwrap();
    });
}

#[test]
fn a_slot_does_not_wait_for_what_is_here() {
    let pool = pool(1);
    push(&pool, &[Lane::Thread]);
    pool.wait(QUEUE);
    pool.close();
    pool.wait(QUEUE);
    pool.wait_idle(QUEUE, Duration::MAX);
    assert_eq!(pool.idle(QUEUE), 0);
}

/// Lets a slot wait, and says whether this ends its wait, in that time.
fn wakes_a_slot(pool: &Pool, most: Duration, wake: impl FnOnce()) -> bool {
    let (ends, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            pool.wait(QUEUE);
            ends.send(()).unwrap();
        });
        while pool.idle(QUEUE) == 0 {
            std::thread::yield_now();
        }
        wake();
        let woken = ended.recv_timeout(most).is_ok();
        pool.close();
        woken
    })
}

#[test]
fn a_slot_that_waits_hears_of_jobs_for_threads_of_room_for_them_and_of_the_end() {
    const LONG: Duration = Duration::from_secs(60);
    let new = pool(1);
    assert!(wakes_a_slot(&new, LONG, || push(&new, &[Lane::Thread])));
    let other = pool(1);
    assert!(!wakes_a_slot(&other, LONG / 1_000, || push(&other, &[Lane::Loop])), "that is for the loop");
    let freed = pool(1);
    push(&freed, &[Lane::Loop, Lane::Thread]);
    let Next::Job(coroutine) = freed.next(QUEUE, Lane::Loop, Moment(0)) else { panic!("it waits") };
    assert!(wakes_a_slot(&freed, LONG, || assert!(freed.finish(&coroutine, Moment(0)))));
    let stirred = pool(1);
    assert!(wakes_a_slot(&stirred, LONG, || stirred.stir_slots()));
    let closed = pool(1);
    assert!(wakes_a_slot(&closed, LONG, || drop(closed.close())));
}

/// Lets a slot wait, and says whether it is still at it a moment later.
fn a_slot_waits(pool: &Pool) -> bool {
    !wakes_a_slot(pool, Duration::from_millis(50), || ())
}

#[test]
fn a_slot_waits_while_its_queue_is_full_or_paused_or_led_by_another() {
    let full = pool(1);
    push(&full, &[Lane::Thread, Lane::Thread]);
    take(&full, Moment(0)).unwrap();
    assert!(a_slot_waits(&full));
    let paused = pool(1);
    paused.control(QUEUE, true, None);
    push(&paused, &[Lane::Thread]);
    assert!(a_slot_waits(&paused));
    let led = pool(2);
    run(&led, Duration::from_micros(1));
    push(&led, &[Lane::Thread]);
    assert!(a_slot_waits(&led), "this thread leads");
    led.open();
    push(&led, &[Lane::Thread]);
    led.wait(QUEUE);
}

#[test]
fn as_many_slots_are_woken_as_jobs_come() {
    let pool = pool(3);
    let (ends, ended) = channel();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                pool.wait(QUEUE);
                ends.send(()).unwrap();
            });
        }
        while pool.idle(QUEUE) < 3 {
            std::thread::yield_now();
        }
        for _ in 0..2 {
            push(&pool, &[Lane::Thread]);
        }
        for _ in 0..2 {
            ended.recv().unwrap();
        }
        pool.close();
    });
}

#[test]
fn a_lead_that_finds_nothing_leads_no_longer_and_another_that_finds_nothing_changes_nothing() {
    let pool = pool(10);
    run(&pool, Duration::from_micros(1));
    let other = pool.clone();
    assert!(elsewhere(move || take(&other, Moment(0))).is_none());
    push(&pool, &[Lane::Thread]);
    assert!(pool.take_unattended() && !pool.take_unattended(), "it is left to the lead");
    take(&pool, Moment(0)).unwrap();
    assert!(take(&pool, Moment(0)).is_none());
    pool.take_unattended();
    push(&pool, &[Lane::Thread]);
    assert!(!pool.take_unattended(), "it is anybody's");
}

#[test]
fn a_slot_that_may_not_start_anything_waits_so_long_or_until_it_is_stirred() {
    let pool = pool(1);
    push(&pool, &[Lane::Thread]);
    pool.wait_idle(QUEUE, Duration::from_millis(1));
    assert_eq!(pool.idle(QUEUE), 0);
    std::thread::scope(|scope| {
        let slot = scope.spawn(|| pool.wait_idle(QUEUE, Duration::from_secs(60)));
        while pool.idle(QUEUE) == 0 {
            std::thread::yield_now();
        }
        pool.stir_slots();
        slot.join().unwrap();
    });
}

#[test]
fn each_queue_has_its_name_its_place_and_its_limit() {
    let named = |name, concurrency| QueueConfig { name: Name::queue(name).unwrap(), ..config(concurrency) };
    let pool = Pool::new(&[named("a", 1), named("b", 2)]);
    assert_eq!(pool.indexes().collect::<Vec<_>>(), [QueueIndex(0), QueueIndex(1)]);
    assert_eq!(pool.name(QueueIndex(1)).as_str(), "b");
    assert_eq!(pool.find(&Name::queue("b").unwrap()), Some(QueueIndex(1)));
    assert_eq!(pool.find(&Name::queue("c").unwrap()), None);
    assert_eq!((pool.limit(QueueIndex(0)), pool.limit(QueueIndex(1))), (1, 2));
}
