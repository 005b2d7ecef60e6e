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
        if self.completed.len() + self.cancelled.len() + self.discarded.len() <= 2 * jobs + SLACK {
            return;
        }
        let Self { completed, cancelled, discarded } = self;
        for (state, entries) in FINAL.into_iter().zip([completed, cancelled, discarded]) {
            entries.retain(|entry| is_current(state, *entry));
            entries.shrink_to_fit();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Entry {
        (Timestamp(micros), JobId(micros))
    }

    #[test]
    fn each_final_state_has_its_own_order_and_the_others_none() {
        let mut finished = Finished::default();
        for (state, micros) in
            [(State::Discarded, 1), (State::Completed, 2), (State::Cancelled, 3), (State::Completed, 4)]
        {
            finished.push(state, at(micros));
        }
        for state in [State::Available, State::Executing, State::Retryable, State::Scheduled] {
            finished.push(state, at(0));
            assert_eq!((finished.oldest(state), finished.pop(state)), (None, None));
        }
        assert_eq!((finished.oldest(State::Completed), finished.oldest(State::Cancelled)), (Some(at(2)), Some(at(3))));
        let order: Vec<_> = std::iter::from_fn(|| finished.pop(finished.oldest_state()?)).collect();
        assert_eq!(order, [at(1), at(2), at(3), at(4)]);
    }

    #[test]
    fn stale_entries_stay_until_they_outnumber_the_jobs() {
        let (mut finished, jobs) = (Finished::default(), 1000);
        let most = i64::try_from(2 * jobs + SLACK).unwrap();
        for micros in 0..most {
            finished.push(FINAL[usize::from(micros % 3 == 0)], at(micros));
        }
        finished.tidy(jobs, |_, _| panic!("nobody is to be asked yet"));
        finished.push(State::Discarded, at(most));
        finished.tidy(jobs, |state, entry| state != State::Cancelled && entry.0 >= Timestamp(most - 4));
        assert_eq!(finished.oldest(State::Cancelled), None);
        let left: Vec<_> = std::iter::from_fn(|| finished.pop(State::Completed)).collect();
        assert!(left.len() < 4 && left.iter().all(|(time, _)| time.0 >= most - 4), "{left:?}");
        assert_eq!(finished.oldest(State::Discarded), Some(at(most)));
    }
}
