//! What a call may answer, given what had been there.

use rustc_hash::FxHashMap;
use zjobs_engine::Error;
use zjobs_engine::job::{Job, JobId, NewJob, NodeId, When};
use zjobs_engine::limits;
use zjobs_engine::outcome::Ack;
use zjobs_engine::state::{Event, State};
use zjobs_engine::store::{Acked, Cancelled, Claim, CronTick, Enqueued, Pulse, Retried, Ticked};
use zjobs_engine::unique::UniqueStrategy;

use super::{Did, Oracle, place};

impl Oracle {
    /// Judges what can be judged with the rows as they were.
    pub(super) fn before(&mut self, did: &Did<'_>) {
        match did {
            Did::Claim { claim, got: Ok(jobs) } => self.claimed(claim, jobs),
            Did::Enqueue { wanted, got: Ok(_) } => {
                for job in *wanted {
                    self.superseded(job);
                }
            }
            Did::Tick { tick, got: Ok(Ticked::Inserted(_)) } => {
                if let Some(job) = &tick.job {
                    self.superseded(job);
                }
            }
            Did::Ack { node, acks, got: Ok(replies) } => {
                for (at, (ack, reply)) in acks.iter().zip(replies).enumerate() {
                    self.acked(*node, ack, *reply, &acks[..at], acks.len());
                }
            }
            Did::Heartbeat { beat, got: Ok(Pulse::Alive { .. }) } => self.beaten(beat.node, self.now + beat.ttl),
            Did::Heartbeat { beat, got: Ok(Pulse::Dead) } => self.refused(beat.node),
            Did::Claim { claim, got: Err(Error::LeaseLost(_)) } => self.refused(claim.node),
            Did::Depart { node, grace } => self.left(*node, self.now + *grace),
            Did::Rescue { .. } => self.declare_dead(),
            Did::Resume { queue } => drop(self.paused.remove(*queue)),
            Did::Scale { queue, concurrency } => self.scaled(queue, *concurrency),
            Did::Pause { queue } => drop(self.paused.insert((*queue).clone())),
            _ => {}
        }
    }

    /// Judges what can be judged with the rows as they are now.
    pub(super) fn after(&mut self, did: &Did<'_>) {
        match did {
            Did::Enqueue { wanted, got: Ok(enqueued) } => {
                self.require(wanted.len() == enqueued.len(), 1, || "an enqueue lost replies".into());
                for (wanted, got) in wanted.iter().zip(enqueued) {
                    self.enqueued(wanted, got);
                }
                self.unique();
            }
            Did::Claim { claim, got: Ok(jobs) } => {
                for job in jobs {
                    self.leased(claim, job);
                }
            }
            Did::Ack { acks, got: Ok(replies), .. } => {
                for (ack, _) in acks.iter().zip(replies).filter(|(_, reply)| **reply == Acked::Stored) {
                    let moved = self.row(ack.id).is_none_or(|row| row.state == ack.to);
                    self.require(moved, 10, || format!("the ack of job {} was confirmed and not written", ack.id));
                }
            }
            Did::Cancel { got: Ok(met) } => {
                for one in met {
                    self.cancelled(one);
                }
            }
            Did::Retry { got: Ok(met) } => {
                for one in met {
                    self.retried(one);
                }
                self.unique();
            }
            Did::Tick { tick, got: Ok(ticked) } => {
                self.ticked(tick, ticked);
                self.unique();
            }
            _ => {}
        }
    }

    fn enqueued(&mut self, wanted: &NewJob, got: &Enqueued) {
        let id = got.job.id;
        let Some(row) = self.row(id) else {
            self.fail(1, || format!("job {id} was accepted and is not there"));
            return;
        };
        if got.conflict {
            let key = self.chronicles[place(id)].key.as_deref();
            let same = key.is_some() && key == wanted.unique.as_ref().map(|unique| &*unique.key);
            // As it was then: a later job of the batch may have superseded it.
            let live = got.job.state.is_live();
            self.require(same && live, 14, || format!("job {id} does not have the key that a new job was refused for"));
            return;
        }
        let same = row.queue == wanted.queue && row.worker == wanted.worker && row.args == wanted.args;
        let due = match wanted.when {
            When::Now => row.inserted_at,
            When::In(delay) => row.inserted_at + delay,
            When::At(at) => at,
        };
        let punctual = row.scheduled_at == due;
        self.require(same, 1, || format!("job {id} is not what was enqueued"));
        self.require(punctual, 17, || format!("job {id} is not due when it should be"));
        let key = wanted.unique.as_ref().map(|unique| unique.key.to_string());
        if let Some(chronicle) = self.chronicles.get_mut(place(id)) {
            chronicle.key = key;
        }
    }

    /// A running job loses its key to this one, and is asked to stop.
    fn superseded(&mut self, wanted: &NewJob) {
        let Some(unique) = wanted.unique.as_ref().filter(|unique| unique.strategy == UniqueStrategy::CancelExisting)
        else {
            return;
        };
        for (row, chronicle) in self.rows.iter().zip(&mut self.chronicles) {
            let runs = row.as_ref().is_some_and(|row| row.state == State::Executing);
            if runs && chronicle.key.as_deref() == Some(&*unique.key) {
                chronicle.superseded = true;
                chronicle.cancelled = true;
            }
        }
    }

    fn unique(&mut self) {
        let mut holders: FxHashMap<&str, JobId> = FxHashMap::default();
        let mut broken = None;
        for (row, chronicle) in self.rows.iter().zip(&self.chronicles) {
            if let (Some(row), Some(key)) = (row, &chronicle.key)
                && row.state.is_live()
                && !chronicle.superseded
                && let Some(other) = holders.insert(key, row.id)
            {
                broken = Some((other, row.id));
            }
        }
        if let Some((one, other)) = broken {
            self.fail(14, || format!("jobs {one} and {other} have one unique key"));
        }
    }

