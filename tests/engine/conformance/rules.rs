//! Rules that somebody has added to the tables: here one keeps each job where it runs that has a seven in its arguments.

use zjobs_engine::job::{JobId, NewJob, NodeId};
use zjobs_engine::{Error, State};

use super::fixture::{ALICE, BOB, Fixture, TTL, ids, new_job, secs};

/// Jobs with these numbers, whose node is dead.
pub fn orphans(on: &dyn Fixture, node: NodeId, numbers: &[u8]) -> Vec<JobId> {
    on.beat(node, &[]);
    let job = |number: &u8| NewJob { args: number.to_string().into_bytes().into(), ..new_job() };
    let made = on.store().enqueue(numbers.iter().map(job).collect()).unwrap();
    assert_eq!(on.claim(node, numbers.len()).len(), numbers.len());
    on.advance(TTL + secs(1));
    made.into_iter().map(|enqueued| enqueued.job.id).collect()
}

fn rescued(on: &dyn Fixture, limit: usize) -> Result<Vec<JobId>, Error> {
    Ok(on.store().rescue(limit)?.into_iter().map(|rescued| rescued.job.id).collect())
}

pub fn a_rescue_goes_past_what_is_refused(on: &dyn Fixture) {
    let jobs = orphans(on, ALICE, &[6, 7, 7, 7, 6, 6]);
    assert_eq!(rescued(on, 2).unwrap(), [jobs[0], jobs[4]]);
    assert_eq!(rescued(on, 2).unwrap(), [jobs[5]]);
    rescued(on, 2).unwrap_err();
    assert_eq!([jobs[1], jobs[2], jobs[3]].map(|id| on.state(id)), [State::Executing; 3]);
}

pub fn a_rescue_that_has_room_left_takes_each_once(on: &dyn Fixture) {
    let jobs = orphans(on, ALICE, &[6, 7, 6]);
    assert_eq!(rescued(on, 9).unwrap(), [jobs[0], jobs[2]]);
}

pub fn a_rescue_goes_past_less_than_a_thousand(on: &dyn Fixture) {
    let numbers = |sevens: usize| [vec![7; sevens], vec![6]].concat();
    let jobs = orphans(on, ALICE, &numbers(999));
    assert_eq!(rescued(on, 500).unwrap(), [jobs[999]]);
    on.store().delete(&ids(&jobs[999..])).unwrap();
    orphans(on, BOB, &numbers(1));
    rescued(on, 500).unwrap_err();
}
