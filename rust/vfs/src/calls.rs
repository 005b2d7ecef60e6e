//! The system calls that SQLite makes in the place of its own.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::files::{self, Access};

/// Opens a file, or takes the descriptor that was parked for it.
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let access = if flags & libc::O_ACCMODE == libc::O_RDWR { Access::ReadWrite } else { Access::Read };
    // SAFETY: SQLite passes the path as a C string that lives for the call.
    let name = unsafe { CStr::from_ptr(path) };
    if flags & libc::O_EXCL == 0
        && let Some(parked) = files::take_parked(name, access)
    {
        return parked;
    }
    // SAFETY: the arguments are those that SQLite would have made the call with.
    let fd = unsafe { libc::open(path, flags, mode) };
    if fd >= 0 {
        files::note(fd, access);
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
    if !files::is_still_ours(holder) {
        return refused();
    }
    // SAFETY: with these commands SQLite passes a `flock` of its own stack. The kernel wants its process id to be zero
    // and refuses the call otherwise; SQLite leaves it as it is and reads only the type afterwards.
    unsafe {
        (*argument).l_pid = 0;
        libc::fcntl(holder, command, argument)
    }
}

/// Reads, unless somebody else has closed the descriptor and its number is that of another file by now.
pub(crate) unsafe extern "C" fn read(fd: c_int, to: *mut c_void, length: usize) -> isize {
    if !files::is_still_ours(fd) {
        return refused();
    }
    // SAFETY: the arguments are those that SQLite would have made the call with.
    unsafe { libc::read(fd, to, length) }
}

/// Writes, unless it would go into a file that is somebody else's.
pub(crate) unsafe extern "C" fn write(fd: c_int, from: *const c_void, length: usize) -> isize {
    if !files::is_still_ours(fd) {
        return refused();
    }
    // SAFETY: as above.
    unsafe { libc::write(fd, from, length) }
}

/// Reads at an offset: so SQLite reads pages and logs, and the one above serves only its lesser ways.
pub(crate) unsafe extern "C" fn pread(fd: c_int, to: *mut c_void, length: usize, at: libc::off64_t) -> isize {
    if !files::is_still_ours(fd) {
        return refused();
    }
    // SAFETY: as above.
    unsafe { libc::pread64(fd, to, length, at) }
}

/// Writes at an offset, as SQLite writes pages and logs.
pub(crate) unsafe extern "C" fn pwrite(fd: c_int, from: *const c_void, length: usize, at: libc::off64_t) -> isize {
    if !files::is_still_ours(fd) {
        return refused();
    }
    // SAFETY: as above.
    unsafe { libc::pwrite64(fd, from, length, at) }
}

/// Cuts the file, unless it is somebody else's.
pub(crate) unsafe extern "C" fn ftruncate(fd: c_int, length: libc::off_t) -> c_int {
    if !files::is_still_ours(fd) {
        return refused();
    }
    // SAFETY: as above.
    unsafe { libc::ftruncate(fd, length) }
}

