//! How long a call waits for whoever has the write lock.
//!
//! SQLite's own handler sleeps up to 100 ms at a time, and whoever waits longest wins least. A commit takes a fraction of
//! a millisecond: here the waits begin short and stay short.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::{Clock, Moment, System};

/// What the calls of this thread have left. SQLite's callback takes no more than the number of tries.
#[derive(Clone, Copy)]
struct Wait {
    began: Moment,
    most: Duration,
}

thread_local! {
    static WAIT: Cell<Wait> = const { Cell::new(Wait { began: Moment(0), most: Duration::ZERO }) };
}

/// A call of this thread begins that may wait so long.
pub(super) fn begin(most: Duration) {
    WAIT.set(Wait { began: System.moment(), most });
}

/// SQLite's question while it is busy: whether to try again. Waits a little before it says yes.
pub(super) fn wait(_tries: i32) -> bool {
    let Wait { began, most } = WAIT.get();
    let waited = System.moment().since(began);
    if waited >= most {
        return false;
    }
    std::thread::park_timeout((waited / 8).clamp(Duration::from_micros(50), Duration::from_millis(2)));
    true
}
