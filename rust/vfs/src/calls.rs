//! The system calls that SQLite makes in the place of its own.

use std::ffi::{CStr, c_char, c_int};

use crate::files;

/// Opens a file, or takes the descriptor that was parked for it.
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let shared = flags & libc::O_ACCMODE == libc::O_RDWR;
    // SAFETY: SQLite passes the path as a C string that lives for the call.
    let name = unsafe { CStr::from_ptr(path) };
    if shared
        && flags & libc::O_EXCL == 0
        && let Some(parked) = files::take_parked(name)
    {
        return parked;
    }
    // SAFETY: the arguments are those that SQLite would have made the call with.
    let fd = unsafe { libc::open(path, flags, mode) };
    if shared && fd >= 0 {
        files::note(fd);
    }
    fd
}

/// Closes a descriptor, unless locks of ours or of somebody else in the process would go with it.
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    files::close(fd)
}

/// Turns a record lock into an open-file-description lock of the file's first descriptor.
pub(crate) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut libc::flock) -> c_int {
    let command = match command {
        libc::F_SETLK => libc::F_OFD_SETLK,
        libc::F_SETLKW => libc::F_OFD_SETLKW,
        libc::F_GETLK => libc::F_OFD_GETLK,
        // SAFETY: handed on as it came; the kernel reads what the command takes.
        other => return unsafe { libc::fcntl(fd, other, argument) },
    };
    let holder = files::holder(fd);
    // SAFETY: with these commands SQLite passes a `flock` of its own stack. The kernel wants its process id to be zero
    // and refuses the call otherwise; SQLite leaves it as it is and reads only the type afterwards.
    unsafe {
        (*argument).l_pid = 0;
        libc::fcntl(holder, command, argument)
    }
}
