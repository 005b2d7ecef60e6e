//! Opening the file, and what its errors mean to a caller.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zjobs_vfs::Protection;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Result};
use crate::store::sqlite::patience;
use crate::sync::Mutex;

/// How many prepared statements a connection keeps: all of them.
const STATEMENTS: usize = 64;

/// The oldest SQLite that may write: before it, a checkpoint that met a reset of the WAL could damage the file
/// (sqlite.org/wal.html, "the WAL-reset bug").
pub const OLDEST: i32 = 3_051_003;

/// How hard a commit is pressed onto the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// What was committed survives a power loss.
    #[default]
    Full,
    /// What was committed survives a crash of the process; a power loss may take the last commits, and never the file.
    Normal,
}

impl Synchronous {
    /// The option's name, as the pragma has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// The file of a store and which one it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    identity: (u64, u64),
    patience: Duration,
}

/// The files that are open, with the process that opened them: after a fork this is a copy.
static KEPT: Mutex<Vec<(u32, (u64, u64))>> = Mutex::new(Vec::new());

/// That this process has a file open.
#[derive(Debug)]
pub(super) struct Kept {
    owner: u32,
    identity: (u64, u64),
}

impl Kept {
    /// Whether this is not the child of a fork.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // In the child of a fork the file stays noted: its connections are abandoned, not closed.
        if self.is_ours() {
            let mut kept = KEPT.lock();
            if let Some(place) = kept.iter().position(|one| *one == (self.owner, self.identity)) {
                kept.swap_remove(place);
            }
        }
    }
}

/// Whether a missing file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// It is, for its owner's eyes only.
    Yes,
    /// Opening it fails.
    No,
}

impl Place {
    /// Finds or makes the file. Refuses what cannot be a file of jobs before anything is written.
    pub(super) fn prepare(path: &Path, create: Create) -> Result<Self> {
        if zjobs_vfs::install() == Protection::None {
            return Err(Error::StoreUnavailable(
                "jobs in SQLite need Linux: elsewhere a second SQLite in the process (Python's own) could drop our locks \
                 and lose jobs; use memory:// here"
                    .into(),
            ));
        }
        let path = std::path::absolute(path).map_err(|error| unusable(path, &error))?;
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(not_a_file(&path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && create == Create::Yes => make(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::StoreUnavailable(format!(
                    "there is no file {}: create it with `zjobs migrate`, or mend the path",
                    path.display()
                )));
            }
            Err(error) => return Err(unusable(&path, &error)),
        }
        refuse_network(&path)?;
        // Links resolved, so that every name of a file leads to one WAL and one folder of neighbours.
        let path = fs::canonicalize(&path).map_err(|error| unusable(&path, &error))?;
        let identity = identity(&path).map_err(|error| unusable(&path, &error))?;
        Ok(Self { path, identity, patience: PATIENCE })
    }

    /// The same, with calls that wait so long for another program.
    pub(super) fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A call of this thread begins: it has all its patience.
    pub(super) fn begin(&self) {
        patience::begin(self.patience);
    }

    /// Notes that this process has the file open. Refuses it in the child of a fork whose parent has: SQLite keeps a table
    /// of the locks that it has on each file, and the child's copy of it speaks of locks that are the parent's.
    pub(super) fn keep(&self) -> Result<Kept> {
        let me = std::process::id();
        let mut kept = KEPT.lock();
        if kept.iter().any(|(owner, identity)| *owner != me && *identity == self.identity) {
            return Err(Error::StoreUnavailable(format!(
                "{} was open when this process was forked, and SQLite cannot open it again here: open it after the fork \
                 (gunicorn: without --preload, or in post_fork), or start processes by spawn",
                self.path.display()
            )));
        }
        kept.push((me, self.identity));
        Ok(Kept { owner: me, identity: self.identity })
    }

    /// Fails when the path leads to another file by now, or to none: what is written here would be lost.
    pub(super) fn check(&self) -> Result<()> {
        match identity(&self.path) {
            Ok(now) if now == self.identity => Ok(()),
            Ok(_) => Err(moved(&self.path, "another file has taken its place")),
            Err(error) => Err(moved(&self.path, &error.to_string())),
        }
    }

