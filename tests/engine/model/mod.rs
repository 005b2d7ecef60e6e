//! The stores against a naive model: random walks of verbs give the same jobs and replies, and each step keeps the
//! invariants.

mod naive;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use zjobs_engine::job::{Job, JobId, Name, NewJob, NodeId, Priority, When};
use zjobs_engine::outcome::{Again, Failure, Outcome, settle};
use zjobs_engine::state::{State, TRANSITIONS};
use zjobs_engine::store::{Claim, Filter, Heartbeat, Pulse, Retention, Store};
use zjobs_engine::unique::{Unique, UniqueStrategy};

use naive::{Kept, Model};

use crate::conformance::fixture::Fixture;
use crate::memory::Memory;
use crate::sqlite::fixture::Sqlite;

const TTL: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
struct Wish {
    queue: usize,
    priority: i32,
    delay: u64,
    max_attempts: u32,
    key: Option<u8>,
    strategy: UniqueStrategy,
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue(Vec<Wish>),
    Claim { node: usize, queue: usize, limit: usize },
    Ack { claimed: prop::sample::Index, kind: u8, stranger: bool },
    Stage(usize),
    Beat(usize),
    Depart(usize),
    Rescue(usize),
    Cancel(prop::sample::Index),
    Retry(prop::sample::Index),
    Delete(prop::sample::Index),
    Prune { age: u64, limit: usize },
    Pause(usize),
    Resume(usize),
    Advance(u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    let strategy = prop_oneof![Just(UniqueStrategy::IgnoreNew), Just(UniqueStrategy::CancelExisting)];
    (0..2usize, -1..=1, prop_oneof![3 => Just(0u64), 1 => 1..15u64], 1..4u32, prop::option::of(0..3u8), strategy)
        .prop_map(|(queue, priority, delay, max_attempts, key, strategy)| Wish {
            queue,
            priority,
            delay,
            max_attempts,
            key,
            strategy,
        })
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{
        Ack, Advance, Beat, Cancel, Claim, Delete, Depart, Enqueue, Pause, Prune, Rescue, Resume, Retry, Stage,
    };
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop::collection::vec(wish(), 1..4).prop_map(Enqueue),
        5 => (0..3usize, 0..2usize, 0..4usize).prop_map(|(node, queue, limit)| Claim { node, queue, limit }),
        6 => (index(), 0..7u8, prop::bool::weighted(0.1))
            .prop_map(|(claimed, kind, stranger)| Ack { claimed, kind, stranger }),
        2 => (0..4usize).prop_map(Stage),
        3 => (0..3usize).prop_map(Beat),
        1 => (0..3usize).prop_map(Depart),
        2 => (0..4usize).prop_map(Rescue),
        1 => index().prop_map(Cancel),
        1 => index().prop_map(Retry),
        1 => index().prop_map(Delete),
        1 => (0..40u64, 0..3usize).prop_map(|(age, limit)| Prune { age, limit }),
        1 => (0..2usize).prop_map(Pause),
        2 => (0..2usize).prop_map(Resume),
        3 => (0..25u64).prop_map(Advance),
    ]
}

fn queue(number: usize) -> Name {
    Name::queue(["a", "b"][number]).unwrap()
}

fn new_job(wish: &Wish) -> NewJob {
    NewJob {
        priority: Priority(wish.priority),
        max_attempts: wish.max_attempts,
        when: if wish.delay == 0 { When::Now } else { When::In(Duration::from_secs(wish.delay)) },
        unique: wish.key.map(|key| Unique::by_key(&format!("k{key}"), wish.strategy).unwrap()),
        ..NewJob::new(queue(wish.queue), Name::worker("w").unwrap(), b"{}".as_slice().into())
    }
}

fn outcome_of(kind: u8) -> Outcome {
    let failure = || Failure::new("E", "m", "");
    match kind {
        0 | 1 => Outcome::Completed { result: Some(b"1".as_slice().into()) },
        2 => Outcome::Failed { failure: failure(), again: Again::In(Duration::from_secs(3)) },
        3 => Outcome::Discarded { failure: failure() },
        4 => Outcome::Snoozed { delay: Duration::from_secs(4) },
        5 => Outcome::Cancelled { reason: "r".into() },
        _ => Outcome::Released,
    }
}

/// Empty details and none are the same to every reader.
fn plain(mut job: Job) -> Job {
    job.details.get_or_insert_default();
    job
}

struct Walk<'a> {
    subject: &'a dyn Fixture,
    store: &'a dyn Store,
    model: Model,
    /// Every job as it was when it was claimed.
    claimed: Vec<Job>,
    /// The incarnation of each of three processes.
    lives: [u128; 3],
}

