//! What only the memory store promises: its limits, its signals, and that it stays small.

use zjobs_engine::Error;
use zjobs_engine::clock::Manual;
use zjobs_engine::job::{NewJob, When};
use zjobs_engine::state::State;
use zjobs_engine::store::{Acked, Filter, MemoryConfig, MemoryStore, Signal, Store, Subscriber};
use zjobs_engine::sync::{Arc, Mutex, Weak};
use zjobs_engine::unique::UniqueStrategy::{CancelExisting, IgnoreNew};

use crate::conformance::conformance;
use crate::conformance::fixture::{
    ALICE, BOB, ByHand, Fixture, TTL, cancelled, done, ids, new_job, queue, secs, unique_job,
};

pub type Memory = ByHand<MemoryStore>;

impl Memory {
    pub fn new() -> Self {
        Self::with(&MemoryConfig::default())
    }

    fn limited(max_jobs: usize) -> Self {
        Self::with(&MemoryConfig { max_jobs: Some(max_jobs), ..MemoryConfig::default() })
    }

    fn with(config: &MemoryConfig) -> Self {
        let clock = Arc::new(Manual::default());
        let store = MemoryStore::new(MemoryConfig { clock: clock.clone(), ..config.clone() });
        Self { clock, store, kept: () }
    }
}

conformance!(conforms, crate::memory::Memory::new());

fn refused(on: &Memory, batch: Vec<NewJob>) -> bool {
    let before = on.store.list(&Filter::default()).unwrap();
    let full = match on.store.enqueue(batch) {
        Ok(_) => return false,
        Err(error) => matches!(error, Error::StoreFull { .. }),
    };
    assert_eq!(on.store.list(&Filter::default()).unwrap(), before, "a refused batch leaves nothing");
    full
}

#[test]
fn a_full_store_refuses_a_batch_as_a_whole() {
    let memory = Memory::limited(3);
    let on: &dyn Fixture = &memory;
    on.enqueue_default();
    assert!(refused(&memory, (0..3).map(|_| new_job()).collect()));
    assert!(!refused(&memory, (0..2).map(|_| new_job()).collect()));
    assert!(refused(&memory, vec![new_job()]));
    on.beat(ALICE, &[]);
    let job = on.claim(ALICE, 1).remove(0);
    assert!(refused(&memory, vec![new_job()]), "running jobs are unfinished too");
    on.ack(ALICE, &job, done());
    assert!(!refused(&memory, vec![new_job()]), "a finished job makes room");
}

#[test]
fn a_full_store_still_answers_for_keys_that_are_taken() {
    let memory = Memory::limited(2);
    let on: &dyn Fixture = &memory;
    let first = on.enqueue(unique_job("a", IgnoreNew));
    on.enqueue(unique_job("b", IgnoreNew));
    assert_eq!(on.enqueue(unique_job("a", IgnoreNew)).id, first.id);
    assert!(!refused(&memory, vec![unique_job("a", CancelExisting), unique_job("a", IgnoreNew)]), "one for one");
    assert_eq!(on.state(first.id), State::Cancelled);
    assert!(refused(&memory, vec![unique_job("a", CancelExisting), unique_job("c", IgnoreNew)]));
    on.beat(ALICE, &[]);
    on.claim(ALICE, 9);
    assert!(refused(&memory, vec![unique_job("a", CancelExisting)]), "a running job makes no room");
}

#[test]
fn the_oldest_finished_jobs_are_dropped_beyond_the_number_kept() {
    let memory = Memory::with(&MemoryConfig { max_finished: 2, ..MemoryConfig::default() });
    let on: &dyn Fixture = &memory;
    let states = [State::Discarded, State::Completed, State::Cancelled, State::Completed];
    let jobs = states.map(|state| {
        on.advance(secs(1));
        on.finished(state, new_job()).id
    });
    let waiting = on.enqueue_default().id;
    let left: Vec<_> = on.store().list(&Filter::default()).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(left, [jobs[2], jobs[3], waiting]);
    on.store().retry(&ids(&[jobs[2]])).unwrap();
    on.advance(secs(1));
    on.store().cancel(&ids(&[jobs[2], waiting])).unwrap();
    let left: Vec<_> = on.store().list(&Filter::default()).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(left, [jobs[2], waiting], "the one that finished again counts as new");
}

#[test]
fn the_clock_of_the_store_never_goes_back() {
    let memory = Memory::new();
    let on: &dyn Fixture = &memory;
    let first = on.enqueue_default();
    memory.clock.step_wall(-3_600_000_000);
    let second = on.enqueue_default();
    assert!(second.inserted_at >= first.inserted_at);
    assert_eq!(on.store().now().unwrap(), first.inserted_at);
    on.beat(ALICE, &[]);
    assert_eq!(on.claim(ALICE, 9).len(), 2);
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Signal>>,
}

