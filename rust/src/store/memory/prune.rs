//! *prune*: final jobs past their retention go, and what only they kept.

use std::time::Duration;

use crate::queue::finished::FINAL;
use crate::state::State;
use crate::store::Retention;
use crate::store::memory::index::{Index, Settings};
use crate::store::memory::tables::Tables;

impl Tables {
    pub(super) fn prune(&mut self, retention: &Retention, limit: usize) -> usize {
        let mut pruned = 0;
        for state in FINAL {
            if let Some(age) = kept_for(retention, state) {
                pruned += self.prune_state(state, age, limit - pruned);
            }
        }
        self.forget_ticks();
        self.index.queues.sweep(|queue| queue.settings != Settings::default());
        self.index.workers.sweep(|()| false);
        pruned
    }

    fn prune_state(&mut self, state: State, age: Duration, limit: usize) -> usize {
        let horizon = self.index.now - age;
        let mut pruned = 0;
        while pruned < limit {
            let Some((at, id)) = self.index.finished.oldest(state).filter(|(at, _)| *at <= horizon) else { break };
            self.index.finished.pop(state);
            if Index::is_current(self.jobs.get(id), state, at) && self.remove(id) {
                pruned += 1;
            }
        }
        pruned
    }
}

fn kept_for(retention: &Retention, state: State) -> Option<Duration> {
    match state {
        State::Completed => retention.completed,
        State::Cancelled => retention.cancelled,
        State::Discarded => retention.discarded,
        State::Available | State::Executing | State::Retryable | State::Scheduled => None,
    }
}
