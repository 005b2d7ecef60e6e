//! The processes that share one database file: which of them live, and how they wake each other.
//!
//! A process that works on jobs has two files in the side folder `<database>-zjobs/`, named by which process it is and a
//! random word: a lock that the kernel frees at any death, and a socket that hears what others have committed. Invariants:
//!
//! * A process that is slow or stopped keeps its lock: it is never taken for dead. One that has ended never keeps it.
//! * A free lock is no proof. A living process loses it when other code in it opens and closes the file, or when somebody
//!   removes it; it takes it again at its next beat. The kernel says of a process that can be seen from here whether it has
//!   ended; of others, the lease of the node decides.
//! * Correctness never depends on news: what is lost is found by polling.
//! * A process that only enqueues and reads leaves nothing in the folder.
//! * Names and messages that are read here come from files that others wrote: what has not our form is passed over.
//!
//! Why record locks and datagrams: ADR 0012.

mod ear;
mod locks;
mod watch;
mod who;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::sync::{Mutex, Weak};

pub use crate::store::news::News;

use ear::{Ear, Mouth};
use locks::Lock;
use who::Who;

/// Whoever hears the news.
pub trait Hearer: Send + Sync {
    /// Takes one piece of news; must return soon.
    fn hear(&self, news: News);
}

/// What can be said of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives, or lived a moment ago.
    Lives,
    /// It has ended.
    Ended,
    /// Its lock is free, and it is not to be seen.
    Unclear,
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
    ear: Option<Ear>,
    lock: Lock,
}

impl Seat {
    /// What was taken away from it is there again. What cannot be is tried at the next beat: until then the lease of its
    /// nodes says that it lives, and its roles poll.
    fn renew(&mut self, folder: &Path, hearer: Weak<dyn Hearer>, mouth: &Mouth, now: Moment) {
        if !self.lock.is_ours() || self.lock.renew().is_err() || ear::is_found(folder, self.lock.name()) {
            return;
        }
        self.ear = None;
        self.ear = Ear::open(folder, self.lock.name(), hearer).ok();
        mouth.ignore(self.lock.name());
        mouth.say_joined(now);
    }
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

    /// Takes a seat among them, or makes sure of it at each beat: this process works on jobs from now on, and `hearer` hears
    /// what the others commit. Returns the name that node rows carry.
    pub fn join(&self, hearer: Weak<dyn Hearer>, now: Moment) -> Result<String> {
        let mut seat = self.seat.lock();
        if let Some(seat) = &mut *seat {
            seat.renew(&self.folder, hearer, &self.mouth, now);
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
        let name = Who::me().name(self.random.lock().u32(..));
        let lock = Lock::take(&self.folder, &name).map_err(failed)?;
        // Without a socket this process only polls.
        let ear = Ear::open(&self.folder, &name, hearer).ok();
        self.mouth.ignore(&name);
        self.mouth.say_joined(now);
        *seat = Some(Seat { ear, lock });
        Ok(name)
    }

    /// What can be said of the process of that name.
    pub fn fate_of(&self, name: &str) -> Result<Fate> {
        let free = locks::is_free(&self.folder, name);
        if matches!(free, Ok(false)) {
            return Ok(Fate::Lives);
        }
        if Who::of(name).is_some_and(Who::has_ended) {
            return Ok(Fate::Ended);
        }
        free.map(|_| Fate::Unclear).map_err(|error| {
            let folder = self.folder.display();
            Error::StoreUnavailable(format!(
                "{folder} cannot be looked into: {error}; jobs of {name} may wait there: mend the owner of its files"
            ))
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
