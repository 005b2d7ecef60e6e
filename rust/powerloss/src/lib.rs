//! Disks that fail, for the store in a SQLite file.
//!
//! [`workload`] works with a real store in a real folder while [`disk`] notes every write, sync and removal below SQLite
//! ([`vfs`]), and makes chosen calls fail, for certain where [`strike`] chooses. [`replay`] then computes what a power loss
//! at any moment may leave, and [`check`] opens the store there: what had been answered must be there, and the file must be
//! sound.

pub mod check;
pub mod disk;
pub mod replay;
pub mod strike;
pub mod vfs;
pub mod workload;

pub use check::{Promise, check, folder};
pub use disk::{Call, Disk, Fault, Step};
pub use workload::{Recording, Setting, record};
