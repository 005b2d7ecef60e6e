//! The engine's tests, one binary that mirrors the tree.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(unreachable_pub, missing_docs, reason = "nothing leaves a test binary")]

mod conformance;
mod memory;
mod model;
mod pool;
mod postgres;
mod queue;
mod rings;
mod sim;
mod sqlite;
