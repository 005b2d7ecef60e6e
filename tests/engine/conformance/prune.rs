//! *prune*.

use zjobs_engine::state::State;
use zjobs_engine::store::{Filter, Retention};

use super::fixture::{ALICE, Fixture, ids, new_job, secs};

const KEEP: Retention = Retention { completed: None, cancelled: None, discarded: None };

pub fn each_state_has_its_own_retention(on: &dyn Fixture) {
    let states = [State::Completed, State::Cancelled, State::Discarded];
    let jobs = states.map(|state| on.finished(state, new_job()).id);
    on.advance(secs(100));
    let young = states.map(|state| on.finished(state, new_job()).id);
    assert_eq!(on.store().prune(&KEEP, 99).unwrap(), 0);
    let of = |retention: &Retention, gone: usize| {
        assert_eq!(on.store().prune(retention, 99).unwrap(), 1);
        assert!(on.store().get(&[jobs[gone]]).unwrap().is_empty());
    };
    of(&Retention { completed: Some(secs(50)), cancelled: Some(secs(200)), ..KEEP }, 0);
    of(&Retention { cancelled: Some(secs(50)), discarded: Some(secs(200)), ..KEEP }, 1);
    of(&Retention { discarded: Some(secs(50)), completed: Some(secs(50)), ..KEEP }, 2);
    assert_eq!(on.store().get(&young).unwrap().len(), 3);
}

pub fn a_limit_bounds_one_call(on: &dyn Fixture) {
    (0..3).for_each(|_| drop(on.finished(State::Completed, new_job())));
    on.finished(State::Discarded, new_job());
    on.advance(secs(100));
    let all = Retention { completed: Some(secs(1)), cancelled: Some(secs(1)), discarded: Some(secs(1)) };
    assert_eq!(on.store().prune(&all, 2).unwrap(), 2);
    assert_eq!(on.store().prune(&all, 9).unwrap(), 2);
    assert_eq!(on.store().count(&Filter::default()).unwrap(), 0);
}

pub fn a_retried_job_is_not_pruned(on: &dyn Fixture) {
    let job = on.finished(State::Completed, new_job());
    on.advance(secs(100));
    on.store().retry(&ids(&[job.id])).unwrap();
    let all = Retention { completed: Some(secs(1)), cancelled: Some(secs(1)), discarded: Some(secs(1)) };
    assert_eq!(on.store().prune(&all, 9).unwrap(), 0);
    on.store().cancel(&ids(&[job.id])).unwrap();
    assert_eq!(on.store().prune(&all, 9).unwrap(), 0, "its age counts from its latest end");
    on.advance(secs(2));
    assert_eq!(on.store().prune(&all, 9).unwrap(), 1);
}

pub fn live_jobs_are_never_pruned(on: &dyn Fixture) {
    on.running(ALICE, new_job());
    for state in [State::Retryable, State::Scheduled, State::Available] {
        on.finished(state, new_job());
    }
    on.advance(secs(1_000_000));
    let all = Retention { completed: Some(secs(0)), cancelled: Some(secs(0)), discarded: Some(secs(0)) };
    assert_eq!(on.store().prune(&all, 9).unwrap(), 0);
    assert_eq!(on.store().count(&Filter::default()).unwrap(), 4);
}
