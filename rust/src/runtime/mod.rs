//! The engine and its roles.
//!
//! Threads, never more than these: one *service* thread where the store never waits; with a store that may wait, one
//! each for the heartbeat, the claimer, the acker and the upkeep; one that tells listeners, once there is something to
//! tell; and one that calls the host, once one of the others has something for it. Slots belong to the host (Python
//! threads, an event loop); they pull work with [`Engine::next`] and hand outcomes back with [`Engine::finish`].
//!
//! Everything here takes time and storage as arguments, so that a single-threaded simulator can drive the same code.

pub mod acker;
pub mod backlog;
pub mod claimer;
pub mod config;
pub mod engine;
#[cfg(test)]
mod fixture;
pub mod heartbeat;
pub mod life;
pub mod node;
pub mod notifier;
pub mod pool;
pub mod pruner;
pub mod rescuer;
pub mod role;
pub mod running;
#[cfg(any(test, feature = "sim"))]
pub mod sabotage;
#[cfg(not(any(test, feature = "sim")))]
mod sabotage;
pub mod shared;
pub mod stager;
pub mod teller;
pub mod usher;
pub mod waiters;
pub mod watchdog;

pub use config::{Config, QueueConfig, Registration, StuckPolicy};
pub use engine::Engine;
pub use life::{Group, Stopped};
pub use pool::{Next, QueueIndex};
pub use role::{Now, Role, Wake};
pub use running::{Lane, Running};
