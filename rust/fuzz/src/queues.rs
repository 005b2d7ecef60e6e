//! The structures of the memory store beside naive ones.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use zjobs_engine::Timestamp;
use zjobs_engine::job::{JobId, Name, NodeId, Priority};
use zjobs_engine::outcome::RescueReason;
use zjobs_engine::queue::delayed::Delayed;
use zjobs_engine::queue::finished::{FINAL, Finished};
use zjobs_engine::queue::jobs::{Jobs, Row, Start};
use zjobs_engine::queue::leases::{About, Leases, Standing};
use zjobs_engine::queue::names::{Names, Symbol};
use zjobs_engine::queue::ready::Ready;
use zjobs_engine::state::State;

use crate::words::{made, steps};

#[derive(Debug, Arbitrary)]
enum Move {
    Insert(i8, i16),
    /// In the order in which jobs come from callers who do not choose.
    InsertMany(u8),
    Remove(u16),
    RemoveStranger(i8, i16, u8),
    Pop,
    PopMany(u8),
    PopDue(i16),
}

/// The claim order, and jobs that wait for their time.
pub(crate) fn ready(data: &[u8]) {
    let (mut ready, mut sorted) = (Ready::default(), BTreeSet::new());
    let (mut delayed, mut waiting) = (Delayed::default(), BTreeSet::new());
    let mut last = 0_i64;
    for step in steps::<Move>(data).take(500) {
        match step {
            Move::Insert(priority, due) => {
                last += 1;
                let key = (Priority(priority.into()), Timestamp(due.into()), JobId(last));
                ready.insert(key);
                sorted.insert(key);
                delayed.insert(key.1, key.2);
                waiting.insert((key.1, key.2));
            }
            Move::InsertMany(count) => {
                for _ in 0..u16::from(count) * 8 {
                    last += 1;
                    let key = (Priority(0), Timestamp(last), JobId(last));
                    ready.insert(key);
                    sorted.insert(key);
                }
            }
            Move::Remove(place) => {
                let place = usize::from(place) % sorted.len().max(1);
                if let Some(key) = sorted.iter().nth(place).copied() {
                    assert!(ready.remove(&key), "{key:?} is not found");
                    assert!(!ready.remove(&key), "{key:?} is found twice");
                    sorted.remove(&key);
                    assert_eq!(delayed.remove(key.1, key.2), waiting.remove(&(key.1, key.2)));
                }
            }
            Move::RemoveStranger(priority, due, id) => {
                let key = (Priority(priority.into()), Timestamp(due.into()), JobId(id.into()));
                assert_eq!(ready.remove(&key), sorted.remove(&key));
                assert_eq!(delayed.remove(key.1, key.2), waiting.remove(&(key.1, key.2)));
            }
            Move::Pop => assert_eq!(ready.pop(), sorted.pop_first().map(|key| key.2)),
            Move::PopMany(count) => {
                for _ in 0..u16::from(count) * 8 {
                    assert_eq!(ready.pop(), sorted.pop_first().map(|key| key.2));
                }
            }
            Move::PopDue(now) => {
                let now = Timestamp(now.into());
                let first = waiting.first().copied().filter(|(due, _)| *due <= now);
                assert_eq!(delayed.pop_due(now), first.map(|(_, id)| id));
                first.inspect(|first| assert!(waiting.remove(first)));
            }
        }
        assert_eq!((ready.len(), delayed.len()), (sorted.len(), waiting.len()));
        assert_eq!((ready.is_empty(), delayed.is_empty()), (sorted.is_empty(), waiting.is_empty()));
        assert_eq!(delayed.next_due(), waiting.first().map(|(due, _)| *due));
    }
    while let Some(key) = sorted.pop_first() {
        assert_eq!(ready.pop(), Some(key.2));
    }
    assert_eq!(ready.pop(), None);
}

#[derive(Debug, Arbitrary)]
enum Cell {
    Insert(i64, u8),
    InsertNear(u16, u8),
    Remove(i64),
    RemoveNear(u16),
    Change(u16, u8),
    Range(i64, i64),
    RangeNear(i16, i16),
    Finish(u16, u8),
    TakeOldest(u8),
}

fn row(names: Symbol, priority: u8) -> Row {
    Row::new(Start {
        queue: names,
        worker: names,
        args: b"{}".as_slice().into(),
        priority: Priority(priority.into()),
        max_attempts: 1,
        timeout: None,
        details: None,
        state: State::Available,
        scheduled_at: Timestamp(0),
        inserted_at: Timestamp(0),
    })
}

