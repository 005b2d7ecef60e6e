//! The lock that says that a process lives.
//!
//! Record locks (fcntl), not flock or open-file locks: those are inherited by the child of a fork, which would keep a
//! parent that was killed alive. Record locks belong to the process; they do not exclude itself, and go when it closes
//! *any* descriptor of the file: so it never opens its own lock again, and a table answers for its own. Other code of the
//! process may open it all the same, to make a copy of the folder: it is taken again at each beat.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::store::own::Own;
use crate::store::sqlite::neighbours::who::Who;
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
        let owner = std::process::id();
        HELD.lock().push((owner, name.to_owned()));
        let mut lock = Self { folder: folder.to_owned(), name: name.to_owned(), owner, file: None };
        lock.publish()?;
        Ok(lock)
    }

    /// Takes it again. It may be gone: other code of this process has opened and closed the file, or has closed our
    /// descriptor, or somebody has removed the file.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        let which = |found: &fs::Metadata| (found.dev(), found.ino());
        let named = fs::symlink_metadata(lock_path(&self.folder, &self.name)).ok();
        if let Some(file) = self.file.as_ref().and_then(Own::get)
            && named.is_some_and(|named| file.metadata().is_ok_and(|held| which(&held) == which(&named)))
        {
            return hold(file);
        }
        make_folder(&self.folder)?;
        self.publish()
    }

    /// Makes the file, or another one in its place. It is locked before it has its name: nobody finds it free.
    fn publish(&mut self) -> io::Result<()> {
        let unnamed = self.folder.join(format!("{}.new", self.name));
        // Left by a try that failed.
        drop(fs::remove_file(&unnamed));
        let file = open(OpenOptions::new().write(true).create_new(true).mode(0o600), &unnamed)?;
        hold(&file)?;
        give(&self.folder, &file);
        writeln!(&file, "{}", self.owner)?;
        fs::rename(&unnamed, lock_path(&self.folder, &self.name))?;
        self.file = Some(Own::new(file)?);
        Ok(())
    }

    /// Whether this is not the child of a fork.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let file = self.file.take();
        if !self.is_ours() {
            // The child of a fork: the files are the parent's.
            std::mem::forget(file);
            return;
        }
        remove(&self.folder, &self.name);
        HELD.lock().retain(|(_, name)| *name != self.name);
    }
}

fn hold(file: &File) -> io::Result<()> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        // Somebody else has it, who makes us look alive as well.
        Ok(()) | Err(Errno::AGAIN | Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What root makes in somebody else's folder is for its owner, as SQLite does it with its own files: those who work on the
/// jobs must be able to look at it. By its descriptor: under its name that owner could have put another file by now.
fn give(folder: &Path, file: &File) {
    if rustix::process::geteuid().is_root()
        && let Ok(found) = fs::metadata(folder)
    {
        // Where this is not permitted it is as if nobody had tried.
        drop(std::os::unix::fs::fchown(file, Some(found.uid()), Some(found.gid())));
    }
}

/// Whether nobody has the lock of that name. One that is held was taken by a process that lives.
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

/// The processes in the folder that are not this one.
pub(super) fn others(folder: &Path) -> Vec<Who> {
    let mut found: Vec<Who> = names(folder).filter_map(|name| Who::of(&name)).collect();
    let me = std::process::id();
    found.retain(|other| other.pid() != Some(me));
    found
}

/// The names of the locks in the folder that are not held here.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        file.strip_suffix(".lock").filter(|name| is_name(name) && !is_mine(name)).map(str::to_owned)
    })
}

/// Removes the files of a process that has ended, or of this one.
pub(super) fn remove(folder: &Path, name: &str) {
    if is_name(name) {
        // Whoever comes second finds nothing, which is what both want.
        drop(fs::remove_file(super::ear::socket_path(folder, name)));
        drop(fs::remove_file(lock_path(folder, name)));
    }
}

/// Removes what processes left. Of one that cannot be seen from here a free lock must do; should it live, it makes its files
/// anew at its next beat, and its row says until then that it lives.
pub(super) fn sweep(folder: &Path) {
    for name in names(folder).take(SWEPT) {
        let may_live = || Who::of(&name).is_some_and(|who| who.pid().is_some() && !who.has_ended());
        if matches!(is_free(folder, &name), Ok(true)) && !may_live() {
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
