//! Which changes of rows a call may make.

use std::sync::Arc;
use std::time::Duration;

use zjobs_engine::job::{Job, JobId};
use zjobs_engine::limits;
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::{Event, State, TRANSITIONS};
use zjobs_engine::store::{Enqueued, Filter, Retention, Store, Ticked};

use super::{Chronicle, Did, Oracle, place};

/// Calls after which only live rows are read; every so many looks all of them are.
const FULL_LOOK: u32 = 16;

impl Oracle {
    /// Reads the rows again and judges every difference.
    pub(super) fn look(&mut self, did: &Did<'_>, store: &dyn Store) {
        self.looks += 1;
        let full = self.looks.is_multiple_of(FULL_LOOK)
            || matches!(did, Did::Retry { .. } | Did::Delete { .. } | Did::Prune { .. });
        let states = if full { Vec::new() } else { live() };
        let rows = store.list(&Filter { states, ..Filter::default() }).unwrap_or_default();
        for row in rows {
            self.compare(did, row);
        }
        let gone = |row: &&Job| !self.has_seen(row.id) && (full || row.state.is_live());
        let mut gone: Vec<JobId> = self.rows().filter(gone).map(|row| row.id).collect();
        // A job may be superseded by the next one of its own batch.
        gone.extend(fresh(did).filter(|id| !self.has_seen(*id) && self.row(*id).is_none()));
        if gone.is_empty() {
            return;
        }
        let mut found = store.get(&gone).unwrap_or_default().into_iter().peekable();
        for id in gone {
            match found.next_if(|row| row.id == id) {
                Some(row) => self.compare(did, row),
                None => self.removed(did, id),
            }
        }
    }

    fn compare(&mut self, did: &Did<'_>, mut new: Job) {
        let at = place(new.id);
        if self.rows.len() <= at {
            self.rows.resize_with(at + 1, || None);
            self.seen.resize(at + 1, 0);
            self.chronicles.resize_with(at + 1, Chronicle::default);
        }
        self.seen[at] = self.looks;
        if let Some(mut old) = self.rows[at].take() {
            if !is_unchanged(&mut old, &mut new) {
                self.chronicles[at].untouched = false;
                self.changed(did, &old, &new);
                self.sound(&new);
            }
        } else {
            self.appeared(did, &new);
            self.sound(&new);
        }
        self.rows[at] = Some(new);
    }

    fn has_seen(&self, id: JobId) -> bool {
        self.seen.get(place(id)) == Some(&self.looks)
    }

    fn appeared(&mut self, did: &Did<'_>, new: &Job) {
        let replied = match did {
            Did::Enqueue { got: Ok(enqueued), .. } => enqueued.iter().any(|one| !one.conflict && one.job.id == new.id),
            Did::Tick { got: Ok(Ticked::Inserted(Some(one))), .. } => !one.conflict && one.job.id == new.id,
            _ => false,
        };
        self.require(replied, 2, || format!("job {} appeared and no call replied with it", new.id));
        let started = new.attempt == 0 && new.lease.0 == 0;
        self.require(started, 12, || format!("job {} began with an attempt or a lease", new.id));
    }

    fn removed(&mut self, did: &Did<'_>, id: JobId) {
        let Some(old) = self.rows.get_mut(place(id)).and_then(Option::take) else { return };
        match did {
            Did::Delete { filter } => {
                let meant = filter.ids.as_ref().is_none_or(|ids| ids.contains(&id));
                self.require(meant && old.state != State::Executing, 12, || {
                    format!("job {id} was {} and may not be deleted", old.state)
                });
            }
            Did::Prune { retention, .. } => {
                let now = self.now;
                let old_enough = match (kept(retention, old.state), old.finished_at) {
                    (Some(kept), Some(finished)) => finished + kept <= now,
                    _ => false,
                };
                self.require(old_enough, 24, || format!("job {id}, {}, was pruned", old.state));
            }
            _ => self.fail(1, || format!("job {id}, {}, is gone", old.state)),
        }
    }

