//! The power goes: what is left, and whether that is what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fastrand::Rng;
use rusqlite::Connection;
use zjobs_engine::store::Filter;
use zjobs_engine::store::sqlite::{SqliteStore, Synchronous};
use zjobs_engine::sync::Arc;
use zjobs_engine::{Result, Store};

use crate::disk::Step;
use crate::replay::{DATABASE, Luck, World};
use crate::workload::{Look, Recording, config, text};

/// What a power loss must leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// A sound file with everything that was answered.
    Everything,
    /// A sound file.
    Soundness,
}

/// Cuts the power after every step, or after that share of them; returns how many disks were looked at.
///
/// # Errors
///
/// The first disk that is not what was promised.
pub fn check(
    recording: &Recording,
    promise: Promise,
    share: f64,
    random: &mut Rng,
) -> std::result::Result<usize, String> {
    let mut world = World::default();
    let mut answered = BTreeSet::new();
    let mut disks = 0;
    for (number, step) in recording.steps.iter().enumerate() {
        world.take(step);
        if let Step::Answered(answer) = step {
            answered.insert(*answer);
        }
        if random.f64() >= share {
            continue;
        }
        // Right after a step, what is certain and what is there in full differ most.
        let lucks: &[Luck] = match step {
            Step::Answered(_) | Step::Synced(_) | Step::Deleted(..) => &[Luck::None, Luck::Some],
            Step::Made(..) | Step::Wrote(..) | Step::Truncated(..) | Step::NotSynced(_) | Step::PressedAgain(..) => {
                &[Luck::Some]
            }
        };
        for luck in lucks {
            let folder = folder().map_err(|error| error.to_string())?;
            world.leave(folder.path(), *luck, random).map_err(|error| error.to_string())?;
            let left = look_at(folder.path(), recording, promise, &answered);
            left.map_err(|why| format!("after step {number} of {} ({luck:?}): {why}", recording.steps.len()))?;
            disks += 1;
        }
    }
    Ok(disks)
}

/// The look of a job that is there.
pub type Shown = (zjobs_engine::State, u32);

/// The looks of all jobs by their arguments.
pub fn looks(store: &SqliteStore) -> Result<BTreeMap<String, Shown>> {
    let jobs = store.list(&Filter::default())?;
    Ok(jobs.into_iter().map(|job| (text(&job.args), (job.state, job.lease.0))).collect())
}

/// An empty folder, in memory where there is one: nothing here has to outlive the process.
///
/// # Errors
///
/// There is no place for it.
pub fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn look_at(
    folder: &Path,
    recording: &Recording,
    promise: Promise,
    answered: &BTreeSet<usize>,
) -> std::result::Result<(), String> {
    let path = folder.join(DATABASE);
    let store = SqliteStore::open(config(&path, Synchronous::Full, Arc::default())).map_err(|e| e.to_string())?;
    let shown = looks(&store).map_err(|error| error.to_string())?;
    sound(&path).map_err(|error| error.to_string())?;
    let strangers: Vec<_> = shown.keys().filter(|args| !recording.jobs.contains_key(*args)).collect();
    if !strangers.is_empty() {
        return Err(format!("jobs that nobody enqueued: {strangers:?}"));
    }
    for (args, versions) in &recording.jobs {
        let promised =
            |version: &crate::workload::Version| version.promised.is_some_and(|answer| answered.contains(&answer));
        let least = match promise {
            Promise::Everything => versions.iter().rposition(promised).unwrap_or(0),
            Promise::Soundness => 0,
        };
        let look: Look = shown.get(args).copied();
        if !versions[least..].iter().any(|version| version.look == look) {
            return Err(format!("{args:.40} is {look:?}, and was promised to be {:?}", &versions[least..]));
        }
    }
    whole(recording, &shown)
}

/// An enqueue is there as a whole or not at all, whatever it was answered. What may have been deleted since counts as both.
pub(crate) fn whole(recording: &Recording, shown: &BTreeMap<String, Shown>) -> std::result::Result<(), String> {
    let deleted = |args: &String| {
        let versions = recording.jobs.get(args).map_or(&[][..], |versions| versions);
        versions.iter().skip_while(|version| version.look.is_none()).any(|version| version.look.is_none())
    };
    for batch in &recording.batches {
        let (there, missing): (Vec<_>, Vec<_>) = batch.iter().partition(|args| shown.contains_key(*args));
        let missing = missing.into_iter().filter(|args| !deleted(args)).count();
        if !there.is_empty() && missing > 0 {
            let (all, there) = (batch.len(), there.len());
            return Err(format!(
                "an enqueue of {all} jobs left {there}, and {missing} never came: {:.40} ...",
                batch[0]
            ));
        }
    }
    Ok(())
}

fn sound(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(rusqlite::Error::InvalidParameterName(verdict)) }
}

#[cfg(test)]
mod tests {
    use zjobs_engine::State;

    use super::*;
    use crate::workload::Version;

    const WAITS: Look = Some((State::Available, 0));

    fn recording(looks: &[(&str, &[Look])]) -> Recording {
        let versions = |looks: &[Look]| looks.iter().map(|look| Version { look: *look, promised: None }).collect();
        Recording {
            jobs: looks.iter().map(|(args, looks)| ((*args).to_owned(), versions(looks))).collect(),
            batches: vec![looks.iter().map(|(args, _)| (*args).to_owned()).collect()],
            ..Recording::default()
        }
    }

    fn shown(args: &[&str]) -> BTreeMap<String, Shown> {
        args.iter().map(|args| ((*args).to_owned(), (State::Available, 0))).collect()
    }

    #[test]
    fn an_enqueue_is_there_as_a_whole_or_not_at_all() {
        let recording = recording(&[("a", &[None, WAITS]), ("b", &[None, WAITS])]);
        assert!(whole(&recording, &shown(&["a"])).is_err());
        assert!(whole(&recording, &shown(&["a", "b"])).is_ok());
        assert!(whole(&recording, &shown(&[])).is_ok());
    }

    #[test]
    fn what_may_have_been_deleted_since_is_not_missed() {
        let recording = recording(&[("a", &[None, WAITS]), ("b", &[None, WAITS, None])]);
        assert!(whole(&recording, &shown(&["a"])).is_ok());
        assert!(whole(&recording, &shown(&["b"])).is_err());
    }
}