impl<'a> Walk<'a> {
    fn new(subject: &'a dyn Fixture) -> Self {
        let store = subject.store();
        let now = store.now().unwrap();
        Self { subject, store, model: Model { now, ..Model::default() }, claimed: Vec::new(), lives: [0; 3] }
    }

    fn of(subject: &'a dyn Fixture, steps: &[Step]) {
        let mut walk = Self::new(subject);
        for process in 0..3 {
            walk.beat(process);
        }
        for step in steps {
            let before = walk.jobs();
            walk.take(step);
            walk.check(&before, step);
        }
    }

    fn node(&self, process: usize) -> NodeId {
        NodeId(self.lives[process] * 3 + process as u128 + 1)
    }

    fn jobs(&self) -> BTreeMap<JobId, Job> {
        let jobs = self.store.list(&Filter::default()).unwrap();
        jobs.into_iter().map(|job| (job.id, plain(job))).collect()
    }

    fn some_id(&self, index: prop::sample::Index) -> JobId {
        let ids = usize::try_from(self.model.last).unwrap() + 1;
        JobId(i64::try_from(index.index(ids)).unwrap())
    }

    fn take(&mut self, step: &Step) {
        let one = |id| Filter { ids: Some(vec![id]), ..Filter::default() };
        match step {
            Step::Enqueue(wishes) => {
                let replies = self.store.enqueue(wishes.iter().map(new_job).collect()).unwrap();
                let expected: Vec<_> = wishes.iter().map(|wish| self.model.enqueue(new_job(wish))).collect();
                assert_eq!(replies.iter().map(|e| (e.job.id, e.conflict)).collect::<Vec<_>>(), expected);
            }
            Step::Claim { node, queue: number, limit } => self.claim(*node, *number, *limit),
            Step::Ack { claimed, kind, stranger } if !self.claimed.is_empty() => {
                let job = claimed.get(&self.claimed).clone();
                let node = if *stranger { self.node(0) } else { job.node.unwrap() };
                let ack = settle(&job, outcome_of(*kind)).unwrap();
                let reply = self.store.ack(node, &[ack]).unwrap();
                assert_eq!(reply, [self.model.ack(node, &job, outcome_of(*kind))]);
            }
            Step::Ack { .. } => {}
            Step::Stage(limit) => assert_eq!(self.store.stage(*limit).unwrap().moved, self.model.stage(*limit)),
            Step::Beat(process) => self.beat(*process),
            Step::Depart(process) => {
                self.store.depart(self.node(*process), Duration::from_secs(5)).unwrap();
                self.model.depart(self.node(*process));
            }
            Step::Rescue(limit) => {
                let rescued: Vec<_> = self.store.rescue(*limit).unwrap().iter().map(|r| r.job.id).collect();
                assert_eq!(rescued, self.model.rescue(*limit));
            }
            Step::Cancel(index) => {
                let id = self.some_id(*index);
                assert_eq!(self.store.cancel(&one(id)).unwrap().pop(), self.model.cancel(id));
            }
            Step::Retry(index) => {
                let id = self.some_id(*index);
                assert_eq!(self.store.retry(&one(id)).unwrap().pop(), self.model.retry(id));
            }
            Step::Delete(index) => {
                let id = self.some_id(*index);
                assert_eq!(self.store.delete(&one(id)).unwrap(), self.model.delete(id));
            }
            Step::Prune { age, limit } => self.prune(Duration::from_secs(*age), *limit),
            Step::Pause(number) => {
                self.store.pause(&queue(*number)).unwrap();
                self.model.paused[*number] = true;
            }
            Step::Resume(number) => {
                self.store.resume(&queue(*number)).unwrap();
                self.model.paused[*number] = false;
            }
            Step::Advance(seconds) => {
                self.subject.advance(Duration::from_secs(*seconds));
                self.model.now = self.store.now().unwrap();
            }
        }
    }

    fn claim(&mut self, process: usize, number: usize, limit: usize) {
        let node = self.node(process);
        let reply = self.store.claim(&Claim { node, queue: queue(number), limit }).ok();
        let ids = reply.as_ref().map(|jobs| jobs.iter().map(|job| job.id).collect::<Vec<_>>());
        assert_eq!(ids, self.model.claim(node, number, limit));
        for job in reply.into_iter().flatten() {
            assert!(job.scheduled_at <= self.model.now, "I-17: {job:?}");
            assert!(!self.model.paused[number], "I-19: {job:?}");
            self.claimed.push(job);
        }
    }

