//! The job table: rows by id.
//!
//! Ids are dense, so rows live in chunks of 16, chunks in pages of 64, and pages in a B-tree: a look-up costs little more
//! than an index, growth never copies rows, ids come in order, and what is empty is given back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Details, Job, JobId, Lease, Name, NodeId, Payload, Priority};
use crate::queue::leases::Holder;
use crate::queue::names::Symbol;
use crate::state::State;
use crate::sync::Arc;

const ROWS: usize = 16;
const CHUNKS: usize = 64;
const ROWS_I32: i32 = 1 << ROW_BITS;
const CHUNKS_I32: i32 = 1 << (PAGE_BITS - ROW_BITS);
const ROW_BITS: u32 = ROWS.trailing_zeros();
const PAGE_BITS: u32 = ROW_BITS + CHUNKS.trailing_zeros();

/// Stands for "none" among stored times: earlier than any real one.
const NEVER: Timestamp = Timestamp(i64::MIN);

/// Stands for "no limit" among stored timeouts.
const UNLIMITED: u64 = u64::MAX;

/// How the latest lease of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Not by an ack: it runs, was taken back, never ran, or was started again by hand.
    Otherwise,
    /// By an ack.
    ByAck,
}

/// One job in 96 bytes, beside its payload and the details that most jobs do not have.
#[derive(Debug)]
pub struct Row {
    /// The arguments.
    pub args: Payload,
    /// What most jobs do not have.
    pub details: Option<Arc<Details>>,
    /// When it is or was due.
    pub scheduled_at: Timestamp,
    /// When it was enqueued.
    pub inserted_at: Timestamp,
    attempted_at: Timestamp,
    finished_at: Timestamp,
    timeout_nanos: u64,
    /// Lower runs first.
    pub priority: Priority,
    /// 0 before the first run.
    pub attempt: u32,
    /// How often it may run.
    pub max_attempts: u32,
    /// How often it has been claimed.
    pub lease: Lease,
    /// Its queue.
    pub queue: Symbol,
    /// Its worker.
    pub worker: Symbol,
    /// Who has its latest lease; means nothing before the first claim.
    pub holder: Holder,
    /// Where it is in its life.
    pub state: State,
    /// How its latest lease ended.
    pub ended: Ended,
}

/// What a row begins with.
#[derive(Debug)]
pub struct Start {
    /// Its queue.
    pub queue: Symbol,
    /// Its worker.
    pub worker: Symbol,
    /// The arguments.
    pub args: Payload,
    /// Lower runs first.
    pub priority: Priority,
    /// How often it may run.
    pub max_attempts: u32,
    /// The limit of one attempt.
    pub timeout: Option<Duration>,
    /// What most jobs do not have.
    pub details: Option<Arc<Details>>,
    /// Available or scheduled.
    pub state: State,
    /// When it is due.
    pub scheduled_at: Timestamp,
    /// Now.
    pub inserted_at: Timestamp,
}

impl Row {
    /// A job that has not run yet.
    pub fn new(start: Start) -> Self {
        let nanos = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(UNLIMITED);
        Self {
            args: start.args,
            details: start.details,
            scheduled_at: start.scheduled_at,
            inserted_at: start.inserted_at,
            attempted_at: NEVER,
            finished_at: NEVER,
            timeout_nanos: start.timeout.map_or(UNLIMITED, nanos),
            priority: start.priority,
            attempt: 0,
            max_attempts: start.max_attempts,
            lease: Lease(0),
            queue: start.queue,
            worker: start.worker,
            holder: Holder::NOBODY,
            state: start.state,
            ended: Ended::Otherwise,
        }
    }

    /// The details, made when there were none.
    pub fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(self.details.get_or_insert_default())
    }

    /// The unique key it was enqueued with.
    pub fn unique_key(&self) -> Option<&crate::sync::Arc<str>> {
        self.details.as_ref()?.unique_key.as_ref()
    }

    /// Whether somebody wants it cancelled while it runs.
    pub fn is_cancel_requested(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.cancel_requested)
    }

    /// When its last attempt was claimed.
    pub fn set_attempted_at(&mut self, at: Timestamp) {
        self.attempted_at = at;
    }

    /// When it reached its final state.
    pub fn finished_at(&self) -> Option<Timestamp> {
        known(self.finished_at)
    }

    /// Sets or clears the time of its final state.
    pub fn set_finished_at(&mut self, at: Option<Timestamp>) {
        self.finished_at = at.unwrap_or(NEVER);
    }

    /// The job as others see it.
    pub fn to_job(&self, id: JobId, queue: Name, worker: Name, node: Option<NodeId>) -> Job {
        Job {
            id,
            state: self.state,
            queue,
            worker,
            args: self.args.clone(),
            priority: self.priority,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            lease: self.lease,
            node,
            scheduled_at: self.scheduled_at,
            inserted_at: self.inserted_at,
            attempted_at: known(self.attempted_at),
            finished_at: known(self.finished_at),
            timeout: (self.timeout_nanos != UNLIMITED).then(|| Duration::from_nanos(self.timeout_nanos)),
            details: self.details.clone(),
        }
    }
}

