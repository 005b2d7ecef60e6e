//! What a fork must find and leave in order.
//!
//! The child has the memory of all threads and runs one of them. A lock that another thread had at that moment stays
//! taken in it for ever: SQLite's own, so that the child hangs where it opens a file of its own, or that of our table, so
//! that it cannot let go of the parent's files. So the thread that forks takes them all first. Nothing that holds one of
//! them waits for that thread.

use std::cell::RefCell;
use std::ffi::c_int;

use libsqlite3_sys as ffi;

use crate::files::{self, Held};

/// SQLite's locks of the process, in the order in which it nests them itself: opening takes the list of what is open,
/// that takes the VFS, making a temporary name takes chance, and allocating is the innermost.
const STATIC: [c_int; 7] = [
    ffi::SQLITE_MUTEX_STATIC_OPEN,
    ffi::SQLITE_MUTEX_STATIC_MAIN,
    ffi::SQLITE_MUTEX_STATIC_VFS1,
    ffi::SQLITE_MUTEX_STATIC_PRNG,
    ffi::SQLITE_MUTEX_STATIC_LRU,
    ffi::SQLITE_MUTEX_STATIC_PMEM,
    ffi::SQLITE_MUTEX_STATIC_MEM,
];

thread_local! {
    /// Our table, for as long as this thread forks.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Has the system call us around every fork. Says whether it will.
pub(crate) fn watch() -> bool {
    // SAFETY: the three are functions of the process's whole life, and take and return nothing.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) == 0 }
}

unsafe extern "C" fn before() {
    for id in STATIC {
        // SAFETY: a static mutex of an initialized SQLite is never freed, and this thread is in no call of SQLite's that
        // has one: none of them calls back or forks.
        unsafe { ffi::sqlite3_mutex_enter(ffi::sqlite3_mutex_alloc(id)) };
    }
    let table = files::hold();
    // It fails only where the thread is at its end and has no such place any more; the table is then given back at once.
    let _ = HELD.try_with(|held| *held.borrow_mut() = Some(table));
}

unsafe extern "C" fn in_parent() {
    drop(take());
    leave();
}

unsafe extern "C" fn in_child() {
    if let Some(mut table) = take() {
        table.let_go_of_all();
    }
    leave();
}

fn take() -> Option<Held> {
    HELD.try_with(RefCell::take).ok().flatten()
}

fn leave() {
    for id in STATIC.into_iter().rev() {
        // SAFETY: `before` entered it on this thread; in the child, on the thread that this one is the copy of.
        unsafe { ffi::sqlite3_mutex_leave(ffi::sqlite3_mutex_alloc(id)) };
    }
}
