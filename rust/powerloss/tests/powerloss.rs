//! The power goes at every moment of many sessions. `ZJOBS_SESSIONS=2000` looks longer, `ZJOBS_SEED=7` at one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(missing_docs, reason = "nothing leaves a test binary")]

use fastrand::Rng;
use rusqlite::types::Value;
use zjobs_engine::store::sqlite::{SqliteStore, Synchronous};
use zjobs_engine::sync::Arc;
use zjobs_powerloss::disk::FileId;
use zjobs_powerloss::replay::{DATABASE, Luck, World};
use zjobs_powerloss::strike::{calls_of, place, struck};
use zjobs_powerloss::workload::config;
use zjobs_powerloss::{Call, Fault, Promise, Recording, Setting, Step, check, folder, record};

const CALLS: usize = 14;

/// The share of the moments that is looked at: all of them in the long form.
fn share() -> f64 {
    if std::env::var_os("ZJOBS_SESSIONS").is_some() || std::env::var_os("ZJOBS_SEED").is_some() { 1.0 } else { 0.05 }
}

fn sessions(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    match number("ZJOBS_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ZJOBS_SESSIONS").map_or(default, |all| all * default / 200)).collect(),
    }
}

fn session(setting: Setting) -> Recording {
    let folder = folder().unwrap();
    record(setting, folder.path())
}

/// The seeds whose sessions do not keep the promise, each with what was wrong.
fn broken(seeds: &[u64], promise: Promise, recording: impl Fn(u64) -> Recording + Sync) -> (usize, Vec<String>) {
    let look = |seed: &u64| {
        check(&recording(*seed), promise, share(), &mut Rng::with_seed(*seed))
            .map_err(|why| format!("ZJOBS_SEED={seed}: {why}"))
    };
    let half = seeds.len() / 2;
    let all: Vec<_> = std::thread::scope(|scope| {
        let one = scope.spawn(|| seeds[..half].iter().map(look).collect::<Vec<_>>());
        let mut all: Vec<_> = seeds[half..].iter().map(look).collect();
        all.extend(one.join().unwrap());
        all
    });
    (all.iter().flatten().sum(), all.into_iter().filter_map(Result::err).collect())
}

fn plain(synchronous: Synchronous) -> impl Fn(u64) -> Recording + Sync {
    move |seed| session(Setting { seed, calls: CALLS, synchronous, fault: None })
}

#[test]
fn what_was_answered_survives_every_power_loss() {
    let seeds = sessions(200);
    let (disks, broken) = broken(&seeds, Promise::Everything, plain(Synchronous::Full));
    assert!(broken.is_empty(), "{} broken, first: {}", broken.len(), broken[0]);
    assert!(disks > 30, "{disks}");
    let moments = if share() < 1.0 { "some" } else { "all" };
    println!(
        "proved: {} sessions, the power cut at {moments} of their moments, which left {disks} disks: nothing that was \
         confirmed is lost",
        seeds.len()
    );
}

#[test]
fn with_normal_the_file_is_sound_after_every_power_loss() {
    let (disks, broken) = broken(&sessions(60), Promise::Soundness, plain(Synchronous::Normal));
    assert!(broken.is_empty(), "{} broken, first: {}", broken.len(), broken[0]);
    assert!(disks > 10, "{disks}");
}

#[test]
fn nothing_rests_on_a_write_whose_sync_failed() {
    let seeds = sessions(100);
    let (disks, broken) = broken(&seeds, Promise::Everything, |seed| {
        let setting = Setting { seed, calls: CALLS, synchronous: Synchronous::Full, fault: None };
        let syncs = calls_of(setting).unwrap()[Call::Sync as usize];
        let found = struck(setting, |nth| Fault::Once(Call::Sync, nth), place(seed, syncs)).unwrap();
        found.unwrap_or_else(|| panic!("seed {seed}: no sync failed")).0
    });
    assert!(broken.is_empty(), "{} broken, first: {}", broken.len(), broken[0]);
    assert!(disks > 10, "{disks}");
    println!(
        "proved: {} sessions, in each of which a sync failed: nothing that was confirmed is lost either",
        seeds.len()
    );
}

/// SQLite looks at the header of a file before it takes back what was begun in it, and would make the file anew by what it
/// saw there: `ZJOBS_SEED=108` met a mode of vacuum that nobody had set.
#[test]
fn a_header_that_was_torn_while_the_file_was_made_is_forgotten() {
    let steps = plain(Synchronous::Full)(108).steps;
    let first = steps.iter().enumerate().find_map(|(number, step)| match step {
        Step::Wrote(FileId(0), 0, page) => Some((number, page.clone())),
        _ => None,
    });
    let (number, page) = first.unwrap();
    let mut world = World::default();
    steps[..number].iter().for_each(|step| world.take(step));
    for torn in 16..100 {
        let folder = folder().unwrap();
        world.leave(folder.path(), Luck::All, &mut Rng::with_seed(1)).unwrap();
        let mut page = page.clone();
        page[torn..].fill(2);
        let path = folder.path().join(DATABASE);
        std::fs::write(&path, &page).unwrap();
        drop(SqliteStore::open(config(&path, Synchronous::Full, Arc::default())).unwrap());
        let connection = rusqlite::Connection::open(&path).unwrap();
        let ask = |pragma| connection.query_row(pragma, [], |row| row.get::<_, Value>(0)).unwrap();
        assert_eq!(ask("PRAGMA integrity_check"), Value::Text("ok".into()), "torn at {torn}");
        assert_eq!(ask("PRAGMA auto_vacuum"), Value::Integer(0), "torn at {torn}");
        assert_eq!(ask("PRAGMA page_size"), Value::Integer(4096), "torn at {torn}");
    }
}

#[test]
fn a_store_that_does_not_wait_for_the_disk_is_caught() {
    let seeds: Vec<u64> = (0..10).collect();
    let (_, broken) = broken(&seeds, Promise::Everything, plain(Synchronous::Normal));
    assert!(broken.len() > 5, "{broken:?}");
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let seeds: Vec<u64> = (0..10).collect();
    let (_, broken) = broken(&seeds, Promise::Soundness, |seed| {
        let mut recording = plain(Synchronous::Full)(seed);
        recording.steps.retain(|step| !matches!(step, Step::Synced(_)));
        recording
    });
    assert!(!broken.is_empty());
}
