//! The processes that share one database file: which of them live, and how they wake each other.
//!
//! A process that works on jobs has two files in the side folder `<database>-zjobs/`, named by a random word: a lock that
//! the kernel frees at any death, and a socket that hears what others have committed. Invariants:
//!
//! * A process that is slow or stopped keeps its lock: it is never taken for dead. One that has ended never keeps it.
//! * Correctness never depends on news: what is lost is found by polling.
//! * A process that only enqueues and reads leaves nothing in the folder.
//! * Names and messages that are read here come from files that others wrote: what has not our form is passed over.
//!
//! Why record locks and datagrams: ADR 0012.

mod ear;
mod locks;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::sync::{Mutex, Weak};

pub use crate::store::news::News;

use ear::{Ear, Mouth};
use locks::Lock;

/// Whoever hears the news.
pub trait Hearer: Send + Sync {
    /// Takes one piece of news; must return soon.
    fn hear(&self, news: News);
}

/// The processes that share one file, as this one sees them.
#[derive(Debug)]
pub struct Neighbours {
    folder: PathBuf,
    random: Mutex<fastrand::Rng>,
    seat: Mutex<Option<Seat>>,
    mouth: Mouth,
}

/// What this process has in the folder.
#[derive(Debug)]
struct Seat {
    // Dropped first: nobody hears for a process that has given up its lock.
    _ear: Option<Ear>,
    lock: Lock,
}

impl Neighbours {
    /// Those of a database. Touches nothing yet.
    pub fn of(database: &Path, random: fastrand::Rng) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push("-zjobs");
        let folder = PathBuf::from(folder);
        let mouth = Mouth::new(folder.clone());
        Self { folder, random: Mutex::new(random), seat: Mutex::default(), mouth }
    }

    /// Takes a seat among them, once: this process works on jobs from now on, and `hearer` hears what the others commit.
    /// Returns the name that node rows carry.
    pub fn join(&self, hearer: Weak<dyn Hearer>, now: Moment) -> Result<String> {
        let mut seat = self.seat.lock();
        if let Some(seat) = &*seat {
            return Ok(seat.lock.name().to_owned());
        }
        let failed = |error: std::io::Error| {
            Error::StoreUnavailable(format!(
                "{} cannot be used: {error}; processes that share the database meet in this folder: mend its permissions",
                self.folder.display()
            ))
        };
        locks::make_folder(&self.folder).map_err(failed)?;
        locks::sweep(&self.folder);
        let name = format!("{:032x}", self.random.lock().u128(..));
        let lock = Lock::take(&self.folder, &name).map_err(failed)?;
        // Without a socket this process only polls.
        let ear = Ear::open(&self.folder, &name, hearer).ok();
        self.mouth.ignore(&name);
        self.mouth.say_joined(now);
        *seat = Some(Seat { _ear: ear, lock });
        Ok(name)
    }

    /// Whether the process of that name has ended.
    pub fn is_gone(&self, name: &str) -> Result<bool> {
        if self.seat.lock().as_ref().is_some_and(|seat| !seat.lock.is_found()) {
            return Err(Error::StoreUnavailable(format!(
                "{} was moved or emptied while processes use it: nobody can be told to have ended; start them again",
                self.folder.display()
            )));
        }
        locks::is_free(&self.folder, name).map_err(|error| {
            Error::StoreUnavailable(format!("{} cannot be looked into: {error}", self.folder.display()))
        })
    }

    /// Removes what a process that has ended left behind.
    pub fn bury(&self, name: &str) {
        locks::remove(&self.folder, name);
    }

    /// Tells the others. Never waits and never fails; costs one look at the folder when nobody else is there.
    pub fn tell(&self, news: &[News], now: Moment) {
        self.mouth.tell(news, now);
    }
}

/// How long the list of sockets is taken as it is, when the folder looks unchanged: its time stamp is coarse.
const LIST_KEPT: Duration = Duration::from_secs(1);