    pub(super) fn open_writer(&self) -> Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // While several open a new file at once SQLite says that it is busy without asking whether to wait, or answers
        // with the mode that was before.
        let mode = loop {
            match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
                Ok(mode) if mode == "wal" || !patience::wait(0) => break mode,
                Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || !patience::wait(0) => {
                    return Err(self.error(&error));
                }
                Ok(_) | Err(_) => {}
            }
        };
        if mode != "wal" {
            return Err(Error::StoreUnavailable(format!(
                "{} cannot be put into WAL mode (it stays in {mode}): another program has it open, or its file system \
                 cannot do it",
                self.path.display()
            )));
        }
        Ok(connection)
    }

    pub(super) fn open_reader(&self) -> Result<Connection> {
        // Not SQLITE_OPEN_READ_ONLY: in WAL mode a reader writes its mark into the shared index.
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "query_only", true).map_err(|error| self.error(&error))?;
        Ok(connection)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(|error| self.error(&error))?;
        self.begin();
        connection.busy_handler(Some(patience::wait)).map_err(|error| self.error(&error))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // The cache is in KiB when negative: 16 MiB. A checkpoint after 16 MiB of WAL instead of 4 halves its share.
        let settings: [(&str, i64); 5] = [
            ("trusted_schema", 0),
            ("foreign_keys", 1),
            ("cache_size", -16_384),
            ("wal_autocheckpoint", 4_000),
            ("temp_store", 2),
        ];
        for (name, value) in settings {
            connection.pragma_update(None, name, value).map_err(|error| self.error(&error))?;
        }
        Ok(connection)
    }

    /// What an error of SQLite means to the caller.
    pub(super) fn error(&self, error: &rusqlite::Error) -> Error {
        let path = self.path.display();
        let code = error.sqlite_error_code();
        let text = match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
                "{path} is locked by another program for more than {} seconds: end its transaction, or try again",
                self.patience.as_secs_f64()
            ),
            Some(ErrorCode::DiskFull) => format!("there is no space left for {path}: free some; nothing is lost"),
            Some(ErrorCode::ReadOnly) => format!("{path} or its folder cannot be written: mend the permissions"),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                format!("{path} cannot be opened: look at the permissions of the file and its folder ({error})")
            }
            Some(ErrorCode::NotADatabase) => {
                format!("{path} is no SQLite database: give another path; it is unchanged")
            }
            Some(ErrorCode::DatabaseCorrupt) => format!(
                "{path} is damaged and is not written any more: stop all programs that use it, then restore a backup, \
                 or rescue what is left with `sqlite3 {path} .recover`"
            ),
            Some(ErrorCode::SystemIoFailure) => {
                format!("the disk under {path} failed ({error}); look at the system's log")
            }
            Some(ErrorCode::ConstraintViolation) => return Error::Internal(format!("{path}: {error}")),
            _ => match error {
                rusqlite::Error::SqliteFailure(_, Some(message)) if message.contains("no such") => {
                    return Error::SchemaMismatch(format!(
                        "{path} does not have the tables of this version of zjobs ({message}): run `zjobs migrate`"
                    ));
                }
                other => format!("{path}: {other}"),
            },
        };
        Error::StoreUnavailable(text)
    }
}

/// How long a call waits for whoever holds the write lock, unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Whether nothing may rest on this connection after that error: it is closed and opened again.
pub(super) fn is_poison(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::DiskFull)
    )
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn make(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Somebody was faster, or the name is a link that leads nowhere.
            if path.exists() { Ok(()) } else { Err(unusable(path, &error)) }
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

#[cfg(target_os = "linux")]
fn refuse_network(path: &Path) -> Result<()> {
    // linux/magic.h, and fs/*/super.c for those that it lacks.
    const NETWORK: [(i64, &str); 9] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x5346_414F, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
    ];
    let found = rustix::fs::statfs(path).map_err(|error| unusable(path, &error.into()))?;
    match NETWORK.iter().find(|(magic, _)| *magic == found.f_type) {
        Some((_, name)) => Err(Error::invalid(
            "path",
            format!(
                "must be on a disk of this machine: the shared memory of WAL does not work over {name}; use PostgreSQL for several machines"
            ),
            path.display(),
        )),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_path: &Path) -> Result<()> {
    Ok(())
}

fn not_a_file(path: &Path) -> Error {
    Error::invalid("path", "must be a file, such as jobs.db", path.display())
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::StoreUnavailable(format!("{} cannot be used: {error}; mend the path or its permissions", path.display()))
}

fn moved(path: &Path, why: &str) -> Error {
    Error::StoreUnavailable(format!(
        "{} was moved, replaced or deleted while it was open ({why}): put it back, or start the program again",
        path.display()
    ))
}
