//! The descriptors that our SQLite has open, by file.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Which file: its device and its number there.
type Identity = (u64, u64);

/// What a descriptor may do. A lock for writing needs one that writes, so the two kinds do not stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

type Key = (Identity, Access);

/// The descriptors of one file. The first one has the locks.
#[derive(Debug, Default)]
struct Descriptors {
    /// In the order in which they were opened.
    all: Vec<c_int>,
    /// Those that SQLite has closed and that stay open for a while.
    closed: Vec<c_int>,
}

impl Descriptors {
    /// Whether SQLite uses none of them any more.
    fn unused(&self) -> bool {
        self.all.len() == self.closed.len()
    }

    /// Takes out what may be closed without harm to locks of ours: all, or what does not have the locks.
    fn harmless(&mut self) -> Vec<c_int> {
        let holder = self.all.first().copied().filter(|_| !self.unused());
        let over: Vec<c_int> = self.closed.iter().copied().filter(|fd| Some(*fd) != holder).collect();
        self.all.retain(|fd| !over.contains(fd));
        self.closed.retain(|fd| !over.contains(fd));
        over
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    files: HashMap<Key, Descriptors>,
    keys: HashMap<c_int, Key>,
    /// Numbers that SQLite was given twice: what it writes by one may be meant for either file. They are never closed, so
    /// that they are given out no more.
    twice: HashSet<c_int>,
}

impl Table {
    fn note(&mut self, fd: c_int, key: Option<Key>) {
        // A number that the kernel gives out again was closed by somebody else.
        if self.is_in_use(fd) {
            LOST.store(true, Ordering::Relaxed);
            self.twice.insert(fd);
        }
        self.forget(fd);
        if let Some(key) = key.filter(|_| !self.twice.contains(&fd)) {
            self.keys.insert(fd, key);
            self.files.entry(key).or_default().all.push(fd);
        }
    }

    /// Whether SQLite has the number and has not closed it.
    fn is_in_use(&self, fd: c_int) -> bool {
        let file = self.keys.get(&fd).and_then(|key| self.files.get(key));
        file.is_some_and(|file| !file.closed.contains(&fd))
    }

    fn forget(&mut self, fd: c_int) {
        let Some(file) = self.keys.remove(&fd).and_then(|key| self.files.get_mut(&key)) else { return };
        file.all.retain(|one| *one != fd);
        file.closed.retain(|one| *one != fd);
    }

    /// Whether the number still leads to the file that SQLite opened.
    fn is_still_ours(&self, fd: c_int) -> bool {
        // What is not in the table is no file that can have locks, or was never opened here.
        let ours =
            self.keys.get(&fd).is_none_or(|(identity, _)| regular(fd) == Some(*identity)) && !self.twice.contains(&fd);
        if !ours {
            LOST.store(true, Ordering::Relaxed);
        }
        ours
    }

    /// Drops what stayed open and was closed by somebody else meanwhile: the number is free, or that of another file.
    fn forget_lost(&mut self) {
        let parked: Vec<c_int> = self.files.values().flat_map(|file| &file.closed).copied().collect();
        for fd in parked {
            if !self.is_still_ours(fd) {
                self.forget(fd);
            }
        }
    }

    fn has_parked(&self) -> bool {
        self.files.values().any(|file| !file.closed.is_empty())
    }

    /// Closes what SQLite has closed, except where that would drop locks: of ours, or of somebody else in the process.
    /// Looks at all files: the log of a file that the other copy has deleted meanwhile is opened and closed no more.
    fn sweep(&mut self) -> c_int {
        self.forget_lost();
        let foreign = self.foreign();
        let mut over = Vec::new();
        for ((identity, _), file) in &mut self.files {
            // Without /proc nothing is known: then nothing is closed.
            if foreign.as_ref().is_some_and(|foreign| !foreign.contains(identity)) {
                over.append(&mut file.harmless());
            } else if file.unused()
                && let Some(holder) = file.all.first()
            {
                unlock(*holder);
            }
        }
        self.files.retain(|_, file| !file.all.is_empty());
        for fd in &over {
            self.keys.remove(fd);
        }
        over.into_iter().map(really_close).min().unwrap_or(0)
    }

    /// The files of which the process has descriptors that are none of ours.
    fn foreign(&self) -> Option<HashSet<Identity>> {
        let entries = std::fs::read_dir("/proc/self/fd").ok()?;
        let open = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<c_int>().ok());
        let foreign = open.filter(|fd| !self.keys.contains_key(fd) || !self.is_still_ours(*fd));
        Some(foreign.filter_map(regular).collect())
    }

