//! Verbs on all jobs that match, some at a time.
//!
//! A hundred thousand jobs in one transaction would hold up everybody else's writes, or take longer than a call may, and
//! then nothing would have come of it. So each call has a page of them, and what a call has done stays when a later one
//! fails: the verbs are atomic per job.

use crate::error::Result;
use crate::job::JobId;
use crate::store::{Cancelled, Filter, Order, Retention, Retried, Store};

/// How many jobs a call has at most: a tenth of a second's work for SQLite and for PostgreSQL. Smaller pages take longer in
/// all, since each call looks through all that match.
pub const PAGE: usize = 10_000;

/// *cancel*: all jobs that match.
pub fn cancel(store: &dyn Store, filter: &Filter, size: usize) -> Result<Vec<Cancelled>> {
    let id = |reply: &Cancelled| match reply {
        Cancelled::Done(id) | Cancelled::Requested(id) => *id,
    };
    replies(filter, size, id, |page| store.cancel(page))
}

/// *retry*: all jobs that match.
pub fn retry(store: &dyn Store, filter: &Filter, size: usize) -> Result<Vec<Retried>> {
    let id = |reply: &Retried| match reply {
        Retried::Done(id) | Retried::KeyTaken { id, .. } => *id,
    };
    replies(filter, size, id, |page| store.retry(page))
}

/// Deletes all jobs that match and do not run; says how many.
pub fn delete(store: &dyn Store, filter: &Filter, size: usize) -> Result<usize> {
    let mut deleted = 0;
    for mut page in parts(filter, size) {
        loop {
            let most = next(filter, size, deleted);
            page.limit = Some(most);
            // What is deleted matches no more: the next call needs no cursor.
            let now = if most == 0 { 0 } else { store.delete(&page)? };
            deleted += now;
            if now < size {
                break;
            }
        }
    }
    Ok(deleted)
}

/// *prune*: all final jobs that are older than their retention; says how many.
pub fn prune(store: &dyn Store, retention: &Retention, size: usize) -> Result<usize> {
    let mut pruned = 0;
    loop {
        let now = store.prune(retention, size)?;
        pruned += now;
        if now < size {
            return Ok(pruned);
        }
    }
}

fn replies<T>(
    filter: &Filter,
    size: usize,
    id: impl Fn(&T) -> JobId,
    verb: impl Fn(&Filter) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for mut page in parts(filter, size) {
        loop {
            let most = next(filter, size, all.len());
            page.limit = Some(most);
            let mut now = if most == 0 { Vec::new() } else { verb(&page)? };
            page.after = now.last().map(&id);
            let is_last = now.len() < size;
            all.append(&mut now);
            if is_last {
                break;
            }
        }
    }
    Ok(all)
}

/// How many the next call may have.
fn next(filter: &Filter, size: usize, done: usize) -> usize {
    filter.limit.map_or(size, |most| most.saturating_sub(done).min(size))
}

/// The filter with as many ids as a page has, in its order: a call is sent them all.
fn parts(filter: &Filter, size: usize) -> Vec<Filter> {
    let Some(ids) = &filter.ids else { return vec![filter.clone()] };
    let mut ids = ids.clone();
    ids.sort_unstable();
    ids.dedup();
    if filter.order == Order::NewestFirst {
        ids.reverse();
    }
    let rest = Filter { ids: None, ..filter.clone() };
    ids.chunks(size).map(|some| Filter { ids: Some(some.to_vec()), ..rest.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_call_has_more_than_a_page_and_all_calls_together_have_what_one_would_have(
            jobs in 0_i64..40, size in 1_usize..9, limit in proptest::option::of(0_usize..40), is_named: bool,
            newest_first: bool,
        ) {
            let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
            let ids = is_named.then(|| (0..jobs).map(|id| JobId(id * 7 % 41)).collect());
            let filter = Filter { ids, order, limit, ..Filter::default() };
            let most = RefCell::new(0);
            let one = |filter: &Filter| {
                let named = |id: &JobId| filter.ids.as_ref().is_none_or(|ids| ids.contains(id));
                let comes = |id: &JobId| filter.after.is_none_or(|after| if newest_first { *id < after } else { *id > after });
                let mut met: Vec<JobId> = (0..jobs).map(JobId).filter(|id| named(id) && comes(id)).collect();
                if newest_first {
                    met.reverse();
                }
                met.truncate(filter.limit.unwrap_or(usize::MAX));
                met
            };
            let paged = replies(&filter, size, |id| *id, |page| {
                let met = one(page);
                most.replace_with(|most| met.len().max(*most));
                Ok(met)
            });
            prop_assert_eq!(paged.unwrap(), one(&filter));
            prop_assert!(most.into_inner() <= size);
        }
    }
}
