//! *rescuer*: takes back the jobs of nodes that are gone. Any node does it; none leads.

use std::time::Duration;

use crate::error::Result;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::shared::Shared;
use crate::store::Store;
use crate::sync::Arc;
use crate::telemetry::{Event, Kind, Sink};

/// Jobs per call.
const BATCH: usize = 500;

/// Looks for dead nodes.
#[derive(Debug)]
pub struct Rescuer {
    shared: Arc<Shared>,
}

impl Rescuer {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Role for Rescuer {
    fn name(&self) -> &'static str {
        "rescuer"
    }

    fn slack(&self) -> Duration {
        self.shared.config.rescue / 4
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let full = rescue(&self.shared, store)? == BATCH;
        Ok(Wake::At(if full { now.moment } else { now.moment + self.shared.config.rescue }))
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
