//! The engine of zjobs. It does not know that Python exists.
//!
//! Five rings on a ground floor; each imports only inward:
//!
//! ```text
//! error clock sync sigmask failpoint < state job outcome backoff unique telemetry < queue < store < runtime
//! ```
//!
//! * **Ground floor**: [`error`], [`clock`], [`sync`], [`sigmask`], [`failpoint`].
//! * **Rules** (ring 1), pure: [`state`] decides every move of a job; [`job`] is the row and its limits;
//!   [`outcome`] turns what a handler returned into the write that ends the attempt; [`backoff`], [`unique`],
//!   [`telemetry`].
//! * **Data structures** (ring 2): [`queue`], the claim order, the delayed jobs, the leases.
//! * **Stores** (ring 3): [`store`], one method per verb; `MemoryStore` is the executable specification.
//! * **Runtime** (ring 4): [`runtime`], the engine and its roles.
//!
//! The bindings crate (ring 5) only translates.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod error;
pub mod failpoint;
pub mod job;
pub mod limits;
pub mod outcome;
pub mod queue;
pub mod runtime;
pub mod sigmask;
pub mod state;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod unique;

pub use clock::{Clock, Timestamp};
pub use error::{Error, Result};
pub use job::{Job, JobId, Lease, Name, NewJob, NodeId, Payload, Priority};
pub use outcome::{Ack, Outcome};
pub use state::{Event, State};
pub use store::Store;