/// The table of jobs, and the order in which they ended.
pub(crate) fn jobs(data: &[u8]) {
    let symbol = Names::<()>::default().intern(&made(Name::queue("q")));
    let (mut jobs, mut naive) = (Jobs::default(), BTreeMap::<JobId, u8>::new());
    let (mut finished, mut ends) = (Finished::default(), [const { Vec::new() }; 3]);
    let mut now = 0;
    for step in steps::<Cell>(data).take(500) {
        match step {
            Cell::Insert(id, value) => put(&mut jobs, &mut naive, JobId(id), row(symbol, value), value),
            Cell::InsertNear(id, value) => put(&mut jobs, &mut naive, JobId(id.into()), row(symbol, value), value),
            Cell::Remove(id) => take(&mut jobs, &mut naive, JobId(id)),
            Cell::RemoveNear(id) => take(&mut jobs, &mut naive, JobId(id.into())),
            Cell::Change(id, value) => {
                let id = JobId(id.into());
                let found = jobs.get_mut(id).map(|row| row.priority = Priority(value.into()));
                assert_eq!(found.is_some(), naive.get_mut(&id).map(|known| *known = value).is_some());
            }
            Cell::Range(first, last) => range(&jobs, &naive, JobId(first), JobId(last)),
            Cell::RangeNear(first, last) => range(&jobs, &naive, JobId(first.into()), JobId(last.into())),
            Cell::Finish(id, state) => {
                now += 1;
                let (place, entry) = (usize::from(state) % 3, (Timestamp(now), JobId(id.into())));
                finished.push(FINAL[place], entry);
                ends[place].push(entry);
            }
            Cell::TakeOldest(state) => {
                let place = usize::from(state) % 3;
                let oldest = (!ends[place].is_empty()).then(|| ends[place].remove(0));
                assert_eq!(finished.oldest(FINAL[place]), oldest);
                assert_eq!(finished.pop(FINAL[place]), oldest);
            }
        }
        assert_eq!((jobs.len(), jobs.is_empty()), (naive.len(), naive.is_empty()));
        let first = (0..3).filter_map(|place| Some((*ends[place].first()?, place))).min();
        assert_eq!(finished.oldest_state(), first.map(|(_, place)| FINAL[place]));
    }
    range(&jobs, &naive, JobId(i64::MIN), JobId(i64::MAX));
}

fn put(jobs: &mut Jobs, naive: &mut BTreeMap<JobId, u8>, id: JobId, row: Row, value: u8) {
    jobs.insert(id, row);
    naive.insert(id, value);
}

fn take(jobs: &mut Jobs, naive: &mut BTreeMap<JobId, u8>, id: JobId) {
    let value = |row: &Row| row.priority.0;
    assert_eq!(jobs.get(id).map(value), naive.get(&id).map(|value| (*value).into()));
    assert_eq!(jobs.remove(id).as_ref().map(value), naive.remove(&id).map(Into::into));
    assert!(jobs.get(id).is_none() && jobs.remove(id).is_none());
}

fn range(jobs: &Jobs, naive: &BTreeMap<JobId, u8>, first: JobId, last: JobId) {
    let found: Vec<_> = jobs.range(first, last).map(|(id, row)| (id, row.priority.0)).collect();
    let known = naive.iter().filter(|(id, _)| (first..=last).contains(*id));
    assert_eq!(found, known.map(|(id, value)| (*id, i32::from(*value))).collect::<Vec<_>>());
    let back: Vec<_> = jobs.range(first, last).rev().map(|(id, _)| id).collect();
    assert!(back.iter().eq(found.iter().rev().map(|(id, _)| id)), "backwards it is another order");
}

#[derive(Debug, Arbitrary)]
enum Turn {
    Beat(u8, u8),
    Hold(u8, u8),
    Drop(u8),
    Depart(u8, u8),
    Later(u8),
}

