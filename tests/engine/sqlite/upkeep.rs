//! What is left behind in the file.

use rusqlite::Connection;
use zjobs_engine::job::Name;
use zjobs_engine::store::{CronEntry, CronTick, Retention, Ticked};

use super::fixture::Sqlite;
use crate::conformance::fixture::{ALICE, Fixture, secs, worker};

const DAY: u64 = 24 * 3600;

#[test]
fn old_ticks_and_nodes_go_although_no_job_does() {
    let file = Sqlite::new();
    let on: &dyn Fixture = &file;
    let rows = |table: &str| -> i64 {
        let connection = Connection::open(file.store.path()).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let name = Name::cron("nightly").unwrap();
    let entry =
        CronEntry { name: name.clone(), expression: "@daily".into(), timezone: "UTC".into(), worker: worker("w") };
    on.store().save_cron(&entry).unwrap();
    on.beat(ALICE, &[]);
    on.store().depart(ALICE, secs(1)).unwrap();
    let kept_for_ever = Retention { completed: None, cancelled: None, discarded: None };
    for _ in 0..12 {
        let at = on.store().now().unwrap();
        assert_eq!(on.store().tick(CronTick { name: name.clone(), at, job: None }).unwrap(), Ticked::Inserted(None));
        assert_eq!(on.store().prune(&kept_for_ever, 100).unwrap(), 0);
        on.advance(secs(DAY));
    }
    assert_eq!((rows("zjobs_ticks"), rows("zjobs_nodes")), (9, 0));
}