    fn claimed(&mut self, claim: &Claim, jobs: &[Job]) {
        if jobs.is_empty() {
            self.looked.insert(claim.queue.clone(), self.moment);
            return;
        }
        self.require(!self.paused.contains(&claim.queue), 19, || format!("a claim from queue {}", claim.queue));
        self.require(!self.is_dead(claim.node), 8, || "a dead incarnation claimed".into());
        let order = |job: &Job| (job.priority, job.scheduled_at, job.id);
        self.require(jobs.is_sorted_by_key(order), 18, || "a claim is not in order".into());
        let last = jobs.iter().map(order).max();
        let better = |row: &&Job| row.state == State::Available && row.queue == claim.queue && Some(order(row)) < last;
        let left = self.rows().filter(better).find(|row| jobs.iter().all(|job| job.id != row.id)).map(|row| row.id);
        self.require(left.is_none(), 18, || format!("job {left:?} was left out of a claim"));
    }

    fn leased(&mut self, claim: &Claim, job: &Job) {
        let id = job.id;
        let fresh = self.handed.insert((id, job.lease));
        let (now, row) = (self.now, self.row(id).cloned());
        let crashes = self.chronicles.get(place(id)).map_or(0, |chronicle| chronicle.crashes);
        let mine = row.as_ref().is_some_and(|row| row.node == Some(claim.node) && row.lease == job.lease);
        let reused = row.is_some_and(|row| row.node.is_some_and(|node| node != claim.node && self.is_dead(claim.node)));
        self.require(!reused, 8, || format!("job {id} was claimed for a dead incarnation"));
        self.require(fresh && mine, 3, || format!("job {id} was handed out to somebody who does not have its lease"));
        self.require(job.scheduled_at <= now, 17, || format!("job {id} was claimed before it is due"));
        self.require(crashes < limits::CRASHES, 23, || format!("job {id} was claimed after {crashes} crashes"));
    }

    fn acked(&mut self, node: NodeId, ack: &Ack, reply: Acked, before: &[Ack], batch: usize) {
        let id = ack.id;
        let Some(row) = self.row(id) else {
            self.require(reply == Acked::LeaseLost, 5, || format!("an ack of job {id}, which is gone: {reply:?}"));
            return;
        };
        let chronicle = &self.chronicles[place(id)];
        if before.iter().any(|other| other.id == id && other.lease == ack.lease) {
            // The ack before this one in the same batch has decided.
            let refused = reply != Acked::Stored;
            return self.require(refused, 6, || format!("the second ack of job {id} in one batch: {reply:?}"));
        }
        let holds = row.state == State::Executing && row.lease == ack.lease && row.node == Some(node);
        let stop = chronicle.cancelled && ack.event != Event::Cancel;
        let repeated = chronicle.acked == Some((ack.lease, ack.to));
        let untouched = chronicle.untouched;
        let dead = self.is_dead(node);
        let never_ran = self.runs.contains_key(&(id, ack.lease)) && ack.event == Event::Release;
        let (expected, invariant) = if holds && !dead {
            let invariant = if batch > 1 { 25 } else { 10 };
            if stop { (Acked::CancelRequested, 21) } else { (Acked::Stored, invariant) }
        } else if repeated && (untouched || reply == Acked::Already) {
            (Acked::Already, 6)
        } else {
            (Acked::LeaseLost, if dead { 8 } else { 5 })
        };
        self.require(reply == expected, invariant, || {
            format!("the ack '{}' of job {id} was answered {reply:?}, not {expected:?}", ack.event)
        });
        self.require(!(never_ran && holds), 13, || format!("job {id} was released although its handler had started"));
    }

    fn cancelled(&mut self, met: &Cancelled) {
        let (id, kept) = match met {
            Cancelled::Done(id) => (*id, self.row(*id).is_none_or(|row| row.state == State::Cancelled)),
            Cancelled::Requested(id) => (*id, self.row(*id).is_none_or(|row| row.details().cancel_requested)),
        };
        self.require(kept, 21, || format!("the cancel of job {id} was confirmed and not done"));
        if let (Cancelled::Requested(_), Some(chronicle)) = (met, self.chronicles.get_mut(place(id))) {
            chronicle.cancelled = true;
        }
    }

    fn retried(&mut self, met: &Retried) {
        match met {
            Retried::Done(id) => {
                let ready =
                    self.row(*id).is_some_and(|row| row.state == State::Available && row.attempt < row.max_attempts);
                self.require(ready, 12, || format!("the retry of job {id} was confirmed and not done"));
            }
            Retried::KeyTaken { id, holder } => {
                let key = |id: JobId| self.chronicles.get(place(id)).and_then(|chronicle| chronicle.key.as_ref());
                let taken = key(*id).is_some()
                    && key(*id) == key(*holder)
                    && self.row(*holder).is_some_and(|row| row.state.is_live());
                self.require(taken, 14, || format!("the retry of job {id} was refused for a key that is free"));
            }
        }
    }

    fn ticked(&mut self, tick: &CronTick, got: &Ticked) {
        let known = self.ticks.contains(&(tick.name.clone(), tick.at));
        match got {
            Ticked::Inserted(one) => {
                self.require(!known, 22, || format!("the tick {:?} fired twice", tick.at));
                self.ticks.insert((tick.name.clone(), tick.at));
                if let (Some(one), Some(wanted)) = (one, &tick.job) {
                    self.enqueued(wanted, one);
                }
            }
            Ticked::Already => self.require(known, 22, || format!("the tick {:?} never fired", tick.at)),
            Ticked::Resting => {}
        }
    }
}