impl Ear {
    fn on(memory: &Memory) -> Arc<Self> {
        let ear = Arc::new(Self::default());
        let subscriber: Arc<dyn Subscriber> = ear.clone();
        memory.store.subscribe(Arc::downgrade(&subscriber));
        ear
    }

    fn news(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.heard.lock())
    }
}

impl Subscriber for Ear {
    fn signal(&self, signal: &Signal) {
        self.heard.lock().push(signal.clone());
    }
}

#[test]
fn a_subscriber_hears_what_commits() {
    let memory = Memory::new();
    let on: &dyn Fixture = &memory;
    let ear = Ear::on(&memory);
    let ready = || Signal::Ready(queue("default"));
    on.store().enqueue(vec![new_job(), new_job()]).unwrap();
    assert_eq!(ear.news(), [ready()]);
    let later = on.enqueue(NewJob { when: When::In(secs(9)), ..new_job() });
    on.enqueue(NewJob { when: When::In(secs(99)), ..new_job() });
    assert_eq!(ear.news(), [Signal::Due(later.scheduled_at)], "only what is due before all others is news");
    on.beat(ALICE, &[]);
    let jobs = on.claim(ALICE, 2);
    assert_eq!(ear.news(), []);
    on.store().cancel(&ids(&[jobs[0].id])).unwrap();
    assert_eq!(ear.news(), [Signal::Cancel(vec![jobs[0].id])]);
    on.ack(ALICE, &jobs[0], done());
    assert_eq!(ear.news(), [], "nothing was written");
    on.ack(ALICE, &jobs[0], cancelled());
    assert_eq!(ear.news(), [Signal::Settled]);
    on.advance(TTL + secs(1));
    on.store().stage(9).unwrap();
    assert_eq!(ear.news(), [ready()]);
    on.store().rescue(9).unwrap();
    assert_eq!(ear.news(), [ready()]);
    on.store().pause(&queue("default")).unwrap();
    assert_eq!(ear.news(), [Signal::Control(queue("default"))]);
    on.store().resume(&queue("default")).unwrap();
    assert_eq!(ear.news(), [ready(), Signal::Control(queue("default"))]);
    assert_eq!(on.store().delete(&ids(&[jobs[0].id])).unwrap(), 1);
    assert_eq!(ear.news(), [Signal::Settled], "whoever waits for it must look again");
    assert_eq!(on.store().delete(&ids(&[jobs[0].id])).unwrap(), 0);
    assert_eq!(ear.news(), []);
}

#[test]
fn a_subscriber_may_use_the_store_and_one_that_is_gone_is_forgotten() {
    struct Curious(Arc<MemoryStore>, Mutex<Vec<u64>>);
    impl Subscriber for Curious {
        fn signal(&self, _: &Signal) {
            self.1.lock().push(self.0.count_by_state(None).unwrap()[0]);
        }
    }
    let store = Arc::new(MemoryStore::default());
    let curious = Arc::new(Curious(store.clone(), Mutex::default()));
    let subscriber: Arc<dyn Subscriber> = curious.clone();
    let gone: Weak<dyn Subscriber> = Arc::downgrade(&(Arc::new(Ear::default()) as Arc<dyn Subscriber>));
    store.subscribe(gone.clone());
    store.subscribe(Arc::downgrade(&subscriber));
    store.enqueue(vec![new_job()]).unwrap();
    store.enqueue(vec![new_job()]).unwrap();
    assert_eq!(*curious.1.lock(), [1, 2]);
    assert_eq!(gone.weak_count(), 0, "its value is dropped");
}

#[test]
fn two_nodes_share_the_store_of_one_process() {
    let total: usize = 2_000;
    let fixture = Memory::new();
    let on: &dyn Fixture = &fixture;
    (0..total).for_each(|_| drop(on.enqueue_default()));
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let shared = &fixture;
        let run = |node| {
            let on: &dyn Fixture = shared;
            on.beat(node, &[]);
            let mut done_here = 0;
            loop {
                let jobs = on.claim(node, 7);
                if jobs.is_empty() {
                    return done_here;
                }
                for job in &jobs {
                    assert_eq!(on.ack(node, job, done()), Acked::Stored);
                }
                done_here += jobs.len();
            }
        };
        let threads: Vec<_> = [ALICE, BOB].map(|node| scope.spawn(move || run(node))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<usize>(), total);
    assert_eq!(on.store().count_by_state(None).unwrap()[2], total as u64);
}
