//! One program for all targets: `ZJOBS_TARGET` says which one is meant, and the arguments are libFuzzer's.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zjobs_fuzz::{Target, find};

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("ZJOBS_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("ZJOBS_TARGET must name a target of rust/fuzz/src/lib.rs (got '{name}')"))
}

fuzz_target!(|data: &[u8]| {
    (TARGET.get_or_init(chosen).run)(data);
});
