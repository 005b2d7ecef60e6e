//! Schedules, and their ticks: each once.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::job::Name;
use crate::store::memory::tables::Tables;
use crate::store::{CronEntry, CronRow, CronTick, Paused, Ticked};

/// How long the row of a tick is kept.
const TICKS_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Schedule {
    entry: CronEntry,
    paused: bool,
    known_since: Timestamp,
    last_tick: Option<Timestamp>,
    ticks: BTreeSet<Timestamp>,
}

impl Schedule {
    /// Whether the tick has fired, or may have and its row is gone.
    fn has(&self, at: Timestamp, horizon: Timestamp) -> bool {
        self.ticks.contains(&at) || (at < horizon && self.last_tick.is_some_and(|last| at <= last))
    }
}

impl Tables {
    pub(super) fn save_cron(&mut self, entry: &CronEntry) {
        let new = || Schedule {
            entry: entry.clone(),
            paused: false,
            known_since: self.index.now,
            last_tick: None,
            ticks: BTreeSet::new(),
        };
        self.schedules.entry(entry.name.clone()).or_insert_with(new).entry = entry.clone();
    }

    pub(super) fn crons(&self) -> Vec<CronRow> {
        let row = |schedule: &Schedule| CronRow {
            entry: schedule.entry.clone(),
            paused: schedule.paused,
            known_since: schedule.known_since,
            last_tick: schedule.last_tick,
        };
        self.schedules.values().map(row).collect()
    }

    pub(super) fn set_cron_paused(&mut self, name: &Name, paused: Paused) -> bool {
        self.schedules.get_mut(name).map(|schedule| schedule.paused = paused == Paused::Yes).is_some()
    }

    pub(super) fn delete_cron(&mut self, name: &Name) -> bool {
        self.schedules.remove(name).is_some()
    }

    pub(super) fn tick(&mut self, tick: CronTick) -> Result<Ticked> {
        let horizon = self.index.now - TICKS_KEPT;
        match self.schedules.get(&tick.name).filter(|schedule| !schedule.paused) {
            None => return Ok(Ticked::Resting),
            Some(schedule) if schedule.has(tick.at, horizon) => return Ok(Ticked::Already),
            Some(_) => {}
        }
        let enqueued = match tick.job {
            Some(job) => self.enqueue(vec![job])?.pop().map(Box::new),
            None => None,
        };
        if let Some(schedule) = self.schedules.get_mut(&tick.name) {
            schedule.ticks.insert(tick.at);
            schedule.last_tick = schedule.last_tick.max(Some(tick.at));
        }
        Ok(Ticked::Inserted(enqueued))
    }

    /// Drops tick rows that [`Schedule::has`] no longer needs.
    pub(super) fn forget_ticks(&mut self) {
        let horizon = self.index.now - TICKS_KEPT;
        for schedule in self.schedules.values_mut() {
            schedule.ticks = schedule.ticks.split_off(&horizon);
        }
    }
}
