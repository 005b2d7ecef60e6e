//! *pruner*: deletes final jobs that are older than their retention.

use std::time::Duration;

use crate::error::Result;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::shared::Shared;
use crate::store::Store;
use crate::sync::Arc;

/// Jobs per call.
const BATCH: usize = 1000;

/// Prunes from time to time.
#[derive(Debug)]
pub struct Pruner {
    shared: Arc<Shared>,
}

impl Pruner {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Role for Pruner {
    fn name(&self) -> &'static str {
        "pruner"
    }

    fn slack(&self) -> Duration {
        self.shared.config.prune / 4
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let full = store.prune(&self.shared.config.retention, BATCH)? >= BATCH;
        Ok(Wake::At(if full { now.moment } else { now.moment + self.shared.config.prune }))
    }
}

/// Prunes until nothing is left to prune; says how many jobs went.
pub fn prune(shared: &Shared, store: &dyn Store) -> Result<usize> {
    let mut gone = 0;
    loop {
        let now = store.prune(&shared.config.retention, BATCH)?;
        gone += now;
        if now < BATCH {
            return Ok(gone);
        }
    }
}