    /// Judges a difference between two looks at a row.
    fn changed(&mut self, did: &Did<'_>, old: &Job, new: &Job) {
        let id = new.id;
        self.fixed(did, old, new);
        if matches!(did, Did::Rescue { .. }) {
            self.rescued(old, new);
        }
        let Some(event) = Self::event(did, old, new) else {
            self.flagged(did, old, new);
            return;
        };
        let moves = TRANSITIONS.iter().find(|row| row.from == old.state && row.event == event && row.to == new.state);
        let Some(moves) = moves else {
            self.fail(12, || format!("job {id} went from {} to {} by {event}", old.state, new.state));
            return;
        };
        let lease = old.lease.0 + u32::from(moves.lease);
        self.require(new.lease.0 == lease, 4, || {
            format!("job {id}: lease {} -> {} by {event}", old.lease.0, new.lease.0)
        });
        let refunded = event == Event::Rescue || event == Event::Cancel;
        let expected = old.attempt.saturating_add_signed(i32::from(moves.attempt));
        let counted = new.attempt == expected
            || (refunded && old.state == State::Executing && self.departed(old) && new.attempt + 1 == old.attempt);
        self.require(counted, 13, || format!("job {id}: attempt {} -> {} by {event}", old.attempt, new.attempt));
        match did {
            Did::Stage { .. } => self.staged(old),
            Did::Claim { .. } => {
                self.chronicles[place(id)].claimed_at = self.moment;
            }
            Did::Ack { acks, .. } => self.ended(acks, new),
            Did::Retry { .. } => {
                let chronicle = &mut self.chronicles[place(id)];
                chronicle.crashes = 0;
                chronicle.cancelled = false;
                chronicle.superseded = false;
            }
            _ => {}
        }
    }

    /// What no call changes.
    fn fixed(&mut self, did: &Did<'_>, old: &Job, new: &Job) {
        let same = old.queue == new.queue
            && old.worker == new.worker
            && old.args == new.args
            && old.priority == new.priority
            && old.inserted_at == new.inserted_at
            && old.timeout == new.timeout
            && old.details().unique_key == new.details().unique_key
            && (old.max_attempts == new.max_attempts || matches!(did, Did::Retry { .. }));
        self.require(same, 12, || format!("job {} is not what was enqueued", new.id));
    }

    /// The event that this call means for this row; none when the state may not change.
    fn event(did: &Did<'_>, old: &Job, new: &Job) -> Option<Event> {
        if old.state == new.state && old.lease == new.lease {
            return None;
        }
        match did {
            Did::Claim { .. } => Some(Event::Claim),
            Did::Stage { .. } => Some(Event::Stage),
            Did::Retry { .. } => Some(Event::Retry),
            Did::Cancel { .. } | Did::Enqueue { .. } | Did::Tick { .. } => Some(Event::Cancel),
            Did::Rescue { .. } if old.details().cancel_requested => Some(Event::Cancel),
            Did::Rescue { .. } => Some(Event::Rescue),
            Did::Ack { acks, .. } => {
                acks.iter().find(|ack| ack.id == old.id && ack.lease == old.lease).map(|ack| ack.event)
            }
            _ => None,
        }
    }

    /// A difference without a move.
    fn flagged(&mut self, did: &Did<'_>, old: &Job, new: &Job) {
        let id = new.id;
        let running = old.state == State::Executing && new.state == State::Executing;
        match did {
            Did::Cancel { .. } | Did::Enqueue { .. } | Did::Tick { .. } if running => {
                let asked = !old.details().cancel_requested && new.details().cancel_requested;
                self.require(asked, 12, || format!("job {id} changed while it runs"));
                self.chronicles[place(id)].cancelled = true;
            }
            Did::Report { node, reports } => {
                let allowed = old.state == State::Executing
                    && old.node == Some(*node)
                    && reports.iter().any(|report| report.id == id && report.lease == old.lease);
                self.require(allowed, 5, || format!("job {id}: progress of a stale lease was written"));
            }
            _ => self.fail(12, || format!("job {id}, {} -> {}, changed by a call that may not", old.state, new.state)),
        }
    }

