//! A file with a log in a folder of its own, written by the SQLite that has our system calls.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use libsqlite3_sys as ffi;
use zjobs_vfs::{Protection, install};

#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    connection: *mut ffi::sqlite3,
}

impl Database {
    pub(crate) fn new(name: &str) -> Self {
        assert_eq!(install(), Protection::Complete);
        let folder = std::env::temp_dir().join(format!("zjobs-vfs-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join(name);
        let text = CString::new(path.to_str().unwrap()).unwrap();
        let mut connection = std::ptr::null_mut();
        // SAFETY: the text lives for the call, which fills in the connection whatever comes of it.
        unsafe { ffi::sqlite3_open(text.as_ptr(), &raw mut connection) };
        Self { path, connection }
    }

    /// With its log on the disk, in which the first commit is.
    pub(crate) fn with_log(name: &str) -> Self {
        let database = Self::new(name);
        assert_eq!(database.run("PRAGMA journal_mode = WAL; CREATE TABLE words (word TEXT)"), ffi::SQLITE_OK);
        database
    }

    /// What comes of the statements.
    pub(crate) fn run(&self, sql: &str) -> i32 {
        let text = CString::new(sql).unwrap();
        // SAFETY: the connection is open and the text lives for the call; no rows and no message are asked for.
        unsafe { ffi::sqlite3_exec(self.connection, text.as_ptr(), None, std::ptr::null_mut(), std::ptr::null_mut()) }
    }

    /// The numbers by which this process has the file, and what lies beside it, open.
    pub(crate) fn descriptors(&self, suffix: &str) -> Vec<RawFd> {
        let path = self.path.with_file_name(format!("{}{suffix}", self.path.file_name().unwrap().to_str().unwrap()));
        let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let ours = entries.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == path));
        ours.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The connection is left as it is: it may lead to files of others.
        std::fs::remove_dir_all(self.path.parent().unwrap()).unwrap();
    }
}
