//! *rescuer*: takes back the jobs of nodes that are gone. Any node does it; none leads.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Result;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::shared::Shared;
use crate::store::Store;
use crate::sync::{Arc, Ordering};
use crate::telemetry::{Event, Kind, Sink};

/// Jobs per call.
const BATCH: usize = 500;

/// After this much more than a departure's grace it is over by every clock.
const MARGIN: Duration = Duration::from_millis(100);

/// Looks for dead nodes.
#[derive(Debug)]
pub struct Rescuer {
    shared: Arc<Shared>,
    /// When the grace is over of a node that was said to end.
    again: Option<Moment>,
}

impl Rescuer {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, again: None }
    }
}

impl Role for Rescuer {
    fn name(&self) -> &'static str {
        "rescuer"
    }

    fn slack(&self) -> Duration {
        if self.again.is_some() { Duration::ZERO } else { self.shared.config.rescue / 4 }
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let config = &self.shared.config;
        if self.shared.orphaned.swap(false, Ordering::AcqRel) {
            self.again = Some(now.moment + config.departure + MARGIN);
        }
        if rescue(&self.shared, store)? == BATCH {
            return Ok(Wake::At(now.moment));
        }
        self.again = self.again.filter(|again| *again > now.moment);
        let next = now.moment + config.rescue;
        Ok(Wake::At(self.again.map_or(next, |again| again.min(next))))
    }
}

/// One look. Returns how many jobs were taken back.
pub fn rescue(shared: &Shared, store: &dyn Store) -> Result<usize> {
    let rescued = store.rescue(BATCH)?;
    let count = rescued.len();
    if shared.sink.wants(Kind::JobRescued) {
        for one in rescued {
            shared.sink.emit(Event::JobRescued(one.job, one.reason));
        }
    }
    Ok(count)
}

/// Looks until nothing is left to take back; says how many jobs came.
pub fn rescue_all(shared: &Shared, store: &dyn Store) -> Result<usize> {
    let mut taken = 0;
    loop {
        let now = rescue(shared, store)?;
        taken += now;
        if now < BATCH {
            return Ok(taken);
        }
    }
}