    fn staged(&mut self, old: &Job) {
        let early = old.scheduled_at.since(self.now);
        self.require(early.is_zero(), 17, || format!("job {} was staged {early:?} early", old.id));
    }

    fn rescued(&mut self, old: &Job, new: &Job) {
        let id = new.id;
        self.require(self.gone(old), 7, || format!("job {id} was taken from a node that is alive"));
        if !self.departed(old) {
            self.chronicles[place(id)].crashes += 1;
        }
        let crashes = self.chronicles[place(id)].crashes;
        let stopped = crashes < limits::CRASHES || new.state.is_final();
        self.require(stopped, 23, || format!("job {id} goes on after {crashes} crashes"));
    }

    /// An ack has moved the row: what it left must be its own.
    fn ended(&mut self, acks: &[Ack], new: &Job) {
        let Some(ack) = acks.iter().find(|ack| ack.id == new.id && ack.lease == new.lease) else { return };
        let stamp = format!("[{},{}]", new.id, ack.lease.0);
        if let Some(result) = new.details().result.as_ref().filter(|_| new.state == State::Completed) {
            self.require(**result == *stamp.as_bytes(), 15, || {
                format!("job {} has the result {} of another run", new.id, String::from_utf8_lossy(result))
            });
        }
        if let Some(error) = ack.error.as_ref().filter(|error| error.kind == "Failed") {
            let last = new.details().errors.last();
            self.require(last.is_some_and(|last| last.message == error.message && error.message == stamp), 15, || {
                format!("job {} has an error of another run", new.id)
            });
        }
        let chronicle = &mut self.chronicles[place(new.id)];
        chronicle.acked = Some((ack.lease, new.state));
        chronicle.untouched = true;
    }

    /// What holds for each row by itself.
    fn sound(&mut self, row: &Job) {
        let id = row.id;
        self.require((row.state == State::Executing) == row.node.is_some(), 3, || {
            format!("job {id} is {} and its node is {:?}", row.state, row.node)
        });
        self.require(row.attempt <= row.max_attempts && row.max_attempts > 0, 11, || {
            format!("job {id}: attempt {} of {}", row.attempt, row.max_attempts)
        });
        let attempted = row.attempted_at.unwrap_or(row.inserted_at);
        let ordered = row.inserted_at <= attempted && row.finished_at.is_none_or(|finished| attempted <= finished);
        let due = row.state != State::Executing || row.scheduled_at <= attempted;
        self.require(ordered && due && row.state.is_final() == row.finished_at.is_some(), 16, || {
            format!("job {id}, {}: {:?} {:?} {:?}", row.state, row.inserted_at, row.attempted_at, row.finished_at)
        });
    }
}

/// Whether the two are equal; details that they share are not read. Both are left as they were.
fn is_unchanged(old: &mut Job, new: &mut Job) -> bool {
    if !matches!((&old.details, &new.details), (Some(old), Some(new)) if Arc::ptr_eq(old, new)) {
        return old == new;
    }
    let (was, is) = (old.details.take(), new.details.take());
    let unchanged = old == new;
    (old.details, new.details) = (was, is);
    unchanged
}

/// The jobs that a call says it has inserted.
fn fresh<'a>(did: &Did<'a>) -> impl Iterator<Item = JobId> + use<'a> {
    let enqueued: &[Enqueued] = match did {
        Did::Enqueue { got: Ok(enqueued), .. } => enqueued,
        _ => &[],
    };
    enqueued.iter().filter(|one| !one.conflict).map(|one| one.job.id)
}

fn live() -> Vec<State> {
    State::ALL.into_iter().filter(|state| state.is_live()).collect()
}

fn kept(retention: &Retention, state: State) -> Option<Duration> {
    match state {
        State::Completed => retention.completed,
        State::Cancelled => retention.cancelled,
        State::Discarded => retention.discarded,
        State::Available | State::Executing | State::Retryable | State::Scheduled => None,
    }
}
