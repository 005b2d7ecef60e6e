//! Waiting for a line or for the end of a neighbour, whichever comes first.
//!
//! The end of one is a reason to look, no more. Those that cannot be watched, in another container, are looked at at the
//! rescuer's interval.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{locks, who};

/// A wait that fails must not become a loop that spins.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The other processes in a folder.
#[derive(Debug)]
pub(super) struct Watch {
    processes: Vec<OwnedFd>,
    ended: bool,
}

impl Watch {
    /// Watches those who are there now.
    pub(super) fn on(folder: &Path) -> Self {
        let mut ended = false;
        let mut processes = Vec::new();
        for pid in locks::others(folder).iter().filter_map(|other| other.pid()) {
            match who::open(pid) {
                Ok(process) => processes.push(process),
                Err(_) => ended |= cfg!(target_os = "linux"),
            }
        }
        Self { processes, ended }
    }

    /// Until a line has come or a process has ended.
    pub(super) fn wait(&mut self, socket: &UnixDatagram) {
        if self.ended {
            return;
        }
        let mut all = vec![PollFd::new(socket, PollFlags::IN)];
        all.extend(self.processes.iter().map(|process| PollFd::new(process, PollFlags::IN)));
        // An interrupted wait looks, and waits again.
        if poll(&mut all, None).is_err_and(|error| error != Errno::INTR) {
            // Too many to watch: from now on their end is seen at the rescuer's interval.
            self.processes.clear();
            std::thread::park_timeout(AFTER_FAILURE);
            return;
        }
        let over: Vec<bool> = all[1..].iter().map(|fd| !fd.revents().is_empty()).collect();
        self.ended = over.contains(&true);
        let mut over = over.into_iter();
        self.processes.retain(|_| over.next() == Some(false));
    }

    /// Whether one has ended since the last look.
    pub(super) fn take_ended(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }
}