    fn beat(&mut self, process: usize) {
        let node = self.node(process);
        let held = |kept: &&Kept| kept.job.node == Some(node);
        let holds: Vec<_> = self.model.jobs.iter().filter(held).map(|kept| kept.job.id).collect();
        let beat = Heartbeat { node, name: "n".into(), pid: 1, ttl: TTL, queues: Vec::new(), holds: holds.clone() };
        let pulse = self.store.heartbeat(&beat).unwrap();
        if !self.model.beat(node) {
            assert_eq!(pulse, Pulse::Dead);
            self.lives[process] += 1;
            return;
        }
        let cancel = holds.into_iter().filter(|id| self.model.find(*id).unwrap().job.details().cancel_requested);
        let cancel = cancel.collect();
        assert_eq!(pulse, Pulse::Alive { cancel, lost: Vec::new(), unknown: Vec::new() });
    }

    fn prune(&mut self, age: Duration, limit: usize) {
        let before = self.jobs();
        let retention = Retention { completed: Some(age), cancelled: Some(age), discarded: None };
        let pruned = self.store.prune(&retention, limit).unwrap();
        let after = self.jobs();
        let gone: Vec<_> = before.values().filter(|job| !after.contains_key(&job.id)).collect();
        assert_eq!(gone.len(), pruned);
        let old = |job: &Job| {
            matches!(job.state, State::Completed | State::Cancelled)
                && job.finished_at.is_some_and(|at| at + age <= self.model.now)
        };
        assert!(gone.iter().all(|job| old(job)), "I-24: {gone:?}");
        assert_eq!(pruned, limit.min(before.values().filter(|job| old(job)).count()));
        self.model.jobs.retain(|kept| after.contains_key(&kept.job.id));
    }

    fn check(&self, before: &BTreeMap<JobId, Job>, step: &Step) {
        let after = self.jobs();
        let expected = self.model.jobs.iter().map(|kept| (kept.job.id, plain(kept.job.clone()))).collect();
        assert_eq!(after, expected, "I-1, I-5, I-6, I-18: not the jobs of the model");
        let mut counts = [0; 7];
        for job in after.values() {
            counts[usize::from(job.state.number())] += 1;
            check_job(job);
            if let Some(old) = before.get(&job.id) {
                check_move(old, job, step);
            }
        }
        assert_eq!(self.store.count_by_state(None).unwrap(), counts);
        for kept in self.model.jobs.iter().filter(|kept| kept.has_key) {
            let key = kept.job.details().unique_key.as_deref().unwrap();
            let same = |other: &&Kept| other.has_key && other.job.details().unique_key.as_deref() == Some(key);
            assert_eq!(self.model.jobs.iter().filter(same).count(), 1, "I-14: {key}");
        }
        let executing: usize = self.store.nodes().unwrap().iter().map(|node| node.executing).sum();
        assert_eq!(executing as u64, counts[1], "I-3: leases and running jobs");
    }
}

fn check_job(job: &Job) {
    assert_eq!(job.state == State::Executing, job.node.is_some(), "I-3: {job:?}");
    assert!(job.attempt <= job.max_attempts && job.max_attempts >= 1, "I-11: {job:?}");
    assert_eq!(job.state.is_final(), job.finished_at.is_some(), "{job:?}");
    if let Some(attempted_at) = job.attempted_at {
        assert!(job.inserted_at <= attempted_at, "I-16: {job:?}");
        assert!(job.finished_at.is_none_or(|at| attempted_at <= at), "I-16: {job:?}");
        assert!(job.state != State::Executing || job.scheduled_at <= attempted_at, "I-16: {job:?}");
    }
}

fn check_move(old: &Job, new: &Job, step: &Step) {
    let claim = matches!(step, Step::Claim { .. }) && new.state == State::Executing && old.state == State::Available;
    assert_eq!(new.lease.0, old.lease.0 + u32::from(claim), "I-4: {old:?} {new:?}");
    let moves = |t: &&zjobs_engine::state::Transition| t.from == old.state && t.to == new.state;
    if old.state != new.state {
        assert!(TRANSITIONS.iter().any(|t| moves(&t)), "I-12: {old:?} {new:?}");
    }
    if new.attempt > old.attempt {
        assert!(claim && new.attempt == old.attempt + 1, "I-13: {old:?} {new:?}");
    } else if new.attempt < old.attempt {
        assert!(old.state == State::Executing && new.attempt + 1 == old.attempt, "I-13: {old:?} {new:?}");
    }
    if old.state.is_final() && old != new {
        assert!(matches!(step, Step::Retry(_)), "I-12: {step:?} {old:?} {new:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_walks_give_what_the_model_gives(steps in prop::collection::vec(step(), 1..120)) {
        Walk::of(&Memory::new(), &steps);
    }
}

proptest! {
    // A walk over a file costs a hundred times as much.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_walks_over_a_sqlite_file_give_what_the_model_gives(steps in prop::collection::vec(step(), 1..120)) {
        Walk::of(&Sqlite::new(), &steps);
    }
}
