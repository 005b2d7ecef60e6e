//! The store in PostgreSQL: it conforms, and what only it promises.

mod ack;
mod databases;
mod ear;
mod enqueue;
pub mod fixture;
mod held_snapshot;
mod keys;
mod late_locks;
mod long_looks;
mod rules;
mod sql;

use crate::conformance::conformance;

conformance!(conforms, crate::postgres::fixture::Postgres::new());
