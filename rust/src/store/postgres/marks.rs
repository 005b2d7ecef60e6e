//! Where claims begin to look while the server cannot clear away what they leave behind (ADR 0025).
//!
//! Each claim leaves a dead entry at the head of its queue's index. The next look clears it away, unless a snapshot may
//! still need it that somebody holds: a forgotten transaction, a backup, a follower that is behind. Then each look walks
//! over everything that was claimed since. Once looks take long, a claim begins behind what it claimed last of each
//! priority. Whatever came in front of that (retried, released, committed late) is found by a sweep from there into the
//! past, piece by piece, so that nobody waits long for one; pieces take a fifth of the time, or half of it where there is
//! nothing else.

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
/// How far the first piece of a sweep reaches into the past.
const FIRST: Duration = Duration::from_secs(1);
/// A piece that would reach so far takes all that is left, and so does the last one.
const PAST: Duration = Duration::from_secs(400 * 24 * 3600);
/// So many pieces of one priority at most.
const PIECES: u32 = 250;

/// A priority, and a place in the order of its jobs.
type Place = (i32, Timestamp, JobId);

/// The end of a priority.
const fn end_of(priority: i32) -> Place {
    (priority, Timestamp::MAX, JobId(i64::MAX))
}

/// What all of a priority is behind.
fn start_of(priority: i32) -> Place {
    priority.checked_sub(1).map_or(Stretch::WHOLE.after, end_of)
}

/// A part of a queue's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// It begins behind this.
    pub(super) after: Place,
    /// It ends with this.
    pub(super) to: Place,
    /// It is in front of what was claimed, or the whole: how long it takes counts.
    pub(super) in_front: bool,
}

impl Stretch {
    /// All of it.
    const WHOLE: Self = Self { after: (i32::MIN, Timestamp::MIN, JobId(0)), to: end_of(i32::MAX), in_front: true };
}

/// Where a sweep is.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    /// The next piece ends here: what is between this and the mark of its priority was looked at.
    to: Place,
    /// How far that reaches into the past.
    width: Duration,
    /// How many there were of this priority.
    pieces: u32,
    /// How long the longest took, of all priorities.
    longest: Duration,
    /// How long a piece of the first width takes, about: the way to the server, and what else every call waits for.
    way: Option<Duration>,
}

impl Sweep {
    fn from(to: Place, longest: Duration) -> Self {
        Self { to, width: FIRST, pieces: 1, longest, way: None }
    }

    fn piece(&self) -> Stretch {
        let (priority, at, _) = self.to;
        let rest = self.width >= PAST || self.pieces >= PIECES;
        let after = if rest { start_of(priority) } else { (priority, at - self.width, JobId(0)) };
        Stretch { after, to: self.to, in_front: true }
    }
}

#[derive(Debug, Default)]
struct Mark {
    /// What was claimed last of each priority.
    places: BTreeMap<i32, (Timestamp, JobId)>,
    /// How many looks at the whole have been long since one was not.
    long: u32,
    /// How long the last look in front took, and when it ended.
    last: Option<(Duration, Moment)>,
    sweep: Option<Sweep>,
}

impl Mark {
    /// Whether all of the queue is looked at each time.
    fn is_plain(&self) -> bool {
        self.long < IN_A_ROW || self.places.is_empty()
    }

    /// What is to be looked at in front, if that may take one part of so many of the time.
    fn front(&self, parts: u32, now: Moment) -> Option<Stretch> {
        if self.is_plain() {
            return Some(Stretch::WHOLE);
        }
        let is_due = self.last.is_none_or(|(took, ended)| now >= ended + took * (parts - 1));
        let sweep = self.sweep.or_else(|| self.place_behind(i32::MIN).map(|place| Sweep::from(place, Duration::ZERO)));
        sweep.filter(|_| is_due).map(|sweep| sweep.piece())
    }

    /// The mark of the first of these priorities.
    fn place_behind(&self, priority: i32) -> Option<Place> {
        self.places.range(priority..).next().map(|(&priority, &(at, id))| (priority, at, id))
    }

