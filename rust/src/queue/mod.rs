//! Data structures of the memory store: what is ready, what becomes due and when, who holds what.
//!
//! Each keeps one order and nothing else; the store decides. Every operation costs O(log n) or less, without stalls: no
//! structure that grows with the number of jobs is ever copied as a whole.

pub mod delayed;
pub mod finished;
pub mod jobs;
pub mod leases;
pub mod names;
pub mod ready;
