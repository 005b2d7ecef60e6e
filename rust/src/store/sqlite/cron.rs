//! Schedules, and their ticks: each once, in the transaction that inserts its job.

use rusqlite::{OptionalExtension, named_params};

use crate::clock::Timestamp;
use crate::job::Name;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::by_hand::TICKS_KEPT;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::{CronEntry, CronTick, Paused, Ticked};

impl Transaction<'_> {
    pub(super) fn save_cron(&mut self, entry: &CronEntry) -> Verb<()> {
        self.connection.prepare_cached(sql::save_cron)?.execute(named_params! {
            ":name": entry.name.as_str(),
            ":expression": entry.expression,
            ":timezone": entry.timezone,
            ":worker": entry.worker.as_str(),
            ":now": self.now.0,
        })?;
        Ok(())
    }

    pub(super) fn set_cron_paused(&mut self, name: &Name, paused: Paused) -> Verb<bool> {
        let changed = self
            .connection
            .prepare_cached(sql::set_cron_paused)?
            .execute(named_params! {":name": name.as_str(), ":paused": paused == Paused::Yes})?;
        Ok(changed > 0)
    }

    pub(super) fn delete_cron(&mut self, name: &Name) -> Verb<bool> {
        self.connection.prepare_cached(sql::delete_ticks)?.execute(named_params! {":name": name.as_str()})?;
        Ok(self.connection.prepare_cached(sql::delete_cron)?.execute(named_params! {":name": name.as_str()})? > 0)
    }

    pub(super) fn tick(&mut self, tick: CronTick) -> Verb<Ticked> {
        let name = tick.name.as_str();
        let mut statement = self.connection.prepare_cached(sql::cron)?;
        let known = statement
            .query_row(named_params! {":name": name}, |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, Option<i64>>(1)?.map(Timestamp)))
            })
            .optional()?;
        let last = match known {
            None | Some((true, _)) => return Ok(Ticked::Resting),
            Some((false, last)) => last,
        };
        // Its row may be gone already: then the latest tick tells.
        if tick.at < self.now - TICKS_KEPT && last.is_some_and(|last| tick.at <= last) {
            return Ok(Ticked::Already);
        }
        let at = tick.at.0;
        if self.connection.prepare_cached(sql::tick)?.execute(named_params! {":name": name, ":at": at})? == 0 {
            return Ok(Ticked::Already);
        }
        self.connection.prepare_cached(sql::ticked)?.execute(named_params! {":name": name, ":at": at})?;
        let enqueued = match tick.job {
            Some(job) => self.enqueue(vec![job])?.pop().map(Box::new),
            None => None,
        };
        Ok(Ticked::Inserted(enqueued))
    }
}