    /// A piece has been looked at: where the next one is, or none when all were.
    fn next(&self, piece: Stretch, took: Duration, long: Duration) -> Option<Sweep> {
        let Sweep { width, pieces, longest, way, .. } = self.sweep.unwrap_or(Sweep::from(piece.to, Duration::ZERO));
        let (longest, priority) = (longest.max(took), piece.to.0);
        if piece.after <= start_of(priority) {
            let next = priority.checked_add(1).and_then(|next| self.place_behind(next));
            return next.map(|place| Sweep::from(place, longest));
        }
        let way = if width == FIRST { Some(way.map_or(took, |way| (way + took) / 2)) } else { way };
        // Narrower pieces would spare nothing of the way, and be more of them.
        let width = match took.saturating_sub(way.unwrap_or_default()) {
            // What is dead of one second is not so much: the way to the server is long.
            _ if took > long && width == FIRST => PAST,
            rest if rest * 2 > long => (width / 2).max(FIRST),
            rest if rest * 4 < long => width * 2,
            _ => width,
        };
        Some(Sweep { to: piece.after, width, pieces: pieces + 1, longest, way })
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

    /// What to look at, in the order of the jobs there.
    pub(super) fn stretches(&self, queue: &Name, now: Moment) -> Vec<Stretch> {
        let queues = self.queues.lock();
        let Some(mark) = queues.get(queue).filter(|mark| !mark.is_plain()) else { return vec![Stretch::WHOLE] };
        let mut stretches = vec![Stretch { in_front: false, ..Stretch::WHOLE }];
        for (&priority, &(at, id)) in &mark.places {
            if let Some(last) = stretches.last_mut() {
                last.to = start_of(priority);
            }
            stretches.push(Stretch { after: (priority, at, id), to: end_of(i32::MAX), in_front: false });
        }
        stretches.extend(mark.front(5, now));
        stretches.sort_unstable_by_key(|stretch| stretch.after);
        stretches
    }

    /// What to look at when there was nothing in these stretches.
    pub(super) fn front(&self, queue: &Name, now: Moment) -> Option<Stretch> {
        self.queues.lock().get(queue).filter(|mark| !mark.is_plain())?.front(2, now)
    }

    /// A look has ended. One that is full found as many jobs as it might: there may be more.
    pub(super) fn looked(&self, queue: &Name, at: Stretch, is_full: bool, began: Moment, ended: Moment) {
        if !at.in_front {
            return;
        }
        let mut queues = self.queues.lock();
        let mark = queues.entry(queue.clone()).or_default();
        let took = ended.since(began);
        mark.last = Some((took, ended));
        if at == Stretch::WHOLE {
            mark.long = if took >= self.long { mark.long.saturating_add(1) } else { 0 };
            mark.sweep = None;
            return;
        }
        if is_full {
            mark.sweep.get_or_insert(Sweep::from(at.to, took));
            return;
        }
        let longest = mark.sweep.map_or(took, |sweep| sweep.longest.max(took));
        mark.sweep = mark.next(at, took, self.long);
        if mark.sweep.is_none() && longest * 4 < self.long {
            // Nothing dead is left, or little: a look at the whole will tell.
            mark.long = IN_A_ROW - 1;
        }
    }

    /// These jobs were claimed.
    pub(super) fn claimed(&self, queue: &Name, jobs: &[Job]) {
        // When the claim looked; a job that came back since is stamped later.
        let Some(now) = jobs.iter().filter_map(|job| job.attempted_at).min() else { return };
        let mut queues = self.queues.lock();
        let mark = queues.entry(queue.clone()).or_default();
        for job in jobs {
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

    /// Marks that have seen looks at the whole of so many milliseconds, one after the other, and claims of these jobs; and
    /// when the last look ended.
    fn after(looks: &[u32], jobs: &[Job]) -> (Marks, Moment) {
        let (marks, mut now) = (Marks::new(MILLI * 50), Moment(0));
        marks.claimed(&queue(), jobs);
        for millis in looks {
            now = look(&marks, Stretch::WHOLE, *millis, now);
        }
        (marks, now)
    }

    fn look(marks: &Marks, at: Stretch, millis: u32, now: Moment) -> Moment {
        let ended = now + MILLI * millis;
        marks.looked(&queue(), at, false, now, ended);
        ended
    }

    /// The pieces of one sweep that each take so long, until all of the queue is looked at again, or the sweep begins anew.
    fn sweep(marks: &Marks, mut now: Moment, takes: impl Fn(Stretch) -> u32) -> Vec<Stretch> {
        let mut pieces: Vec<Stretch> = Vec::new();
        now = now + MILLI * 1_000;
        while let Some(piece) = marks.front(&queue(), now)
            && pieces.first().is_none_or(|first| first.to != piece.to)
        {
            now = look(marks, piece, takes(piece), now) + MILLI * 10_000;
            pieces.push(piece);
            assert!(pieces.len() <= 4 * PIECES as usize, "it does not come to its end");
        }
        pieces
    }

    #[test]
    fn all_of_a_queue_is_looked_at_until_looks_have_been_long_in_a_row() {
        let jobs = [job(7, 0, 300, LATE)];
        for looks in [&[][..], &[1], &[1, 100, 100], &[100, 49, 100, 100], &[100, 100, 100, 2]] {
            let (marks, now) = after(looks, &jobs);
            assert_eq!(marks.stretches(&queue(), now), [Stretch::WHOLE], "{looks:?}");
        }
        let (marks, now) = after(&[100, 100, 100], &jobs);
        assert_eq!(marks.stretches(&queue(), now).len(), 2);
        assert_eq!(marks.stretches(&Name::queue("other").unwrap(), now), [Stretch::WHOLE]);
        let (marks, now) = after(&[100, 100, 100], &[]);
        assert_eq!(marks.stretches(&queue(), now), [Stretch::WHOLE], "nothing is known to be behind");
    }

    #[test]
    fn looks_in_front_take_a_fifth_of_the_time_or_half_where_nothing_else_is_found() {
        let (marks, now) = after(&[50, 60, 100], &[job(7, 0, 300, LATE)]);
        let is_in_front = |after| marks.stretches(&queue(), now + MILLI * after).iter().any(|stretch| stretch.in_front);
        assert!(!is_in_front(399) && is_in_front(400));
        assert!(marks.front(&queue(), now + MILLI * 99).is_none());
        assert!(marks.front(&queue(), now + MILLI * 100).is_some());
    }

    #[test]
    fn the_stretches_are_all_of_the_queue_but_what_was_claimed() {
        let jobs = [job(7, 5, 300, LATE), job(3, -1, 100, LATE), job(9, 5, 200, LATE)];
        let (marks, now) = after(&[100, 100, 100], &jobs);
        marks.claimed(&queue(), &[job(1, 5, 10, LATE)]);
        let stretches = marks.stretches(&queue(), now);
        let places = [Stretch::WHOLE.after, (-1, Timestamp(100), JobId(3)), (5, Timestamp(300), JobId(7))];
        assert_eq!(stretches.iter().map(|stretch| stretch.after).collect::<Vec<_>>(), places);
        assert_eq!(stretches.iter().map(|stretch| stretch.to).collect::<Vec<_>>(), [-2, 4, i32::MAX].map(end_of));
    }

    #[test]
    fn what_overlapping_enqueues_may_show_late_is_looked_at_again() {
        let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 999_000, 1_000_000)]);
        assert_eq!(marks.stretches(&queue(), now)[1].after, (0, Timestamp(750_000), JobId(0)));
    }