fn known(at: Timestamp) -> Option<Timestamp> {
    (at != NEVER).then_some(at)
}

#[derive(Debug)]
struct Chunk {
    rows: [Option<Row>; ROWS],
    used: usize,
}

#[derive(Debug)]
struct Page {
    chunks: [Option<Box<Chunk>>; CHUNKS],
    used: usize,
}

/// All rows, by id.
#[derive(Debug, Default)]
pub struct Jobs {
    pages: BTreeMap<i64, Box<Page>>,
    len: usize,
}

impl Jobs {
    /// Adds a row; an id is given once only.
    pub fn insert(&mut self, id: JobId, row: Row) {
        let (page, chunk, place) = address(id);
        let page =
            self.pages.entry(page).or_insert_with(|| Box::new(Page { chunks: [const { None }; CHUNKS], used: 0 }));
        if page.chunks[chunk].is_none() {
            page.used += 1;
        }
        let chunk = page.chunks[chunk].get_or_insert_with(|| Box::new(Chunk { rows: [const { None }; ROWS], used: 0 }));
        if chunk.rows[place].replace(row).is_none() {
            chunk.used += 1;
            self.len += 1;
        }
    }

    /// The row with that id.
    pub fn get(&self, id: JobId) -> Option<&Row> {
        let (page, chunk, place) = address(id);
        self.pages.get(&page)?.chunks[chunk].as_ref()?.rows[place].as_ref()
    }

    /// The row with that id, to change.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Row> {
        let (page, chunk, place) = address(id);
        self.pages.get_mut(&page)?.chunks[chunk].as_mut()?.rows[place].as_mut()
    }

    /// Takes a row out, and gives back the space that becomes empty.
    pub fn remove(&mut self, id: JobId) -> Option<Row> {
        let (number, chunk_number, place) = address(id);
        let page = self.pages.get_mut(&number)?;
        let chunk = page.chunks[chunk_number].as_mut()?;
        let row = chunk.rows[place].take()?;
        self.len -= 1;
        chunk.used -= 1;
        if chunk.used == 0 {
            page.chunks[chunk_number] = None;
            page.used -= 1;
            if page.used == 0 {
                self.pages.remove(&number);
            }
        }
        Some(row)
    }

    /// Rows with an id in `first..=last`, in order from either end. The cost is that of the pages in the range.
    pub fn range(&self, first: JobId, last: JobId) -> impl DoubleEndedIterator<Item = (JobId, &Row)> {
        // A range that is empty has no pages; a B-tree refuses to be asked for one that runs backwards.
        let pages = address(first).0..=address(last).0.max(address(first).0);
        self.pages
            .range(pages)
            .flat_map(|(number, page)| {
                let base = number << PAGE_BITS;
                let chunks = (0..CHUNKS_I32).zip(&page.chunks[..]);
                chunks.filter_map(move |(n, chunk)| Some((base + (i64::from(n) << ROW_BITS), chunk.as_deref()?)))
            })
            .flat_map(|(base, chunk)| {
                let rows = (0..ROWS_I32).zip(&chunk.rows[..]);
                rows.filter_map(move |(n, row)| Some((JobId(base + i64::from(n)), row.as_ref()?)))
            })
            .filter(move |(id, _)| (first..=last).contains(id))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Page, chunk within the page, and place within the chunk.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "masked to fewer bits than any type here")]
