//! Bugs on the walk of a job: *enqueue*, *claim*, *ack*, *stage*.

use zjobs_engine::job::{Job, NewJob, NodeId, When};
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::{Event, State};
use zjobs_engine::store::{Acked, Claim, Enqueued, Report, Staged};
use zjobs_engine::{Error, Result};

use super::{Saboteur, one};
use crate::bug::Bug;

impl Saboteur {
    pub(super) fn enqueue_badly(&self, mut jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        match self.bug {
            Some(Bug::IgnoresKeys) => jobs.iter_mut().for_each(|job| job.unique = None),
            Some(Bug::FreesKeysOfRetryables) => jobs.iter_mut().for_each(|job| self.free_key(job)),
            Some(Bug::ForgetsDelays) => jobs.iter_mut().for_each(|job| job.when = When::Now),
            Some(Bug::InvertsPriorities) => {
                for job in &mut jobs {
                    job.priority.0 = -job.priority.0;
                }
            }
            Some(Bug::EnqueuesTwice) => drop(self.inner.enqueue(jobs.clone())?),
            Some(_) | None => {}
        }
        let first = jobs.first().cloned();
        let result = self.inner.enqueue(jobs);
        match (self.bug, &result) {
            (Some(Bug::RefusedEnqueueLeavesRows), Err(Error::StoreFull { .. })) => {
                drop(self.inner.enqueue(first.into_iter().collect()));
            }
            (Some(Bug::ForgetsAJob), Ok(enqueued)) => {
                if let Some(forgotten) = enqueued.iter().find(|one| !one.conflict) {
                    self.inner.delete(&one(forgotten.job.id))?;
                }
            }
            _ => {}
        }
        result
    }

    fn free_key(&self, job: &mut NewJob) {
        let Some(unique) = &job.unique else { return };
        let holders = zjobs_engine::store::Filter {
            states: vec![State::Retryable],
            unique_key: Some(unique.key.to_string()),
            ..Default::default()
        };
        if self.inner.count(&holders).is_ok_and(|holders| holders > 0) {
            job.unique = None;
        }
    }

    pub(super) fn claim_badly(&self, claim: &Claim) -> Result<Vec<Job>> {
        match self.bug {
            Some(Bug::StarvesAQueue) if claim.queue.as_str() == "b" => return Ok(Vec::new()),
            Some(Bug::DeadNodesClaim) => return self.claim_for_the_dead(claim),
            _ => {}
        }
        let mut jobs = self.inner.claim(claim)?;
        match self.bug {
            Some(Bug::ReversesClaims) => jobs.reverse(),
            Some(Bug::FailsWithoutEnd) => jobs.iter_mut().for_each(|job| job.max_attempts += 1),
            Some(Bug::HandsOutTwice) => {
                let before = std::mem::replace(&mut self.memory.lock().claimed, jobs.clone());
                jobs.extend(before);
                jobs.sort_by_key(|job| (job.priority, job.scheduled_at, job.id));
                jobs.dedup_by_key(|job| job.id);
            }
            _ => {}
        }
        Ok(jobs)
    }

    fn claim_for_the_dead(&self, claim: &Claim) -> Result<Vec<Job>> {
        match self.inner.claim(claim) {
            Err(error @ Error::LeaseLost(_)) => {
                let living = self.inner.nodes()?.into_iter().find(|row| row.node != claim.node);
                let Some(living) = living else { return Err(error) };
                self.inner.claim(&Claim { node: living.node, ..claim.clone() })
            }
            other => other,
        }
    }

    pub(super) fn ack_badly(&self, node: NodeId, acks: &[Ack]) -> Result<Vec<Acked>> {
        match self.bug {
            Some(Bug::AcceptsStaleAcks) => acks.iter().map(|ack| self.ack_in_disguise(node, ack)).collect(),
            Some(Bug::NeverAnswersAcks) => Err(Error::StoreUnavailable("never".into())),
            Some(Bug::SpoilsBatches) if acks.len() > 1 && acks.iter().any(|ack| self.is_stale(ack)) => {
                Ok(vec![Acked::LeaseLost; acks.len()])
            }
            Some(_) => {
                let bent: Vec<Ack> = acks.iter().map(|ack| self.bend(ack.clone())).collect();
                self.write_bent(node, &bent)
            }
            None => self.inner.ack(node, acks),
        }
    }

