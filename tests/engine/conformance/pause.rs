//! *pause*, *resume* and scaling.

use zjobs_engine::job::NewJob;
use zjobs_engine::state::State;
use zjobs_engine::store::Acked;

use super::fixture::{ALICE, Fixture, done, new_job, queue};

pub fn a_paused_queue_gives_nothing(on: &dyn Fixture) {
    on.beat(ALICE, &[]);
    on.store().pause(&queue("default")).unwrap();
    on.enqueue_default();
    on.enqueue(NewJob { queue: queue("mail"), ..new_job() });
    assert!(on.claim(ALICE, 9).is_empty());
    assert_eq!(on.claim_from(ALICE, "mail", 9).len(), 1);
    on.store().pause(&queue("default")).unwrap();
    on.store().resume(&queue("default")).unwrap();
    assert_eq!(on.claim(ALICE, 9).len(), 1);
}

pub fn settings_of_a_queue_are_listed(on: &dyn Fixture) {
    on.enqueue(NewJob { queue: queue("a"), ..new_job() });
    on.store().pause(&queue("c")).unwrap();
    on.store().scale(&queue("b"), Some(3)).unwrap();
    on.store().scale(&queue("c"), Some(4)).unwrap();
    on.store().scale(&queue("c"), None).unwrap();
    let rows = on.store().queues().unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.paused, row.concurrency)).collect();
    assert_eq!(seen, [("a", false, None), ("b", false, Some(3)), ("c", true, None)]);
    assert_eq!((rows[0].counts, rows[1].counts), ([1, 0, 0, 0, 0, 0, 0], [0; 7]));
}

pub fn running_jobs_go_on_in_a_pause(on: &dyn Fixture) {
    let job = on.running(ALICE, new_job());
    on.store().pause(&queue("default")).unwrap();
    assert_eq!(on.ack(ALICE, &job, done()), Acked::Stored);
    assert_eq!(on.state(job.id), State::Completed);
}
