//! *enqueue*.

use zjobs_engine::job::{Job, Lease, Name, NewJob, Priority, When};
use zjobs_engine::state::State;
use zjobs_engine::store::Pulse;
use zjobs_engine::unique::{Unique, UniqueStrategy};

use super::fixture::{ALICE, Fixture, ids, new_job, queue, secs, unique_job, worker};

use UniqueStrategy::{CancelExisting, IgnoreNew};

pub fn every_column_comes_back(on: &dyn Fixture) {
    let before = on.store().now().unwrap();
    let new = NewJob {
        queue: queue("mail"),
        worker: worker("app.Send:mail"),
        proof: zjobs_engine::job::Proof::Needed,
        args: br#"{"to":"a@example.com","n":[1,2.5,null]}"#.as_slice().into(),
        priority: Priority(-17),
        max_attempts: 9,
        when: When::In(secs(33)),
        timeout: Some(secs(77)),
        unique: Some(Unique::by_key("key-1", IgnoreNew).unwrap()),
        tags: vec![Name::tag("red").unwrap(), Name::tag("blue").unwrap()],
        meta: Some(br#"{"trace":"abc"}"#.as_slice().into()),
    };
    let job = on.enqueue(new.clone());
    let after = on.store().now().unwrap();
    assert_eq!(job.state, State::Scheduled);
    assert_eq!((&job.queue, &job.worker, &job.args), (&new.queue, &new.worker, &new.args));
    assert_eq!((job.priority, job.attempt, job.max_attempts, job.lease), (Priority(-17), 0, 9, Lease(0)));
    assert_eq!((job.node, job.attempted_at, job.finished_at), (None, None, None));
    assert_eq!(job.timeout, Some(secs(77)));
    assert!((before..=after).contains(&job.inserted_at));
    assert!((before + secs(33)..=after + secs(33)).contains(&job.scheduled_at));
    assert_eq!(job.details().unique_key.as_deref(), Some("key-1"));
    assert_eq!((&job.details().tags, &job.details().meta), (&new.tags, &new.meta));
    assert_eq!(on.get(job.id), job);
    for (tags, meta) in [(new.tags, None), (Vec::new(), new.meta)] {
        let job = on.enqueue(NewJob { tags, meta, ..new_job() });
        assert_eq!(on.get(job.id), job, "what is returned is what is stored");
    }
    let unlimited = on.enqueue(NewJob { timeout: None, ..new_job() });
    assert_eq!(on.get(unlimited.id).timeout, None);
}

pub fn a_batch_comes_back_in_its_order_with_rising_ids(on: &dyn Fixture) {
    let batch: Vec<_> = [5, 3, 4].map(|n| NewJob { priority: Priority(n), ..new_job() }).into();
    let jobs: Vec<Job> = on.store().enqueue(batch).unwrap().into_iter().map(|e| e.job).collect();
    assert_eq!(jobs.iter().map(|job| job.priority.0).collect::<Vec<_>>(), [5, 3, 4]);
    assert!(jobs.is_sorted_by(|a, b| a.id < b.id));
    assert!(on.store().enqueue(Vec::new()).unwrap().is_empty());
}

pub fn a_job_for_later_is_scheduled_and_one_for_the_past_is_available(on: &dyn Fixture) {
    let now = on.store().now().unwrap();
    let at = |when| on.enqueue(NewJob { when, ..new_job() });
    assert_eq!(at(When::Now).state, State::Available);
    assert_eq!(at(When::In(secs(1))).state, State::Scheduled);
    assert_eq!(at(When::At(now + secs(60))).scheduled_at, now + secs(60));
    let past = at(When::At(now - secs(60)));
    assert_eq!((past.state, past.scheduled_at), (State::Available, now - secs(60)));
}

pub fn a_key_that_is_taken_returns_the_job_that_has_it(on: &dyn Fixture) {
    let first = on.enqueue(unique_job("k", IgnoreNew));
    let second = on.store().enqueue(vec![unique_job("k", IgnoreNew), unique_job("l", IgnoreNew)]).unwrap();
    assert!(second[0].conflict);
    assert_eq!(second[0].job, first);
    assert!(!second[1].conflict);
    assert_ne!(second[1].job.id, first.id);
}

pub fn every_live_state_keeps_the_key(on: &dyn Fixture) {
    for state in [State::Available, State::Retryable, State::Scheduled] {
        let key = state.name();
        let job = on.finished(state, unique_job(key, IgnoreNew));
        assert_eq!(on.enqueue(unique_job(key, IgnoreNew)).id, job.id, "{state}");
    }
    let job = on.running(ALICE, unique_job("running", IgnoreNew));
    assert_eq!(on.enqueue(unique_job("running", IgnoreNew)).id, job.id);
}

pub fn every_final_state_frees_the_key(on: &dyn Fixture) {
    for state in [State::Completed, State::Cancelled, State::Discarded] {
        let key = state.name();
        let job = on.finished(state, unique_job(key, IgnoreNew));
        assert_ne!(on.enqueue(unique_job(key, IgnoreNew)).id, job.id, "{state}");
        assert_eq!(on.get(job.id).details().unique_key.as_deref(), Some(key), "the key stays readable");
    }
}

pub fn the_newer_job_replaces_a_waiting_one(on: &dyn Fixture) {
    for state in [State::Available, State::Retryable, State::Scheduled] {
        let key = state.name();
        let old = on.finished(state, unique_job(key, IgnoreNew));
        let new = on.store().enqueue(vec![unique_job(key, CancelExisting)]).unwrap().remove(0);
        assert!(!new.conflict);
        assert_eq!((on.state(old.id), on.state(new.job.id)), (State::Cancelled, State::Available));
        assert!(on.get(old.id).finished_at.is_some());
        assert_eq!(on.enqueue(unique_job(key, IgnoreNew)).id, new.job.id);
    }
}

pub fn the_newer_job_asks_a_running_one_to_stop_and_has_the_key_at_once(on: &dyn Fixture) {
    let old = on.running(ALICE, unique_job("k", IgnoreNew));
    let new = on.enqueue(unique_job("k", CancelExisting));
    assert_eq!((on.state(old.id), on.state(new.id)), (State::Executing, State::Available));
    assert!(on.get(old.id).details().cancel_requested);
    assert_eq!(on.enqueue(unique_job("k", IgnoreNew)).id, new.id);
    let Pulse::Alive { cancel, .. } = on.beat(ALICE, &[old.id]) else { panic!("the node lives") };
    assert_eq!(cancel, [old.id]);
    on.ack(ALICE, &old, super::fixture::cancelled());
    assert_eq!(on.state(old.id), State::Cancelled);
    assert_eq!(on.enqueue(unique_job("k", IgnoreNew)).id, new.id, "the end of the old one frees no key");
}

pub fn a_batch_with_one_key_twice_acts_as_one_after_the_other(on: &dyn Fixture) {
    let batch = vec![unique_job("k", IgnoreNew), unique_job("k", IgnoreNew), unique_job("k", CancelExisting)];
    let jobs = on.store().enqueue(batch).unwrap();
    assert_eq!(jobs.iter().map(|e| e.conflict).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(jobs[1].job.id, jobs[0].job.id);
    assert_eq!((on.state(jobs[0].job.id), on.state(jobs[2].job.id)), (State::Cancelled, State::Available));
    assert_eq!(on.store().count(&ids(&[jobs[0].job.id, jobs[2].job.id])).unwrap(), 2);
}

pub fn texts_of_every_script_come_back(on: &dyn Fixture) {
    let args = "{\"t\":\"äöü 漢字 🚀 \\\"quoted\\\" '; drop table jobs; -- \\\\\"}";
    let tag = Name::tag("naïve '%_ tag").unwrap();
    let job = on.enqueue(NewJob { args: args.as_bytes().into(), tags: vec![tag.clone()], ..new_job() });
    assert_eq!((&*on.get(job.id).args, &on.get(job.id).details().tags), (args.as_bytes(), &vec![tag]));
}

pub fn jobs_with_and_without_keys_may_come_together(on: &dyn Fixture) {
    let keyed = || unique_job("k", IgnoreNew);
    let batch = vec![new_job(), keyed(), new_job(), new_job(), keyed(), new_job()];
    let made = on.store().enqueue(batch).unwrap();
    assert_eq!(made.iter().map(|one| one.conflict).collect::<Vec<_>>(), [false, false, false, false, true, false]);
    assert_eq!(made[4].job.id, made[1].job.id);
    let keys: Vec<_> = made.iter().map(|one| on.get(one.job.id).details().unique_key.clone()).collect();
    let key = Some("k");
    assert_eq!(keys.iter().map(Option::as_deref).collect::<Vec<_>>(), [None, key, None, None, key, None]);
}