fn address(JobId(id): JobId) -> (i64, usize, usize) {
    (id >> PAGE_BITS, (id >> ROW_BITS) as usize & (CHUNKS - 1), id as usize & (ROWS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::names::Names;

    fn row(mark: i32) -> Row {
        let symbol = Names::<()>::default().intern(&Name::stored("q"));
        Row::new(Start {
            queue: symbol,
            worker: symbol,
            args: b"{}".as_slice().into(),
            priority: Priority(mark),
            max_attempts: 3,
            timeout: None,
            details: None,
            state: State::Available,
            scheduled_at: Timestamp(5),
            inserted_at: Timestamp(4),
        })
    }

    fn table(ids: &[i64]) -> Jobs {
        let mut jobs = Jobs::default();
        for id in ids {
            jobs.insert(JobId(*id), row(i32::try_from(*id).unwrap()));
        }
        jobs
    }

    fn seen(row: &Row) -> Job {
        row.to_job(JobId(7), Name::stored("q"), Name::stored("w"), Some(NodeId(1)))
    }

    #[test]
    fn a_new_row_has_not_run_and_tells_what_it_was_given() {
        let job = seen(&row(-2));
        assert_eq!((job.id, job.queue.as_str(), job.worker.as_str(), job.node), (JobId(7), "q", "w", Some(NodeId(1))));
        assert_eq!((job.state, job.priority, job.attempt, job.max_attempts), (State::Available, Priority(-2), 0, 3));
        assert_eq!((job.scheduled_at, job.inserted_at, &*job.args), (Timestamp(5), Timestamp(4), b"{}".as_slice()));
        assert_eq!((job.lease, job.attempted_at, job.finished_at, job.timeout), (Lease(0), None, None, None));
        assert_eq!((job.details, row(0).holder, row(0).ended), (None, Holder::NOBODY, Ended::Otherwise));
    }

    #[test]
    fn times_and_limits_are_kept_and_cleared() {
        let mut one = row(0);
        one.timeout_nanos = 1_500_000_000;
        one.set_attempted_at(Timestamp(6));
        one.set_finished_at(Some(Timestamp(0)));
        assert_eq!(one.finished_at(), Some(Timestamp(0)));
        let job = seen(&one);
        assert_eq!((job.attempted_at, job.finished_at), (Some(Timestamp(6)), Some(Timestamp(0))));
        assert_eq!(job.timeout, Some(Duration::from_millis(1500)));
        one.set_finished_at(None);
        assert_eq!((one.finished_at(), seen(&one).finished_at), (None, None));
    }

    #[test]
    fn rare_parts_are_there_once_they_are_written() {
        let mut one = row(0);
        assert_eq!((one.unique_key(), one.is_cancel_requested()), (None, false));
        one.details_mut().unique_key = Some("k".into());
        assert_eq!((one.unique_key().map(|key| &**key), one.is_cancel_requested()), (Some("k"), false));
        one.details_mut().cancel_requested = true;
        assert_eq!((one.unique_key().map(|key| &**key), one.is_cancel_requested()), (Some("k"), true));
    }

    #[test]
    fn a_row_is_found_and_changed_where_it_was_put() {
        let ids = [1, 2, 16, 17, 1023, 1024, 1025, 70_000];
        let mut jobs = table(&ids);
        assert_eq!((jobs.len(), jobs.is_empty(), Jobs::default().is_empty()), (ids.len(), false, true));
        for id in ids {
            assert_eq!(jobs.get(JobId(id)).map(|row| i64::from(row.priority.0)), Some(id));
            jobs.get_mut(JobId(id)).unwrap().attempt = 9;
            assert_eq!(jobs.get(JobId(id)).unwrap().attempt, 9);
        }
        for id in [0, 3, 18, 33, 2047, 2048, 69_999] {
            assert!(
                jobs.get(JobId(id)).is_none() && jobs.get_mut(JobId(id)).is_none() && jobs.remove(JobId(id)).is_none()
            );
        }
        jobs.insert(JobId(2), row(-1));
        assert_eq!((jobs.len(), jobs.remove(JobId(2)).unwrap().priority), (ids.len(), Priority(-1)));
        assert_eq!(jobs.len(), ids.len() - 1);
    }

    #[test]
    fn a_range_has_its_ends_and_runs_both_ways() {
        let ids = [1, 2, 16, 17, 1023, 1024, 1025, 70_000];
        let jobs = table(&ids);
        let range = |first, last| jobs.range(JobId(first), JobId(last)).map(|(id, _)| id.0);
        assert!(jobs.range(JobId(1), JobId(70_000)).all(|(id, row)| id.0 == i64::from(row.priority.0)));
        assert_eq!(range(0, i64::MAX).collect::<Vec<_>>(), ids);
        assert_eq!(range(2, 1024).collect::<Vec<_>>(), ids[1..6]);
        assert_eq!(range(2, 1024).rev().collect::<Vec<_>>(), [1024, 1023, 17, 16, 2]);
        assert_eq!((range(3, 15).count(), range(1024, 2).count(), range(5000, 6000).count()), (0, 0, 0));
    }

    #[test]
    fn what_is_empty_is_given_back() {
        let mut jobs = table(&[1, 2, 17, 1024]);
        let chunks = |jobs: &Jobs| jobs.pages.get(&0).map(|page| page.chunks.iter().flatten().count());
        assert_eq!((jobs.pages.len(), chunks(&jobs)), (2, Some(2)));
        jobs.remove(JobId(1));
        assert_eq!(chunks(&jobs), Some(2));
        jobs.remove(JobId(2));
        assert_eq!((jobs.pages.len(), chunks(&jobs)), (2, Some(1)));
        jobs.remove(JobId(17));
        assert_eq!((jobs.pages.len(), chunks(&jobs)), (1, None));
        jobs.remove(JobId(1024));
        assert!(jobs.pages.is_empty() && jobs.is_empty());
    }
}
