//! Where a file of jobs is: found, made and refused, and whether it is still the one that was opened.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zjobs_vfs::Protection;

use crate::error::{Error, Result};
use crate::store::sqlite::{disk, patience};
use crate::sync::{Arc, Mutex, StaticMutex};

/// Which file: its device and its number there.
type Identity = (u64, u64);

/// The log and its index.
type Beside = [(PathBuf, Identity); 2];

/// The file of a store and which one it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The name that it was opened by, which may be a link.
    given: PathBuf,
    identity: Identity,
    pub(super) patience: Duration,
    /// What was found wrong in the file, once something was.
    damage: Arc<Mutex<Option<Error>>>,
    /// Which files stood beside it when the writer's connection was opened; it keeps them open, so nobody may replace them.
    beside: Arc<Mutex<Option<Beside>>>,
}

/// The files that are open, with the process that opened them: after a fork this is a copy.
static KEPT: StaticMutex<Vec<(u32, Identity)>> = StaticMutex::new(Vec::new());

/// That this process has a file open.
#[derive(Debug)]
pub(super) struct Kept {
    owner: u32,
    identity: Identity,
}

impl Kept {
    /// Whether this is not the child of a fork.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // In the child of a fork the file stays noted: its connections are abandoned, not closed.
        if self.is_ours() {
            let mut kept = KEPT.lock();
            if let Some(place) = kept.iter().position(|one| *one == (self.owner, self.identity)) {
                kept.swap_remove(place);
            }
        }
    }
}

/// Whether a missing file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// It is, for its owner's eyes only.
    Yes,
    /// Opening it fails.
    No,
}

impl Place {
    /// Finds or makes the file. Refuses what cannot be a file of jobs before anything is written.
    pub(super) fn prepare(path: &Path, create: Create) -> Result<Self> {
        if zjobs_vfs::install() == Protection::None {
            return Err(Error::StoreUnavailable(
                "jobs in SQLite need Linux: elsewhere a second SQLite in the process (Python's own) could drop our locks \
                 and lose jobs; use memory:// here"
                    .into(),
            ));
        }
        let given = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
        let path = given.clone();
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(not_a_file(&path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && create == Create::Yes => make(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::StoreUnavailable(format!(
                    "there is no file {}: create it with `zjobs migrate`, or mend the path",
                    path.display()
                )));
            }
            Err(error) => return Err(unusable(&path, &error)),
        }
        refuse_planted(&path)?;
        disk::refuse_network(&path)?;
        // Links resolved, so that every name of a file leads to one WAL and one folder of neighbours.
        let path = fs::canonicalize(&path).map_err(|error| unusable(&path, &error))?;
        refuse_second_name(&path)?;
        disk::refuse_own_mount(&path)?;
        let identity = identity(&path).map_err(|error| unusable(&path, &error))?;
        Ok(Self { path, given, identity, patience: PATIENCE, damage: Arc::default(), beside: Arc::default() })
    }

    /// The same, with calls that wait so long for another program.
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A call of this thread begins: it has all its patience.
    pub(super) fn begin(&self) {
        patience::begin(self.patience);
    }

    /// Notes that this process has the file open. Refuses it in the child of a fork whose parent has: SQLite keeps a table
    /// of the locks that it has on each file, and the child's copy of it speaks of locks that are the parent's.
    pub(super) fn keep(&self) -> Result<Kept> {
        let me = std::process::id();
        let mut kept = KEPT.lock();
        if kept.iter().any(|(owner, identity)| *owner != me && *identity == self.identity) {
            return Err(Error::StoreUnavailable(format!(
                "{} was open when this process was forked, and SQLite cannot open it again here: open it after the fork \
                 (gunicorn: without --preload, or in post_fork), or start processes by spawn",
                self.path.display()
            )));
        }
        kept.push((me, self.identity));
        Ok(Kept { owner: me, identity: self.identity })
    }

    /// Fails when the path leads to another file by now, or to none: what is written here would be lost.
    pub(super) fn check(&self) -> Result<()> {
        let here = |path: &Path| match identity(path) {
            Ok(now) if now == self.identity => Ok(()),
            Ok(_) => Err(moved(path, "another file has taken its place")),
            Err(error) => Err(moved(path, &error.to_string())),
        };
        here(&self.path)?;
        // A link may lead elsewhere by now, where other processes meet.
        if self.given == self.path { Ok(()) } else { here(&self.given) }
    }

    /// Notes which files stand beside it: the writer's connection has opened them.
    pub(super) fn note_beside(&self) -> Result<()> {
        let find = |end| {
            let path = self.with_ending(end);
            identity(&path).map(|found| (path.clone(), found)).map_err(|error| moved(&path, &error.to_string()))
        };
        *self.beside.lock() = Some([find("-wal")?, find("-shm")?]);
        Ok(())
    }

