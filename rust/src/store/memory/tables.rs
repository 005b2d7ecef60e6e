//! Everything the store knows, behind its one lock.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::job::{JobId, Name};
use crate::queue::jobs::Jobs;
use crate::store::memory::cron::Schedule;
use crate::store::memory::index::Index;
use crate::store::steady::Steady;
use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) time: Steady,
    pub(super) jobs: Jobs,
    pub(super) index: Index,
    pub(super) schedules: BTreeMap<Name, Schedule>,
    pub(super) max_jobs: Option<usize>,
    last_id: i64,
    max_finished: usize,
}

impl Tables {
    pub(super) fn new(clock: Arc<dyn Clock>, max_jobs: Option<usize>, max_finished: usize) -> Self {
        Self {
            time: Steady::new(clock),
            jobs: Jobs::default(),
            index: Index::new(),
            schedules: BTreeMap::new(),
            max_jobs,
            last_id: 0,
            max_finished,
        }
    }

    pub(super) fn next_id(&mut self) -> JobId {
        self.last_id += 1;
        JobId(self.last_id)
    }

    pub(super) fn last_id(&self) -> JobId {
        JobId(self.last_id)
    }

    /// Drops the oldest finished jobs beyond the number that is kept.
    pub(super) fn trim(&mut self) {
        while self.index.finished_jobs() > self.max_finished {
            let Some(state) = self.index.finished.oldest_state() else { break };
            let Some((at, id)) = self.index.finished.pop(state) else { break };
            if Index::is_current(self.jobs.get(id), state, at) {
                self.remove(id);
            }
        }
    }

    /// Removes a row from everywhere; false when there is none.
    pub(super) fn remove(&mut self, id: JobId) -> bool {
        let Some(row) = self.jobs.remove(id) else { return false };
        self.index.dismiss(id, &row);
        true
    }
}
