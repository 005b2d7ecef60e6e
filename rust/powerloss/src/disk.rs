//! What was done to the files of a folder, in order, and which call is to fail.

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use crate::vfs;

/// A file, whatever its name becomes: one that is made again under the same name is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub usize);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file came into being.
    Made(FileId, String),
    /// Bytes were written, as far as the page cache.
    Wrote(FileId, usize, Vec<u8>),
    /// The file was cut or lengthened.
    Truncated(FileId, usize),
    /// Everything of the file was pressed onto the disk.
    Synced(FileId),
    /// That failed: what was pending may be on the disk or never get there, and the next time tells nothing about it.
    NotSynced(FileId),
    /// The file as it is was written over itself and pressed onto the disk.
    PressedAgain(FileId, Vec<u8>),
    /// A name was removed; true: and the folder was pressed onto the disk.
    Deleted(String, bool),
    /// A caller was told that what it did is done.
    Answered(usize),
}

/// The kinds of calls that SQLite makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Opening a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Cutting.
    Truncate,
    /// Pressing onto the disk.
    Sync,
    /// Removing a name.
    Delete,
    /// Taking a lock on the database.
    Lock,
    /// Mapping the index of the WAL.
    Share,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Open, Self::Read, Self::Write, Self::Truncate, Self::Sync, Self::Delete, Self::Lock, Self::Share];

    /// What the system says when it fails; a write may also find no space.
    const fn code(self) -> c_int {
        match self {
            Self::Open => ffi::SQLITE_CANTOPEN,
            Self::Read => ffi::SQLITE_IOERR_READ,
            Self::Write => ffi::SQLITE_IOERR_WRITE,
            Self::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Self::Sync => ffi::SQLITE_IOERR_FSYNC,
            Self::Delete => ffi::SQLITE_IOERR_DELETE,
            Self::Lock => ffi::SQLITE_IOERR_LOCK,
            Self::Share => ffi::SQLITE_IOERR_SHMMAP,
        }
    }
}

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That kind of call, once, after so many that work.
    Once(Call, usize),
    /// Every write, for want of space, after so many that work; until it is lifted.
    NoSpace(usize),
}

#[derive(Debug, Default)]
struct Notes {
    steps: Vec<Step>,
    names: HashMap<String, FileId>,
    files: usize,
    fault: Option<Fault>,
    struck: usize,
    /// How many calls of each kind could have failed, whether or not they did.
    met: [usize; Call::ALL.len()],
    /// Somebody else is at work, who is to meet no fault.
    spared: bool,
}

/// A folder whose files are watched.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    notes: Mutex<Notes>,
}

impl Disk {
    /// Watches an empty folder.
    pub fn watched(folder: &Path) -> Arc<Self> {
        vfs::install();
        let disk = Arc::new(Self { folder: folder.to_owned(), notes: Mutex::default() });
        vfs::watch(&disk);
        disk
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the watch; what happened.
    pub fn steps(self: &Arc<Self>) -> Vec<Step> {
        vfs::unwatch(self);
        std::mem::take(&mut self.notes().steps)
    }

    /// Notes that a caller has been answered.
    pub fn answered(&self, number: usize) {
        self.notes().steps.push(Step::Answered(number));
    }

    /// Sets what fails from now on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.notes().fault = fault;
    }

    /// Does what no fault is to meet.
    pub fn sparing(&self, act: impl FnOnce()) {
        self.notes().spared = true;
        act();
        self.notes().spared = false;
    }

    /// How many calls have failed by the fault.
    pub fn struck(&self) -> usize {
        self.notes().struck
    }

    /// How many calls of each kind there were that a fault could have met, in the order of [`Call::ALL`].
    pub fn met(&self) -> [usize; Call::ALL.len()] {
        self.notes().met
    }

    /// Whether the last sync of that file has failed, and it was not pressed onto the disk again since.
    pub fn is_in_doubt(&self, name: &str) -> bool {
        let notes = self.notes();
        let Some(file) = notes.names.get(name) else { return false };
        let last = notes.steps.iter().rev().find_map(|step| match step {
            Step::NotSynced(failed) if failed == file => Some(true),
            Step::PressedAgain(pressed, _) if pressed == file => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    pub(crate) fn fault(&self, call: Call) -> Option<c_int> {
        let mut notes = self.notes();
        if notes.spared {
            return None;
        }
        notes.met[call as usize] += 1;
        match &mut notes.fault {
            Some(Fault::Once(kind, 0)) if *kind == call => notes.fault = None,
            Some(Fault::Once(kind, left)) if *kind == call => {
                *left -= 1;
                return None;
            }
            Some(Fault::NoSpace(0)) if call == Call::Write => {
                notes.struck += 1;
                return Some(ffi::SQLITE_FULL);
            }
            Some(Fault::NoSpace(left)) if call == Call::Write => {
                *left -= 1;
                return None;
            }
            Some(Fault::Once(..) | Fault::NoSpace(_)) | None => return None,
        }
        notes.struck += 1;
        Some(call.code())
    }

    pub(crate) fn opened(&self, path: &Path, existed: bool) -> FileId {
        let mut notes = self.notes();
        let name = name_of(path);
        if existed && let Some(file) = notes.names.get(&name) {
            return *file;
        }
        let file = FileId(notes.files);
        notes.files += 1;
        notes.names.insert(name.clone(), file);
        notes.steps.push(Step::Made(file, name));
        file
    }

    pub(crate) fn deleted(&self, path: &Path, pressed: bool) {
        let mut notes = self.notes();
        let name = name_of(path);
        notes.names.remove(&name);
        notes.steps.push(Step::Deleted(name, pressed));
    }

    pub(crate) fn wrote(&self, file: FileId, at: usize, bytes: &[u8]) {
        self.notes().steps.push(Step::Wrote(file, at, bytes.to_vec()));
    }

    pub(crate) fn truncated(&self, file: FileId, size: usize) {
        self.notes().steps.push(Step::Truncated(file, size));
    }

    pub(crate) fn synced(&self, file: FileId) {
        self.notes().steps.push(Step::Synced(file));
    }

    pub(crate) fn failed_to_sync(&self, file: FileId) {
        self.notes().steps.push(Step::NotSynced(file));
    }

    fn pressed_again(&self, path: &Path, bytes: Vec<u8>) {
        let mut notes = self.notes();
        if let Some(file) = notes.names.get(&name_of(path)).copied() {
            notes.steps.push(Step::PressedAgain(file, bytes));
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the store does after a sync that failed, with a note of it.
pub fn press_again(path: &Path) -> std::io::Result<()> {
    zjobs_engine::store::sqlite::press_again(path)?;
    if let Some(disk) = vfs::disk_of(path) {
        disk.pressed_again(path, std::fs::read(path)?);
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
