//! Which process a name was given to, and whether that one has ended.
//!
//! A process id alone says little: it is used again, and means another process in another container. So a name carries, beside
//! a random word, the space in which the id counts (the running system, its pid namespace, its time namespace) and when the
//! process began. Whoever shares that space can tell for sure; whoever does not, cannot tell at all.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};

/// Numbers in a name: a random word and these three, eight hex digits each.
const DIGITS: usize = 8;

/// A process, as nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who {
    space: u32,
    pid: u32,
    /// In ticks since the system began, cut to what fits.
    began: u32,
}

impl Who {
    /// This process. Where the system tells nothing of processes nobody will recognise it.
    pub(super) fn me() -> Self {
        let pid = std::process::id();
        let known = space().zip(began(pid));
        let (space, began) = known.unwrap_or_default();
        Self { space, pid, began }
    }

    /// A name for it, with a word that tells several stores of one process from each other.
    pub(super) fn name(self, word: u32) -> String {
        let Self { space, pid, began } = self;
        format!("{word:08x}{space:08x}{pid:08x}{began:08x}")
    }

    /// The one that a name was given to.
    pub(super) fn of(name: &str) -> Option<Self> {
        let number = |place: usize| {
            let digits = name.get(place * DIGITS..(place + 1) * DIGITS)?;
            u32::from_str_radix(digits, 16).ok()
        };
        Some(Self { space: number(1)?, pid: number(2)?, began: number(3)? })
    }

    /// Its process id, where that means the same here.
    pub(super) fn pid(self) -> Option<u32> {
        (self.space != 0 && Some(self.space) == space()).then_some(self.pid)
    }

    /// Whether it is known to have ended. A process that nobody has waited for yet has ended, too.
    pub(super) fn has_ended(self) -> bool {
        let Some(pid) = self.pid() else { return false };
        if self == Self::me() {
            // Asked for a name that is not held here: it was that of a store that is closed, or of another program that ran
            // under this id and made this one of itself (exec).
            return true;
        }
        // The process first: what is read of it afterwards is read of the same one, or of none.
        let process = match open(pid) {
            Ok(process) => Some(process),
            Err(Errno::SRCH) => return true,
            Err(_) => None,
        };
        match began(pid) {
            Some(began) if began != self.began => true,
            Some(_) => process.is_some_and(|process| is_over(&process)),
            // It is hidden from us, or has just ended.
            None => false,
        }
    }
}

/// In which process ids count: the same number is told wherever two see the same processes under the same ids, with the same
/// times.
fn space() -> Option<u32> {
    // What is mounted there may speak of another namespace.
    let seen = fs::read_link("/proc/self").ok()?;
    if seen.to_str()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = u32::from_str_radix(boot.get(..DIGITS)?, 16).ok()?;
    let namespace = |name| fs::metadata(format!("/proc/self/ns/{name}")).map(|found| low(found.ino()));
    let processes = namespace("pid").ok()?;
    // Systems before 5.6 have none.
    let times = namespace("time").unwrap_or(0);
    Some(boot ^ processes ^ times.rotate_left(16)).filter(|space| *space != 0)
}

/// When a process began.
fn began(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything; the 20th word after it is the time.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok().map(low)
}

#[allow(clippy::cast_possible_truncation, reason = "only the low half is meant")]
const fn low(number: u64) -> u32 {
    number as u32
}

/// Something that becomes readable when the process ends.
#[cfg(target_os = "linux")]
pub(super) fn open(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or(Errno::SRCH)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn open(_pid: u32) -> Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// Whether all threads of it have ended, waited for or not.
fn is_over(process: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut all = [PollFd::new(process, PollFlags::IN)];
    poll(&mut all, Some(&at_once)).is_ok() && !all[0].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn of_child(child: &Child) -> Who {
        Who { pid: child.id(), began: began(child.id()).unwrap(), ..Who::me() }
    }

    fn sleeping() -> Child {
        Command::new("sleep").arg("100").spawn().unwrap()
    }

    #[test]
    fn a_name_tells_whose_it_is() {
        let me = Who::me();
        assert_eq!((me.pid(), me.name(7).len()), (Some(std::process::id()), 32));
        assert_eq!(Who::of(&me.name(7)), Some(me));
        assert_eq!(Who::of("../jobs"), None);
        assert_eq!(Who::of(&"\u{e4}".repeat(16)), None);
    }

    #[test]
    fn a_process_has_ended_when_it_was_killed_whether_or_not_it_was_waited_for() {
        let mut child = sleeping();
        let who = of_child(&child);
        assert!(!who.has_ended());
        child.kill().unwrap();
        let process = open(child.id()).unwrap();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        assert!(who.has_ended(), "a zombie");
        child.wait().unwrap();
        assert!(who.has_ended());
    }

    #[test]
    fn a_process_that_has_the_id_of_an_earlier_one_is_not_that_one() {
        let mut child = sleeping();
        let who = of_child(&child);
        assert!(Who { began: who.began - 1, ..who }.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn nothing_is_known_of_a_process_that_is_counted_elsewhere() {
        let nobody = Who { pid: u32::MAX >> 1, ..Who::me() };
        assert!(nobody.has_ended());
        for space in [0, nobody.space ^ 1] {
            assert!(!Who { space, ..nobody }.has_ended());
        }
    }
}
