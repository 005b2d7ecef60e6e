//! Acks that the server refuses for what is in them, and what a batch is.

use std::time::Duration;

use zjobs_engine::outcome::{Again, Failure, Outcome, settle};
use zjobs_engine::store::{Acked, Signal, Store};
use zjobs_engine::{Error, State};

use crate::conformance::fixture::{ALICE, Fixture, done, new_job};
use crate::conformance::signals::Ear;
use crate::postgres::fixture::Postgres;

#[test]
fn what_the_server_cannot_store_of_one_ack_harms_neither_its_move_nor_its_neighbours() {
    let on = Postgres::new();
    let fixture: &dyn Fixture = &on;
    let [first, second, third] = std::array::from_fn(|_| fixture.running(ALICE, new_job()));
    // Built by hand, past the bounds: `Failure::new` replaces what cannot be stored.
    let failure = Failure { kind: "Oh".into(), message: "a\0b".into(), traceback: String::new() };
    let bad = Outcome::Failed { failure, again: Again::In(Duration::from_secs(60)) };
    let acks = [(&first, done()), (&second, bad), (&third, done())].map(|(job, outcome)| settle(job, outcome).unwrap());
    assert_eq!(on.store.ack(ALICE, &acks).unwrap(), [Acked::Stored; 3]);
    assert_eq!([first.id, third.id].map(|id| fixture.state(id)), [State::Completed; 2]);
    let second = fixture.get(second.id);
    assert_eq!((second.state, second.details().errors[0].kind.as_str()), (State::Retryable, "Unstorable"));
}

fn with_result() -> Outcome {
    Outcome::Completed { result: Some(b"\"it\"".as_slice().into()) }
}

#[test]
fn a_result_that_a_rule_refuses_is_left_out_and_the_job_ends_all_the_same() {
    let on = Postgres::new();
    let fixture: &dyn Fixture = &on;
    let [bad, good] = std::array::from_fn(|_| fixture.running(ALICE, new_job()));
    on.add_rule(&format!("new.id = {} AND new.result IS NOT NULL", bad.id), "P0001");
    let acks = [&bad, &good].map(|job| settle(job, with_result()).unwrap());
    assert_eq!(on.store.ack(ALICE, &acks).unwrap(), [Acked::Stored; 2]);
    let [bad, good] = [bad.id, good.id].map(|id| fixture.get(id));
    assert_eq!((bad.state, bad.details().errors[0].kind.as_str()), (State::Completed, "Unstorable"));
    assert_eq!((bad.details().result.is_some(), good.details().result.is_some()), (false, true));
}

#[test]
fn what_could_not_be_written_for_the_times_fault_is_not_written_without_its_result() {
    let on = Postgres::new();
    let fixture: &dyn Fixture = &on;
    let [bad, late] = std::array::from_fn(|_| fixture.running(ALICE, new_job()));
    // query_canceled, as when the server's time for a statement is over
    on.add_rule(&format!("new.id = {} AND new.result IS NOT NULL", late.id), "57014");
    let failure = Failure { kind: "Oh".into(), message: "a\0b".into(), traceback: String::new() };
    let refused = settle(&bad, Outcome::Failed { failure, again: Again::In(Duration::from_secs(60)) }).unwrap();
    let error = on.store.ack(ALICE, &[refused, settle(&late, with_result()).unwrap()]).unwrap_err();
    assert!(matches!(error, Error::StoreUnavailable(_)), "{error}");
    assert_eq!((fixture.state(bad.id), fixture.state(late.id)), (State::Retryable, State::Executing));
}

#[test]
fn a_batch_is_one_transaction() {
    let on = Postgres::new();
    let fixture: &dyn Fixture = &on;
    let jobs: [_; 3] = std::array::from_fn(|_| fixture.running(ALICE, new_job()));
    let acks = jobs.map(|job| settle(&job, done()).unwrap());
    assert_eq!(on.store.ack(ALICE, &acks).unwrap(), [Acked::Stored; 3]);
    let writers = format!("SELECT DISTINCT xmin::text FROM {}.jobs", on.schema);
    assert_eq!(on.beside.texts(&writers).len(), 1);
}

#[test]
fn whoever_listens_is_told_once_for_a_batch_that_jobs_have_ended() {
    let on = Postgres::new();
    let fixture: &dyn Fixture = &on;
    let jobs: [_; 3] = std::array::from_fn(|_| fixture.running(ALICE, new_job()));
    let ear = Ear::on(&on.store);
    on.store.ack(ALICE, &jobs.map(|job| settle(&job, done()).unwrap())).unwrap();
    // Those of the listening connection may come in between.
    let told: Vec<_> = ear.news().into_iter().filter(|signal| *signal == Signal::Settled).collect();
    assert_eq!(told, [Signal::Settled]);
}