    #[test]
    fn a_job_that_came_back_since_the_claim_looked_does_not_move_its_time() {
        let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 900_000, 1_000_000), job(3, 0, 1_400_000, 1_400_000)]);
        assert_eq!(marks.stretches(&queue(), now)[1].after, (0, Timestamp(750_000), JobId(0)));
    }

    #[test]
    fn priorities_that_are_too_many_are_behind_the_last_that_is_known() {
        let jobs: Vec<_> = (0..20).map(|priority| job(1, priority, 10, LATE)).collect();
        let (marks, now) = after(&[100, 100, 100], &jobs);
        let stretches = marks.stretches(&queue(), now);
        assert_eq!(
            (stretches.len(), stretches[PRIORITIES].after.0, stretches[PRIORITIES].to),
            (9, 7, end_of(i32::MAX))
        );
    }

    #[test]
    fn a_sweep_looks_at_everything_in_front_of_each_mark_once_and_at_nothing_twice() {
        let jobs = [job(7, 5, 300, LATE), job(3, i32::MIN, 100, LATE)];
        for takes in [0, 20, 40, 60] {
            let (marks, now) = after(&[100, 100, 100], &jobs);
            let pieces = sweep(&marks, now, |_| takes);
            for (priority, place) in
                [(i32::MIN, (i32::MIN, Timestamp(100), JobId(3))), (5, (5, Timestamp(300), JobId(7)))]
            {
                let of: Vec<_> = pieces.iter().filter(|piece| piece.to.0 == priority).collect();
                assert!(of.len() <= PIECES as usize && of[0].to == place, "{takes}: {of:?}");
                assert!(of.iter().all(|piece| piece.after < piece.to), "{takes}: {of:?}");
                assert!(of.windows(2).all(|pair| pair[1].to == pair[0].after), "{takes}: {of:?}");
                assert_eq!(of.last().unwrap().after, start_of(priority), "{takes}");
            }
        }
    }

    #[test]
    fn a_piece_that_may_have_more_than_a_claim_takes_is_looked_at_until_it_has_none() {
        let (marks, mut now) = after(&[100, 100, 100], &[job(7, 0, LATE, LATE)]);
        let mut piece_after = |millis: u32, is_full: bool| {
            now = now + MILLI * 10_000;
            let piece = marks.front(&queue(), now).unwrap();
            marks.looked(&queue(), piece, is_full, now, now + MILLI * millis);
            piece
        };
        let first = piece_after(1, true);
        // What was claimed since does not move it.
        marks.claimed(&queue(), &[job(8, 0, 2 * LATE, 2 * LATE)]);
        assert_eq!([piece_after(60, true), piece_after(1, false)], [first; 2]);
        let second = piece_after(1, true);
        assert_eq!(second.to, first.after);
        assert_eq!([piece_after(1, true), piece_after(1, false)], [second; 2]);
        assert_eq!(piece_after(1, false).to, second.after);
    }

    #[test]
    fn pieces_are_as_wide_as_they_are_quick() {
        // Two hours of entries, and nothing before: two seconds of the first take 1 ms, ten of the second.
        const HOUR: i64 = 3_600_000_000;
        let until = |at: i64| at.clamp(0, HOUR) / 2_000_000 + (at - HOUR).clamp(0, HOUR) / 10_000_000;
        let takes = |piece: Stretch| {
            let from = if piece.after.0 < piece.to.0 { 0 } else { piece.after.1.0 };
            u32::try_from(until(piece.to.1.0) - until(from)).unwrap()
        };
        let (marks, now) = after(&[100, 100, 100], &[job(1, 0, 2 * HOUR, 3 * HOUR)]);
        let millis: Vec<_> = sweep(&marks, now, takes).into_iter().map(takes).collect();
        assert_eq!(millis.iter().sum::<u32>(), 1_800 + 360);
        // Where it becomes dense, the pieces become narrow.
        assert!(millis.iter().filter(|millis| **millis > 50).count() <= 2, "{millis:?}");
        assert!(millis.len() < PIECES as usize, "{millis:?}");
    }

    #[test]
    fn pieces_of_one_priority_are_no_more_than_so_many() {
        // A thousand seconds, of which two at once take too long.
        let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 1_000_000_000, 2_000_000_000)]);
        let takes = |piece: Stretch| if piece.to.1.since(piece.after.1) == FIRST { 10 } else { 40 };
        assert_eq!(sweep(&marks, now, takes).len(), PIECES as usize);
    }

    #[test]
    fn the_way_to_the_server_is_what_the_narrowest_pieces_take_in_the_mean() {
        let (marks, mut now) = after(&[100, 100, 100], &[job(7, 0, 1_000_000_000, 2_000_000_000)]);
        let mut seconds = |takes| {
            now = now + MILLI * 10_000;
            let piece = marks.front(&queue(), now).unwrap();
            now = look(&marks, piece, takes, now);
            piece.to.1.since(piece.after.1).as_secs()
        };
        // The way is 20 ms, and 25 ms after the third: what is left of the fourth is half of what is long.
        assert_eq!([20, 46, 30, 50, 0].map(&mut seconds), [1, 2, 1, 2, 2]);
    }

    #[test]
    fn where_the_server_is_far_away_a_sweep_has_two_pieces() {
        let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 300, LATE)]);
        assert_eq!(sweep(&marks, now, |_| 60).len(), 2);
    }

    #[test]
    fn where_the_way_to_the_server_takes_most_of_a_piece_pieces_are_few() {
        for way in [12, 13, 25, 26, 49] {
            let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 300, LATE)]);
            let pieces = sweep(&marks, now, |_| way).len();
            assert!(pieces < 30, "{pieces} pieces, {way} ms away");
        }
    }

    #[test]
    fn when_a_sweep_has_met_nothing_long_a_look_at_the_whole_tells_whether_all_is_as_before() {
        for (millis, plain) in [(12, true), (13, false)] {
            let (marks, mut now) = after(&[100, 100, 100], &[job(7, 0, 300, LATE)]);
            let pieces = sweep(&marks, now, |piece| if piece.after.0 < 0 { 1 } else { millis });
            now = now + MILLI * 1_000_000;
            assert_eq!(marks.stretches(&queue(), now) == [Stretch::WHOLE], plain, "{pieces:?}");
        }
        let (marks, now) = after(&[100, 100, 100], &[job(7, 0, 300, LATE)]);
        sweep(&marks, now, |_| 1);
        let now = look(&marks, Stretch::WHOLE, 50, now + MILLI * 1_000_000);
        assert_ne!(marks.stretches(&queue(), now), [Stretch::WHOLE], "it was long once more");
    }
}
