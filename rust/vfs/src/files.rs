//! The descriptors that our SQLite has open, by file.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Which file: its device and its number there.
type Identity = (u64, u64);

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
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<Identity, Descriptors>,
    identities: HashMap<c_int, Identity>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor that SQLite has just got.
pub(crate) fn note(fd: c_int) {
    let Some(identity) = identity(fd) else { return };
    let mut table = table();
    table.identities.insert(fd, identity);
    table.files.entry(identity).or_default().all.push(fd);
}

/// The descriptor that has the locks of the file that this one leads to.
pub(crate) fn holder(fd: c_int) -> c_int {
    let table = table();
    let file = table.identities.get(&fd).and_then(|identity| table.files.get(identity));
    file.and_then(|file| file.all.first()).copied().unwrap_or(fd)
}

/// A descriptor of that file which SQLite has closed and which had to stay open.
pub(crate) fn take_parked(path: &CStr) -> Option<c_int> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and the kernel fills the whole of what is read after it said so.
    let found = unsafe { (libc::stat(path.as_ptr(), found.as_mut_ptr()) == 0).then(|| found.assume_init()) }?;
    table().files.get_mut(&(found.st_dev, found.st_ino))?.closed.pop()
}

/// SQLite is done with a descriptor.
pub(crate) fn close(fd: c_int) -> c_int {
    let mut table = table();
    let Some(identity) = table.identities.get(&fd).copied() else { return really_close(fd) };
    let Some(file) = table.files.get_mut(&identity) else { return really_close(fd) };
    file.closed.push(fd);
    if !file.unused() && file.all.first() == Some(&fd) {
        // The locks of the others go with it: it is closed when they are.
        return 0;
    }
    if others_have_it_open(identity, &file.all) {
        if file.unused() {
            unlock(file.all[0]);
        }
        return 0;
    }
    let over: Vec<c_int> = if file.unused() { std::mem::take(&mut file.all) } else { vec![fd] };
    file.all.retain(|open| !over.contains(open));
    file.closed.retain(|open| !over.contains(open));
    if file.all.is_empty() {
        table.files.remove(&identity);
    }
    for fd in &over {
        table.identities.remove(fd);
    }
    over.into_iter().map(really_close).max().unwrap_or(0)
}

/// In the child of a fork: lets go of all, so that the parent's locks end with the parent.
pub(crate) fn forget_all() {
    // Another thread may have had the table at the fork; it is not here to give it back.
    let Ok(mut table) = TABLE.try_lock() else { return };
    let table = &mut *table;
    for fd in table.files.drain().flat_map(|(_, file)| file.all) {
        really_close(fd);
    }
    table.identities.clear();
}

/// Whether the process has descriptors of the file that are none of ours.
fn others_have_it_open(wanted: Identity, ours: &[c_int]) -> bool {
    // Without /proc nothing is known: then nothing is closed.
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return true };
    let open = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<c_int>().ok());
    open.filter(|fd| !ours.contains(fd)).any(|fd| identity(fd) == Some(wanted))
}

fn identity(fd: c_int) -> Option<Identity> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the whole of what is read after it said so; a number that is no descriptor is refused.
    let found = unsafe { (libc::fstat(fd, found.as_mut_ptr()) == 0).then(|| found.assume_init()) }?;
    Some((found.st_dev, found.st_ino))
}

#[allow(clippy::cast_possible_truncation, reason = "the constant is 2")]
const UNLOCKED: libc::c_short = libc::F_UNLCK as libc::c_short;

fn unlock(fd: c_int) {
    // SAFETY: all zeros is a valid `flock`; with a length of zero it means the whole file.
    unsafe {
        let mut whole: libc::flock = std::mem::zeroed();
        whole.l_type = UNLOCKED;
        libc::fcntl(fd, libc::F_OFD_SETLK, &raw mut whole);
    }
}

fn really_close(fd: c_int) -> c_int {
    // SAFETY: SQLite opened this descriptor and has given it back; nothing of ours uses it afterwards.
    unsafe { libc::close(fd) }
}
