//! Each kind of call on the disk fails, once in each of many sessions: nothing that was answered is lost, nothing is half
//! done. `ZJOBS_ROUNDS=200` makes so many sessions of each.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(missing_docs, reason = "nothing leaves a test binary")]

use std::collections::BTreeSet;

use zjobs_engine::Error;
use zjobs_engine::store::sqlite::Synchronous;
use zjobs_powerloss::strike::{calls_of, place, struck};
use zjobs_powerloss::{Call, Fault, Recording, Setting};

/// In how many of a hundred sessions a caller is told at least, in the order of [`Call::ALL`]. In the others the call was one
/// of a checkpoint or of closing, which take nothing back; SQLite itself says nothing of a log that cannot be cut.
const TOLD: [u64; Call::ALL.len()] = [100, 25, 50, 0, 40, 30, 60, 100];

/// What it shows in the end is compared with what it has answered.
fn session(seed: u64) -> Setting {
    Setting { seed, calls: 30, synchronous: Synchronous::Full, fault: None }
}

fn rounds(default: u64) -> u64 {
    std::env::var("ZJOBS_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

fn texts(recording: &Recording) -> Vec<String> {
    let text = |error: &Error| match error {
        Error::StoreUnavailable(text) | Error::EnqueueUncertain(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    recording.errors.iter().map(text).collect()
}

#[test]
fn any_call_on_the_disk_may_fail_once() {
    let rounds = rounds(40);
    let (mut told, mut places) = ([0; Call::ALL.len()], BTreeSet::new());
    for seed in 0..rounds {
        let calls = calls_of(session(seed)).unwrap();
        for call in Call::ALL {
            let fault = |nth| Fault::Once(call, nth);
            let found = struck(session(seed), fault, place(seed, calls[call as usize])).unwrap();
            let Some((recording, nth)) = found else { panic!("{call:?}, seed {seed}: no call failed") };
            for text in texts(&recording) {
                assert!(text.contains("jobs.db") && (text.contains("; ") || text.contains(": ")), "{call:?}: {text}");
            }
            assert_eq!(recording.struck, 1, "{call:?}, seed {seed}");
            assert!(recording.errors.len() <= 5, "{call:?}, seed {seed}: one fault, {:?}", recording.errors);
            told[call as usize] += u64::from(!recording.errors.is_empty());
            places.insert((call as usize, nth));
        }
    }
    for (call, (told, least)) in Call::ALL.iter().zip(told.iter().zip(TOLD)) {
        assert!(*told >= rounds * least / 100, "{call:?} failed in {rounds} sessions, and {told} told their caller");
    }
    println!(
        "proved: {} sessions on SQLite, in each one call on the disk failed ({} kinds, {} places): {} told their caller, \
         and nothing that was answered is lost",
        rounds * Call::ALL.len() as u64,
        Call::ALL.len(),
        places.len(),
        told.iter().sum::<u64>()
    );
}

#[test]
fn without_space_calls_fail_and_go_on_when_there_is_some() {
    let rounds = rounds(60);
    let (mut told, mut sessions, mut places) = (0, 0, BTreeSet::new());
    for seed in 0..rounds {
        // Space comes back after half of the session.
        let writes = calls_of(session(seed)).unwrap()[Call::Write as usize] / 2;
        let found = struck(session(seed), Fault::NoSpace, place(seed, writes)).unwrap();
        let Some((recording, nth)) = found else { panic!("seed {seed}: no write failed") };
        let texts = texts(&recording);
        for text in &texts {
            assert!(text.contains("no space left for") && text.contains("free some"), "{text}");
        }
        told += texts.len();
        sessions += u64::from(!texts.is_empty());
        places.insert(nth);
    }
    // In the others it was a checkpoint that found none, and no call came before there was some.
    assert!(sessions >= rounds * 9 / 10, "{sessions} of {rounds} told somebody");
    println!(
        "proved: {rounds} sessions on SQLite that met a full disk at {} places: {told} calls told so, and nothing that was \
         answered is lost",
        places.len()
    );
}
