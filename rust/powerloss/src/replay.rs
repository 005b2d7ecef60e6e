//! What a power loss may leave of what was done.
//!
//! What was pressed onto the disk is there. Of the rest, each sector of 512 bytes is there or is not, in any combination,
//! and a few are torn; what a file was lengthened by and never got reads as zeros or as anything. Names come and go in
//! order, but as late as they like until the folder is pressed onto the disk, which SQLite does with the first sync of
//! a file that it made.

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;

use crate::disk::{FileId, Step};

const SECTOR: usize = 512;

/// The name of the database in its folder.
pub const DATABASE: &str = "jobs.db";

/// The name of its log.
pub const LOG: &str = "jobs.db-wal";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not pressed yet.
    Pending,
    /// Its press failed: it may never get there.
    Doubtful,
    /// It is there.
    Certain,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Default)]
struct Content {
    pressed: Vec<u8>,
    later: Vec<(Change, Fate)>,
    /// Its name is not on the disk for sure.
    new: bool,
}

#[derive(Debug, Clone)]
enum Naming {
    Made(String, FileId),
    Removed(String),
}

/// The disk at one moment.
#[derive(Debug, Default)]
pub struct World {
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<String, FileId>,
    pending: Vec<Naming>,
}

/// How much of what was not pressed is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// Nothing.
    None,
    /// Everything, as after the end of a process.
    All,
    /// Some of it.
    Some,
}

impl World {
    /// One more thing is done.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Made(file, name) => {
                self.files.insert(*file, Content { new: true, ..Content::default() });
                self.pending.push(Naming::Made(name.clone(), *file));
                // The store makes the database itself, and presses its folder.
                if name == DATABASE {
                    self.press_names();
                }
            }
            Step::Wrote(file, at, bytes) => self.change(*file, Change::Write(*at, bytes.clone())),
            Step::Truncated(file, size) => self.change(*file, Change::Truncate(*size)),
            Step::Synced(file) => {
                if self.files.get_mut(file).is_some_and(Content::press) {
                    self.press_names();
                }
            }
            Step::NotSynced(file) => {
                if let Some(content) = self.files.get_mut(file) {
                    content.fail();
                }
            }
            Step::PressedAgain(file, bytes) => {
                if let Some(content) = self.files.get_mut(file) {
                    content.pressed.clone_from(bytes);
                    content.later.clear();
                }
            }
            Step::Deleted(name, pressed) => {
                self.pending.push(Naming::Removed(name.clone()));
                if *pressed {
                    self.press_names();
                }
            }
            Step::Answered(_) => {}
        }
    }

    fn change(&mut self, file: FileId, change: Change) {
        if let Some(content) = self.files.get_mut(&file) {
            content.later.push((change, Fate::Pending));
        }
    }

    fn press_names(&mut self) {
        for naming in std::mem::take(&mut self.pending) {
            naming.apply(&mut self.names);
        }
        for content in self.files.values_mut() {
            content.new = false;
        }
        let named: Vec<FileId> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }

    /// Writes what a power loss leaves into an empty folder.
    pub fn leave(&self, folder: &Path, luck: Luck, random: &mut Rng) -> std::io::Result<()> {
        let mut names = self.names.clone();
        let kept = match luck {
            Luck::None => 0,
            Luck::All => self.pending.len(),
            Luck::Some => random.usize(..=self.pending.len()),
        };
        for naming in &self.pending[..kept] {
            naming.clone().apply(&mut names);
        }
        for (name, file) in names {
            if let Some(content) = self.files.get(&file) {
                std::fs::write(folder.join(name), content.left(luck, random))?;
            }
        }
        Ok(())
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Made(name, file) => drop(names.insert(name, file)),
            Self::Removed(name) => drop(names.remove(&name)),
        }
    }
}

