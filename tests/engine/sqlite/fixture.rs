//! A store in a real file whose clock moves only when told to.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use zjobs_engine::clock::Manual;
use zjobs_engine::store::Store;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
use zjobs_engine::sync::Arc;

use crate::conformance::fixture::Fixture;

pub struct Sqlite {
    pub clock: Arc<Manual>,
    pub store: SqliteStore,
    _folder: TempDir,
}

impl Sqlite {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Manual::default());
        let store = SqliteStore::open(config(folder.path().join("jobs.db"), clock.clone())).unwrap();
        Self { clock, store, _folder: folder }
    }
}

pub fn config(path: PathBuf, clock: Arc<Manual>) -> SqliteConfig {
    let liveness = Liveness::Leases;
    SqliteConfig { clock, liveness, ..SqliteConfig::new(path, fastrand::Rng::with_seed(1)) }
}

impl Fixture for Sqlite {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn step_wall(&self, micros: i64) {
        self.clock.step_wall(micros);
    }
}
