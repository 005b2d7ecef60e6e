//! Other code of the process closes the files of a database, and another database is opened by their numbers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(unreachable_pub, missing_docs, reason = "nothing leaves a test binary")]

mod database;

use database::Database;
use libsqlite3_sys as ffi;

#[test]
fn numbers_that_two_databases_have_serve_neither() {
    let first = Database::with_log("first.db");
    assert_eq!(first.run("BEGIN IMMEDIATE; INSERT INTO words VALUES ('first')"), ffi::SQLITE_OK);
    let numbers: Vec<_> = ["", "-wal", "-shm"].iter().flat_map(|suffix| first.descriptors(suffix)).collect();
    assert_eq!(numbers.len(), 3);
    for number in numbers {
        // SAFETY: what `os.closerange` does.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }
    assert!(!zjobs_vfs::has_lost_descriptors());
    let second = Database::new("second.db");
    assert!(zjobs_vfs::has_lost_descriptors());
    assert_ne!(second.run("PRAGMA journal_mode = WAL; CREATE TABLE words (word TEXT)"), ffi::SQLITE_OK);
    assert_ne!(first.run("COMMIT"), ffi::SQLITE_OK);
    for entry in std::fs::read_dir(second.path.parent().unwrap()).unwrap() {
        let (path, length) = entry.map(|entry| (entry.path(), entry.metadata().unwrap().len())).unwrap();
        assert_eq!(length, 0, "{path:?}");
    }
}
