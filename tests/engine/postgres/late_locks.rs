//! Rows that change between the moment in which a statement looks and that in which it gets their locks: what it then holds
//! is not what it saw.

use zjobs_engine::JobId;
use zjobs_engine::store::{Acked, Rescued, Store};

use crate::conformance::fixture::{ALICE, BOB, Fixture, TTL, done, new_job};
use crate::postgres::fixture::{Beside, Postgres, Watched};

const GATE: u32 = 4711;

fn ids(rescued: &[Rescued]) -> Vec<JobId> {
    rescued.iter().map(|one| one.job.id).collect()
}

#[test]
fn a_job_that_was_rescued_and_claimed_since_a_rescue_looked_stays_with_its_new_node() {
    let here = Postgres::new();
    let on: &dyn Fixture = &here;
    let earlier = on.running(ALICE, new_job());
    let job = on.running(ALICE, new_job());
    on.advance(TTL * 2);
    on.beat(BOB, &[]);
    assert_eq!(ids(&here.store.rescue(1).unwrap()), [earlier.id], "their node is known to be dead");
    assert_eq!(on.claim(BOB, 1)[0].id, earlier.id);
    let (gate, schema) = (Beside::new(), &here.schema);
    gate.run(&format!("SELECT pg_advisory_lock({GATE})"));
    let condition = format!(
        "current_query() NOT LIKE '%FOR UPDATE OF job SKIP LOCKED%' OR pg_advisory_lock_shared({GATE}) IS NOT NULL"
    );
    let late = Watched::by(&here, &condition);
    let waits = format!("SELECT 'yes' FROM pg_stat_activity WHERE usename = '{schema}' AND wait_event = 'advisory'");
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| late.store.rescue(9).unwrap());
        while here.beside.texts(&waits).is_empty() {
            std::thread::yield_now();
        }
        let first = here.store.rescue(9).unwrap();
        assert_eq!(on.claim(BOB, 1)[0].id, job.id);
        gate.run(&format!("SELECT pg_advisory_unlock({GATE})"));
        (first, second.join().unwrap())
    });
    assert_eq!((ids(&first), ids(&second)), (vec![job.id], vec![]));
    let again = on.get(job.id);
    assert_eq!(again.node, Some(BOB));
    assert_eq!(on.ack(BOB, &again, done()), Acked::Stored);
}
