//! *ack* and progress reports.

use zjobs_engine::job::{Lease, NewJob, Progress};
use zjobs_engine::limits;
use zjobs_engine::outcome::{Again, Outcome, settle};
use zjobs_engine::state::State;
use zjobs_engine::store::{Acked, Report};

use super::fixture::{ALICE, BOB, Fixture, HOUR, cancelled, done, failed, ids, new_job, secs};

pub fn each_outcome_leads_where_the_table_says(on: &dyn Fixture) {
    let cases = [
        (done(), State::Completed, 1),
        (failed(Again::In(secs(30))), State::Retryable, 1),
        (failed(Again::Never), State::Discarded, 1),
        (Outcome::Snoozed { delay: secs(30) }, State::Scheduled, 0),
        (cancelled(), State::Cancelled, 1),
        (Outcome::Released, State::Available, 0),
    ];
    for (outcome, to, attempt) in cases {
        let running = on.running(ALICE, new_job());
        on.advance(secs(1));
        let before = on.store().now().unwrap();
        assert_eq!(on.ack(ALICE, &running, outcome), Acked::Stored);
        let after = on.store().now().unwrap();
        let job = on.get(running.id);
        assert_eq!((job.state, job.attempt, job.lease, job.node), (to, attempt, Lease(1), None));
        assert_eq!(job.attempted_at, running.attempted_at);
        assert_eq!(job.finished_at.is_some_and(|at| (before..=after).contains(&at)), to.is_final(), "{to}");
        if matches!(to, State::Retryable | State::Scheduled) {
            assert!((before + secs(30)..=after + secs(30)).contains(&job.scheduled_at));
        } else {
            assert_eq!(job.scheduled_at, running.scheduled_at);
        }
        on.store().delete(&ids(&[job.id])).unwrap();
    }
}

pub fn a_failure_keeps_its_error(on: &dyn Fixture) {
    let running = on.running(ALICE, new_job());
    let before = on.store().now().unwrap();
    on.ack(ALICE, &running, failed(Again::In(secs(1))));
    let after = on.store().now().unwrap();
    let job = on.get(running.id);
    let [error] = job.details().errors.as_slice() else { panic!("one error: {job:?}") };
    assert_eq!((error.attempt, error.kind.as_str()), (1, "ValueError"));
    assert_eq!((error.message.as_str(), error.traceback.as_str()), ("no such address", "line 3"));
    assert!((before..=after).contains(&error.at));
}

pub fn only_the_newest_errors_are_kept(on: &dyn Fixture) {
    let id = on.enqueue_default().id;
    for _ in 0..limits::ERRORS_KEPT + 3 {
        on.beat(ALICE, &[]);
        let job = on.claim(ALICE, 1).remove(0);
        on.ack(ALICE, &job, failed(Again::In(secs(1))));
        on.advance(secs(1));
        on.store().stage(1).unwrap();
    }
    let attempts: Vec<_> = on.get(id).details().errors.iter().map(|error| error.attempt).collect();
    assert_eq!(attempts, (4..=13).collect::<Vec<_>>());
}

pub fn the_result_is_kept(on: &dyn Fixture) {
    let running = on.running(ALICE, new_job());
    on.ack(ALICE, &running, Outcome::Completed { result: Some(b"[1]".as_slice().into()) });
    assert_eq!(on.get(running.id).details().result.as_deref(), Some(b"[1]".as_slice()));
}

pub fn a_stale_lease_changes_nothing(on: &dyn Fixture) {
    let first = on.running(ALICE, new_job());
    on.ack(ALICE, &first, Outcome::Released);
    let second = on.claim(ALICE, 1).remove(0);
    for outcome in [done(), failed(Again::Never), cancelled(), Outcome::Released] {
        assert_eq!(on.ack(ALICE, &first, outcome), Acked::LeaseLost);
    }
    assert_eq!(on.get(first.id), second);
    let mut future = second.clone();
    future.lease = Lease(3);
    assert_eq!(on.ack(ALICE, &future, done()), Acked::LeaseLost);
    assert_eq!(on.ack(ALICE, &second, done()), Acked::Stored);
}

pub fn another_node_changes_nothing(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    assert_eq!(on.ack(BOB, &job, done()), Acked::LeaseLost, "unknown to the store");
    on.beat(BOB, &[]);
    assert_eq!(on.ack(BOB, &job, done()), Acked::LeaseLost);
    assert_eq!(on.get(job.id), job);
}

pub fn a_wanted_cancel_is_told_to_the_holder_alone(on: &dyn Fixture) {
    let running = on.running(ALICE, new_job());
    on.beat(BOB, &[]);
    on.store().cancel(&ids(&[running.id])).unwrap();
    assert_eq!(on.ack(BOB, &running, done()), Acked::LeaseLost);
    assert_eq!(on.ack(ALICE, &running, done()), Acked::CancelRequested);
    assert_eq!(on.ack(ALICE, &running, cancelled()), Acked::Stored);
    assert_eq!(on.ack(ALICE, &running, done()), Acked::LeaseLost);
}

