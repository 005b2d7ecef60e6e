//! *stage*.

use zjobs_engine::job::{NewJob, When};
use zjobs_engine::outcome::Again;
use zjobs_engine::state::State;

use super::fixture::{ALICE, Fixture, HOUR, failed, new_job, secs};

fn later(on: &dyn Fixture, delay: u64) -> zjobs_engine::Job {
    on.enqueue(NewJob { when: When::In(secs(delay)), ..new_job() })
}

pub fn due_jobs_become_available_and_the_next_one_is_named(on: &dyn Fixture) {
    assert_eq!(on.store().stage(9).unwrap().next, None);
    let (far, near) = (later(on, 30), later(on, 10));
    assert_eq!(on.store().stage(9).unwrap().next, Some(near.scheduled_at));
    on.advance(secs(10));
    let staged = on.store().stage(9).unwrap();
    assert_eq!((staged.moved, staged.next), (1, Some(far.scheduled_at)));
    assert_eq!((on.state(near.id), on.state(far.id)), (State::Available, State::Scheduled));
    assert_eq!(on.get(near.id).scheduled_at, near.scheduled_at);
}

pub fn a_limit_leaves_the_rest_overdue(on: &dyn Fixture) {
    (0..5).for_each(|_| drop(later(on, 1)));
    on.advance(secs(2));
    let staged = on.store().stage(3).unwrap();
    assert_eq!(staged.moved, 3);
    assert!(staged.next.is_some_and(|next| next <= staged.now));
    let staged = on.store().stage(3).unwrap();
    assert_eq!((staged.moved, staged.next), (2, None));
}

pub fn a_failed_job_comes_back_after_its_backoff(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.ack(ALICE, &job, failed(Again::In(secs(5))));
    on.advance(secs(4));
    assert_eq!(on.store().stage(9).unwrap().moved, 0);
    on.advance(secs(1));
    assert_eq!(on.store().stage(9).unwrap().moved, 1);
    let again = on.claim(ALICE, 1).remove(0);
    assert_eq!((again.id, again.attempt), (job.id, 2));
}

pub fn order_of_claim_follows_due_times_after_staging(on: &dyn Fixture) {
    let (second, first) = (later(on, 2), later(on, 1));
    on.advance(secs(3));
    let third = on.enqueue_default();
    on.store().stage(9).unwrap();
    on.beat(ALICE, &[]);
    let order: Vec<_> = on.claim(ALICE, 9).iter().map(|job| job.id).collect();
    assert_eq!(order, [first.id, second.id, third.id]);
}

pub fn a_delay_passes_although_the_wall_clock_has_stepped_back(on: &dyn Fixture) {
    let again = on.running(ALICE, new_job());
    on.step_wall(-HOUR);
    let job = later(on, 1);
    on.ack(ALICE, &again, failed(Again::In(secs(3))));
    assert_eq!(on.store().stage(9).unwrap().moved, 0);
    // A store that is ahead of its clock waits for it at half its pace.
    on.advance(secs(2));
    assert_eq!(on.store().stage(9).unwrap().moved, 1);
    on.advance(secs(4));
    assert_eq!(on.store().stage(9).unwrap().moved, 1);
    assert_eq!((on.state(job.id), on.state(again.id)), (State::Available, State::Available));
    on.beat(ALICE, &[]);
    assert_eq!(on.claim(ALICE, 9).len(), 2);
}
