//! What those who listen to the store in their own process hear of what it commits.

use zjobs_engine::job::{NewJob, When};
use zjobs_engine::store::Signal;

use super::fixture::Sqlite;
use crate::conformance::fixture::{ALICE, Fixture, TTL, cancelled, done, ids, new_job, queue, secs};
use crate::conformance::signals::Ear;

#[test]
fn a_subscriber_hears_what_commits() {
    let file = Sqlite::new();
    let on: &dyn Fixture = &file;
    let ear = Ear::on(&file.store);
    let ready = || Signal::Ready(queue("default"));
    on.enqueue(new_job());
    assert_eq!(ear.news(), [ready()]);
    let later = on.enqueue(NewJob { when: When::In(secs(9)), ..new_job() });
    assert_eq!(ear.news(), [Signal::Due(later.scheduled_at)]);
    on.beat(ALICE, &[]);
    let job = on.claim(ALICE, 1).remove(0);
    assert_eq!(ear.news(), []);
    on.store().cancel(&ids(&[job.id])).unwrap();
    assert_eq!(ear.news(), [Signal::Cancel(vec![job.id])]);
    on.ack(ALICE, &job, done());
    assert_eq!(ear.news(), [], "nothing was written");
    on.ack(ALICE, &job, cancelled());
    assert_eq!(ear.news(), [Signal::Settled]);
    on.advance(secs(9));
    on.store().stage(9).unwrap();
    assert_eq!(ear.news(), [ready()]);
    on.claim(ALICE, 1);
    on.advance(TTL + secs(1));
    on.store().rescue(9).unwrap();
    assert_eq!(ear.news(), [ready()]);
}
