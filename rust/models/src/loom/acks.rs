//! The backlog of acks, and that a job on its way into it is never let go.

use zjobs_engine::clock::Moment;
use zjobs_engine::job::JobId;
use zjobs_engine::runtime::backlog::{Backlog, Finished};
use zjobs_engine::runtime::{Lane, Now};
use zjobs_engine::store::{Acked, Store};
use zjobs_engine::sync::{Arc, thread};
use zjobs_models::desk::Desk;
use zjobs_models::{Heard, START, Standing, claimed, done, engine, seat, take, wanted};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("each ack is written once, whoever flushes", each_ack_is_written_once),
    ("an ack whose write failed is written by the next flush", a_failed_write_is_kept),
    ("the acker wakes for every ack that nobody else writes", the_acker_wakes),
    ("whoever waits for the acks on their way has them answered", waiting_for_acks),
    ("a beat holds a job until its ack is answered", a_beat_holds_what_ends),
];

fn finished(id: i64) -> Finished {
    Finished::new(claimed(id, Lane::Thread), done(), Moment(START)).expect("it may complete")
}

fn written(desk: &Desk) -> Vec<i64> {
    let mut ids: Vec<i64> = desk.acks.lock().iter().map(|(ack, _)| ack.id.0).collect();
    ids.sort_unstable();
    ids
}

fn each_ack_is_written_once() {
    let (backlog, desk) = (Arc::new(Backlog::default()), Desk::new(&Arc::default(), true));
    let pushers = [1, 2].map(|id| {
        let (backlog, desk) = (backlog.clone(), desk.clone());
        thread::spawn(move || {
            backlog.push(finished(id), 2);
            backlog.take(2).write(&*desk, &Heard::default()).expect("the store answers");
        })
    });
    for pusher in pushers {
        pusher.join().expect("it wrote");
    }
    assert!(backlog.is_empty(), "each has written as many as it pushed");
    assert_eq!(written(&desk), [1, 2]);
    assert!(backlog.ids().is_empty(), "nothing is on its way any more");
}

fn a_failed_write_is_kept() {
    let (backlog, desk) = (Arc::new(Backlog::default()), Desk::new(&Arc::default(), true));
    *desk.refuses.lock() = 1;
    backlog.push(finished(1), 2);
    let other = thread::spawn({
        let (backlog, desk) = (backlog.clone(), desk.clone());
        move || {
            backlog.push(finished(2), 2);
            drop(backlog.take(2).write(&*desk, &Heard::default()));
        }
    });
    drop(backlog.take(2).write(&*desk, &Heard::default()));
    other.join().expect("it tried");
    backlog.take(2).write(&*desk, &Heard::default()).expect("the store answers now");
    assert_eq!(written(&desk), [1, 2]);
    assert!(backlog.is_empty() && backlog.ids().is_empty());
}

fn the_acker_wakes() {
    let (backlog, desk) = (Arc::new(Backlog::default()), Desk::new(&Arc::default(), true));
    let pushers = [1, 2].map(|id| {
        let backlog = backlog.clone();
        thread::spawn(move || backlog.push(finished(id), 2))
    });
    // A tick of the role: the alarm first, then what waits.
    let rang = backlog.alarm.take();
    if rang {
        while !backlog.is_empty() {
            backlog.take(2).write(&*desk, &Heard::default()).expect("the store answers");
        }
    }
    for pusher in pushers {
        pusher.join().expect("it pushed");
    }
    assert!(backlog.alarm.take() || written(&desk) == [1, 2], "an ack waits, and nobody comes for it");
}

fn waiting_for_acks() {
    let (backlog, desk) = (Arc::new(Backlog::default()), Desk::new(&Arc::default(), true));
    backlog.push(finished(1), 2);
    let writer = thread::spawn({
        let (backlog, desk) = (backlog.clone(), desk.clone());
        move || backlog.take(2).write(&*desk, &Heard::default()).expect("the store answers")
    });
    if backlog.is_empty() {
        backlog.wait_landed();
        assert_eq!(written(&desk), [1], "it was taken, and is answered");
    }
    writer.join().expect("it wrote");
}

fn a_beat_holds_what_ends() {
    let clock = Arc::<Standing>::default();
    let desk = Desk::new(&clock, true);
    let store: Arc<dyn Store> = desk.clone();
    let engine = engine(&store, &clock, &Arc::default(), 1);
    let (mut heartbeat, _) = seat(&engine, "heartbeat");
    let id = engine.enqueue_one(wanted()).expect("it is enqueued").job.id;
    engine.claim_here(zjobs_models::QUEUE).expect("the store answers");
    let running = take(&engine);
    let slot = thread::spawn({
        let engine = engine.clone();
        move || {
            engine.finish(&running, done());
            engine.flush_all();
        }
    });
    let now = Now { moment: Moment(START), wall: store.now().expect("it is in memory") };
    heartbeat.tick(now, &*store).expect("the store answers");
    // What was not acked when the beat was answered must have been held by it.
    let acked = desk.acks_before_beat();
    slot.join().expect("it finished");
    let beats = desk.beats.lock();
    let held: &Vec<JobId> = beats.last().expect("it has beaten");
    assert!(held.contains(&id) || acked, "the store may give away a job that is still here");
    assert!(matches!(desk.acks.lock()[..], [(_, Acked::Stored)]));
}
