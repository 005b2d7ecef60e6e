//! Other code of the process opens a file of its own by the number of a file of SQLite's, while a transaction is open.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(unreachable_pub, missing_docs, reason = "nothing leaves a test binary")]

mod database;

use std::fs::File;
use std::os::fd::AsRawFd;

use database::Database;
use libsqlite3_sys as ffi;

#[test]
fn a_commit_writes_nothing_into_the_file_that_has_the_number_of_its_log_by_now() {
    let database = Database::with_log("ours.db");
    let path = database.path.with_file_name("theirs");
    std::fs::write(&path, "what they wrote").unwrap();
    let theirs = File::options().read(true).write(true).open(&path).unwrap();
    assert_eq!(database.run("BEGIN IMMEDIATE; INSERT INTO words VALUES ('ours')"), ffi::SQLITE_OK);
    for log in database.descriptors("-wal") {
        // SAFETY: what a careless program does.
        assert_eq!(unsafe { libc::dup2(theirs.as_raw_fd(), log) }, log);
    }
    let end = database.run("COMMIT");
    assert!(std::fs::read(&path).unwrap() == b"what they wrote");
    assert_eq!(end & 0xff, ffi::SQLITE_IOERR);
    assert!(zjobs_vfs::has_lost_descriptors());
}

#[test]
fn a_query_reads_nothing_from_the_file_that_has_the_number_of_the_database_by_now() {
    let (first, second) = (Database::with_log("first.db"), Database::with_log("second.db"));
    for database in [&first, &second] {
        assert_eq!(database.run("PRAGMA wal_checkpoint(TRUNCATE)"), ffi::SQLITE_OK);
    }
    // Nothing of the file is remembered, and the log is empty: the next query reads the file.
    assert_eq!(first.run("PRAGMA cache_size = 0; PRAGMA shrink_memory"), ffi::SQLITE_OK);
    let theirs = File::open(&second.path).unwrap();
    for ours in first.descriptors("") {
        // SAFETY: what a careless program does.
        assert_eq!(unsafe { libc::dup2(theirs.as_raw_fd(), ours) }, ours);
    }
    assert_ne!(first.run("SELECT * FROM words"), ffi::SQLITE_OK);
}
