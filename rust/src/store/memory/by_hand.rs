//! *cancel*, *retry*, deletion, *pause* and *resume*: what people do.

use crate::error::Result;
use crate::job::{Details, JobId, Name};
use crate::queue::jobs::{Ended, Row};
use crate::state::{Event, State};
use crate::store::memory::index::{Index, Settings};
use crate::store::memory::tables::Tables;
use crate::store::{Cancelled, Filter, Retried};
use crate::sync::Arc;

impl Tables {
    pub(super) fn cancel(&mut self, filter: &Filter) -> Result<Vec<Cancelled>> {
        let mut cancelled = Vec::new();
        for id in self.matching(filter, |row| row.state.is_live()) {
            let Some(row) = self.jobs.get_mut(id) else { continue };
            cancelled.push(self.index.cancel_one(id, row)?);
        }
        self.trim();
        Ok(cancelled)
    }

    pub(super) fn retry(&mut self, filter: &Filter) -> Result<Vec<Retried>> {
        let mut retried = Vec::new();
        for id in self.matching(filter, |row| !matches!(row.state, State::Available | State::Executing)) {
            let Some(row) = self.jobs.get_mut(id) else { continue };
            retried.push(self.index.retry_one(id, row)?);
        }
        let Self { jobs, index, .. } = self;
        let finished = index.finished_jobs();
        index.finished.tidy(finished, |state, (at, id)| Index::is_current(jobs.get(id), state, at));
        Ok(retried)
    }

    pub(super) fn delete(&mut self, filter: &Filter) -> usize {
        let ids = self.matching(filter, |row| row.state != State::Executing);
        let deleted = ids.into_iter().filter(|id| self.remove(*id)).count();
        if deleted > 0 {
            // Whoever waits for one of them must look again.
            self.index.outbox.settled();
        }
        let Self { jobs, index, .. } = self;
        let finished = index.finished_jobs();
        index.finished.tidy(finished, |state, (at, id)| Index::is_current(jobs.get(id), state, at));
        deleted
    }

    pub(super) fn control(&mut self, queue: &Name, change: impl FnOnce(&mut Settings)) {
        let symbol = self.index.queues.intern(queue);
        if let Some(known) = self.index.queues.value_mut(symbol) {
            change(&mut known.settings);
            if !known.settings.paused && !known.ready.is_empty() {
                self.index.outbox.ready(symbol);
            }
        }
        self.index.outbox.control(queue.clone());
    }
}

impl Index {
    fn cancel_one(&mut self, id: JobId, row: &mut Row) -> Result<Cancelled> {
        if row.state == State::Executing {
            row.details_mut().cancel_requested = true;
            self.outbox.cancel(id);
            return Ok(Cancelled::Requested(id));
        }
        self.apply(id, row, Event::Cancel)?;
        Ok(Cancelled::Done(id))
    }

    fn retry_one(&mut self, id: JobId, row: &mut Row) -> Result<Retried> {
        if let Some(key) = row.unique_key().map(Arc::clone) {
            let holder = *self.unique.entry(key).or_insert(id);
            if holder != id {
                return Ok(Retried::KeyTaken { id, holder });
            }
        }
        let to = row.state.on(Event::Retry, crate::state::Attempts::Left)?;
        self.take(id, row);
        begin_again(row);
        row.scheduled_at = self.now;
        self.shift(id, row, to);
        Ok(Retried::Done(id))
    }
}

fn begin_again(row: &mut Row) {
    row.max_attempts = row.max_attempts.max(row.attempt.saturating_add(1));
    row.set_finished_at(None);
    row.ended = Ended::Otherwise;
    if let Some(shared) = &mut row.details {
        let details = Arc::make_mut(shared);
        details.cancel_requested = false;
        details.progress = None;
        details.result = None;
        details.crashes = 0;
        if *details == Details::default() {
            row.details = None;
        }
    }
}
