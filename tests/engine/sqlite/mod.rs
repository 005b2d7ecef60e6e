//! The store in a SQLite file: it conforms, and what only it promises.

pub mod fixture;
mod neighbours;
mod rules;
mod signals;
pub mod sql;
mod time;
mod upkeep;

use crate::conformance::conformance;

conformance!(conforms, crate::sqlite::fixture::Sqlite::new());
