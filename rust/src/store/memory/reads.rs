//! Reads, and the one matcher of filters that reads and bulk verbs share.

use crate::job::{Job, JobId, Name};
use crate::queue::jobs::Row;
use crate::queue::names::Symbol;
use crate::store::memory::index::Settings;
use crate::store::memory::tables::Tables;
use crate::store::{Filter, Order, QueueRow};

/// A filter with its names looked up.
struct Matcher<'a> {
    filter: &'a Filter,
    queue: Option<Symbol>,
    worker: Option<Symbol>,
}

impl<'a> Matcher<'a> {
    /// Nothing when the filter names a queue or worker that no job has.
    fn new(tables: &Tables, filter: &'a Filter) -> Option<Self> {
        let queue = match &filter.queue {
            Some(name) => Some(tables.index.queues.find(name)?),
            None => None,
        };
        let worker = match &filter.worker {
            Some(name) => Some(tables.index.workers.find(name)?),
            None => None,
        };
        Some(Self { filter, queue, worker })
    }

    fn matches(&self, row: &Row) -> bool {
        let Filter { states, tags, unique_key, .. } = self.filter;
        (states.is_empty() || states.contains(&row.state))
            && self.queue.is_none_or(|queue| queue == row.queue)
            && self.worker.is_none_or(|worker| worker == row.worker)
            && unique_key.as_ref().is_none_or(|key| row.unique_key().is_some_and(|has| **has == **key))
            && (tags.is_empty() || row.details.as_ref().is_some_and(|d| tags.iter().all(|tag| d.tags.contains(tag))))
    }
}

impl Tables {
    /// The ids of the jobs that match the filter and `also`, in the filter's order, up to its limit.
    pub(super) fn matching(&self, filter: &Filter, also: impl Fn(&Row) -> bool) -> Vec<JobId> {
        self.select(filter, also).into_iter().map(|(id, _)| id).collect()
    }

    pub(super) fn get(&self, ids: &[JobId]) -> Vec<Job> {
        let rows = sorted(ids).into_iter().filter_map(|id| Some((id, self.jobs.get(id)?)));
        rows.filter_map(|(id, row)| self.index.job(id, row)).collect()
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Job> {
        self.select(filter, |_| true).into_iter().filter_map(|(id, row)| self.index.job(id, row)).collect()
    }

    pub(super) fn count(&self, filter: &Filter) -> u64 {
        let counted =
            Filter { states: Vec::new(), queue: None, limit: None, order: Order::default(), ..filter.clone() };
        if counted == Filter::default() {
            let counts = self.count_by_state(filter.queue.as_ref());
            let wanted = |state: &crate::state::State| filter.states.is_empty() || filter.states.contains(state);
            return crate::state::State::ALL
                .iter()
                .filter(|s| wanted(s))
                .map(|s| counts[usize::from(s.number())])
                .sum();
        }
        self.select(&Filter { limit: None, ..filter.clone() }, |_| true).len() as u64
    }

    pub(super) fn count_by_state(&self, queue: Option<&Name>) -> [u64; 7] {
        let Some(name) = queue else { return self.index.counts };
        let symbol = self.index.queues.find(name);
        symbol.and_then(|symbol| self.index.queues.get(symbol)).map(|(_, queue)| queue.counts).unwrap_or_default()
    }

    pub(super) fn queues(&self) -> Vec<QueueRow> {
        let known = self.index.queues.iter();
        let mut rows: Vec<_> = known
            .filter(|(_, jobs, queue)| *jobs > 0 || queue.settings != Settings::default())
            .map(|(name, _, queue)| QueueRow {
                name: name.clone(),
                paused: queue.settings.paused,
                concurrency: queue.settings.concurrency,
                counts: queue.counts,
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    fn select(&self, filter: &Filter, also: impl Fn(&Row) -> bool) -> Vec<(JobId, &Row)> {
        let Some(matcher) = Matcher::new(self, filter) else { return Vec::new() };
        let fits = |row: &Row| also(row) && matcher.matches(row);
        let limit = filter.limit.unwrap_or(usize::MAX);
        let (first, last) = self.span(filter);
        if first > last {
            return Vec::new();
        }
        if let Some(ids) = &filter.ids {
            let ids = sorted(ids).into_iter().filter(|id| (first..=last).contains(id));
            let rows = ids.filter_map(|id| Some((id, self.jobs.get(id)?)));
            return ordered(rows, filter.order, fits, limit);
        }
        ordered(self.jobs.range(first, last), filter.order, fits, limit)
    }

    /// The ids that the filter's cursor leaves.
    fn span(&self, filter: &Filter) -> (JobId, JobId) {
        match (filter.after, filter.order) {
            (None, _) => (JobId(1), self.last_id()),
            (Some(JobId(after)), Order::OldestFirst) => (JobId(after.saturating_add(1)), self.last_id()),
            (Some(JobId(after)), Order::NewestFirst) => (JobId(1), JobId(after.saturating_sub(1)).min(self.last_id())),
        }
    }
}

fn ordered<'a>(
    rows: impl DoubleEndedIterator<Item = (JobId, &'a Row)>,
    order: Order,
    fits: impl Fn(&Row) -> bool,
    limit: usize,
) -> Vec<(JobId, &'a Row)> {
    let fits = |(_, row): &(JobId, &Row)| fits(row);
    match order {
        Order::OldestFirst => rows.filter(fits).take(limit).collect(),
        Order::NewestFirst => rows.rev().filter(fits).take(limit).collect(),
    }
}

fn sorted(ids: &[JobId]) -> Vec<JobId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
