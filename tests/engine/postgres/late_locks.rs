//! Rows that change between the moment in which a statement looks and that in which it gets their locks: what it then holds
//! is not what it saw.

use zjobs_engine::JobId;
use zjobs_engine::outcome::Again;
use zjobs_engine::store::{Acked, Claim, Rescued, Store};

use crate::conformance::fixture::{ALICE, BOB, Fixture, TTL, done, failed, new_job, queue, secs};
use crate::postgres::fixture::{Beside, Postgres, Watched};

const GATE: u32 = 4711;

/// A store beside the first, whose statements that look like this wait before they lock the first row that they saw.
struct Gate<'a> {
    here: &'a Postgres,
    key: Beside,
    late: Watched<'a>,
}

impl<'a> Gate<'a> {
    fn new(here: &'a Postgres, statement: &str) -> Self {
        let key = Beside::new();
        key.run(&format!("SELECT pg_advisory_lock({GATE})"));
        let condition =
            format!("current_query() NOT LIKE '{statement}' OR pg_advisory_lock_shared({GATE}) IS NOT NULL");
        Self { here, key, late: Watched::by(here, &condition) }
    }

    /// Until one waits.
    fn wait(&self) {
        let schema = &self.here.schema;
        let waits =
            format!("SELECT 'yes' FROM pg_stat_activity WHERE usename = '{schema}' AND wait_event = 'advisory'");
        while self.here.beside.texts(&waits).is_empty() {
            std::thread::yield_now();
        }
    }

    fn open(&self) {
        self.key.run(&format!("SELECT pg_advisory_unlock({GATE})"));
    }
}

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
    let gate = Gate::new(&here, "%FOR UPDATE OF job SKIP LOCKED%");
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| gate.late.store.rescue(9).unwrap());
        gate.wait();
        let first = here.store.rescue(9).unwrap();
        assert_eq!(on.claim(BOB, 1)[0].id, job.id);
        gate.open();
        (first, second.join().unwrap())
    });
    assert_eq!((ids(&first), ids(&second)), (vec![job.id], vec![]));
    let again = on.get(job.id);
    assert_eq!(again.node, Some(BOB));
    assert_eq!(on.ack(BOB, &again, done()), Acked::Stored);
}

#[test]
fn a_job_that_ran_failed_and_came_back_since_a_claim_looked_is_not_taken_before_its_time() {
    let here = Postgres::new();
    let on: &dyn Fixture = &here;
    on.beat(BOB, &[]);
    on.beat(ALICE, &[]);
    let id = on.enqueue_default().id;
    let gate = Gate::new(&here, "%job.lease + (job.lease%");
    let claimed = std::thread::scope(|scope| {
        let late =
            scope.spawn(|| gate.late.store.claim(&Claim { node: BOB, queue: queue("default"), limit: 1 }).unwrap());
        gate.wait();
        let first = on.claim(ALICE, 1);
        on.ack(ALICE, &first[0], failed(Again::In(secs(1))));
        on.advance(secs(1));
        here.store.stage(9).unwrap();
        gate.open();
        late.join().unwrap()
    });
    assert_eq!((claimed[0].id, claimed[0].attempt), (id, 2));
    assert!(claimed[0].scheduled_at <= claimed[0].attempted_at.unwrap(), "I-16: {:?}", claimed[0]);
}
