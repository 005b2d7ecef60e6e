//! Verbs on more jobs than one call has.

use zjobs_engine::job::{JobId, NewJob};
use zjobs_engine::state::State;
use zjobs_engine::store::pages;
use zjobs_engine::store::{Cancelled, Filter, Order, Retention, Retried};

use super::fixture::{ALICE, Fixture, ids, new_job, queue, secs};

const PAGE: usize = 3;

/// Two pages and one job, between jobs of another queue.
fn many(on: &dyn Fixture) -> (Vec<JobId>, Filter) {
    let other = || on.enqueue(NewJob { queue: queue("other"), ..new_job() });
    other();
    let jobs = on.store().enqueue(vec![new_job(); 2 * PAGE + 1]).unwrap();
    other();
    let default = Filter { queue: Some(queue("default")), ..Filter::default() };
    (jobs.iter().map(|one| one.job.id).collect(), default)
}

pub fn a_cancel_reaches_all_that_match_and_no_other(on: &dyn Fixture) {
    let (jobs, default) = many(on);
    let replies = pages::cancel(on.store(), &default, PAGE).unwrap();
    assert_eq!(replies, jobs.iter().map(|id| Cancelled::Done(*id)).collect::<Vec<_>>());
    assert_eq!(on.store().count_by_state(Some(&queue("other"))).unwrap()[State::Available as usize], 2);
    assert!(pages::cancel(on.store(), &default, PAGE).unwrap().is_empty());
}

pub fn a_retry_keeps_order_and_limit_over_its_pages(on: &dyn Fixture) {
    let (jobs, default) = many(on);
    pages::cancel(on.store(), &default, PAGE).unwrap();
    let newest = Filter { order: Order::NewestFirst, limit: Some(PAGE + 1), ..default };
    let replies = pages::retry(on.store(), &newest, PAGE).unwrap();
    let expected = jobs.iter().rev().take(PAGE + 1).map(|id| Retried::Done(*id));
    assert_eq!(replies, expected.collect::<Vec<_>>());
}

pub fn ids_that_are_named_in_any_order_are_met_once(on: &dyn Fixture) {
    let (jobs, _) = many(on);
    let named: Vec<JobId> = jobs.iter().rev().chain(&jobs).copied().collect();
    assert_eq!(pages::cancel(on.store(), &ids(&named), PAGE).unwrap().len(), jobs.len());
    let four = Filter { limit: Some(4), ..ids(&named) };
    assert_eq!(pages::delete(on.store(), &four, PAGE).unwrap(), 4);
    assert_eq!(on.store().get(&jobs[..5]).unwrap().len(), 1);
}

pub fn what_is_deleted_of_many_leaves_what_runs(on: &dyn Fixture) {
    let running = on.running(ALICE, new_job());
    let (jobs, default) = many(on);
    let most = Filter { limit: Some(PAGE + 1), ..default.clone() };
    assert_eq!(pages::delete(on.store(), &most, PAGE).unwrap(), PAGE + 1);
    assert_eq!(pages::delete(on.store(), &default, PAGE).unwrap(), jobs.len() - PAGE - 1);
    assert_eq!(on.state(running.id), State::Executing);
    assert_eq!(on.store().count(&Filter::default()).unwrap(), 3);
}

pub fn all_that_are_old_are_pruned(on: &dyn Fixture) {
    let (jobs, default) = many(on);
    pages::cancel(on.store(), &default, PAGE).unwrap();
    on.advance(secs(2));
    let retention = Retention { completed: None, cancelled: Some(secs(1)), discarded: None };
    assert_eq!(pages::prune(on.store(), &retention, PAGE).unwrap(), jobs.len());
    assert_eq!(on.store().count(&Filter::default()).unwrap(), 2);
}
