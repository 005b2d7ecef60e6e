//! Jobs that wait for their time, of all queues, and when the next one is due.
//!
//! A job is in it if and only if it is scheduled or retryable. Jobs that wait far ahead cost the claim path nothing:
//! it never looks here.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::job::JobId;

/// Jobs by due time, then id.
#[derive(Debug, Default)]
pub struct Delayed {
    keys: BTreeSet<(Timestamp, JobId)>,
}

impl Delayed {
    /// Adds a job.
    pub fn insert(&mut self, due: Timestamp, id: JobId) {
        self.keys.insert((due, id));
    }

    /// Removes exactly this job; false when it is not here.
    pub fn remove(&mut self, due: Timestamp, id: JobId) -> bool {
        self.keys.remove(&(due, id))
    }

    /// When the next job is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.keys.first().map(|(due, _)| *due)
    }

    /// Takes out the job that is due first, if its time has come.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<JobId> {
        if self.next_due()? > now {
            return None;
        }
        self.keys.pop_first().map(|(_, id)| id)
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_wait_by_time_then_id_until_they_are_due() {
        let mut delayed = Delayed::default();
        assert!(delayed.is_empty() && delayed.next_due().is_none() && delayed.pop_due(Timestamp(99)).is_none());
        for (due, id) in [(30, 1), (10, 3), (10, 2)] {
            delayed.insert(Timestamp(due), JobId(id));
        }
        assert!(!delayed.is_empty());
        assert_eq!((delayed.next_due(), delayed.len()), (Some(Timestamp(10)), 3));
        assert_eq!(delayed.pop_due(Timestamp(9)), None);
        assert_eq!(delayed.pop_due(Timestamp(10)), Some(JobId(2)));
        assert_eq!(delayed.pop_due(Timestamp(11)), Some(JobId(3)));
        assert!(!delayed.remove(Timestamp(10), JobId(1)) && delayed.remove(Timestamp(30), JobId(1)));
        assert!(delayed.is_empty());
    }
}
