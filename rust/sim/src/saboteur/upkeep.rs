//! Bugs around the walk: nodes, *rescue*, *cancel*, *prune*, ticks.

use std::time::Duration;

use zjobs_engine::Result;
use zjobs_engine::limits;
use zjobs_engine::state::State;
use zjobs_engine::store::{Cancelled, CronTick, Enqueued, Filter, Heartbeat, Pulse, Rescued, Retention, Ticked};

use super::{Saboteur, one};
use crate::bug::Bug;

impl Saboteur {
    pub(super) fn heartbeat_badly(&self, beat: &Heartbeat) -> Result<Pulse> {
        let mut pulse = self.inner.heartbeat(beat)?;
        match (self.bug, &mut pulse) {
            (Some(Bug::DeadNodesLive), Pulse::Dead) => {
                pulse = Pulse::Alive { cancel: Vec::new(), lost: Vec::new(), unknown: Vec::new() };
            }
            (Some(Bug::NeverReconciles), Pulse::Alive { unknown, .. }) => unknown.clear(),
            (Some(Bug::LeaseStartsAgain), Pulse::Alive { unknown, .. }) => {
                let offsets = &self.memory.lock().offsets;
                for (id, lease) in unknown.iter_mut() {
                    lease.0 -= offsets.get(id).copied().unwrap_or(0);
                }
            }
            _ => {}
        }
        Ok(pulse)
    }

    pub(super) fn rescue_badly(&self, limit: usize) -> Result<Vec<Rescued>> {
        match self.bug {
            Some(Bug::NeverRescues) => return Ok(Vec::new()),
            Some(Bug::RescuesTheLiving) => {
                let node = self.first(&[State::Executing]).and_then(|job| job.node);
                if let Some(node) = node.filter(|node| !self.memory.lock().departed.contains(node)) {
                    self.inner.depart(node, Duration::ZERO)?;
                    self.memory.lock().departed.push(node);
                }
            }
            _ => {}
        }
        let mut rescued = self.inner.rescue(limit)?;
        for one_rescued in &mut rescued {
            let job = &mut one_rescued.job;
            match self.bug {
                Some(Bug::LeaseStartsAgain) => drop(self.memory.lock().offsets.insert(job.id, job.lease.0)),
                Some(Bug::IgnoresCrashes) if job.details().crashes >= limits::CRASHES => {
                    self.inner.retry(&one(job.id))?;
                }
                _ => {}
            }
            *job = self.show(job.clone());
        }
        Ok(rescued)
    }

    pub(super) fn cancel_badly(&self, filter: &Filter) -> Result<Vec<Cancelled>> {
        let forgotten = match self.bug {
            Some(Bug::ForgetsCancels) => [State::Available, State::Scheduled, State::Retryable].as_slice(),
            Some(Bug::ForgetsCancelRequests) => &[State::Executing],
            _ => return self.inner.cancel(filter),
        };
        let met = self.inner.list(filter)?;
        let (lost, kept): (Vec<_>, Vec<_>) = met.into_iter().partition(|job| forgotten.contains(&job.state));
        let kept = Filter { ids: Some(kept.iter().map(|job| job.id).collect()), ..Filter::default() };
        let mut replies = self.inner.cancel(&kept)?;
        replies.extend(lost.iter().map(|job| match job.state {
            State::Executing => Cancelled::Requested(job.id),
            _ => Cancelled::Done(job.id),
        }));
        Ok(replies)
    }

    pub(super) fn prune_badly(&self, retention: &Retention, limit: usize) -> Result<usize> {
        match self.bug {
            Some(Bug::PrunesYoung) => {
                let none = Some(Duration::ZERO);
                self.inner.prune(&Retention { completed: none, cancelled: none, discarded: none }, limit)
            }
            Some(Bug::LosesTheQueueOnPrune) => {
                let waiting = self.first(&[State::Available, State::Scheduled]);
                let lost = waiting.map_or(Ok(0), |waiting| self.inner.delete(&one(waiting.id)))?;
                Ok(lost + self.inner.prune(retention, limit)?)
            }
            _ => self.inner.prune(retention, limit),
        }
    }

    pub(super) fn tick_badly(&self, tick: CronTick) -> Result<Ticked> {
        let again = tick.job.clone();
        match self.bug {
            Some(Bug::LosesTicks) => {
                self.inner.tick(CronTick { job: None, ..tick })?;
                Ok(Ticked::Already)
            }
            Some(Bug::TicksTwice) => match self.inner.tick(tick)? {
                Ticked::Already => {
                    let enqueued = self.inner.enqueue(again.into_iter().collect())?.pop();
                    Ok(Ticked::Inserted(enqueued.map(|one: Enqueued| Box::new(one))))
                }
                other => Ok(other),
            },
            _ => self.inner.tick(tick),
        }
    }
}
