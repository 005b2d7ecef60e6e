//! The bodies of the fuzz targets. Each takes any bytes and asserts what must hold for them; a panic is a finding.
//!
//! libFuzzer drives them in the package `fuzz/` (`make fuzz`); `tests/short.rs` replays every kept input and thinks up some
//! more in each run of the tests. How to add one: write it, name it in [`TARGETS`], break what it looks at, watch it fail.

mod address;
mod arguments;
mod backoff;
mod filters;
mod life;
mod names;
mod news;
mod parts;
mod queues;
mod rows_postgres;
mod rows_sqlite;
mod texts;
mod unique;
mod words;

/// Something to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called: the name of its folder of inputs, too.
    pub name: &'static str,
    /// Looks at one input.
    pub run: fn(&[u8]),
    /// How many inputs its short form tries.
    pub short: u32,
}

const fn target(name: &'static str, run: fn(&[u8]), short: u32) -> Target {
    Target { name, run, short }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("address", address::run, 20_000),
    target("arguments", arguments::run, 50_000),
    target("backoff", backoff::run, 100_000),
    target("claim-sqlite", rows_sqlite::claim, 3_000),
    target("filters", filters::run, 300),
    target("jobs", queues::jobs, 5_000),
    target("leases", queues::leases, 10_000),
    target("life", life::run, 50_000),
    target("names", names::run, 10_000),
    target("news", news::run, 100_000),
    target("parts", parts::run, 20_000),
    target("ready", queues::ready, 1_000),
    target("rows-postgres", rows_postgres::run, 5_000),
    target("rows-sqlite", rows_sqlite::decode, 10_000),
    target("schema-name", names::schema, 50_000),
    target("symbols", queues::symbols, 5_000),
    target("texts", texts::run, 10_000),
    target("unique", unique::run, 20_000),
];

/// The target of that name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}
