//! The lock that says that a process lives.
//!
//! Record locks (fcntl), not flock or open-file locks: those are inherited by the child of a fork, which would keep a
//! parent that was killed alive. Record locks belong to the process; they do not exclude itself, and go when it closes
//! *any* descriptor of the file: so it never opens its own lock again, and a table answers for its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::store::own::Own;
use crate::sync::StaticMutex;

/// The locks that are held here, with the process that took them: after a fork the table is a copy.
static HELD: StaticMutex<Vec<(u32, String)>> = StaticMutex::new(Vec::new());

/// Looks at this many strangers at most when the folder is swept.
const SWEPT: usize = 1000;

/// This process lives for as long as it has this.
#[derive(Debug)]
pub(super) struct Lock {
    folder: PathBuf,
    name: String,
    owner: u32,
    file: Option<Own<File>>,
}

impl Lock {
    pub(super) fn take(folder: &Path, name: &str) -> io::Result<Self> {
        // Locked before it has its name: nobody finds it free.
        let unnamed = folder.join(format!("{name}.new"));
        let file = open(OpenOptions::new().write(true).create_new(true).mode(0o600), &unnamed)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let owner = std::process::id();
        writeln!(&file, "{owner}")?;
        HELD.lock().push((owner, name.to_owned()));
        fs::rename(&unnamed, lock_path(folder, name))?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), owner, file: Some(Own::new(file)?) })
    }

    /// Whether its file is where the others look for it.
    pub(super) fn is_found(&self) -> bool {
        lock_path(&self.folder, &self.name).exists()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let file = self.file.take();
        if self.owner != std::process::id() {
            // The child of a fork: the files are the parent's.
            std::mem::forget(file);
            return;
        }
        remove(&self.folder, &self.name);
        HELD.lock().retain(|(_, name)| *name != self.name);
    }
}

/// Whether nobody has the lock of that name.
pub(super) fn is_free(folder: &Path, name: &str) -> io::Result<bool> {
    if !is_name(name) || is_mine(name) {
        return Ok(!is_mine(name));
    }
    let file = match open(OpenOptions::new().write(true), &lock_path(folder, name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // Asked, not taken: two who look at once must not take each other for the dead.
    Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.is_none())
}

/// The processes in the folder that are not this one, by name and process id.
pub(super) fn others(folder: &Path) -> Vec<(String, u32)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let other = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_suffix(".lock").filter(|name| is_name(name) && !is_mine(name))?;
        let pid = fs::read_to_string(entry.path()).ok()?.trim().parse().ok()?;
        Some((name.to_owned(), pid))
    };
    entries.flatten().filter_map(other).collect()
}

/// Removes the files of a process that has ended, or of this one.
pub(super) fn remove(folder: &Path, name: &str) {
    if is_name(name) {
        // Whoever comes second finds nothing, which is what both want.
        drop(fs::remove_file(super::ear::socket_path(folder, name)));
        drop(fs::remove_file(lock_path(folder, name)));
    }
}

/// Removes what processes left that have ended; a row that names one of them finds no lock, which says the same.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".lock").map(str::to_owned)
    });
    for name in names.take(SWEPT) {
        if !is_mine(&name) && matches!(is_free(folder, &name), Ok(true)) {
            remove(folder, &name);
        }
    }
}

/// The folder, for its owner only. A link or somebody else's folder is refused: what is in it could be anything.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let owner = rustix::process::geteuid().as_raw();
    if !found.is_dir() || (found.uid() != owner && owner != 0) {
        return Err(io::Error::other("it is a link, or belongs to another user"));
    }
    Ok(())
}

/// Names are 32 hex digits: nothing else may become part of a path.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_mine(name: &str) -> bool {
    let me = std::process::id();
    HELD.lock().iter().any(|(owner, held)| *owner == me && held == name)
}

fn lock_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)).open(path)
}
