//! What a simulation stands on: jobs in memory, in a SQLite file, or in both at once, which must then agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use tempfile::TempDir;
use zjobs_engine::clock::Clock;
use zjobs_engine::store::sqlite::{Liveness, SqliteConfig, SqliteStore, Synchronous};
use zjobs_engine::store::{MemoryConfig, MemoryStore, Store};
use zjobs_engine::{Error, Result};

use crate::bug::Bug;
use crate::plan::Plan;
use crate::twins::Twins;

/// The store of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// A `MemoryStore`.
    Memory,
    /// A `SqliteStore` on a real file.
    Sqlite,
    /// Every call goes to both, and replies, rows and signals are compared.
    Both,
}

impl Ground {
    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Memory, Self::Sqlite, Self::Both].into_iter().find(|ground| ground.name() == name)
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Both => "both",
        }
    }

    /// What this store cannot have is taken out of the plan. The dice have been thrown: seeds stay what they are.
    pub(crate) fn fit(self, plan: Plan) -> Plan {
        match self {
            Self::Memory => plan,
            // A file always may wait, and its limit is the disk.
            Self::Sqlite | Self::Both => Plan { blocks: true, max_jobs: None, ..plan },
        }
    }

    /// A new, empty store.
    pub(crate) fn lay(self, plan: &Plan, bug: Option<Bug>, clock: Arc<dyn Clock>) -> Result<Laid> {
        let memory =
            |clock| MemoryStore::new(MemoryConfig { max_jobs: plan.max_jobs, clock, ..MemoryConfig::default() });
        Ok(match self {
            Self::Memory => Laid { store: Arc::new(memory(clock)), twins: None, folder: None },
            Self::Sqlite => {
                let (store, folder) = open(clock)?;
                Laid { store: Arc::new(store), twins: None, folder: Some(folder) }
            }
            Self::Both => {
                let (store, folder) = open(clock.clone())?;
                let twins = Twins::new(Box::new(memory(clock)), Box::new(store), bug);
                Laid { store: twins.clone(), twins: Some(twins), folder: Some(folder) }
            }
        })
    }
}

/// A store, and the folder that goes with it. Fields are dropped in their order.
pub(crate) struct Laid {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) twins: Option<Arc<Twins>>,
    pub(crate) folder: Option<TempDir>,
}

fn open(clock: Arc<dyn Clock>) -> Result<(SqliteStore, TempDir)> {
    let folder = folder()?;
    let path = folder.path().join("jobs.db");
    fs::write(&path, empty()?).map_err(unusable)?;
    let store = SqliteStore::open(config(path, clock))?;
    Ok((store, folder))
}

/// A file with tables and without jobs: made once, since making the tables costs more than a short seed.
fn empty() -> Result<&'static [u8]> {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(known) = EMPTY.get() {
        return Ok(known);
    }
    let folder = folder()?;
    let path = folder.path().join("jobs.db");
    // Closing it folds its log into the file.
    drop(SqliteStore::open(config(path.clone(), Arc::new(zjobs_engine::clock::System)))?);
    let bytes = fs::read(path).map_err(unusable)?;
    Ok(EMPTY.get_or_init(|| bytes))
}

/// The file is gone with its seed, so nothing is pressed onto the disk.
fn config(path: PathBuf, clock: Arc<dyn Clock>) -> SqliteConfig {
    let (synchronous, liveness) = (Synchronous::Normal, Liveness::Leases);
    SqliteConfig { synchronous, liveness, clock, ..SqliteConfig::new(path, Rng::with_seed(0)) }
}

/// In memory where the machine has a place for that.
fn folder() -> Result<TempDir> {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.map_err(unusable)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn unusable(error: std::io::Error) -> Error {
    Error::StoreUnavailable(format!("the simulation needs a temporary folder: {error}"))
}
