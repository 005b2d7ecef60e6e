//! What the roles, the slots and the callers of one node share, and what concerns several of them.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::clock::{Clock, Moment};
use crate::job::{JobId, Name};
use crate::outcome::{Again, Failure, Outcome};
use crate::runtime::acker;
use crate::runtime::backlog::{Backlog, Finished};
use crate::runtime::claimer::{self, OpenClaims};
use crate::runtime::config::{AckMode, Config, Registration};
use crate::runtime::node::Node;
use crate::runtime::pool::{self, Pool, QueueIndex};
use crate::runtime::role::{Alarm, Outage};
use crate::runtime::running::Running;
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::stager::Agenda;
use crate::runtime::teller::Teller;
use crate::runtime::waiters::Waiters;
use crate::runtime::watchdog::Deadlines;
use crate::state::State;
use crate::store::{Attention, QueueRow, Store};
use crate::sync::{Arc, AtomicBool, AtomicU32, RwLock};

/// What the roles, the slots and the callers of one node share.
pub struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blocks: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sink: Arc<Teller>,
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) pool: Pool,
    pub(crate) backlog: Backlog,
    // Names of this program's own workers: nobody can flood it.
    pub(crate) registry: RwLock<FxHashMap<Name, Registration>>,
    pub(crate) agenda: Agenda,
    pub(crate) deadlines: Deadlines,
    pub(crate) claim_alarm: Arc<Alarm>,
    pub(crate) heartbeat_alarm: Arc<Alarm>,
    pub(crate) rescue_alarm: Arc<Alarm>,
    /// A node has ended; the rescuer has not looked since.
    pub(crate) orphaned: AtomicBool,
    /// A node has said that it ends; the rescuer has not heard it yet.
    pub(crate) leaving: AtomicBool,
    pub(crate) claiming: Vec<AtomicU32>,
    pub(crate) claims: OpenClaims,
    pub(crate) outage: Arc<Outage>,
    pub(crate) waiters: Waiters,
    pub(crate) attention: Arc<Attention>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Shared {
    /// Settles a job that this thread has; nothing when somebody else has settled it.
    pub(crate) fn settle(&self, running: Arc<Running>, outcome: Outcome, now: Moment) {
        if running.close() {
            self.settle_closed(running, outcome, now);
        }
    }

    /// Settles a job whose right to settle this thread has taken.
    pub(crate) fn settle_closed(&self, running: Arc<Running>, outcome: Outcome, now: Moment) {
        // What goes back unrun need not be written before anything else, and must not hold up what goes back with it.
        let sync = self.blocks
            && outcome != Outcome::Released
            && self.registry.read().get(running.job.worker.as_str()).is_some_and(|worker| worker.ack == AckMode::Sync);
        let outcome = if running.is_handed_over() { self.confirmed(&running, outcome) } else { outcome };
        let Ok(finished) = Finished::new(running, outcome, now) else { return };
        if self.blocks && !sync {
            return self.backlog.push(finished, self.config.ack_batch);
        }
        if sync {
            let mut flight = self.backlog.send(finished);
            let written = flight.write(&*self.store, &*self.sink);
            if let Some(error) = written.err().or_else(|| flight.refusal()) {
                self.outage.failed(now, &*self.sink, &error);
                drop(flight);
                self.backlog.alarm.ring();
            }
            return;
        }
        // A store that never waits has answered before anybody could take the job for lost.
        if let Err(failed) = acker::write_one(&*self.store, &*self.sink, finished) {
            let (error, unwritten) = *failed;
            self.outage.failed(now, &*self.sink, &error);
            self.backlog.push(unwritten, self.config.ack_batch);
        }
    }

    /// What has become of a job that its handler completed in a transaction of its own. The row knows whether that was
    /// committed; while nobody can say, the outcome of the handler stands, and the lease guards it.
    fn confirmed(&self, running: &Running, outcome: Outcome) -> Outcome {
        let Ok(rows) = self.store.get(&[running.job.id]) else { return outcome };
        let Some(row) = rows.first() else { return outcome };
        if row.state == State::Completed && row.lease == running.job.lease {
            return Outcome::Completed { result: None };
        }
        match outcome {
            Outcome::Completed { .. } => {
                let message = "the handler completed the job on its own connection and did not commit";
                let backoff = self.registry.read().get(running.job.worker.as_str()).map(|worker| worker.backoff);
                let again = Again::By(backoff.unwrap_or_default());
                Outcome::Failed { failure: Failure::new("NotCommitted", message, ""), again }
            }
            other => other,
        }
    }

    /// Has the watchdog look soon when jobs were left to the lead of their queue.
    pub(crate) fn watch_lead(&self, now: Moment) {
        if self.pool.take_unattended() {
            self.deadlines.watch(now + pool::STALL);
        }
    }

    /// Whether nothing runs, so that acks need not wait for company.
    pub(crate) fn is_idle(&self) -> bool {
        self.pool.is_quiet()
    }

    /// The attempts in buffers and in slots that this node has to end. One whose handler hangs after its end is none of
    /// them: the job may be elsewhere by now, or here once more.
    pub(crate) fn held(&self) -> Vec<Arc<Running>> {
        let mut held = self.pool.held();
        held.retain(|running| !running.is_let_go() || sabotage::is_on(Sabotage::MistakeAttempts));
        held
    }

    /// The jobs that belong to this node: in buffers, in slots, and finished but not yet written.
    pub(crate) fn held_ids(&self) -> Vec<JobId> {
        // Backlog last: a job moves from its slot to the backlog, never back.
        let mut ids: FxHashSet<JobId> = self.held().iter().map(|held| held.job.id).collect();
        ids.extend(self.backlog.ids());
        ids.into_iter().collect()
    }

    /// Whether its claim was answered only after this node had been declared dead and had started again.
    pub(super) fn is_stale(&self, running: &Running) -> bool {
        self.node.is_former(running.node) && !sabotage::is_on(Sabotage::TakeLateClaims)
    }

    pub(crate) fn holds(&self, id: JobId) -> bool {
        self.held_ids().contains(&id)
    }

    /// Somebody wants these jobs cancelled: those that are here are asked to stop, or go back before they start.
    pub(crate) fn cancel_running(&self, ids: &[JobId]) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            if let Some(waiting) = self.pool.withdraw(|waiting| waiting.job.id == *id) {
                waiting.ask_cancel();
                let reason = "cancelled before it started".to_owned();
                self.settle(waiting, Outcome::Cancelled { reason }, self.clock.moment());
            }
        }
        for running in self.pool.running() {
            if ids.contains(&running.job.id) {
                running.ask_cancel();
                self.pool.interrupt(&running);
            }
        }
    }

    /// Follows the row of a queue that was paused, resumed or scaled.
    pub(crate) fn follow(self: &Arc<Self>, name: &Name) {
        let Some(queue) = self.pool.find(name) else { return };
        let Ok(rows) = self.store.settings() else { return };
        self.follow_row(queue, &rows);
        self.hunt(queue);
    }

    /// Follows the rows of all queues: whoever missed the signal of one learns of it here.
    pub(crate) fn follow_all(self: &Arc<Self>, store: &dyn Store) {
        // A beat that was accepted is not undone by a read that fails; the next beat reads again.
        let Ok(rows) = store.settings() else { return };
        for queue in self.pool.indexes() {
            let was_hungry = self.pool.is_hungry(queue);
            self.follow_row(queue, &rows);
            if !was_hungry && self.pool.is_hungry(queue) {
                self.hunt(queue);
            }
        }
    }

    fn follow_row(&self, queue: QueueIndex, rows: &[QueueRow]) {
        let row = rows.iter().find(|row| row.name == *self.pool.name(queue));
        let (paused, concurrency) = row.map_or((false, None), |row| (row.paused, row.concurrency));
        for back in self.pool.control(queue, paused, concurrency) {
            self.settle(back, Outcome::Released, self.clock.moment());
        }
    }

    /// Looks for work for one queue.
    pub(crate) fn hunt(self: &Arc<Self>, queue: QueueIndex) {
        if self.blocks {
            self.claim_alarm.ring();
        } else {
            claimer::fill(self, queue);
        }
        self.pool.stir_slots();
    }

    /// News may have been missed: all that they tell of is looked at once. A beat learns of cancels, and of queues that were
    /// paused, resumed or scaled.
    pub(crate) fn look_anew(&self) {
        for alarm in [&self.claim_alarm, &self.agenda.alarm(), &self.heartbeat_alarm, &self.rescue_alarm] {
            alarm.ring();
        }
    }

    /// The node is trusted again, or new: everything looks for work.
    pub(crate) fn wake_all(&self) {
        self.claim_alarm.ring();
        self.pool.stir_slots();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backoff::Backoff;
    use crate::job::Job;
    use crate::outcome;
    use crate::runtime::fixture::Fixture;
    use crate::runtime::running::Lane;

    fn row<S: Store>(on: &Fixture<S>, id: JobId) -> Job {
        on.store.get(&[id]).unwrap().remove(0)
    }

    #[test]
    fn what_is_to_be_cancelled_goes_back_before_it_starts_or_is_asked_to_stop() {
        let on = Fixture::new();
        on.beat();
        let [runs, waits] = [(); 2].map(|()| on.enqueue(|job| job));
        let running = on.next();
        on.engine.shared.cancel_running(&[]);
        on.engine.shared.cancel_running(&[JobId(99)]);
        assert!(!running.stop_wanted() && row(&on, waits).state == State::Executing);
        on.engine.shared.cancel_running(&[waits]);
        assert!(!running.stop_wanted(), "that is another one");
        on.engine.shared.cancel_running(&[runs]);
        assert!(running.cancel_wanted() && running.stop_wanted());
        let waited = row(&on, waits);
        assert_eq!(waited.state, State::Cancelled);
        assert_eq!(waited.details().errors[0].message, "cancelled before it started");
        assert_eq!(row(&on, runs).state, State::Executing, "its handler says how it ends");
    }

    #[test]
    fn a_handler_that_completes_its_job_by_itself_has_to_commit() {
        let on = Fixture::new();
        on.beat();
        let shared = &on.engine.shared;
        let ends = |commits: bool, outcome| {
            let id = on.enqueue(|job| job);
            let running = on.next();
            running.hand_over();
            if commits {
                let ack = outcome::settle(&running.job, Outcome::Completed { result: None }).unwrap();
                on.store.ack_one(running.node, &ack).unwrap();
            }
            shared.settle(running.clone(), outcome, shared.clock.moment());
            shared.pool.finish(&running, shared.clock.moment());
            let job = row(&on, id);
            (job.state, job.details().errors.first().map(|error| error.kind.clone()))
        };
        let completed = || Outcome::Completed { result: None };
        let failed = || Outcome::Failed { failure: Failure::new("Boom", "", ""), again: Again::By(Backoff::default()) };
        let why = |kind: &str| Some(kind.to_owned());
        assert_eq!(ends(true, completed()), (State::Completed, None));
        assert_eq!(ends(true, failed()), (State::Completed, None), "it was committed, whatever came after");
        assert_eq!(ends(false, completed()), (State::Retryable, why("NotCommitted")));
        assert_eq!(ends(false, failed()), (State::Retryable, why("Boom")));
    }

    #[test]
    fn where_the_store_may_wait_an_end_waits_for_others_unless_its_worker_wants_it_written_at_once() {
        let (_folder, on) = Fixture::on_a_file();
        on.beat();
        let sync = Name::worker("sync").unwrap();
        let registration = Registration { lane: Lane::Thread, backoff: Backoff::default(), ack: AckMode::Sync };
        on.engine.register(sync.clone(), registration);
        let state_after = |worker: &Name, outcome| {
            let id = on.enqueue(|job| crate::job::NewJob { worker: worker.clone(), ..job });
            on.engine.claim_here(QueueIndex(0)).unwrap();
            on.engine.finish(&on.next(), outcome);
            (row(&on, id).state, on.engine.shared.backlog.len())
        };
        let completed = || Outcome::Completed { result: None };
        assert_eq!(state_after(&sync, completed()), (State::Completed, 0));
        assert_eq!(state_after(&Name::worker("w").unwrap(), completed()), (State::Executing, 1));
        assert_eq!(state_after(&sync, Outcome::Released), (State::Executing, 2), "that need not be written first");
        on.engine.flush_all();
        assert_eq!(
            (on.store.count_by_state(None).unwrap()[State::Executing as usize], on.engine.shared.backlog.len()),
            (0, 0)
        );
    }

    #[test]
    fn a_queue_follows_its_row() {
        let on = Fixture::new();
        on.beat();
        let (shared, queue) = (&on.engine.shared, QueueIndex(0));
        let name = shared.pool.name(queue).clone();
        let id = on.enqueue(|job| job);
        on.engine.claim_here(queue).unwrap();
        let row_of = |name: &Name| QueueRow { name: name.clone(), paused: true, concurrency: Some(7), counts: [0; 7] };
        shared.follow_row(queue, &[row_of(&name)]);
        assert_eq!((shared.pool.limit(queue), row(&on, id).state), (7, State::Available), "what waited here goes back");
        assert_eq!(shared.pool.demand(queue), 0);
        shared.follow_row(queue, &[row_of(&Name::queue("other").unwrap())]);
        assert_eq!((shared.pool.limit(queue), shared.pool.demand(queue)), (2, 2), "no row is as the queue was set");
    }

    #[test]
    fn a_queue_that_somebody_pauses_or_resumes_hears_of_it() {
        let on = Fixture::new();
        on.beat();
        let queue = QueueIndex(0);
        let name = on.engine.pool().name(queue).clone();
        on.store.pause(&name).unwrap();
        let id = on.enqueue(|job| job);
        on.engine.claim_here(queue).unwrap();
        assert_eq!((on.engine.pool().demand(queue), row(&on, id).state), (0, State::Available));
        on.store.resume(&name).unwrap();
        assert_eq!((on.engine.pool().demand(queue), row(&on, id).state), (1, State::Executing), "and looks for work");
        on.store.pause(&Name::queue("other").unwrap()).unwrap();
        assert_eq!(on.engine.pool().demand(queue), 1);
    }

    #[test]
    fn who_is_to_look_for_work_is_woken() {
        let on = Fixture::new();
        let shared = &on.engine.shared;
        let rung = || [shared.claim_alarm.take(), shared.deadlines.alarm().take()];
        rung();
        shared.wake_all();
        assert_eq!(rung(), [true, false]);
        shared.watch_lead(shared.clock.moment() + Duration::from_secs(1));
        assert_eq!(rung(), [false, false], "nothing was left to a lead");
    }
}
