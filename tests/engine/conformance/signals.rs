//! What those who listen to a store in their own process hear of what it commits.

use zjobs_engine::job::{Name, NewJob, When};
use zjobs_engine::outcome::{Again, Outcome};
use zjobs_engine::store::{Acked, Filter, Signal, Store, Subscriber};
use zjobs_engine::sync::{Arc, Mutex};

use super::fixture::{ALICE, Fixture, TTL, done, failed, ids, new_job, queue, secs};

/// Notes what it is told.
#[derive(Default)]
pub struct Ear(Mutex<Vec<Signal>>);

impl Subscriber for Ear {
    fn signal(&self, signal: &Signal) {
        self.0.lock().push(signal.clone());
    }
}

impl Ear {
    pub fn on(store: &dyn Store) -> Arc<Self> {
        let ear = Arc::<Self>::default();
        let subscriber: Arc<dyn Subscriber> = ear.clone();
        store.subscribe(Arc::downgrade(&subscriber));
        ear
    }

    /// What it has heard since it was last asked.
    pub fn news(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Whether it has heard this since it was last asked. A store on a server may say a thing twice, and the second time late.
    fn heard(&self, signal: &Signal) -> bool {
        self.news().contains(signal)
    }
}

/// The name of a queue that no other step has, so that nothing said late is taken for what is to be heard.
fn own(step: &str) -> (Name, NewJob) {
    (queue(step), NewJob { queue: queue(step), ..new_job() })
}

fn listening(on: &dyn Fixture) -> Arc<Ear> {
    let ear = Ear::on(on.store());
    on.beat(ALICE, &[]);
    ear
}

pub fn a_job_that_became_available_is_told_however_it_did(on: &dyn Fixture) {
    let ear = listening(on);
    let (enqueued, job) = own("enqueued");
    on.enqueue(job);
    assert!(ear.heard(&Signal::Ready(enqueued)));

    let (released, job) = own("released");
    on.enqueue(job);
    let job = on.claim_from(ALICE, "released", 1).remove(0);
    ear.heard(&Signal::Missed);
    on.ack(ALICE, &job, Outcome::Released);
    assert!(ear.heard(&Signal::Ready(released)));

    let (staged, job) = own("staged");
    on.enqueue(NewJob { when: When::In(secs(1)), ..job });
    on.advance(secs(1));
    on.store().stage(9).unwrap();
    assert!(ear.heard(&Signal::Ready(staged)));

    let (resumed, job) = own("resumed");
    on.store().pause(&resumed).unwrap();
    on.enqueue(job);
    ear.heard(&Signal::Missed);
    on.store().resume(&resumed).unwrap();
    assert!(ear.heard(&Signal::Ready(resumed)));

    let again = ["retried", "retried too"].map(|step| {
        let (queue, job) = own(&step.replace(' ', "_"));
        on.enqueue(job);
        queue
    });
    on.store().cancel(&Filter::default()).unwrap();
    ear.heard(&Signal::Missed);
    on.store().retry(&Filter::default()).unwrap();
    let told = ear.news();
    assert!(again.iter().all(|queue| told.contains(&Signal::Ready(queue.clone()))), "{told:?}");

    let (rescued, job) = own("rescued");
    on.enqueue(job);
    assert_eq!(on.claim_from(ALICE, "rescued", 1).len(), 1);
    on.advance(TTL + secs(1));
    ear.heard(&Signal::Missed);
    on.store().rescue(9).unwrap();
    assert!(ear.heard(&Signal::Ready(rescued)));
}

/// Each is due before all others: of later ones nobody need be told.
pub fn a_job_that_will_be_due_is_told_with_its_time(on: &dyn Fixture) {
    let ear = listening(on);
    let later = on.enqueue(NewJob { when: When::In(secs(300)), ..new_job() });
    assert!(ear.heard(&Signal::Due(later.scheduled_at)));
    for outcome in [failed(Again::In(secs(200))), Outcome::Snoozed { delay: secs(100) }] {
        let job = on.running(ALICE, new_job());
        on.ack(ALICE, &job, outcome);
        assert!(ear.heard(&Signal::Due(on.get(job.id).scheduled_at)));
    }
}

pub fn a_job_that_has_ended_is_told_however_it_did(on: &dyn Fixture) {
    let ear = listening(on);
    let settles = |verb: &dyn Fn()| {
        ear.heard(&Signal::Missed);
        verb();
        ear.heard(&Signal::Settled)
    };
    let job = on.running(ALICE, new_job());
    assert!(settles(&|| assert_eq!(on.ack(ALICE, &job, done()), Acked::Stored)));
    let waits = on.enqueue(new_job());
    assert!(settles(&|| drop(on.store().cancel(&ids(&[waits.id])).unwrap())));
    assert!(settles(&|| drop(on.store().delete(&ids(&[waits.id])))));
    on.running(ALICE, NewJob { max_attempts: 1, ..new_job() });
    on.advance(TTL + secs(1));
    assert!(settles(&|| drop(on.store().rescue(9).unwrap())));
}

pub fn a_wanted_cancel_and_a_new_setting_are_told_with_whom_they_concern(on: &dyn Fixture) {
    let ear = listening(on);
    let job = on.running(ALICE, new_job());
    on.store().cancel(&ids(&[job.id])).unwrap();
    assert!(ear.heard(&Signal::Cancel(vec![job.id])));
    let [paused, resumed, scaled] = ["paused", "resumed", "scaled"].map(queue);
    on.store().pause(&paused).unwrap();
    assert!(ear.heard(&Signal::Control(paused)));
    on.store().resume(&resumed).unwrap();
    assert!(ear.heard(&Signal::Control(resumed)));
    on.store().scale(&scaled, Some(3)).unwrap();
    assert!(ear.heard(&Signal::Control(scaled)));
}
