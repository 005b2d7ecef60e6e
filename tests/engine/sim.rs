//! The simulator proves itself: every invariant that it checks can be broken on purpose, and it notices.

use std::collections::BTreeSet;

use zjobs_sim::{Bug, CHECKS, Telling, hunt, simulate};

/// A bug that hides longer than this is not found.
const SEEDS: u64 = 10_000;

#[test]
fn every_invariant_that_is_checked_has_a_bug_that_breaks_it() {
    let checked: BTreeSet<u8> = CHECKS.iter().map(|(invariant, _)| *invariant).collect();
    let broken: BTreeSet<u8> = Bug::ALL.iter().map(|bug| bug.breaks()).collect();
    assert_eq!(checked, broken);
    assert!(CHECKS.is_sorted_by_key(|(invariant, _)| *invariant));
}

#[test]
fn every_deliberate_bug_is_found() {
    let hidden: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| hunt(*bug, SEEDS).is_none()).collect();
    assert!(hidden.is_empty(), "not found within {SEEDS} seeds: {hidden:?}");
}

#[test]
fn without_a_bug_every_invariant_holds() {
    for seed in 0..300 {
        if let Err(violation) = simulate(seed, None, Telling::Silent) {
            panic!("seed {seed}: {violation}; replay it with: make sim SEED={seed}");
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..50 {
        assert_eq!(simulate(seed, None, Telling::Silent), simulate(seed, None, Telling::Silent));
    }
}

#[test]
fn a_bug_shows_in_the_same_seed_each_time() {
    for bug in [Bug::AcceptsStaleReports, Bug::HandsOutTwice] {
        assert_eq!(hunt(bug, SEEDS), hunt(bug, SEEDS));
    }
}
