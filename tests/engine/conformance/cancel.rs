//! *cancel*.

use zjobs_engine::job::{NewJob, When};
use zjobs_engine::outcome::{Again, Outcome};
use zjobs_engine::state::State;
use zjobs_engine::store::{Acked, Cancelled, Filter};

use super::fixture::{ALICE, Fixture, cancelled, done, failed, ids, new_job, queue, secs};

pub fn waiting_jobs_are_cancelled_at_once(on: &dyn Fixture) {
    for state in [State::Available, State::Retryable, State::Scheduled] {
        let job = on.finished(state, new_job());
        on.advance(secs(1));
        assert_eq!(on.store().cancel(&ids(&[job.id])).unwrap(), [Cancelled::Done(job.id)]);
        let now = on.get(job.id);
        assert_eq!((now.state, now.lease, now.attempt), (State::Cancelled, job.lease, job.attempt));
        assert!(now.finished_at.is_some());
    }
}

pub fn a_running_job_ends_cancelled_whatever_it_says(on: &dyn Fixture) {
    for outcome in [done(), failed(Again::In(secs(1))), Outcome::Released, Outcome::Snoozed { delay: secs(1) }] {
        let job = on.running(ALICE, new_job());
        assert_eq!(on.store().cancel(&ids(&[job.id])).unwrap(), [Cancelled::Requested(job.id)]);
        let asked = on.get(job.id);
        assert!(asked.details().cancel_requested);
        assert_eq!((asked.state, asked.node), (State::Executing, Some(ALICE)));
        assert_eq!(on.ack(ALICE, &job, outcome), Acked::CancelRequested);
        assert_eq!(on.get(job.id), asked);
        assert_eq!(on.ack(ALICE, &job, cancelled()), Acked::Stored);
        assert_eq!(on.state(job.id), State::Cancelled);
    }
}

pub fn final_jobs_are_left_alone(on: &dyn Fixture) {
    for state in [State::Completed, State::Cancelled, State::Discarded] {
        let job = on.finished(state, new_job());
        assert!(on.store().cancel(&ids(&[job.id])).unwrap().is_empty());
        assert_eq!(on.get(job.id), job);
    }
}

pub fn a_cancelled_job_never_starts(on: &dyn Fixture) {
    on.enqueue_default();
    on.enqueue(NewJob { when: When::In(secs(1)), ..new_job() });
    let other = on.enqueue(NewJob { queue: queue("mail"), ..new_job() });
    let default = Filter { queue: Some(queue("default")), ..Filter::default() };
    assert_eq!(on.store().cancel(&default).unwrap().len(), 2);
    on.advance(secs(2));
    on.beat(ALICE, &[]);
    assert_eq!(on.store().stage(9).unwrap().moved, 0);
    assert!(on.claim(ALICE, 9).is_empty());
    assert_eq!(on.state(other.id), State::Available);
}

pub fn a_limit_counts_what_can_be_cancelled(on: &dyn Fixture) {
    on.finished(State::Completed, new_job());
    let (first, second) = (on.enqueue_default(), on.enqueue_default());
    let one = Filter { limit: Some(1), ..Filter::default() };
    assert_eq!(on.store().cancel(&one).unwrap(), [Cancelled::Done(first.id)]);
    assert_eq!(on.store().cancel(&one).unwrap(), [Cancelled::Done(second.id)]);
    assert!(on.store().cancel(&one).unwrap().is_empty());
}
