//! Locks of SQLite that belong to the open file, not to the process.
//!
//! A wheel carries a SQLite of its own, and the standard library of Python has another one. POSIX record locks belong to
//! the process: the two do not see each other's, and each drops the other's whenever it closes a descriptor of the same
//! file. A program that opened its jobs with `sqlite3` beside us so lost what was committed afterwards (ADR 0013).
//!
//! [`install`] gives our SQLite other system calls. Invariants from then on, for files that it opens:
//!
//! * A lock is an open-file-description lock. It conflicts with record locks, also with those of the same process, and
//!   no `close` of another descriptor drops it: a second SQLite in the process is like one in another process.
//! * All locks of one file go through its first descriptor, so that our own connections share them as they shared record
//!   locks; that descriptor is closed last.
//! * No descriptor of a file is closed while somebody else in the process has it open: that would drop *their* record
//!   locks. It is parked, and serves the next open.
//!   One that SQLite opens no more, since the other copy has deleted the file, is closed at the next open or close of any.
//! * Before each call that reads from a descriptor, writes, cuts or locks, it is looked whether the number still leads to the
//!   file that SQLite opened: code that closes what is not its own (`os.closerange`) may have opened a file of its own by
//!   it. Then the call is refused. A number that SQLite itself is given twice serves neither file. Not seen is who comes
//!   between the look and the call; a sync is not looked at, nor memory that is shared with a file, which stays the file's.
//! * The child of a fork closes what it inherited, or it would keep the locks of a parent that has died. It finds no lock of
//!   SQLite's taken, so that it can open files of its own.

#[cfg(target_os = "linux")]
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use libsqlite3_sys as ffi;

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod fork;

/// Whether a second SQLite in the process is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It is like one in another process.
    Complete,
    /// Locks are the process's: this system has no others, or refused them.
    None,
}

/// Gives our SQLite its system calls. Once for the process; before the first file is opened.
pub fn install() -> Protection {
    static INSTALLED: OnceLock<Protection> = OnceLock::new();
    *INSTALLED.get_or_init(replace)
}

#[cfg(target_os = "linux")]
fn replace() -> Protection {
    type Plain = unsafe extern "C" fn();
    type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
    type Close = unsafe extern "C" fn(c_int) -> c_int;
    type Fcntl = unsafe extern "C" fn(c_int, c_int, *mut libc::flock) -> c_int;
    type Read = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
    type Write = unsafe extern "C" fn(c_int, *const c_void, usize) -> isize;
    type ReadAt = unsafe extern "C" fn(c_int, *mut c_void, usize, libc::off64_t) -> isize;
    type WriteAt = unsafe extern "C" fn(c_int, *const c_void, usize, libc::off64_t) -> isize;
    type Cut = unsafe extern "C" fn(c_int, libc::off_t) -> c_int;
    if !files::has_locks_of_the_open_file() {
        return Protection::None;
    }
    // SAFETY: the default VFS lives as long as the library; its method is called as SQLite documents. A system call is
    // handed over as a function without arguments and called with the signature that SQLite has for its name. `fcntl` is
    // called as a variadic function there: on Linux that passes three integer arguments as a plain call does.
    let done = unsafe {
        ffi::sqlite3_initialize();
        let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
        let Some((get, set)) = vfs.as_ref().and_then(|vfs| vfs.xGetSystemCall.zip(vfs.xSetSystemCall)) else {
            return Protection::None;
        };
        let always = [
            (c"open", std::mem::transmute::<Open, Plain>(calls::open)),
            (c"close", std::mem::transmute::<Close, Plain>(calls::close)),
            (c"fcntl", std::mem::transmute::<Fcntl, Plain>(calls::fcntl)),
            (c"read", std::mem::transmute::<Read, Plain>(calls::read)),
            (c"write", std::mem::transmute::<Write, Plain>(calls::write)),
            (c"ftruncate", std::mem::transmute::<Cut, Plain>(calls::ftruncate)),
        ];
        // By which pair of these it reads and writes, or by the two above alone, was settled where it was built; it has no
        // function for what it does not call. Offsets have 64 bits in both.
        let (read_at, write_at): (ReadAt, WriteAt) = (calls::pread, calls::pwrite);
        let by_offset = [
            (c"pread", std::mem::transmute::<ReadAt, Plain>(read_at)),
            (c"pwrite", std::mem::transmute::<WriteAt, Plain>(write_at)),
            (c"pread64", std::mem::transmute::<ReadAt, Plain>(read_at)),
            (c"pwrite64", std::mem::transmute::<WriteAt, Plain>(write_at)),
        ];
        let used = by_offset.into_iter().filter(|(name, _)| get(vfs, name.as_ptr()).is_some());
        let mut wanted = always.into_iter().chain(used);
        wanted.all(|(name, call)| set(vfs, name.as_ptr(), Some(call)) == ffi::SQLITE_OK)
    };
    if done && fork::watch() { Protection::Complete } else { Protection::None }
}

/// Whether somebody else in the process has closed a descriptor of ours, or given its number to another file. SQLite is
/// then refused each call, since it would read or write what is not ours.
pub fn has_lost_descriptors() -> bool {
    #[cfg(target_os = "linux")]
    return files::has_lost();
    #[cfg(not(target_os = "linux"))]
    false
}

/// The same, after a look at all of them.
pub fn look_for_lost_descriptors() -> bool {
    #[cfg(target_os = "linux")]
    return files::has_lost() || !files::are_all_ours();
    #[cfg(not(target_os = "linux"))]
    false
}

/// Whether our SQLite has that file open, and can only read it.
pub fn is_only_read(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).is_ok_and(|path| files::is_only_read(&path));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

#[cfg(not(target_os = "linux"))]
fn replace() -> Protection {
    Protection::None
}
