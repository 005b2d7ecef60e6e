//! The locks themselves.

use zjobs_engine::sync::{Arc, Condvar, Mutex, thread};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("everyone who waits hears of a change that they have not seen", everyone_who_waits_hears),
    ("one change wakes one who waits, and a second change another", one_change_wakes_one),
];

fn everyone_who_waits_hears() {
    let place = Arc::new((Mutex::new(false), Condvar::new()));
    let waiters = [(); 2].map(|()| {
        let place = place.clone();
        thread::spawn(move || {
            let mut changed = place.0.lock();
            while !*changed {
                changed = place.1.wait(changed);
            }
        })
    });
    *place.0.lock() = true;
    place.1.notify_all();
    for waiter in waiters {
        waiter.join().expect("it heard");
    }
}

fn one_change_wakes_one() {
    let place = Arc::new((Mutex::new(0), Condvar::new()));
    let waiters = [(); 2].map(|()| {
        let place = place.clone();
        thread::spawn(move || {
            let mut left = place.0.lock();
            while *left == 0 {
                left = place.1.wait(left);
            }
            *left -= 1;
        })
    });
    for _ in 0..2 {
        *place.0.lock() += 1;
        place.1.notify_one();
    }
    for waiter in waiters {
        waiter.join().expect("it heard");
    }
}
