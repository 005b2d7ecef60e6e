//! Where claims begin to look while the server cannot clear away what they leave behind (ADR 0025).
//!
//! Each claim leaves a dead entry at the head of its queue's index. The next look clears it away, unless a snapshot may
//! still need it that somebody holds: a forgotten transaction, a backup, a follower that is behind. Then each look walks
//! over everything that was claimed since. Once looks take long, a claim begins behind what it claimed last of each
//! priority. Whatever came in front of that (retried, released, committed late) is found by looks at the whole, which
//! take a fifth of the time, or half of it where there is nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::clock::{Moment, Timestamp};
use crate::job::{Job, JobId, Name};
use crate::sync::Mutex;

/// So many long looks in a row are no accident.
const IN_A_ROW: u32 = 3;
/// Enqueues that overlap may become visible in another order than that of their times.
const OVERLAP: Duration = Duration::from_millis(250);
/// Priorities that are remembered; behind the last of them every look walks over what there is.
const PRIORITIES: usize = 8;

/// A part of a queue's index: behind a place, as far as a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// It begins behind a job of that priority, time and id.
    pub(super) after: (i32, Timestamp, JobId),
    /// Its last priority.
    pub(super) to: i32,
}

impl Stretch {
    /// All of it.
    pub(super) const WHOLE: Self = Self { after: (i32::MIN, Timestamp::MIN, JobId(0)), to: i32::MAX };
}

#[derive(Debug, Default)]
struct Mark {
    /// What was claimed last of each priority.
    places: BTreeMap<i32, (Timestamp, JobId)>,
    /// How many looks at the whole have been long since one was not.
    long: u32,
    /// How long the last one took, and when it ended.
    last: Option<(Duration, Moment)>,
}

impl Mark {
    /// Whether a look at the whole is due that takes one part of so many of the time.
    fn is_due(&self, parts: u32, now: Moment) -> bool {
        let Some((took, ended)) = self.last.filter(|_| self.long >= IN_A_ROW) else { return true };
        now >= ended + took * (parts - 1)
    }
}

/// The marks of all queues that are claimed from.
#[derive(Debug)]
pub(super) struct Marks {
    /// A look that takes so long is long.
    long: Duration,
    queues: Mutex<FxHashMap<Name, Mark>>,
}

impl Marks {
    pub(super) fn new(long: Duration) -> Self {
        Self { long, queues: Mutex::default() }
    }

    /// What to look at, the lowest priority first; nothing when all of it is due.
    pub(super) fn stretches(&self, queue: &Name, now: Moment) -> Vec<Stretch> {
        let queues = self.queues.lock();
        let Some(mark) = queues.get(queue).filter(|mark| !mark.is_due(5, now)) else { return Vec::new() };
        let mut stretches = vec![Stretch::WHOLE];
        for (&priority, &(at, id)) in &mark.places {
            if let Some(last) = stretches.last_mut() {
                last.to = priority.saturating_sub(1);
            }
            stretches.push(Stretch { after: (priority, at, id), to: i32::MAX });
        }
        stretches
    }

    /// Whether to look at the whole when there was nothing in the stretches.
    pub(super) fn is_due(&self, queue: &Name, now: Moment) -> bool {
        self.queues.lock().get(queue).is_none_or(|mark| mark.is_due(2, now))
    }

    /// A look at the whole has ended.
    pub(super) fn looked(&self, queue: &Name, began: Moment, ended: Moment) {
        let mut queues = self.queues.lock();
        let mark = queues.entry(queue.clone()).or_default();
        let took = ended.since(began);
        mark.long = if took >= self.long { mark.long.saturating_add(1) } else { 0 };
        mark.last = Some((took, ended));
    }

