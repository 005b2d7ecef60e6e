//! A descriptor that other code of this process may have closed: its number may be somebody else's by now.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{Stat, fstat};

/// A file or a socket that is used and closed only while its number is still its own.
#[derive(Debug)]
pub(super) struct Own<T: AsFd> {
    file: Option<T>,
    opened: Stat,
}

impl<T: AsFd> Own<T> {
    pub(super) fn new(file: T) -> io::Result<Self> {
        let opened = fstat(&file)?;
        Ok(Self { file: Some(file), opened })
    }

    /// What it is, unless it was taken away.
    pub(super) fn get(&self) -> Option<&T> {
        self.file.as_ref().filter(|file| {
            fstat(file).is_ok_and(|now| (now.st_dev, now.st_ino) == (self.opened.st_dev, self.opened.st_ino))
        })
    }
}

/// Stands for files that a library has, which nobody else can look at: whoever closes those closes this one, too, which was
/// opened beside them.
#[derive(Debug)]
pub(super) struct Witness(Own<UnixDatagram>);

impl Witness {
    pub(super) fn new() -> io::Result<Self> {
        Own::new(UnixDatagram::unbound()?).map(Self)
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }
}

impl<T: AsFd> Drop for Own<T> {
    fn drop(&mut self) {
        if self.get().is_none() {
            // Closing it would close what has the number now.
            std::mem::forget(self.file.take());
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, OwnedFd};

    #[test]
    fn one_whose_number_is_somebody_elses_by_now_is_neither_used_nor_closed() {
        let theirs = tempfile::tempfile().unwrap();
        let mut own = Own::new(OwnedFd::from(tempfile::tempfile().unwrap())).unwrap();
        let number = own.get().unwrap().as_raw_fd();
        rustix::io::dup2(&theirs, own.file.as_mut().unwrap()).unwrap();
        assert!(own.get().is_none());
        drop(own);
        assert!(std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    }

    #[test]
    fn one_that_is_still_there_is_closed() {
        let own = Own::new(tempfile::tempfile().unwrap()).unwrap();
        let link = format!("/proc/self/fd/{}", own.get().unwrap().as_raw_fd());
        let was = std::fs::read_link(&link).unwrap();
        drop(own);
        // Another test may have the number by now.
        assert!(std::fs::read_link(&link).map_or(true, |now| now != was));
    }
}
