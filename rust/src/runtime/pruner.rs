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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fixture::{Fixture, new_job};
    use crate::store::{Filter, Retention};

    /// So many jobs whose time is over.
    fn outdated(on: &Fixture, count: usize) {
        on.store.enqueue(vec![new_job(); count]).unwrap();
        on.store.cancel(&Filter::default()).unwrap();
        on.clock.advance(Retention::default().cancelled.unwrap() + Duration::from_secs(1));
    }

    #[test]
    fn it_goes_on_at_once_while_a_look_is_full_and_then_rests() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let mut pruner = Pruner::new(shared.clone());
        outdated(&on, BATCH + 1);
        let mut left_after = || {
            let now = Now::read(&*on.clock);
            let Wake::At(next) = pruner.tick(now, &*on.store).unwrap() else { panic!("it looks by itself") };
            (next.since(now.moment), on.store.count(&Filter::default()).unwrap())
        };
        assert_eq!(left_after(), (Duration::ZERO, 1));
        assert_eq!(left_after(), (shared.config.prune, 0));
        assert_eq!(left_after(), (shared.config.prune, 0));
        assert_eq!(pruner.slack(), shared.config.prune / 4);
    }

    #[test]
    fn by_hand_it_prunes_all_and_says_how_many_went() {
        let on = Fixture::new();
        outdated(&on, 2 * BATCH + 7);
        assert_eq!(prune(&on.engine.shared, &*on.store).unwrap(), 2 * BATCH + 7);
        outdated(&on, BATCH);
        assert_eq!(prune(&on.engine.shared, &*on.store).unwrap(), BATCH);
        assert_eq!(prune(&on.engine.shared, &*on.store).unwrap(), 0);
    }
}