pub fn a_job_that_does_not_run_refuses_acks(on: &dyn Fixture) {
    for state in [State::Available, State::Retryable, State::Scheduled, State::Completed, State::Discarded] {
        let running = on.running(ALICE, new_job());
        let outcome = match state {
            State::Completed => done(),
            State::Discarded => failed(Again::Never),
            State::Retryable => failed(Again::In(secs(9))),
            State::Scheduled => Outcome::Snoozed { delay: secs(9) },
            _ => Outcome::Released,
        };
        on.ack(ALICE, &running, outcome);
        let before = on.get(running.id);
        assert_eq!(on.ack(ALICE, &running, cancelled()), Acked::LeaseLost);
        assert_eq!(on.get(running.id), before);
        on.store().delete(&ids(&[running.id])).unwrap();
        assert_eq!(on.ack(ALICE, &running, done()), Acked::LeaseLost, "deleted");
    }
}

pub fn the_same_ack_again_is_already_stored(on: &dyn Fixture) {
    for outcome in [done(), failed(Again::In(secs(9))), Outcome::Snoozed { delay: secs(9) }, cancelled()] {
        let job = on.running(ALICE, new_job());
        assert_eq!(on.ack(ALICE, &job, outcome.clone()), Acked::Stored);
        let before = on.get(job.id);
        on.advance(secs(1));
        assert_eq!(on.ack(ALICE, &job, outcome), Acked::Already);
        assert_eq!(on.get(job.id), before);
    }
}

pub fn acks_of_one_batch_do_not_harm_each_other(on: &dyn Fixture) {
    let jobs: Vec<_> = (0..3).map(|_| on.running(ALICE, new_job())).collect();
    let mut acks: Vec<_> = jobs.iter().map(|job| settle(job, done()).unwrap()).collect();
    acks[1].lease = Lease(99);
    acks.push(acks[0].clone());
    let replies = on.store().ack(ALICE, &acks).unwrap();
    assert_eq!(replies, [Acked::Stored, Acked::LeaseLost, Acked::Stored, Acked::Already]);
    let states: Vec<_> = jobs.iter().map(|job| on.state(job.id)).collect();
    assert_eq!(states, [State::Completed, State::Executing, State::Completed]);
}

pub fn progress_is_guarded_by_the_lease(on: &dyn Fixture) {
    let job = on.running(ALICE, NewJob { max_attempts: 3, ..new_job() });
    let report = |lease, done| Report {
        id: job.id,
        lease,
        progress: Progress { done, total: Some(10.0), message: "halfway".into() },
    };
    on.beat(BOB, &[]);
    on.store().report(BOB, &[report(job.lease, 1.0)]).unwrap();
    on.store().report(ALICE, &[report(Lease(2), 2.0)]).unwrap();
    assert_eq!(on.get(job.id).details().progress, None);
    on.store().report(ALICE, &[report(Lease(2), 3.0), report(job.lease, 4.0)]).unwrap();
    assert_eq!(on.get(job.id).details().progress, Some(report(job.lease, 4.0).progress));
    on.ack(ALICE, &job, done());
    on.store().report(ALICE, &[report(job.lease, 5.0)]).unwrap();
    assert_eq!(on.get(job.id).details().progress, Some(report(job.lease, 4.0).progress));
}

pub fn a_leaving_node_may_ack(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.store().depart(ALICE, secs(60)).unwrap();
    assert_eq!(on.ack(ALICE, &job, done()), Acked::Stored);
    assert!(on.store().nodes().unwrap().is_empty(), "it holds nothing any more");
}

pub fn the_times_of_a_job_are_in_order_though_the_wall_clock_has_stepped_back(on: &dyn Fixture) {
    let tried = on.enqueue_default();
    on.advance(secs(1));
    on.beat(ALICE, &[]);
    on.ack(ALICE, &on.claim(ALICE, 1)[0], failed(Again::In(secs(7_200))));
    let ends = on.running(ALICE, new_job());
    let orphan = on.running(BOB, new_job());
    let [starts, unwanted] = std::array::from_fn(|_| on.enqueue_default());
    on.step_wall(-HOUR);
    on.ack(ALICE, &ends, done());
    on.store().cancel(&ids(&[tried.id, unwanted.id, orphan.id])).unwrap();
    let claimed = on.claim(ALICE, 9).remove(0);
    assert_eq!(claimed.id, starts.id);
    assert!(claimed.scheduled_at.max(claimed.inserted_at) <= claimed.attempted_at.unwrap(), "{claimed:?}");
    on.ack(ALICE, &claimed, done());
    on.store().depart(BOB, secs(0)).unwrap();
    on.advance(secs(1));
    assert_eq!(on.store().rescue(9).unwrap().len(), 1);
    for id in [tried.id, ends.id, orphan.id, starts.id, unwanted.id] {
        let job = on.get(id);
        assert!(
            job.attempted_at.unwrap_or(job.inserted_at).max(job.inserted_at) <= job.finished_at.unwrap(),
            "{job:?}"
        );
    }
}
