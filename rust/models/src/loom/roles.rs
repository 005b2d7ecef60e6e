//! The loop of every role: alarms, its end, and the outage that all of them share.

use std::sync::Mutex as Plain;
use std::time::Duration;

use zjobs_engine::clock::Moment;
use zjobs_engine::runtime::role::{Alarm, Outage, Service, Stopper, Surroundings};
use zjobs_engine::runtime::{Now, Role, Wake};
use zjobs_engine::store::{MemoryStore, Store};
use zjobs_engine::sync::{Arc, AtomicUsize, Ordering, thread};
use zjobs_engine::telemetry::Kind;
use zjobs_engine::{Error, Result};
use zjobs_models::{Heard, START, Standing};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("what was there before an alarm rang is seen by a tick after it", no_ring_is_lost),
    ("a stop ends a service that waits, ticks or has not begun", a_stop_ends_a_service),
    ("an outage is told once, and so is its end", an_outage_is_told_once),
];

fn around() -> Surroundings {
    Surroundings {
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(Standing::default()),
        sink: Arc::new(Heard::default()),
        outage: Arc::default(),
        beat: Duration::from_secs(5),
        alarms: Vec::new(),
    }
}

/// Ends its service once it has seen all the work.
struct Sees {
    work: Arc<AtomicUsize>,
    all: usize,
    end: Arc<Plain<Option<Stopper>>>,
}

impl Role for Sees {
    fn name(&self) -> &'static str {
        "sees"
    }

    fn tick(&mut self, _: Now, _: &dyn Store) -> Result<Wake> {
        // Relaxed: only the alarm orders it after the work.
        if self.work.load(Ordering::Relaxed) == self.all
            && let Some(end) = self.end.lock().ok().and_then(|mut end| end.take())
        {
            end.stop();
        }
        Ok(Wake::OnAlarm)
    }
}

fn no_ring_is_lost() {
    let (work, alarm, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Alarm::default()), Arc::new(Plain::new(None)));
    let sees = Sees { work: work.clone(), all: 2, end: end.clone() };
    let service = Service::new(vec![(Box::new(sees), alarm.clone())]);
    *end.lock().expect("no panic in between") = Some(service.stopper());
    let ringers = [(); 2].map(|()| {
        let (work, alarm) = (work.clone(), alarm.clone());
        thread::spawn(move || {
            work.fetch_add(1, Ordering::Relaxed);
            alarm.ring();
        })
    });
    service.run(&around());
    for ringer in ringers {
        ringer.join().expect("it rang");
    }
}

/// Has nothing to do.
struct Rests;

impl Role for Rests {
    fn name(&self) -> &'static str {
        "rests"
    }

    fn tick(&mut self, now: Now, _: &dyn Store) -> Result<Wake> {
        Ok(Wake::At(now.moment + Duration::from_secs(1)))
    }
}

fn a_stop_ends_a_service() {
    let alarm = Arc::new(Alarm::default());
    let service = Service::new(vec![(Box::new(Rests), alarm.clone())]);
    let stoppers = [service.stopper(), service.stopper()].map(|stopper| thread::spawn(move || stopper.stop()));
    service.run(&around());
    for stopper in stoppers {
        stopper.join().expect("it stopped");
    }
}

fn an_outage_is_told_once() {
    let (outage, heard) = (Arc::new(Outage::default()), Arc::new(Heard::default()));
    let error = Error::StoreUnavailable("down".into());
    let failing = [(); 2].map(|()| {
        let (outage, heard, error) = (outage.clone(), heard.clone(), error.clone());
        thread::spawn(move || outage.failed(Moment(START), &*heard, &error))
    });
    outage.answered(Moment(START + 1), &*heard);
    for failed in failing {
        failed.join().expect("it was noted");
    }
    outage.answered(Moment(START + 2), &*heard);
    outage.answered(Moment(START + 3), &*heard);
    let (began, ended) = (heard.count(Kind::StoreUnavailable), heard.count(Kind::StoreRecovered));
    assert!((1..=2).contains(&began) && began == ended, "{began} outages began and {ended} ended");
}
