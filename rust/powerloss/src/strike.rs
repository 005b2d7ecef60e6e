//! Sessions in which a call on the disk fails for certain.

use std::io;

use crate::check::folder;
use crate::disk::{Call, Fault};
use crate::workload::{Recording, Setting, record};

/// How many calls of each kind a session makes when none fails, in the order of [`Call::ALL`].
///
/// # Errors
///
/// There is no folder for it.
pub fn calls_of(setting: Setting) -> io::Result<[usize; Call::ALL.len()]> {
    let folder = folder()?;
    Ok(record(Setting { fault: None, ..setting }, folder.path()).met)
}

/// One of so many places, another one for the next seed, until all of them are met.
///
/// # Panics
///
/// When there are none.
pub fn place(seed: u64, places: usize) -> usize {
    // A large prime: a few seeds are spread over all places.
    usize::try_from(seed).unwrap_or(0) * 7919 % places
}

/// A session in which the fault strikes after so many calls that work, and after how many it was.
///
/// Threads share commits as it comes, so that a session may end before a place that another one had. Then it is an earlier
/// place, and none when the session makes no such call at all.
///
/// # Errors
///
/// There is no folder for it.
pub fn struck(
    setting: Setting,
    fault: impl Fn(usize) -> Fault,
    place: usize,
) -> io::Result<Option<(Recording, usize)>> {
    let mut place = place;
    loop {
        let folder = folder()?;
        let recording = record(Setting { fault: Some(fault(place)), ..setting }, folder.path());
        if recording.struck > 0 {
            return Ok(Some((recording, place)));
        }
        if place == 0 {
            return Ok(None);
        }
        place /= 2;
    }
}
