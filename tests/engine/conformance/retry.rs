//! *retry* and deletion.

use zjobs_engine::job::{NewJob, Progress};
use zjobs_engine::state::State;
use zjobs_engine::store::{Acked, Filter, Report, Retried};
use zjobs_engine::unique::UniqueStrategy::{CancelExisting, IgnoreNew};

use super::fixture::{ALICE, Fixture, TTL, cancelled, done, ids, new_job, secs, unique_job};

pub fn every_resting_state_becomes_available(on: &dyn Fixture) {
    for state in [State::Completed, State::Cancelled, State::Discarded, State::Retryable, State::Scheduled] {
        let job = on.finished(state, new_job());
        on.advance(secs(3));
        let before = on.store().now().unwrap();
        assert_eq!(on.store().retry(&ids(&[job.id])).unwrap(), [Retried::Done(job.id)]);
        let now = on.get(job.id);
        assert_eq!(
            (now.state, now.attempt, now.lease, now.finished_at),
            (State::Available, job.attempt, job.lease, None)
        );
        assert!(now.scheduled_at >= before);
        on.beat(ALICE, &[]);
        let again = on.claim(ALICE, 1).remove(0);
        assert_eq!((again.id, again.lease.0), (job.id, 2));
        assert_eq!(on.ack(ALICE, &again, done()), Acked::Stored);
    }
}

pub fn used_up_attempts_get_one_more(on: &dyn Fixture) {
    let spent = on.finished(State::Discarded, NewJob { max_attempts: 1, ..new_job() });
    let fresh = on.finished(State::Completed, NewJob { max_attempts: 7, ..new_job() });
    on.store().retry(&ids(&[spent.id, fresh.id])).unwrap();
    assert_eq!((on.get(spent.id).attempt, on.get(spent.id).max_attempts), (1, 2));
    assert_eq!(on.get(fresh.id).max_attempts, 7);
}

pub fn marks_of_the_past_are_cleared(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.advance(TTL + secs(1));
    on.store().rescue(9).unwrap();
    on.beat(super::fixture::BOB, &[]);
    let job = on.claim(super::fixture::BOB, 1).into_iter().find(|again| again.id == job.id).unwrap();
    let progress = Progress { done: 1.0, total: None, message: String::new() };
    on.store().report(super::fixture::BOB, &[Report { id: job.id, lease: job.lease, progress }]).unwrap();
    on.store().cancel(&ids(&[job.id])).unwrap();
    on.ack(super::fixture::BOB, &job, cancelled());
    on.store().retry(&ids(&[job.id])).unwrap();
    let now = on.get(job.id);
    let details = now.details();
    assert_eq!((details.cancel_requested, &details.progress, details.crashes), (false, &None, 0));
    assert_eq!(details.errors.len(), 2, "the errors tell its history");
}

pub fn a_taken_key_refuses_and_names_its_holder(on: &dyn Fixture) {
    for state in [State::Completed, State::Cancelled, State::Discarded] {
        let key = state.name();
        let old = on.finished(state, unique_job(key, IgnoreNew));
        let new = on.enqueue(unique_job(key, IgnoreNew));
        let reply = on.store().retry(&ids(&[old.id])).unwrap();
        assert_eq!(reply, [Retried::KeyTaken { id: old.id, holder: new.id }]);
        assert_eq!(on.get(old.id), old);
        on.store().cancel(&ids(&[new.id])).unwrap();
        assert_eq!(on.store().retry(&ids(&[old.id])).unwrap(), [Retried::Done(old.id)]);
    }
}

pub fn of_two_that_have_one_key_the_first_takes_it(on: &dyn Fixture) {
    let [first, second] = [(); 2].map(|()| on.finished(State::Discarded, unique_job("k", IgnoreNew)));
    let other = on.finished(State::Discarded, new_job());
    let replies = on.store().retry(&Filter::default()).unwrap();
    let taken = Retried::KeyTaken { id: second.id, holder: first.id };
    assert_eq!(replies, [Retried::Done(first.id), taken, Retried::Done(other.id)]);
    assert_eq!(on.get(second.id), second);
}

pub fn a_free_key_is_taken_back(on: &dyn Fixture) {
    let job = on.finished(State::Completed, unique_job("k", IgnoreNew));
    on.store().retry(&ids(&[job.id])).unwrap();
    assert_eq!(on.enqueue(unique_job("k", IgnoreNew)).id, job.id);
    let newer = on.enqueue(unique_job("k", CancelExisting));
    assert_eq!((on.state(job.id), on.state(newer.id)), (State::Cancelled, State::Available));
    let both = on.store().retry(&ids(&[job.id, newer.id])).unwrap();
    assert_eq!(both, [Retried::KeyTaken { id: job.id, holder: newer.id }]);
}

pub fn running_and_available_jobs_are_left_alone(on: &dyn Fixture) {
    let running = on.running(ALICE, new_job());
    let available = on.enqueue_default();
    assert!(on.store().retry(&Filter::default()).unwrap().is_empty());
    assert_eq!((on.get(running.id), on.get(available.id)), (running, available));
}

pub fn jobs_that_do_not_run_can_be_deleted(on: &dyn Fixture) {
    let states = [State::Completed, State::Cancelled, State::Discarded, State::Retryable, State::Scheduled];
    let mut jobs: Vec<_> = states.into_iter().map(|state| on.finished(state, new_job()).id).collect();
    let running = on.running(ALICE, new_job());
    jobs.push(on.enqueue_default().id);
    jobs.push(running.id);
    assert_eq!(on.store().delete(&ids(&jobs)).unwrap(), 6);
    assert_eq!(on.store().get(&jobs).unwrap(), std::slice::from_ref(&running));
    on.advance(secs(61));
    assert_eq!(on.store().stage(9).unwrap().moved, 0);
    on.beat(super::fixture::BOB, &[]);
    assert!(on.claim(super::fixture::BOB, 9).is_empty());
    assert_eq!(on.store().delete(&Filter::default()).unwrap(), 0);
}

pub fn a_deleted_job_frees_its_key(on: &dyn Fixture) {
    let job = on.enqueue(unique_job("k", IgnoreNew));
    on.store().delete(&ids(&[job.id])).unwrap();
    assert_ne!(on.enqueue(unique_job("k", IgnoreNew)).id, job.id);
}
