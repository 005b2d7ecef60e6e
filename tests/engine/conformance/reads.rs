//! *get*, *list* and counts.

use zjobs_engine::job::{JobId, Name, NewJob};
use zjobs_engine::state::State;
use zjobs_engine::store::{Filter, Order};
use zjobs_engine::unique::UniqueStrategy::IgnoreNew;

use super::fixture::{Fixture, ids, new_job, queue, unique_job, worker};

fn found(on: &dyn Fixture, filter: &Filter) -> Vec<JobId> {
    let jobs = on.store().list(filter).unwrap();
    assert_eq!(on.store().count(&Filter { limit: None, ..filter.clone() }).unwrap(), jobs.len() as u64);
    jobs.iter().map(|job| job.id).collect()
}

pub fn each_filter_restricts(on: &dyn Fixture) {
    let tag = |text: &str| Name::tag(text).unwrap();
    let plain = on.enqueue_default().id;
    let mail = on.enqueue(NewJob { queue: queue("mail"), ..new_job() }).id;
    let other = on.enqueue(NewJob { worker: worker("other"), ..new_job() }).id;
    let red = on.enqueue(NewJob { tags: vec![tag("red"), tag("big")], ..new_job() }).id;
    let blue = on.enqueue(NewJob { tags: vec![tag("blue"), tag("big")], ..new_job() }).id;
    let unique = on.enqueue(unique_job("k", IgnoreNew)).id;
    on.store().cancel(&ids(&[plain])).unwrap();
    let all = Filter::default();
    assert_eq!(found(on, &all), [plain, mail, other, red, blue, unique]);
    assert_eq!(found(on, &Filter { queue: Some(queue("mail")), ..all.clone() }), [mail]);
    assert_eq!(found(on, &Filter { queue: Some(queue("nowhere")), ..all.clone() }), []);
    assert_eq!(found(on, &Filter { worker: Some(worker("other")), ..all.clone() }), [other]);
    assert_eq!(found(on, &Filter { worker: Some(worker("nobody")), ..all.clone() }), []);
    assert_eq!(found(on, &Filter { tags: vec![tag("big")], ..all.clone() }), [red, blue]);
    assert_eq!(found(on, &Filter { tags: vec![tag("big"), tag("red")], ..all.clone() }), [red]);
    assert_eq!(found(on, &Filter { unique_key: Some("k".into()), ..all.clone() }), [unique]);
    assert_eq!(found(on, &Filter { states: vec![State::Cancelled, State::Completed], ..all.clone() }), [plain]);
    let available = Filter { states: vec![State::Available], queue: Some(queue("mail")), ..all.clone() };
    assert_eq!(found(on, &available), [mail]);
    assert_eq!(found(on, &Filter { ids: Some(vec![red, plain, red]), ..all.clone() }), [plain, red]);
    assert_eq!(found(on, &Filter { ids: Some(vec![]), ..all }), []);
}

pub fn a_cursor_walks_through_all_jobs_in_both_orders(on: &dyn Fixture) {
    let mut expected: Vec<_> = (0..7).map(|_| on.enqueue_default().id).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Filter { after, order, limit: Some(3), ..Filter::default() };
            let page: Vec<_> = on.store().list(&page).unwrap().iter().map(|job| job.id).collect();
            let Some(last) = page.last() else { break };
            after = Some(*last);
            seen.extend(page);
        }
        assert_eq!(seen, expected);
        expected.reverse();
    }
    let middle = Filter { ids: Some(expected.clone()), after: Some(expected[3]), ..Filter::default() };
    assert_eq!(found(on, &middle), expected[4..]);
}

pub fn counts_ignore_the_limit(on: &dyn Fixture) {
    (0..5).for_each(|_| drop(on.enqueue_default()));
    let two = Filter { limit: Some(2), ..Filter::default() };
    assert_eq!((on.store().list(&two).unwrap().len(), on.store().count(&two).unwrap()), (2, 5));
    let tagged = Filter { worker: Some(worker("w")), ..two };
    assert_eq!(on.store().count(&tagged).unwrap(), 5);
}

pub fn counts_by_state_and_queue_agree_with_the_jobs(on: &dyn Fixture) {
    for state in State::ALL {
        if state != State::Executing && state != State::Available {
            on.finished(state, new_job());
        }
    }
    on.running(super::fixture::ALICE, new_job());
    on.enqueue(NewJob { queue: queue("mail"), ..new_job() });
    on.enqueue_default();
    assert_eq!(on.store().count_by_state(None).unwrap(), [2, 1, 1, 1, 1, 1, 1]);
    assert_eq!(on.store().count_by_state(Some(&queue("default"))).unwrap(), [1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(on.store().count_by_state(Some(&queue("mail"))).unwrap(), [1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(on.store().count_by_state(Some(&queue("nowhere"))).unwrap(), [0; 7]);
}

pub fn missing_ids_are_left_out(on: &dyn Fixture) {
    let (first, second) = (on.enqueue_default(), on.enqueue_default());
    let asked = [second.id, JobId(999), first.id, JobId(-1), JobId(i64::MAX), JobId(i64::MIN)];
    assert_eq!(on.store().get(&asked).unwrap(), [first, second]);
}