/// What the kernel says of a number that is no descriptor.
fn refused<T: From<i8>>() -> T {
    // SAFETY: the place is this thread's own.
    unsafe { *libc::__errno_location() = libc::EBADF };
    T::from(-1)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    /// A file that somebody else in the process has open, with a record lock on its first byte.
    struct Host {
        file: File,
        path: CString,
    }

    impl Host {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("zjobs-vfs-{}-{name}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            let host = Self { file, path: CString::new(path.to_str().unwrap()).unwrap() };
            assert!(host.asks(libc::F_SETLK));
            host
        }

        #[allow(clippy::cast_possible_truncation, reason = "the constant is 1")]
        fn asks(&self, command: c_int) -> bool {
            // SAFETY: all zeros is a valid `flock`.
            unsafe {
                let mut byte: libc::flock = std::mem::zeroed();
                (byte.l_type, byte.l_len) = (libc::F_WRLCK as libc::c_short, 1);
                libc::fcntl(self.file.as_raw_fd(), command, &raw mut byte) == 0
                    && i32::from(byte.l_type) != libc::F_UNLCK
            }
        }

        /// As another process would find it: a lock of the open file conflicts with the record lock.
        fn is_locked(&self) -> bool {
            self.asks(libc::F_OFD_GETLK)
        }

        fn open(&self, flags: c_int) -> c_int {
            // SAFETY: as SQLite calls it.
            unsafe { open(self.path.as_ptr(), flags | libc::O_CLOEXEC, 0) }
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            std::fs::remove_file(self.path.to_str().unwrap()).unwrap();
        }
    }

    fn give_back(fd: c_int) {
        // SAFETY: as SQLite calls it.
        assert_eq!(unsafe { close(fd) }, 0);
    }

    #[test]
    fn a_plain_close_drops_the_locks_of_the_host_which_is_why_all_this_is_here() {
        let host = Host::new("plain");
        drop(File::open(host.path.to_str().unwrap()).unwrap());
        assert!(!host.is_locked());
    }

    #[test]
    fn the_locks_of_the_host_stay_when_ours_is_closed_whether_it_writes_or_only_reads() {
        for (name, flags) in [("writes", libc::O_RDWR), ("reads", libc::O_RDONLY)] {
            let host = Host::new(name);
            give_back(host.open(flags));
            assert!(host.is_locked(), "{name}");
        }
    }

    #[test]
    fn a_number_that_leads_to_another_file_by_now_is_neither_written_nor_cut_nor_closed() {
        let (ours, theirs) = (Host::new("ours"), Host::new("theirs"));
        let fd = ours.open(libc::O_RDWR);
        // SAFETY: what a careless program does: it closes what is not its own, and opens a file of its own in the place.
        assert_eq!(unsafe { libc::dup2(theirs.file.as_raw_fd(), fd) }, fd);
        let bytes = [1_u8; 8];
        // SAFETY: as SQLite calls them.
        unsafe {
            assert_eq!(write(fd, bytes.as_ptr().cast(), 8), -1);
            assert_eq!(ftruncate(fd, 100), -1);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
            assert_eq!(read(fd, [0_u8; 8].as_mut_ptr().cast(), 8), -1);
            assert_eq!(pwrite(fd, bytes.as_ptr().cast(), 8, 0), -1);
            assert_eq!(pread(fd, [0_u8; 8].as_mut_ptr().cast(), 8, 0), -1);
            let mut whole: libc::flock = std::mem::zeroed();
            assert_eq!(fcntl(fd, libc::F_SETLK, &raw mut whole), -1);
        }
        give_back(fd);
        assert!(crate::has_lost_descriptors());
        assert_eq!(theirs.file.metadata().unwrap().len(), 0);
        // SAFETY: the number is still theirs; a closed one would be refused.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    }

    #[test]
    fn what_was_parked_is_opened_again_for_the_same_access_only() {
        let host = Host::new("again");
        let first = host.open(libc::O_RDWR);
        give_back(first);
        let reads = host.open(libc::O_RDONLY);
        assert_ne!(reads, first);
        assert_eq!(host.open(libc::O_RDWR), first);
        give_back(first);
        give_back(reads);
    }

    #[test]
    fn a_file_is_only_read_while_no_descriptor_in_use_writes() {
        let host = Host::new("only");
        let is_only_read = || files::is_only_read(&host.path);
        assert!(!is_only_read(), "not open");
        let reads = host.open(libc::O_RDONLY);
        assert!(is_only_read());
        let writes = host.open(libc::O_RDWR);
        assert!(!is_only_read(), "one writes");
        give_back(writes);
        assert!(is_only_read(), "the one that writes is parked");
        give_back(reads);
        assert!(!is_only_read(), "both are parked");
    }

    #[test]
    fn the_locks_of_a_host_whose_file_took_the_number_of_one_that_was_parked_stay_too() {
        let (closes, mut takes) = (Host::new("closes"), Host::new("takes"));
        let parked = closes.open(libc::O_RDWR);
        give_back(parked);
        // SAFETY: what a careless program does: the number of a file of ours becomes that of a file of its own.
        takes.file = unsafe { File::from_raw_fd(libc::dup2(takes.file.as_raw_fd(), parked)) };
        assert!(takes.asks(libc::F_SETLK));
        give_back(takes.open(libc::O_RDWR));
        assert!(takes.is_locked());
        assert_ne!(closes.open(libc::O_RDWR), parked, "what is parked and lost is handed out no more");
    }
}
