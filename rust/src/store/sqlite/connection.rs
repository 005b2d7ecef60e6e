//! Opening and closing connections.
//!
//! No connection of ours writes a checkpoint when it is closed, nor by itself, unless the writer trusts what is in the WAL:
//! into a damaged file, or from a WAL whose last sync has failed, nothing is copied.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, OptionalExtension};

use crate::error::{Error, Result};
use crate::store::sqlite::patience;
use crate::store::sqlite::place::Place;

/// How many prepared statements a connection keeps: all of them.
const STATEMENTS: usize = 64;

/// To how many bytes the WAL is cut when it is begun anew after it has grown larger: by a long read, which keeps all that is
/// committed meanwhile in it, or by one large commit. Four times what it has before a checkpoint.
const LARGEST_WAL: i64 = 64 << 20;

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

impl Place {
    pub(super) fn open_writer(&self) -> Result<Connection> {
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // What is no database or is damaged in its first pages is found before the mode is written into it.
        self.look(&connection).map_err(|error| self.error(&error))?;
        // A file whose making was cut off is empty again by now. SQLite has seen its torn header before, and would make it
        // anew with the modes that stood there.
        if self.is_empty() {
            connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        }
        // SQLite opens for reading what it may not write, and says nothing. It stays so when the disk takes writes again.
        if connection.is_readonly(MAIN_DB).map_err(|error| self.error(&error))? {
            return Err(self.read_only());
        }
        // While several open a new file at once SQLite says that it is busy without asking whether to wait, or answers
        // with the mode that was before.
        let mode = loop {
            match wal_mode(&connection) {
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
        if self.index_is_only_read() {
            return Err(self.read_only());
        }
        Ok(connection)
    }

    pub(super) fn open_reader(&self) -> Result<Connection> {
        // Not SQLITE_OPEN_READ_ONLY: in WAL mode a reader writes its mark into the shared index.
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "query_only", true).map_err(|error| self.error(&error))?;
        Ok(connection)
    }

    /// A connection that can only read, for a file or a folder that cannot be written.
    pub(super) fn open_read_only(&self) -> Result<(Connection, Frozen)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let plain = self.open(flags).and_then(|connection| {
            self.look(&connection).map_err(|error| self.error(&error))?;
            Ok(connection)
        });
        match plain {
            Ok(connection) => Ok((connection, Frozen::No)),
            // The index of the WAL cannot be made here. Where there is no WAL the file is all there is.
            Err(_) if self.wal_is_empty() => {
                let connection = self.open_named(&self.immutable(), flags | OpenFlags::SQLITE_OPEN_URI)?;
                self.look(&connection).map_err(|error| self.error(&error))?;
                Ok((connection, Frozen::Yes))
            }
            Err(error) => Err(error),
        }
    }

    fn look(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.begin();
        connection.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional().map(drop)
    }

    fn immutable(&self) -> std::path::PathBuf {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(byte);
        let coded = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
        let path: String = self.path.as_os_str().as_encoded_bytes().iter().map(coded).collect();
        format!("file:{path}?immutable=1").into()
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        self.open_named(&self.path, flags)
    }

    fn open_named(&self, name: &Path, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(name, flags).map_err(|error| self.error(&error))?;
        trust(&connection, Trust::No).map_err(|error| self.error(&error))?;
        self.begin();
        connection.busy_handler(Some(patience::wait)).map_err(|error| self.error(&error))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // The cache is in KiB when negative: 16 MiB.
        let settings: [(&str, i64); 6] = [
            ("trusted_schema", 0),
            ("foreign_keys", 1),
            ("cache_size", -16_384),
            ("wal_autocheckpoint", 0),
            ("journal_size_limit", LARGEST_WAL),
            ("temp_store", 2),
        ];
        for (name, value) in settings {
            connection.pragma_update(None, name, value).map_err(|error| self.error(&error))?;
        }
        Ok(connection)
    }
}

/// Sets the mode and returns the one that it then has. The new mode is written after the row that tells of it has been
/// read: whoever does not ask for the next one never hears that this has failed.
fn wal_mode(connection: &Connection) -> rusqlite::Result<String> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))
}

/// Whether what a connection reads never changes under it: it is opened again for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    /// It reads the file without locks, as if nobody could write it.
    Yes,
    /// It sees what is committed.
    No,
}

/// Whether what is in the WAL may be copied into the file when the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It may.
    Yes,
    /// It stays where it is.
    No,
}

pub(super) fn trust(connection: &Connection, trust: Trust) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, trust == Trust::No).map(drop)
}

/// Closes a connection on which nothing may rest: what is in the WAL stays there.
pub(super) fn retire(connection: Connection) {
    // It cannot fail on an open connection, and there is nothing to do about it if it did.
    drop(trust(&connection, Trust::No));
    drop(connection);
}

/// Writes a file's bytes over themselves and presses them onto the disk; a missing file has none.
///
/// After a failed sync the system counts the pages as written, and the next sync says that all is well: what was lost then
/// is never missed until the power goes. Written again, they are pending again. The bytes do not change, so whoever
/// reads them meanwhile sees no difference.
pub fn press_again(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()
}
