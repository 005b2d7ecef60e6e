//! The orders of the memory store.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::{JobId, Name, NodeId, Priority};
use zjobs_engine::outcome::RescueReason;
use zjobs_engine::queue::delayed::Delayed;
use zjobs_engine::queue::finished::Finished;
use zjobs_engine::queue::jobs::{Jobs, Row, Start};
use zjobs_engine::queue::leases::{About, Leases};
use zjobs_engine::queue::names::Names;
use zjobs_engine::queue::ready::Ready;
use zjobs_engine::state::State;

fn name(text: &str) -> Name {
    Name::queue(text).unwrap()
}

fn row(names: &mut Names<()>, mark: i32) -> Row {
    let symbol = names.intern(&name("q"));
    Row::new(Start {
        queue: symbol,
        worker: symbol,
        args: b"{}".as_slice().into(),
        priority: Priority(mark),
        max_attempts: 3,
        timeout: None,
        details: None,
        state: State::Available,
        scheduled_at: Timestamp(5),
        inserted_at: Timestamp(5),
    })
}

#[test]
fn a_row_costs_96_bytes_with_or_without_a_job() {
    assert_eq!(size_of::<Row>(), 96);
    assert_eq!(size_of::<Option<Row>>(), 96);
}

#[test]
fn ready_jobs_leave_in_order_and_removal_is_exact() {
    let mut ready = Ready::default();
    let key = |priority, at, id| (Priority(priority), Timestamp(at), JobId(id));
    let keys = [key(1, 0, 1), key(0, 2, 2), key(0, 1, 4), key(0, 1, 3), key(-1, 9, 5)];
    for key in keys {
        ready.insert(key);
    }
    assert!(!ready.remove(&key(0, 2, 3)));
    assert!(ready.remove(&key(0, 2, 2)));
    let order: Vec<_> = std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect();
    assert_eq!(order, [5, 3, 4, 1]);
    assert!(ready.is_empty());
}

#[test]
fn delayed_jobs_leave_only_when_due() {
    let mut delayed = Delayed::default();
    for (due, id) in [(30, 1), (10, 2), (20, 3)] {
        delayed.insert(Timestamp(due), JobId(id));
    }
    assert_eq!((delayed.next_due(), delayed.len()), (Some(Timestamp(10)), 3));
    assert_eq!(delayed.pop_due(Timestamp(9)), None);
    assert_eq!(delayed.pop_due(Timestamp(10)), Some(JobId(2)));
    assert!(delayed.remove(Timestamp(20), JobId(3)));
    assert!(!delayed.remove(Timestamp(20), JobId(3)));
    assert_eq!(delayed.next_due(), Some(Timestamp(30)));
}

#[test]
fn a_node_that_was_declared_dead_stays_dead() {
    let about = || About { name: "n".into(), pid: 1, queues: Vec::new() };
    let mut leases = Leases::default();
    let (node, job) = (NodeId(1), JobId(1));
    let holder = leases.beat(node, about(), Timestamp(0), Timestamp(10)).unwrap();
    leases.hold(holder, job);
    leases.declare_dead(Timestamp(10));
    assert_eq!((leases.claimant(node, Timestamp(10)), leases.orphans(9)), (Some(holder), vec![]));
    assert_eq!(leases.claimant(node, Timestamp(11)), None);
    leases.declare_dead(Timestamp(11));
    assert_eq!(leases.orphans(9), [(job, RescueReason::NodeDied)]);
    assert_eq!((leases.writer(node), leases.beat(node, about(), Timestamp(11), Timestamp(99))), (None, None));
    leases.drop(holder, job);
    assert_eq!(leases.iter().count(), 0);
    leases.drop(holder, job); // as when its handler ends after all
    assert_eq!(leases.beat(node, about(), Timestamp(12), Timestamp(99)), None);
}

#[test]
fn names_that_nobody_uses_are_forgotten_and_their_numbers_used_again() {
    let mut names: Names<bool> = Names::default();
    let (a, b, kept) = (names.intern(&name("a")), names.intern(&name("b")), names.intern(&name("c")));
    names.retain(a);
    *names.value_mut(kept).unwrap() = true;
    names.sweep(|keep| *keep);
    assert_eq!((names.find(&name("a")), names.find(&name("b"))), (Some(a), None));
    assert_eq!(names.intern(&name("d")), b);
    assert_eq!(names.get(b).unwrap().0, &name("d"));
    assert_eq!(names.intern(&name("c")), kept);
    names.release(a);
    names.sweep(|keep| *keep);
    assert_eq!(names.iter().count(), 1);
}

#[test]
fn stale_entries_of_finished_jobs_do_not_pile_up() {
    let mut finished = Finished::default();
    for n in 0..5000 {
        finished.push(State::Completed, (Timestamp(n), JobId(1)));
        finished.tidy(1, |_, entry| entry == (Timestamp(n), JobId(1)));
    }
    let entries = std::iter::from_fn(|| finished.pop(State::Completed)).count();
    assert!(entries < 1100, "{entries} entries for one job");
}

#[test]
fn the_oldest_of_all_finished_jobs_goes_first() {
    let mut finished = Finished::default();
    for (state, at) in [(State::Discarded, 1), (State::Completed, 2), (State::Cancelled, 3), (State::Discarded, 4)] {
        finished.push(state, (Timestamp(at), JobId(at)));
    }
    let order: Vec<_> = std::iter::from_fn(|| finished.pop(finished.oldest_state()?)).map(|(at, _)| at.0).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

proptest! {
    #[test]
    fn the_job_table_is_an_ordered_map(
        steps in prop::collection::vec((any::<bool>(), 1i64..6000, any::<i32>()), 1..200),
        first in 0i64..6000, last in 0i64..6000,
    ) {
        let (mut names, mut jobs, mut model) = (Names::default(), Jobs::default(), BTreeMap::new());
        for (insert, id, mark) in steps {
            if insert {
                jobs.insert(JobId(id), row(&mut names, mark));
                model.insert(id, mark);
            } else {
                prop_assert_eq!(jobs.remove(JobId(id)).map(|row| row.priority.0), model.remove(&id));
            }
            prop_assert_eq!(jobs.len(), model.len());
        }
        for id in 0..6000 {
            prop_assert_eq!(jobs.get(JobId(id)).map(|row| row.priority.0), model.get(&id).copied());
        }
        let (first, last) = (first.min(last), first.max(last));
        let seen: Vec<_> = jobs.range(JobId(first), JobId(last)).map(|(id, row)| (id.0, row.priority.0)).collect();
        let expected: Vec<_> = model.range(first..=last).map(|(id, mark)| (*id, *mark)).collect();
        prop_assert_eq!(&seen, &expected);
        let back: Vec<_> = jobs.range(JobId(first), JobId(last)).rev().map(|(id, row)| (id.0, row.priority.0)).collect();
        prop_assert!(back.iter().rev().eq(&expected));
    }
}