impl Content {
    /// True when the file is new: then its folder is pressed with it.
    fn press(&mut self) -> bool {
        for (_, fate) in &mut self.later {
            if *fate == Fate::Pending {
                *fate = Fate::Certain;
            }
        }
        if self.later.iter().all(|(_, fate)| *fate == Fate::Certain) {
            for (change, _) in std::mem::take(&mut self.later) {
                change.apply(&mut self.pressed);
            }
        }
        self.new
    }

    fn fail(&mut self) {
        for (_, fate) in &mut self.later {
            if *fate == Fate::Pending {
                *fate = Fate::Doubtful;
            }
        }
    }

    fn left(&self, luck: Luck, random: &mut Rng) -> Vec<u8> {
        let mut bytes = self.pressed.clone();
        // Now and then nearly everything or nearly nothing: the mean alone would leave out the likely cases.
        let share = [0.1, 0.5, 0.9][random.usize(..3)];
        for (change, fate) in &self.later {
            let luck = if *fate == Fate::Certain { Luck::All } else { luck };
            match (luck, change) {
                (Luck::All, change) => change.clone().apply(&mut bytes),
                (Luck::None, _) => {}
                (Luck::Some, Change::Truncate(size)) => {
                    if random.f64() < share {
                        resize(&mut bytes, *size, Some(random));
                    }
                }
                (Luck::Some, Change::Write(at, written)) => scatter(&mut bytes, *at, written, share, random),
            }
        }
        bytes
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(size) => resize(bytes, size, None),
            Self::Write(at, written) => {
                if bytes.len() < at + written.len() {
                    resize(bytes, at + written.len(), None);
                }
                bytes[at..at + written.len()].copy_from_slice(&written);
            }
        }
    }
}

fn resize(bytes: &mut Vec<u8>, size: usize, random: Option<&mut Rng>) {
    let before = bytes.len();
    bytes.resize(size, 0);
    if let Some(random) = random
        && size > before
        && random.bool()
    {
        random.fill(&mut bytes[before..]);
    }
}

/// Some sectors of a write get there, and one in thirty only begins to.
fn scatter(bytes: &mut Vec<u8>, at: usize, written: &[u8], share: f64, random: &mut Rng) {
    let mut from = at;
    while from < at + written.len() {
        let to = ((from / SECTOR + 1) * SECTOR).min(at + written.len());
        if random.f64() < share {
            let torn = random.u8(..30) == 0;
            let end = if torn { random.usize(from..to) } else { to };
            if bytes.len() < to {
                resize(bytes, to, Some(random));
            }
            bytes[from..end].copy_from_slice(&written[from - at..end - at]);
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: usize = 64;

    fn left(luck: Luck, seed: u64) -> Vec<u8> {
        let (mut world, file, folder) = (World::default(), FileId(0), crate::folder().unwrap());
        world.take(&Step::Made(file, DATABASE.into()));
        for byte in [1, 2] {
            world.take(&Step::Wrote(file, 0, vec![byte; SECTORS * SECTOR]));
            if byte == 1 {
                world.take(&Step::Synced(file));
            }
        }
        world.leave(folder.path(), luck, &mut Rng::with_seed(seed)).unwrap();
        std::fs::read(folder.path().join(DATABASE)).unwrap()
    }

    #[test]
    fn of_what_was_not_pressed_some_sectors_are_there_some_are_not_and_few_are_torn() {
        assert_eq!(left(Luck::None, 0), vec![1; SECTORS * SECTOR]);
        assert_eq!(left(Luck::All, 0), vec![2; SECTORS * SECTOR]);
        let (mut old, mut new, mut torn) = (0, 0, 0);
        for seed in 0..20 {
            for sector in left(Luck::Some, seed).chunks(SECTOR) {
                match (sector.contains(&1), sector.contains(&2)) {
                    (true, true) => torn += 1,
                    (true, false) => old += 1,
                    _ => new += 1,
                }
            }
        }
        assert!(old > 100 && new > 100 && (5..100).contains(&torn), "{old} old, {new} new, {torn} torn");
    }
}
