//! *cancel*, *retry*, deletion, *prune*, *pause* and *resume*: what people do, and what age does.

use std::time::Duration;

use rusqlite::named_params;

use crate::job::{JobId, Name};
use crate::state::State;
use crate::store::sql::sqlite as sql;
use crate::store::sqlite::reads;
use crate::store::sqlite::writer::{Transaction, Verb};
use crate::store::{Cancelled, Filter, Retention, Retried, Signal};

/// How long the row of a tick is kept, and that of a node that is gone.
pub(super) const TICKS_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

impl Transaction<'_> {
    pub(super) fn cancel(&mut self, filter: &Filter) -> Verb<Vec<Cancelled>> {
        let mut cancelled = Vec::new();
        let mut asked = Vec::new();
        for job in reads::pick(self.connection, filter, State::is_live)? {
            if self.cancel_waiting(job.id)? {
                cancelled.push(Cancelled::Done(job.id));
            } else {
                self.connection.prepare_cached(sql::ask)?.execute(named_params! {":id": job.id.0})?;
                asked.push(job.id);
                cancelled.push(Cancelled::Requested(job.id));
            }
        }
        if !asked.is_empty() {
            self.tell(Signal::Cancel(asked));
        }
        Ok(cancelled)
    }

    /// False when the job does not wait.
    pub(super) fn cancel_waiting(&mut self, id: JobId) -> Verb<bool> {
        let changed =
            self.connection.prepare_cached(sql::cancel)?.execute(named_params! {":id": id.0, ":now": self.now.0})?;
        if changed > 0 {
            self.tell(Signal::Settled);
        }
        Ok(changed > 0)
    }

    pub(super) fn retry(&mut self, filter: &Filter) -> Verb<Vec<Retried>> {
        let rests = |state| !matches!(state, State::Available | State::Executing);
        let mut retried = Vec::new();
        for job in reads::pick(self.connection, filter, rests)? {
            let id = job.id;
            let holder = match &job.unique_key {
                Some(key) => self.holder(key)?.filter(|holder| *holder != id),
                None => None,
            };
            if let Some(holder) = holder {
                retried.push(Retried::KeyTaken { id, holder });
                continue;
            }
            self.connection.prepare_cached(sql::retry)?.execute(named_params! {":id": id.0, ":now": self.now.0})?;
            self.tell(Signal::Ready(job.queue));
            retried.push(Retried::Done(id));
        }
        Ok(retried)
    }

    pub(super) fn delete(&mut self, filter: &Filter) -> Verb<usize> {
        let mut deleted = 0;
        for job in reads::pick(self.connection, filter, |state| state != State::Executing)? {
            deleted += self.connection.prepare_cached(sql::delete)?.execute(named_params! {":id": job.id.0})?;
        }
        if deleted > 0 {
            // Whoever waits for one of them must look again.
            self.tell(Signal::Settled);
        }
        Ok(deleted)
    }

    pub(super) fn prune(&mut self, retention: &Retention, limit: usize) -> Verb<usize> {
        let mut pruned = 0;
        for (state, horizon) in reads::horizons(retention, self.now) {
            pruned += self.connection.prepare_cached(sql::prune)?.execute(named_params! {
                ":state": state.number(),
                ":horizon": horizon.0,
                ":limit": i64::try_from(limit - pruned).unwrap_or(i64::MAX),
            })?;
        }
        let horizon = (self.now - TICKS_KEPT).0;
        for statement in [sql::forget_ticks, sql::forget_nodes] {
            self.connection.prepare_cached(statement)?.execute(named_params! {":horizon": horizon})?;
        }
        Ok(pruned)
    }

    pub(super) fn set_paused(&mut self, queue: Name, paused: bool) -> Verb<()> {
        self.connection.prepare_cached(sql::settings)?.execute(named_params! {
            ":name": queue.as_str(), ":paused": paused, ":concurrency": None::<u32>, ":scales": false,
        })?;
        if !paused {
            self.tell(Signal::Ready(queue.clone()));
        }
        self.tell(Signal::Control(queue));
        Ok(())
    }

    pub(super) fn scale(&mut self, queue: Name, concurrency: Option<u32>) -> Verb<()> {
        self.connection.prepare_cached(sql::settings)?.execute(named_params! {
            ":name": queue.as_str(), ":paused": None::<bool>, ":concurrency": concurrency, ":scales": true,
        })?;
        self.tell(Signal::Control(queue));
        Ok(())
    }
}
