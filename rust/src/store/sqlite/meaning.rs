//! What an error of SQLite means to the caller, and to the connection that met it.

use rusqlite::ErrorCode;

use crate::error::{Error, Result};
use crate::store::sqlite::place::Place;
use crate::store::sqlite::writer::Failed;

impl Place {
    pub(super) fn meaning(&self, failed: Failed) -> Error {
        match failed {
            Failed::Sqlite(error) => self.error(&error),
            Failed::Engine(error) => error,
        }
    }

    /// Fails when files that SQLite has open were closed by somebody else: it would wait for locks that nobody has, or read
    /// and write what is not ours.
    pub(super) fn check_open(&self) -> Result<()> {
        if zjobs_vfs::look_for_lost_descriptors() { Err(self.lost()) } else { Ok(()) }
    }

    fn lost(&self) -> Error {
        Error::StoreUnavailable(format!(
            "other code of this process has closed files of {} (os.close, os.closerange, a library that does so at a \
             fork): end this process and start a new one; what was told is not lost",
            self.path.display()
        ))
    }

    pub(super) fn read_only(&self) -> Error {
        Error::StoreUnavailable(format!(
            "{} or its folder cannot be written: mend the permissions, or open it for reading only (read_only=True, \
             ?mode=ro)",
            self.path.display()
        ))
    }

    /// What an error of SQLite means to the caller. Damage is remembered: nothing more is written into the file.
    pub(super) fn error(&self, error: &rusqlite::Error) -> Error {
        let path = self.path.display();
        if zjobs_vfs::has_lost_descriptors() {
            return self.lost();
        }
        let text = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
                "{path} is locked by another program for more than {} seconds: end its transaction, or try again",
                self.patience.as_secs_f64()
            ),
            Some(ErrorCode::DiskFull) => format!("there is no space left for {path}: free some; nothing is lost"),
            Some(ErrorCode::ReadOnly) => return self.read_only(),
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
                format!("the disk under {path} failed ({error}): look at the system's log; what was told is not lost")
            }
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => {
                return Error::Internal(format!("{path} refused a value: {error}"));
            }
            _ => match error {
                rusqlite::Error::SqliteFailure(_, Some(message)) if message.contains("no such") => {
                    return Error::SchemaMismatch(format!(
                        "{path} does not have the tables of this version of zjobs ({message}): run `zjobs migrate`"
                    ));
                }
                other => format!("{path}: {other}"),
            },
        };
        let error_of_ours = Error::StoreUnavailable(text);
        if is_damage(error) {
            self.note_damage(&error_of_ours);
        }
        error_of_ours
    }
}

/// What the disk's error means when it came at a commit, whose frames may be in the log all the same: this process goes on
/// without them, and writes over them, but when it ends before that, whoever opens the file next finds them valid.
pub(super) fn in_doubt(meaning: Error) -> Error {
    match meaning {
        Error::StoreUnavailable(text) => Error::EnqueueUncertain(format!(
            "{text}; it failed at the commit, and nobody knows whether that is there when the file is opened again"
        )),
        other => other,
    }
}

/// The same for whoever enqueues.
pub(super) fn advised(error: Error) -> Error {
    match error {
        Error::EnqueueUncertain(text) => Error::EnqueueUncertain(format!(
            "{text}: enqueue it again with a unique key, which makes twice as once, or look for it first"
        )),
        other => other,
    }
}

/// The same for everybody else: only an enqueue that is done again is another job.
pub(super) fn repeatable(error: Error) -> Error {
    match error {
        Error::EnqueueUncertain(text) => Error::StoreUnavailable(text),
        other => other,
    }
}

impl Failed {
    /// Whether the row was refused for what is in it.
    pub(super) fn is_bad_data(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig))
    }
}

/// Whether the file holds what SQLite did not write.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether the disk failed: what was written and not yet pressed onto it may never get there.
pub(super) fn is_failed_disk(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Whether nothing may rest on this connection after that error: it is closed and opened again. One that was opened while
/// the file could not be written stays so for good.
pub(super) fn is_poison(error: &rusqlite::Error) -> bool {
    let again = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::OutOfMemory)
    );
    again || is_damage(error) || is_failed_disk(error)
}