    /// The writer's connection is closed: from now on others may remove what stands beside the file.
    pub(super) fn forget_beside(&self) {
        *self.beside.lock() = None;
    }

    /// Fails when the log or its index was deleted or replaced. Whoever opens the file now has others, and what one side
    /// commits the other side never sees.
    pub(super) fn check_beside(&self) -> Result<()> {
        let lost = |error: Option<String>, path: &Path| {
            let why = error.unwrap_or_else(|| "another file has taken its place".into());
            Error::StoreUnavailable(format!(
                "{} was deleted or replaced while it was open ({why}): stop all programs that use {}, and start them again",
                path.display(),
                self.path.display()
            ))
        };
        for (path, noted) in self.beside.lock().iter().flatten() {
            match identity(path) {
                Ok(now) if now == *noted => {}
                Ok(_) => return Err(lost(None, path)),
                Err(error) => return Err(lost(Some(error.to_string()), path)),
            }
        }
        Ok(())
    }

    /// Whether nobody but those who have it open can find the log any more, while all of them share its index.
    pub(super) fn log_is_adrift(&self) -> bool {
        let beside = self.beside.lock();
        let Some([(log, _), (index, noted)]) = &*beside else { return false };
        !log.exists() && identity(index).is_ok_and(|now| now == *noted)
    }

    /// Fails once damage was found: nothing more is written into the file.
    pub(super) fn check_sound(&self) -> Result<()> {
        self.damage.lock().clone().map_or(Ok(()), Err)
    }

    pub(super) fn note_damage(&self, error: &Error) {
        self.damage.lock().get_or_insert_with(|| error.clone());
    }

    pub(super) fn is_empty(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() == 0)
    }

    /// The WAL beside the file.
    pub(super) fn wal(&self) -> PathBuf {
        self.with_ending("-wal")
    }

    /// Whether the index of the WAL was opened while nothing could be written here. All connections of the process share
    /// it as it was opened, also those that come later: none of them can write until the last one is closed.
    pub(super) fn index_is_only_read(&self) -> bool {
        zjobs_vfs::is_only_read(&self.with_ending("-shm"))
    }

    fn with_ending(&self, end: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(end);
        path.into()
    }

    pub(super) fn wal_is_empty(&self) -> bool {
        fs::metadata(self.wal()).map_or(true, |found| found.len() == 0)
    }
}

/// How long a call waits for whoever holds the write lock, unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(15);

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn make(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        // Its name in the folder must outlive a power loss as what is enqueued does.
        Ok(_) => path.parent().map_or(Ok(()), press_folder).map_err(|error| unusable(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Somebody was faster, or the name is a link that leads nowhere.
            if path.exists() { Ok(()) } else { Err(unusable(path, &error)) }
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

fn press_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Where everybody may put a file, one that somebody else put there under our name is not taken for ours.
fn refuse_planted(path: &Path) -> Result<()> {
    const ANYBODY_WRITES: u32 = 0o002;
    let look = || -> io::Result<Option<u32>> {
        let folder = path.parent().map(fs::metadata).transpose()?;
        let open = folder.is_some_and(|folder| folder.mode() & ANYBODY_WRITES != 0);
        Ok(if open { Some(fs::symlink_metadata(path)?.uid()) } else { None })
    };
    let me = rustix::process::geteuid().as_raw();
    match look().map_err(|error| unusable(path, &error))? {
        Some(owner) if owner != me && owner != 0 => Err(Error::invalid(
            "path",
            format!(
                "must not be another user's (id {owner}) in a folder that everybody can write: use a folder of your own, \
                 or `chmod o-w` this one"
            ),
            path.display(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Each name of a file has a WAL of its own: by two of them it would be written as if it were two.
fn refuse_second_name(path: &Path) -> Result<()> {
    let names = fs::metadata(path).map_err(|error| unusable(path, &error))?.nlink();
    if names < 2 {
        return Ok(());
    }
    Err(Error::invalid(
        "path",
        format!(
            "must be the only name of its file, which has {names}: remove the other hard links (`find / -samefile ...` \
             lists them), or use symbolic links"
        ),
        path.display(),
    ))
}

fn not_a_file(path: &Path) -> Error {
    Error::invalid("path", "must be a file, such as jobs.db", path.display())
}

pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::StoreUnavailable(format!("{} cannot be used: {error}; mend the path or its permissions", path.display()))
}

fn moved(path: &Path, why: &str) -> Error {
    Error::StoreUnavailable(format!(
        "{} was moved, replaced or deleted while it was open ({why}): put it back, or start the program again",
        path.display()
    ))
}