    fn write_bent(&self, node: NodeId, bent: &[Ack]) -> Result<Vec<Acked>> {
        let kept: Vec<Ack> = bent.iter().filter(|ack| !self.drops(ack)).cloned().collect();
        let mut replies = self.inner.ack(node, &kept)?.into_iter();
        let reply = |ack: &Ack| {
            if self.drops(ack) {
                return Acked::Stored;
            }
            match (self.bug, replies.next().unwrap_or(Acked::LeaseLost)) {
                (Some(Bug::RefusesRepeatedAcks), Acked::Already) => Acked::LeaseLost,
                (_, reply) => reply,
            }
        };
        Ok(bent.iter().map(reply).collect())
    }

    fn drops(&self, ack: &Ack) -> bool {
        self.has(Bug::DropsAcks) && ack.event == Event::Complete
    }

    fn is_stale(&self, ack: &Ack) -> bool {
        self.row(ack.id).is_none_or(|row| row.lease != ack.lease)
    }

    /// What this store makes of an ack.
    fn bend(&self, mut ack: Ack) -> Ack {
        match (self.bug, ack.event) {
            (Some(Bug::LeaseStartsAgain), _) => ack.lease = self.meant(ack.id, ack.lease),
            (Some(Bug::RefundsFailures), Event::Fail) => ack.attempt = ack.attempt.saturating_sub(1),
            (Some(Bug::ReleasesWithoutRefund), Event::Release) => ack.attempt += 1,
            (Some(Bug::SwapsResults), Event::Complete) => {
                let before = std::mem::replace(&mut self.memory.lock().result, ack.result.clone());
                ack.result = before.or(ack.result);
            }
            (Some(Bug::CompletesCancelled), _)
                if self.row(ack.id).is_some_and(|row| row.details().cancel_requested) =>
            {
                // The move of a cancel is the only one that the store takes now.
                ack.event = Event::Cancel;
            }
            _ => {}
        }
        ack
    }

    /// Writes an ack under the lease and the node that the job has now.
    fn ack_in_disguise(&self, node: NodeId, ack: &Ack) -> Result<Acked> {
        let row = self.row(ack.id).filter(|row| row.state == State::Executing);
        let (node, lease) = row.and_then(|row| Some((row.node?, row.lease))).unwrap_or((node, ack.lease));
        let disguised = Ack { lease, ..ack.clone() };
        Ok(self.inner.ack(node, &[disguised])?.first().copied().unwrap_or(Acked::LeaseLost))
    }

    pub(super) fn report_badly(&self, node: NodeId, reports: &[Report]) -> Result<()> {
        if !self.has(Bug::AcceptsStaleReports) {
            let meant = |report: &Report| Report { lease: self.meant(report.id, report.lease), ..report.clone() };
            return self.inner.report(node, &reports.iter().map(meant).collect::<Vec<_>>());
        }
        for report in reports {
            if let Some(row) = self.row(report.id)
                && let Some(holder) = row.node
            {
                self.inner.report(holder, &[Report { lease: row.lease, ..report.clone() }])?;
            }
        }
        Ok(())
    }

    pub(super) fn stage_badly(&self, limit: usize) -> Result<Staged> {
        match self.bug {
            Some(Bug::NeverStages) => return Ok(Staged { now: self.inner.now()?, ..Staged::default() }),
            Some(Bug::StagesFinishedJobs) => {
                if let Some(finished) = self.first(&[State::Completed]) {
                    self.inner.retry(&one(finished.id))?;
                }
            }
            Some(Bug::StagesEarly) => {
                if let Some(waiting) = self.first(&[State::Scheduled]) {
                    self.inner.retry(&one(waiting.id))?;
                }
            }
            _ => {}
        }
        self.inner.stage(limit)
    }
}
