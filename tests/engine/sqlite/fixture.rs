//! A store in a real file whose clock moves only when told to.

use std::path::PathBuf;

use tempfile::TempDir;
use zjobs_engine::clock::Manual;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore};
use zjobs_engine::sync::Arc;

use crate::conformance::fixture::ByHand;

pub type Sqlite = ByHand<SqliteStore, TempDir>;

impl Sqlite {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Manual::default());
        let store = SqliteStore::open(config(folder.path().join("jobs.db"), clock.clone())).unwrap();
        Self { clock, store, kept: folder }
    }

    pub fn path(&self) -> PathBuf {
        self.kept.path().join("jobs.db")
    }
}

pub fn config(path: PathBuf, clock: Arc<Manual>) -> SqliteConfig {
    let liveness = Liveness::Leases;
    SqliteConfig { clock, liveness, ..SqliteConfig::new(path, fastrand::Rng::with_seed(1)) }
}