    /// These jobs were claimed.
    pub(super) fn claimed(&self, queue: &Name, jobs: &[Job]) {
        let mut queues = self.queues.lock();
        let mark = queues.entry(queue.clone()).or_default();
        for job in jobs {
            let Some(now) = job.attempted_at else { continue };
            let place = (job.scheduled_at, job.id).min((now - OVERLAP, JobId(0)));
            let known = mark.places.entry(job.priority.0).or_insert(place);
            *known = (*known).max(place);
        }
        while mark.places.len() > PRIORITIES {
            mark.places.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Lease, Priority};
    use crate::state::State;

    const MILLI: Duration = Duration::from_millis(1);
    const LATE: i64 = 9_000_000;

    fn queue() -> Name {
        Name::queue("default").unwrap()
    }

    fn job(id: i64, priority: i32, scheduled_at: i64, attempted_at: i64) -> Job {
        Job {
            id: JobId(id),
            state: State::Executing,
            queue: queue(),
            worker: Name::worker("w").unwrap(),
            args: b"{}".as_slice().into(),
            priority: Priority(priority),
            attempt: 1,
            max_attempts: 3,
            lease: Lease(1),
            node: None,
            scheduled_at: Timestamp(scheduled_at),
            inserted_at: Timestamp(0),
            attempted_at: Some(Timestamp(attempted_at)),
            finished_at: None,
            timeout: None,
            details: None,
        }
    }

    /// Marks that have seen looks of so many milliseconds, one after the other; and when the last one ended.
    fn after(looks: &[u32]) -> (Marks, Moment) {
        let (marks, mut now) = (Marks::new(MILLI * 50), Moment(0));
        for millis in looks {
            let ended = now + MILLI * *millis;
            marks.looked(&queue(), now, ended);
            now = ended;
        }
        (marks, now)
    }

    #[test]
    fn all_of_a_queue_is_looked_at_until_looks_have_been_long_in_a_row() {
        for looks in [&[][..], &[1], &[1, 100, 100], &[100, 49, 100, 100], &[100, 100, 100, 2]] {
            let (marks, now) = after(looks);
            assert!(marks.stretches(&queue(), now).is_empty() && marks.is_due(&queue(), now), "{looks:?}");
        }
        let (marks, now) = after(&[100, 100, 100]);
        assert_eq!(marks.stretches(&queue(), now), [Stretch::WHOLE], "nothing is known to be behind");
        assert!(marks.stretches(&Name::queue("other").unwrap(), now).is_empty());
    }

    #[test]
    fn looks_at_the_whole_take_a_fifth_of_the_time_or_half_where_nothing_else_is_found() {
        let (marks, now) = after(&[50, 60, 100]);
        assert!(!marks.stretches(&queue(), now + MILLI * 399).is_empty());
        assert!(marks.stretches(&queue(), now + MILLI * 400).is_empty());
        assert!(!marks.is_due(&queue(), now + MILLI * 99));
        assert!(marks.is_due(&queue(), now + MILLI * 100));
    }

    #[test]
    fn the_stretches_are_all_of_the_queue_but_what_was_claimed() {
        let (marks, now) = after(&[100, 100, 100]);
        marks.claimed(&queue(), &[job(7, 5, 300, LATE), job(3, -1, 100, LATE), job(9, 5, 200, LATE)]);
        marks.claimed(&queue(), &[job(1, 5, 10, LATE)]);
        let stretches = marks.stretches(&queue(), now);
        let places = [Stretch::WHOLE.after, (-1, Timestamp(100), JobId(3)), (5, Timestamp(300), JobId(7))];
        assert_eq!(stretches.iter().map(|stretch| stretch.after).collect::<Vec<_>>(), places);
        assert_eq!(stretches.iter().map(|stretch| stretch.to).collect::<Vec<_>>(), [-2, 4, i32::MAX]);
    }

    #[test]
    fn what_overlapping_enqueues_may_show_late_is_looked_at_again() {
        let (marks, now) = after(&[100, 100, 100]);
        marks.claimed(&queue(), &[job(7, 0, 999_000, 1_000_000)]);
        assert_eq!(marks.stretches(&queue(), now)[1].after, (0, Timestamp(750_000), JobId(0)));
    }

    #[test]
    fn priorities_that_are_too_many_are_behind_the_last_that_is_known() {
        let (marks, now) = after(&[100, 100, 100]);
        marks.claimed(&queue(), &(0..20).map(|priority| job(1, priority, 10, LATE)).collect::<Vec<_>>());
        let stretches = marks.stretches(&queue(), now);
        assert_eq!((stretches.len(), stretches[PRIORITIES].after.0, stretches[PRIORITIES].to), (9, 7, i32::MAX));
    }
}
