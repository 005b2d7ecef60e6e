//! Final jobs in the order in which they finished, so that retention by age and by count costs O(1) a job.
//!
//! Entries of jobs that were started again or deleted stay behind as stale ones; whoever takes an entry checks it
//! against the row. [`Finished::tidy`] keeps stale entries from outnumbering the others.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::state::State;

/// One job that finished then.
pub type Entry = (Timestamp, JobId);

/// The final states, each with its own retention.
pub const FINAL: [State; 3] = [State::Completed, State::Cancelled, State::Discarded];

/// Stale entries that are not worth a sweep.
const SLACK: usize = 1024;

/// Final jobs by state, oldest first.
#[derive(Debug, Default)]
pub struct Finished {
    completed: VecDeque<Entry>,
    cancelled: VecDeque<Entry>,
    discarded: VecDeque<Entry>,
}

impl Finished {
    /// Adds a job that finished now; times never fall from one call to the next.
    pub fn push(&mut self, state: State, entry: Entry) {
        if let Some(entries) = self.of_mut(state) {
            entries.push_back(entry);
        }
    }

    /// The oldest entry of that state, which may be stale.
    pub fn oldest(&self, state: State) -> Option<Entry> {
        self.of(state)?.front().copied()
    }

    /// Takes the oldest entry of that state out.
    pub fn pop(&mut self, state: State) -> Option<Entry> {
        self.of_mut(state)?.pop_front()
    }

    /// The state whose oldest entry is the oldest of all.
    pub fn oldest_state(&self) -> Option<State> {
        FINAL.into_iter().filter(|state| self.oldest(*state).is_some()).min_by_key(|state| self.oldest(*state))
    }

    /// Drops stale entries when they outnumber the `jobs` that are really there.
    pub fn tidy(&mut self, jobs: usize, mut is_current: impl FnMut(State, Entry) -> bool) {
        let entries: usize = FINAL.iter().filter_map(|state| self.of(*state)).map(VecDeque::len).sum();
        if entries <= 2 * jobs + SLACK {
            return;
        }
        for state in FINAL {
            if let Some(entries) = self.of_mut(state) {
                entries.retain(|entry| is_current(state, *entry));
                entries.shrink_to_fit();
            }
        }
    }

    fn of(&self, state: State) -> Option<&VecDeque<Entry>> {
        match state {
            State::Completed => Some(&self.completed),
            State::Cancelled => Some(&self.cancelled),
            State::Discarded => Some(&self.discarded),
            State::Available | State::Executing | State::Retryable | State::Scheduled => None,
        }
    }

    fn of_mut(&mut self, state: State) -> Option<&mut VecDeque<Entry>> {
        match state {
            State::Completed => Some(&mut self.completed),
            State::Cancelled => Some(&mut self.cancelled),
            State::Discarded => Some(&mut self.discarded),
            State::Available | State::Executing | State::Retryable | State::Scheduled => None,
        }
    }
}
