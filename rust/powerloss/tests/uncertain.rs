//! Commits that the disk failed at: what their callers are told.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![allow(missing_docs, reason = "nothing leaves a test binary")]

use std::path::Path;

use zjobs_engine::store::Filter;
use zjobs_engine::store::sqlite::{SqliteStore, Synchronous};
use zjobs_engine::sync::Arc;
use zjobs_engine::{Error, Name, NewJob, Store};
use zjobs_powerloss::replay::{DATABASE, LOG};
use zjobs_powerloss::workload::config;
use zjobs_powerloss::{Call, Disk, Fault, folder};

fn opened(folder: &Path) -> SqliteStore {
    SqliteStore::open(config(&folder.join(DATABASE), Synchronous::Full, Arc::default())).unwrap()
}

fn job() -> NewJob {
    NewJob::new(Name::queue("default").unwrap(), Name::queue("w").unwrap(), b"{}".as_slice().into())
}

#[test]
fn an_enqueue_is_uncertain_when_its_commit_failed_and_comes_back_after_a_kill() {
    let (here, later) = (folder().unwrap(), folder().unwrap());
    let disk = Disk::watched(here.path());
    let store = opened(here.path());
    // The first is copied out of the log, the second begins it anew: the third syncs it once.
    store.enqueue(vec![job()]).unwrap();
    store.enqueue(vec![job()]).unwrap();
    disk.set_fault(Some(Fault::Once(Call::Sync, 0)));
    let error = store.enqueue(vec![job()]).unwrap_err();
    assert_eq!(disk.struck(), 1);
    for name in [DATABASE, LOG] {
        std::fs::copy(here.path().join(name), later.path().join(name)).unwrap();
    }
    assert_eq!(opened(later.path()).count(&Filter::default()).unwrap(), 3);
    assert!(matches!(&error, Error::EnqueueUncertain(text) if text.contains("unique key")), "{error:?}");
    // The process that goes on writes over it.
    assert_eq!(store.count(&Filter::default()).unwrap(), 2);
    store.enqueue(vec![job()]).unwrap();
    assert_eq!(store.count(&Filter::default()).unwrap(), 3);
}

#[test]
fn what_may_be_done_again_is_told_that_its_commit_is_in_doubt_and_that_the_store_is_unavailable() {
    let here = folder().unwrap();
    let disk = Disk::watched(here.path());
    let store = opened(here.path());
    disk.set_fault(Some(Fault::Once(Call::Sync, 0)));
    let error = store.pause(&Name::queue("default").unwrap()).unwrap_err();
    assert!(matches!(&error, Error::StoreUnavailable(text) if text.contains("nobody knows")), "{error:?}");
    assert_eq!(disk.struck(), 1);
    store.pause(&Name::queue("default").unwrap()).unwrap();
}

#[test]
fn an_enqueue_whose_commit_found_no_space_is_in_no_doubt() {
    let here = folder().unwrap();
    let disk = Disk::watched(here.path());
    let store = opened(here.path());
    store.enqueue(vec![job()]).unwrap();
    disk.set_fault(Some(Fault::NoSpace(0)));
    let error = store.enqueue(vec![job()]).unwrap_err();
    assert!(matches!(error, Error::StoreUnavailable(_)), "{error:?}");
    assert_eq!(disk.struck(), 1);
}
