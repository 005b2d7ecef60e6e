//! What must happen in time once faults have stopped.

use std::time::Duration;

use rustc_hash::FxHashMap;
use zjobs_engine::clock::Moment;
use zjobs_engine::job::{Job, JobId, Name, NodeId};
use zjobs_engine::state::State;

use super::Oracle;
use crate::plan;

/// The longest pause of a role whose call failed, and some.
const PAUSE: Duration = Duration::from_secs(7);
/// What a call and a turn of everybody may take.
const SLACK: Duration = Duration::from_millis(200);

/// A living node as it is now.
pub(crate) struct Standing {
    pub(crate) node: NodeId,
    /// Claimed jobs that wait for a slot.
    pub(crate) buffered: Vec<JobId>,
    /// Queues with a free slot and nothing to put there.
    pub(crate) hungry: Vec<Name>,
    /// When the first of its roles panicked that have not run since.
    pub(crate) fallen: Option<Moment>,
}

/// Since when what has been waiting.
#[derive(Default)]
pub(super) struct Settling {
    healed: Moment,
    /// How far the store's clock ever was ahead.
    lead: Duration,
    /// The end of which jobs a rule refuses, and until when.
    rule: Option<(i64, Moment)>,
    waiting: FxHashMap<Name, Moment>,
}

impl Oracle {
    /// Faults stop now; the store's clock was ahead by `lead` at most, and a rule may refuse the end of each so-manieth job
    /// for a while.
    pub(crate) fn heal(&mut self, lead: Duration, rule: Option<(i64, Moment)>) {
        (self.settling.healed, self.settling.lead, self.settling.rule) = (self.moment, lead, rule);
    }

    /// Judges how long what has been waiting.
    pub(crate) fn settle(&mut self, living: &[Standing]) {
        let fell = living.iter().filter_map(|node| node.fallen).min();
        let since = fell.map(|fell| fell.max(self.settling.healed));
        self.require(since.is_none_or(|since| self.moment <= since + PAUSE + SLACK), 35, || {
            "a role that panicked never ran again".into()
        });
        let rows: Vec<&Job> = self.rows().filter(|row| row.state.is_live()).collect();
        let broken = rows.iter().find_map(|row| self.overdue(row, living));
        let hungry = |name: &Name| living.iter().any(|node| node.hungry.contains(name));
        let starving: Vec<Name> = rows
            .iter()
            .filter(|row| row.state == State::Available && hungry(&row.queue))
            .map(|row| row.queue.clone())
            .collect();
        drop(rows);
        if let Some((invariant, story)) = broken {
            self.fail(invariant, || story);
        }
        let start = self.settling.healed + PAUSE;
        let moment = self.moment;
        let waiting = &mut self.settling.waiting;
        waiting.retain(|name, _| starving.contains(name));
        for name in starving {
            let since = *waiting.entry(name.clone()).or_insert(moment);
            if moment > since.max(start) + plan::POLL + SLACK {
                let looked = self.looked.get(&name).is_some_and(|looked| *looked >= since);
                let (invariant, story) = if looked { (29, "nobody gets it") } else { (32, "nobody looks") };
                return self.fail(invariant, || format!("queue {name} has work and a free slot, and {story}"));
            }
        }
    }

    fn overdue(&self, row: &Job, living: &[Standing]) -> Option<(u8, String)> {
        let Job { id, lease, .. } = row;
        let healed = self.settling.healed;
        let late = |since: Moment, bound: Duration| self.moment > since.max(healed) + PAUSE + bound + SLACK;
        match row.state {
            State::Scheduled | State::Retryable => {
                // A plan made before the store's clock stepped ahead is late by the step.
                let bound = plan::POLL + self.settling.lead;
                let due = row.scheduled_at + bound + SLACK < self.now && late(healed, bound);
                due.then(|| (29, format!("job {id} is due and was not staged")))
            }
            State::Executing => {
                let Some(node) = living.iter().find(|node| Some(node.node) == row.node) else {
                    let left = late(healed, self.paced(plan::TTL) + plan::RESCUE);
                    return left.then(|| (30, format!("job {id} is still with a node that is gone")));
                };
                match self.runs.get(&(*id, *lease)).map(|run| run.ended) {
                    Some(None) => None,
                    Some(Some(ended)) => late(ended.max(self.refused_until(*id)), Duration::ZERO)
                        .then(|| (31, format!("the ack of job {id} was never answered"))),
                    None if node.buffered.contains(id) => None,
                    None => {
                        let since = self.chronicles[super::place(*id)].claimed_at.max(self.refused_until(*id));
                        late(since, plan::BEAT * 3)
                            .then(|| (10, format!("job {id} is leased to a node that does not have it")))
                    }
                }
            }
            State::Available | State::Completed | State::Cancelled | State::Discarded => None,
        }
    }

    fn refused_until(&self, id: JobId) -> Moment {
        let rule = self.settling.rule.filter(|(each, _)| id.0 % each == 0);
        rule.map_or(Moment(0), |(_, until)| until)
    }

    /// How long that takes where the store's time is ahead of its clock, and waits for it at half its pace.
    fn paced(&self, time: Duration) -> Duration {
        if self.steady_store { time } else { time * 2 }
    }

    /// Whether every job is final.
    pub(crate) fn is_settled(&self) -> bool {
        self.rows().all(|row| row.state.is_final())
    }

    /// The time is over.
    pub(crate) fn must_be_settled(&mut self) {
        let waits = self.rows().find(|row| row.state.is_live()).map(|row| (row.id, row.state));
        if let Some((id, state)) = waits {
            self.fail(29, || format!("job {id} is still {state} long after the faults stopped"));
        }
    }

    /// All nodes have stopped in order; `left` of them are still known to the store.
    pub(crate) fn must_be_empty(&mut self, left: usize) {
        let runs = self.rows().filter(|row| row.state == State::Executing).count();
        self.require(runs == 0 && left == 0, 33, || format!("{left} nodes and {runs} running jobs after a stop"));
    }
}