/// Who lives and who holds what. Ten nodes, many jobs.
pub(crate) fn leases(data: &[u8]) {
    let mut leases = Leases::default();
    let mut held: BTreeMap<JobId, NodeId> = BTreeMap::new();
    let mut ended: BTreeSet<NodeId> = BTreeSet::new();
    let mut now = 0_i64;
    let node = |number: u8| NodeId(u128::from(number % 10));
    for step in steps::<Turn>(data).take(300) {
        match step {
            Turn::Beat(number, lasts) => {
                let about = About { name: "n".into(), pid: 1, queues: Vec::new() };
                let taken = leases.beat(node(number), about, Timestamp(now), Timestamp(now + i64::from(lasts)));
                assert!(taken.is_none() || !ended.contains(&node(number)), "it comes back after its end");
            }
            Turn::Hold(number, job) => {
                let id = JobId(job.into());
                if let Some(holder) = leases.claimant(node(number), Timestamp(now))
                    && !held.contains_key(&id)
                {
                    leases.hold(holder, id);
                    held.insert(id, node(number));
                }
            }
            Turn::Drop(job) => {
                let id = JobId(job.into());
                if let Some(owner) = held.remove(&id) {
                    let holder = leases.holder(owner).unwrap_or_else(|| panic!("who holds a job is forgotten"));
                    leases.drop(holder, id);
                }
            }
            Turn::Depart(number, grace) => {
                leases.depart(node(number), Timestamp(now + i64::from(grace)));
                assert!(leases.claimant(node(number), Timestamp(now)).is_none(), "it claims after its goodbye");
            }
            Turn::Later(by) => {
                now += i64::from(by);
                leases.declare_dead(Timestamp(now));
            }
        }
        check(&leases, &held, &mut ended);
    }
}

fn check(leases: &Leases, held: &BTreeMap<JobId, NodeId>, ended: &mut BTreeSet<NodeId>) {
    let mut all: BTreeMap<JobId, NodeId> = BTreeMap::new();
    let mut orphans = Vec::new();
    for row in leases.iter() {
        for id in row.holds() {
            assert!(all.insert(id, row.id).is_none(), "two hold {id}");
        }
        if let Standing::Dead(reason) = row.standing {
            ended.insert(row.id);
            assert!(row.executing() > 0, "a dead node that holds nothing stays");
            assert!(leases.writer(row.id).is_none(), "the dead write");
            orphans.extend(row.holds().into_iter().map(|id| (id, reason)));
        }
    }
    assert_eq!(&all, held);
    let found = leases.orphans(usize::MAX);
    assert_eq!(found.len(), orphans.len(), "an orphan is not found");
    assert_eq!(found, orphans);
    assert_eq!(leases.orphans(3), found[..found.len().min(3)]);
    assert!(leases.orphans(0).is_empty());
    let known = |reason: &RescueReason| matches!(reason, RescueReason::NodeDied | RescueReason::Shutdown);
    assert!(found.iter().all(|(_, reason)| known(reason)));
}

#[derive(Debug, Arbitrary)]
enum Word {
    Intern(u8),
    Retain(u8),
    Release(u8),
    Keep(u8, bool),
    Sweep,
}

/// Names as small numbers.
pub(crate) fn symbols(data: &[u8]) {
    let mut names = Names::<bool>::default();
    // By name: how many use it, and whether its value must stay.
    let mut naive: BTreeMap<Name, (usize, bool)> = BTreeMap::new();
    let name = |number: u8| made(Name::queue(&format!("q{}", number % 40)));
    for step in steps::<Word>(data).take(500) {
        match step {
            Word::Intern(number) => {
                let symbol = names.intern(&name(number));
                assert_eq!(names.get(symbol).map(|(name, _)| name), Some(&name(number)));
                assert_eq!(names.find(&name(number)), Some(symbol));
                naive.entry(name(number)).or_default();
            }
            Word::Retain(number) => {
                if let Some(symbol) = names.find(&name(number)) {
                    names.retain(symbol);
                    naive.entry(name(number)).or_default().0 += 1;
                }
            }
            Word::Release(number) => {
                if let Some(symbol) = names.find(&name(number)) {
                    names.release(symbol);
                    let uses = &mut naive.entry(name(number)).or_default().0;
                    *uses = uses.saturating_sub(1);
                }
            }
            Word::Keep(number, keep) => {
                if let Some(value) = names.find(&name(number)).and_then(|symbol| names.value_mut(symbol)) {
                    *value = keep;
                    naive.entry(name(number)).or_default().1 = keep;
                }
            }
            Word::Sweep => {
                names.sweep(|keep| *keep);
                naive.retain(|_, (uses, keep)| *uses > 0 || *keep);
            }
        }
        let found: BTreeMap<_, _> = names.iter().map(|(name, uses, keep)| (name.clone(), (uses, *keep))).collect();
        assert_eq!(found, naive);
        let symbols: BTreeSet<_> = naive.keys().filter_map(|name| names.find(name)).collect();
        assert_eq!(symbols.len(), naive.len(), "two names are one symbol");
    }
}
