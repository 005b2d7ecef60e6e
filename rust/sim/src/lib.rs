//! The simulator: the real roles of several nodes over one store, on one thread, from one seed.
//!
//! The store is one in memory, one in a SQLite file, or both at once ([`Ground`]).
//!
//! Time, chance, threads and the store's failures belong to the seed, so a run that goes wrong can be repeated exactly.
//! After every commit that says it changed a row, and one in sixteen of the others, an oracle that knows only the
//! invariants judges what changed; when the faults have stopped it judges that everything settles. To prove that the
//! oracle sees, every invariant can be broken on purpose ([`Bug`]), and [`hunt`] looks for the seed that shows it.

mod bug;
mod client;
mod fault;
mod ground;
mod link;
mod node;
mod oracle;
mod plan;
mod saboteur;
mod time;
mod twins;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use zjobs_engine::runtime::sabotage;

pub use bug::Bug;
pub use fault::Fault;
pub use ground::Ground;
pub use oracle::{CHECKS, Violation};

/// Whether a run is told step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Nothing is printed.
    Silent,
    /// Every step is printed with its virtual time.
    Aloud,
}

/// A run in which every invariant held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How many steps it took.
    pub steps: u32,
    /// A digest of who did what when: equal for equal runs.
    pub digest: u64,
    /// How many faults of each kind made a difference, in the order of [`Fault::ALL`].
    pub faults: [u32; Fault::ALL.len()],
}

/// Runs one seed, with or without a deliberate bug. Returns what it was like, or what did not hold; a panic breaks I-35.
pub fn simulate(seed: u64, ground: Ground, bug: Option<Bug>, telling: Telling) -> Result<Run, Violation> {
    sabotage::switch(bug.and_then(Bug::sabotage));
    let run = catch_unwind(AssertUnwindSafe(|| {
        let world = world::World::new(seed, ground, bug, telling == Telling::Aloud);
        let world = world.map_err(|error| Violation { invariant: 35, story: format!("no store: {error}") })?;
        let run = catch_unwind(AssertUnwindSafe(|| world.run()));
        // Nodes know the world and the world its nodes.
        world.part();
        run.unwrap_or_else(|panic| resume_unwind(panic))
    }));
    sabotage::switch(None);
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { invariant: 35, story: format!("a panic: {}", text.unwrap_or_default()) })
    })
}

/// The first of the seeds in which the bug breaks the invariant that it is there for.
pub fn hunt(bug: Bug, ground: Ground, mut seeds: Range<u64>) -> Option<(u64, Violation)> {
    let broken = |seed| simulate(seed, ground, Some(bug), Telling::Silent).err();
    let hit = |violation: &Violation| violation.invariant == bug.breaks();
    seeds.find_map(|seed| Some((seed, broken(seed).filter(hit)?)))
}