    /// In the child of a fork: closes all, so that the parent's locks end with the parent.
    pub(crate) fn let_go_of_all(&mut self) {
        for ((identity, _), file) in self.files.drain() {
            for fd in file.all.into_iter().filter(|fd| regular(*fd) == Some(identity)) {
                really_close(fd);
            }
        }
        self.keys.clear();
    }
}

/// Whether a descriptor of ours was ever found closed, or leading to another file.
static LOST: AtomicBool = AtomicBool::new(false);

pub(crate) fn has_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// The table, while nobody else has it.
#[derive(Debug)]
pub(crate) struct Held(MutexGuard<'static, Table>);

impl Deref for Held {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.0
    }
}

pub(crate) fn hold() -> Held {
    Held(TABLE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A descriptor that SQLite has just got.
pub(crate) fn note(fd: c_int, access: Access) {
    let mut table = hold();
    table.note(fd, regular(fd).map(|identity| (identity, access)));
    if table.has_parked() {
        table.sweep();
    }
}

/// The descriptor that has the locks of the file that this one leads to.
pub(crate) fn holder(fd: c_int) -> c_int {
    let table = hold();
    let file = table.keys.get(&fd).and_then(|key| table.files.get(key));
    file.and_then(|file| file.all.first()).copied().unwrap_or(fd)
}

/// Whether the number still leads to the file that SQLite opened; false when other code of the process has closed it.
pub(crate) fn is_still_ours(fd: c_int) -> bool {
    hold().is_still_ours(fd)
}

/// Whether all numbers lead to what SQLite opened.
pub(crate) fn are_all_ours() -> bool {
    let table = hold();
    table.keys.keys().all(|fd| table.is_still_ours(*fd))
}

/// A descriptor of that file which SQLite has closed and which had to stay open.
pub(crate) fn take_parked(path: &CStr, access: Access) -> Option<c_int> {
    let identity = identity(path)?;
    let mut table = hold();
    table.forget_lost();
    table.files.get_mut(&(identity, access))?.closed.pop()
}

/// Whether SQLite has that file open, and through no descriptor that writes.
pub(crate) fn is_only_read(path: &CStr) -> bool {
    let Some(identity) = identity(path) else { return false };
    let table = hold();
    let used = |access| table.files.get(&(identity, access)).is_some_and(|file| !file.unused());
    used(Access::Read) && !used(Access::ReadWrite)
}

fn identity(path: &CStr) -> Option<Identity> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and the kernel fills the whole of what is read after it said so.
    let found = unsafe { (libc::stat(path.as_ptr(), found.as_mut_ptr()) == 0).then(|| found.assume_init()) }?;
    Some((found.st_dev, found.st_ino))
}

/// SQLite is done with a descriptor.
pub(crate) fn close(fd: c_int) -> c_int {
    let mut table = hold();
    if table.twice.contains(&fd) {
        return 0;
    }
    let Some(key) = table.keys.get(&fd).copied() else { return really_close(fd) };
    let Some(file) = table.files.get_mut(&key) else { return really_close(fd) };
    file.closed.push(fd);
    table.sweep()
}

/// Which file a descriptor leads to, when it is one that can have locks of SQLite.
fn regular(fd: c_int) -> Option<Identity> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the whole of what is read after it said so; a number that is no descriptor is refused.
    let found = unsafe { (libc::fstat(fd, found.as_mut_ptr()) == 0).then(|| found.assume_init()) }?;
    (found.st_mode & libc::S_IFMT == libc::S_IFREG).then_some((found.st_dev, found.st_ino))
}

#[allow(clippy::cast_possible_truncation, reason = "the constants are 0, 1 and 2")]
fn lock(fd: c_int, kind: c_int) -> bool {
    // SAFETY: all zeros is a valid `flock`; with a length of zero it means the whole file.
    unsafe {
        let mut whole: libc::flock = std::mem::zeroed();
        whole.l_type = kind as libc::c_short;
        libc::fcntl(fd, libc::F_OFD_SETLK, &raw mut whole) == 0
    }
}

fn unlock(fd: c_int) {
    lock(fd, libc::F_UNLCK);
}

/// Whether this kernel has such locks: sandboxes that imitate Linux may not.
pub(crate) fn has_locks_of_the_open_file() -> bool {
    // SAFETY: the name is a C string; what comes back is a descriptor of ours alone, or refused below as negative.
    let fd = unsafe { libc::memfd_create(c"zjobs".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return false;
    }
    let locked = lock(fd, libc::F_WRLCK);
    really_close(fd);
    locked
}

fn really_close(fd: c_int) -> c_int {
    // SAFETY: SQLite opened this descriptor and has given it back; nothing of ours uses it afterwards.
    unsafe { libc::close(fd) }
}
