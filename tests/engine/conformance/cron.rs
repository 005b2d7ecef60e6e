//! Schedules and their ticks.

use zjobs_engine::clock::Timestamp;
use zjobs_engine::job::{Name, NewJob};
use zjobs_engine::store::{CronEntry, CronTick, Filter, Paused, Retention, Ticked};
use zjobs_engine::unique::UniqueStrategy::IgnoreNew;

use super::fixture::{Fixture, new_job, secs, unique_job, worker};

fn name() -> Name {
    Name::cron("nightly").unwrap()
}

fn declare(on: &dyn Fixture, expression: &str) {
    let (expression, timezone) = (expression.to_owned(), "Europe/Berlin".to_owned());
    on.store().save_cron(&CronEntry { name: name(), expression, timezone, worker: worker("w") }).unwrap();
}

fn tick(on: &dyn Fixture, at: Timestamp, job: Option<NewJob>) -> Ticked {
    on.store().tick(CronTick { name: name(), at, job }).unwrap()
}

fn jobs(on: &dyn Fixture) -> u64 {
    on.store().count(&Filter::default()).unwrap()
}

pub fn a_tick_fires_once(on: &dyn Fixture) {
    let before = on.store().now().unwrap();
    declare(on, "0 3 * * *");
    let at = on.store().now().unwrap() - secs(5);
    let Ticked::Inserted(Some(enqueued)) = tick(on, at, Some(new_job())) else { panic!("the first one fires") };
    assert_eq!(on.get(enqueued.job.id), enqueued.job);
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Already);
    assert_eq!(jobs(on), 1);
    assert!(matches!(tick(on, at + secs(1), Some(new_job())), Ticked::Inserted(Some(_))));
    let [row] = on.store().crons().unwrap().try_into().unwrap();
    assert_eq!((row.entry.name, row.entry.expression.as_str()), (name(), "0 3 * * *"));
    assert_eq!((row.entry.timezone.as_str(), row.entry.worker), ("Europe/Berlin", worker("w")));
    assert_eq!((row.paused, row.last_tick), (false, Some(at + secs(1))));
    assert!(row.known_since >= before);
}

pub fn a_paused_or_unknown_schedule_rests(on: &dyn Fixture) {
    let at = on.store().now().unwrap();
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Resting);
    assert!(!on.store().set_cron_paused(&name(), Paused::Yes).unwrap());
    declare(on, "@daily");
    assert!(on.store().set_cron_paused(&name(), Paused::Yes).unwrap());
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Resting);
    assert_eq!((jobs(on), on.store().crons().unwrap()[0].last_tick), (0, None));
    assert!(on.store().set_cron_paused(&name(), Paused::No).unwrap());
    assert!(matches!(tick(on, at, Some(new_job())), Ticked::Inserted(Some(_))));
}

pub fn a_skipped_tick_is_recorded(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    assert_eq!(tick(on, at, None), Ticked::Inserted(None));
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Already);
    assert_eq!((jobs(on), on.store().crons().unwrap()[0].last_tick), (0, Some(at)));
}

pub fn declaring_again_keeps_pause_and_last_tick(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    tick(on, at, None);
    on.store().set_cron_paused(&name(), Paused::Yes).unwrap();
    let before = on.store().crons().unwrap().remove(0);
    on.advance(secs(9));
    declare(on, "@hourly");
    let after = on.store().crons().unwrap().remove(0);
    assert_eq!(after.entry.expression, "@hourly");
    assert_eq!((after.paused, after.last_tick, after.known_since), (true, Some(at), before.known_since));
}

pub fn a_tick_follows_uniqueness(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    let waiting = on.enqueue(unique_job("k", IgnoreNew));
    let Ticked::Inserted(Some(met)) = tick(on, at, Some(unique_job("k", IgnoreNew))) else { panic!("recorded") };
    assert!(met.conflict);
    assert_eq!(met.job.id, waiting.id);
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Already);
}

pub fn an_old_tick_never_fires_again(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    tick(on, at, Some(new_job()));
    on.advance(secs(9 * 24 * 3600));
    on.store().prune(&Retention::default(), 99).unwrap();
    assert_eq!(tick(on, at, Some(new_job())), Ticked::Already);
    assert_eq!(jobs(on), 1);
}

pub fn a_late_tick_between_others_fires(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    tick(on, at, Some(new_job()));
    assert!(matches!(tick(on, at - secs(60), Some(new_job())), Ticked::Inserted(Some(_))));
    assert_eq!(on.store().crons().unwrap()[0].last_tick, Some(at), "the latest tick stays the latest");
}

pub fn a_tick_of_a_week_ago_still_fires_and_an_older_one_does_not(on: &dyn Fixture) {
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    tick(on, at + secs(9), Some(new_job()));
    on.advance(secs(8 * 24 * 3600 - 60));
    assert!(matches!(tick(on, at, Some(new_job())), Ticked::Inserted(Some(_))));
    assert_eq!(tick(on, at - secs(120), Some(new_job())), Ticked::Already);
    assert_eq!(jobs(on), 2);
}

pub fn a_deleted_schedule_is_forgotten(on: &dyn Fixture) {
    assert!(!on.store().delete_cron(&name()).unwrap());
    declare(on, "@daily");
    let at = on.store().now().unwrap();
    tick(on, at, None);
    assert!(on.store().delete_cron(&name()).unwrap());
    assert!(on.store().crons().unwrap().is_empty());
    declare(on, "@daily");
    assert!(matches!(tick(on, at, Some(new_job())), Ticked::Inserted(Some(_))));
}
