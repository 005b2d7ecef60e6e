//! The short form: every kept input once, and a fixed number of inputs that are made of those by chance from a seed.
//!
//! What fails stays: put the bytes that it prints into `fuzz/regressions/<target>/`, and mend what is wrong.

#![allow(clippy::unwrap_used, reason = "an `unwrap` in a test is an assertion")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use zjobs_fuzz::{TARGETS, Target, find};

/// Inputs that chance makes are not longer than this.
const LONGEST: usize = 2_048;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(target)
}

fn kept(kind: &str, target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder(kind, target)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Chance alone.
fn strange(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..random.usize(1..=1_024)).map(|_| random.u8(..)).collect()
}

/// A neighbour of what is kept: a few small changes, as a fuzzer makes them.
fn neighbour(inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = if inputs.is_empty() { Vec::new() } else { inputs[random.usize(..inputs.len())].clone() };
    for _ in 0..random.u8(1..=5) {
        let place = random.usize(..=input.len());
        match random.u8(..8) {
            0 => input.insert(place, random.u8(..)),
            1 if place < input.len() => input[place] ^= 1 << random.u8(..8),
            2 if place < input.len() => input[place] = *random.choice(b"\0\x01\x7f\x80\xff\"\\{}[],:-.0e@/?%").unwrap(),
            3 if place < input.len() => drop(input.drain(place..(place + random.usize(1..=8)).min(input.len()))),
            4 => {
                let more: Vec<u8> = (0..random.usize(1..=64)).map(|_| random.u8(..)).collect();
                input.splice(place..place, more);
            }
            5 if place < input.len() => {
                let again = input[place..(place + random.usize(1..=32)).min(input.len())].to_vec();
                input.splice(place..place, again);
            }
            6 if !inputs.is_empty() => {
                let other = &inputs[random.usize(..inputs.len())];
                input.truncate(place);
                input.extend(&other[random.usize(..=other.len())..]);
            }
            _ if place < input.len() => input[place] = input[place].wrapping_add(random.u8(..)),
            _ => input.extend([random.u8(..), random.u8(..)]),
        }
    }
    input.truncate(LONGEST);
    input
}

fn try_one(target: Target, input: &[u8]) {
    if let Err(why) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let bytes = input.escape_ascii();
        eprintln!("fuzz target {} fails for b\"{bytes}\"", target.name);
        std::panic::resume_unwind(why);
    }
}

fn try_short(name: &str) {
    let target = find(name).unwrap();
    let mut inputs = kept("seeds", name);
    assert!(!inputs.is_empty(), "{name} has no seeds in fuzz/seeds/{name}");
    inputs.extend(kept("regressions", name));
    for input in &inputs {
        try_one(target, input);
    }
    let mut random = fastrand::Rng::with_seed(1);
    for turn in 0..target.short {
        let input = if turn % 2 == 0 { strange(&mut random) } else { neighbour(&inputs, &mut random) };
        try_one(target, &input);
    }
}

/// One test for each target, so that several run at once and a failure names what failed.
macro_rules! targets {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                try_short($name);
            }
        )+

        #[test]
        fn every_target_has_its_short_form() {
            assert_eq!([$($name),+].as_slice(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
        }
    };
}

targets! {
    addresses_are_read_or_refused_and_keep_their_password: "address",
    arguments_that_are_let_in_come_back_equal: "arguments",
    delays_follow_their_formula_and_never_wrap: "backoff",
    an_edited_row_keeps_no_other_from_being_claimed: "claim-sqlite",
    any_text_in_any_filter_is_only_a_value: "filters",
    the_job_table_is_a_sorted_map: "jobs",
    a_job_has_one_holder_and_the_dead_stay_dead: "leases",
    whatever_happens_a_job_follows_the_table: "life",
    names_keep_to_one_rule_in_code_and_schema: "names",
    news_come_back_as_they_were_and_fit_a_line: "news",
    edited_parts_of_a_row_leave_the_job_usable: "parts",
    the_claim_order_is_a_sorted_set: "ready",
    rows_of_postgresql_are_jobs_or_errors: "rows-postgres",
    rows_of_sqlite_are_jobs_or_errors: "rows-sqlite",
    names_of_schemas_cannot_break_out: "schema-name",
    names_have_one_symbol_each: "symbols",
    texts_are_bounded_and_storable: "texts",
    equal_arguments_have_equal_keys: "unique",
}
