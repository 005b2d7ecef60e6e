//! Each call on the disk fails once, in many sessions: every error is told, nothing is lost, nothing is half done.
//! `ZJOBS_ROUNDS=200` makes so many sessions of each.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(missing_docs, reason = "nothing leaves a test binary")]

use zjobs_engine::Error;
use zjobs_engine::store::sqlite::Synchronous;
use zjobs_powerloss::{Call, Fault, Recording, Setting, folder, record};

fn session(seed: u64, fault: Fault) -> Recording {
    let folder = folder().unwrap();
    // It compares what the store shows in the end with what it has answered.
    record(Setting { seed, calls: 30, synchronous: Synchronous::Full, fault: Some(fault) }, folder.path())
}

fn rounds(default: u64) -> u64 {
    std::env::var("ZJOBS_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

fn texts(recording: &Recording) -> Vec<String> {
    let text = |error: &Error| match error {
        Error::StoreUnavailable(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    recording.errors.iter().map(text).collect()
}

#[test]
fn any_call_on_the_disk_may_fail_once() {
    let mut told = 0;
    for call in Call::ALL {
        let mut struck = 0;
        for seed in 0..rounds(40) {
            let recording = session(seed, Fault::Once(call, usize::try_from(seed * 3).unwrap()));
            struck += recording.struck;
            for text in texts(&recording) {
                assert!(text.contains("jobs.db") && (text.contains("; ") || text.contains(": ")), "{call:?}: {text}");
                told += 1;
            }
            assert!(recording.errors.len() <= 5, "{call:?}, seed {seed}: one fault, {:?}", recording.errors);
        }
        assert!(struck > 0, "{call:?} never failed");
    }
    assert!(told > 50, "{told}");
}

#[test]
fn without_space_calls_fail_and_go_on_when_there_is_some() {
    let mut told = 0;
    for seed in 0..rounds(100) {
        let recording = session(seed, Fault::NoSpace(usize::try_from(seed % 50).unwrap()));
        for text in texts(&recording) {
            assert!(text.contains("no space left for") && text.contains("free some"), "{text}");
            told += 1;
        }
    }
    assert!(told > 50, "{told}");
}
