//! Acks that the server refuses for what is in them.

use std::time::Duration;

use zjobs_engine::State;
use zjobs_engine::outcome::{Again, Failure, Outcome, settle};
use zjobs_engine::store::{Acked, Store};

use crate::conformance::fixture::{ALICE, Fixture, done, new_job};
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
