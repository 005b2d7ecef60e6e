//! The acks that wait to be written, those that are on their way, and those that were refused: until the store has
//! answered for it, an ack is in one of these places, and its job belongs to this node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::job::JobId;
use crate::outcome::{Ack, Outcome, settle};
use crate::runtime::acker::write;
use crate::runtime::role::Alarm;
use crate::runtime::running::Running;
use crate::runtime::sabotage::{self, Sabotage};
use crate::store::Store;
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering};
use crate::telemetry::Sink;

/// After that long an ack that was set aside is tried again: somebody may have mended the rule that refused it.
pub(super) const SET_ASIDE: Duration = Duration::from_secs(5);

/// An attempt that ended and whose ack is not yet answered.
#[derive(Debug)]
pub struct Finished {
    /// What ran.
    pub running: Arc<Running>,
    /// What to write.
    pub ack: Ack,
    /// When it ended.
    pub ended: Moment,
}

impl Finished {
    /// Settles `outcome`. A cancel that a person asked for wins over what the handler says.
    pub fn new(running: Arc<Running>, outcome: Outcome, ended: Moment) -> Result<Self> {
        let outcome = if running.cancel_wanted() && !matches!(outcome, Outcome::Cancelled { .. }) {
            cancelled()
        } else {
            outcome
        };
        let ack = settle(&running.job, outcome)?;
        Ok(Self { running, ack, ended })
    }

    /// The same attempt where the store wants a cancel instead.
    pub(super) fn cancelled_instead(self) -> Option<Self> {
        let ack = settle(&self.running.job, cancelled()).ok()?;
        Some(Self { ack, ..self })
    }
}

fn cancelled() -> Outcome {
    Outcome::Cancelled { reason: "cancelled while it was running".into() }
}

/// The acks that wait to be written, and those that are being written.
#[derive(Debug, Default)]
pub struct Backlog {
    acks: Mutex<Acks>,
    /// Told when acks that were on their way have landed.
    landed: Condvar,
    length: AtomicUsize,
    /// How many are set aside.
    aside: AtomicUsize,
    /// Wakes the role.
    pub alarm: Arc<Alarm>,
}

#[derive(Debug, Default)]
struct Acks {
    waiting: Vec<Finished>,
    /// Refused by the store.
    aside: Vec<Finished>,
    /// On their way to the store and not answered for: their jobs still belong to this node.
    flying: Vec<JobId>,
}

/// Acks on their way. They land with this, whatever happens to whoever carries them: those that the store did not answer
/// for wait again.
#[derive(Debug)]
pub struct Flight<'a> {
    backlog: &'a Backlog,
    ids: Vec<JobId>,
    left: Vec<Finished>,
    refused: Refused,
}

/// What the store refuses by itself, and why it refused the last of them.
#[derive(Debug, Default)]
pub(super) struct Refused {
    acks: Vec<Finished>,
    why: Option<Error>,
}

impl Refused {
    pub(super) fn add(&mut self, finished: Finished, error: &Error) {
        let id = finished.ack.id.0;
        self.why = Some(Error::Internal(format!(
            "the end of job {id} is not written: {error}; it is tried again every {} seconds",
            SET_ASIDE.as_secs()
        )));
        self.acks.push(finished);
    }
}

impl Flight<'_> {
    /// Writes them, and tells what came of it. What the store refuses is set aside with the end of the flight.
    pub fn write(&mut self, store: &dyn Store, sink: &dyn Sink) -> Result<()> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            failpoint::pass(Point::Flush);
            write(store, sink, &mut self.left, &mut self.refused)
        }));
        let lost = if written.is_err() { Sabotage::LoseAcksInPanics } else { Sabotage::DropFailedAcks };
        if sabotage::is_on(lost) {
            self.left.clear();
        }
        if sabotage::is_on(Sabotage::DropRefusedAcks) {
            self.refused.acks.clear();
        }
        written.unwrap_or_else(|_| Err(Error::Internal("writing acks panicked".into())))
    }

    /// Why something was refused, when something was.
    pub fn refusal(&mut self) -> Option<Error> {
        self.refused.why.take()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut acks = self.backlog.acks.lock();
        for id in &self.ids {
            if let Some(place) = acks.flying.iter().position(|flying| flying == id) {
                acks.flying.swap_remove(place);
            }
        }
        if !self.left.is_empty() {
            acks.waiting.splice(0..0, self.left.drain(..));
            self.backlog.length.store(acks.waiting.len(), Ordering::Release);
        }
        if !self.refused.acks.is_empty() {
            acks.aside.append(&mut self.refused.acks);
            self.backlog.aside.store(acks.aside.len(), Ordering::Release);
            // The role has to know when to take them up again.
            self.backlog.alarm.ring();
        }
        drop(acks);
        self.backlog.landed.notify_all();
    }
}

impl Backlog {
    /// Adds one; wakes the role for the first of a batch and for a full one.
    pub fn push(&self, finished: Finished, batch: usize) {
        let mut acks = self.acks.lock();
        acks.waiting.push(finished);
        let length = acks.waiting.len();
        drop(acks);
        self.length.store(length, Ordering::Release);
        failpoint::pass(Point::Queued);
        if length == 1 || length == batch {
            self.alarm.ring();
        }
    }

    /// How many are not written, those that were refused among them.
    pub fn unwritten(&self) -> usize {
        self.len() + self.aside.load(Ordering::Acquire)
    }

    /// Whether some are set aside.
    pub(super) fn has_aside(&self) -> bool {
        self.aside.load(Ordering::Acquire) > 0
    }

    /// Those that were refused wait with the others again.
    pub fn take_up(&self) {
        let mut acks = self.acks.lock();
        let mut aside = std::mem::take(&mut acks.aside);
        acks.waiting.append(&mut aside);
        self.aside.store(0, Ordering::Release);
        self.length.store(acks.waiting.len(), Ordering::Release);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `most` acks to write.
    pub fn take(&self, most: usize) -> Flight<'_> {
        let mut acks = self.acks.lock();
        let most = most.min(acks.waiting.len());
        let keep = acks.waiting.split_off(most);
        let left = std::mem::replace(&mut acks.waiting, keep);
        let ids: Vec<JobId> = left.iter().map(|finished| finished.ack.id).collect();
        acks.flying.extend(&ids);
        self.length.store(acks.waiting.len(), Ordering::Release);
        Flight { backlog: self, ids, left, refused: Refused::default() }
    }

    /// One that is written beside the backlog.
    pub(crate) fn send(&self, finished: Finished) -> Flight<'_> {
        let id = finished.ack.id;
        self.acks.lock().flying.push(id);
        Flight { backlog: self, ids: vec![id], left: vec![finished], refused: Refused::default() }
    }

    /// Waits for those that others have on their way.
    pub fn wait_landed(&self) {
        let mut acks = self.acks.lock();
        while !acks.flying.is_empty() {
            acks = self.landed.wait(acks);
        }
    }

    /// The jobs whose acks wait or are not answered for; they still belong to this node.
    pub fn ids(&self) -> Vec<JobId> {
        let acks = self.acks.lock();
        let flying = acks.flying.iter().copied().filter(|_| !sabotage::is_on(Sabotage::ForgetAcksOnTheirWay));
        acks.waiting.iter().chain(&acks.aside).map(|finished| finished.ack.id).chain(flying).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::job::Lease;
    use crate::runtime::fixture::Fixture;

    /// The end of a job with that number.
    fn finished(id: i64) -> Finished {
        let on = Fixture::new();
        on.beat();
        on.enqueue(|job| job);
        let claimed = on.next();
        let mut job = claimed.job.clone();
        (job.id, job.lease) = (JobId(id), Lease(1));
        let running = Arc::new(Running::new(job, claimed.queue, claimed.lane, claimed.node));
        Finished::new(running, Outcome::Completed { result: None }, Moment(0)).unwrap()
    }

    /// Whose ends wait, in order, and how many there are besides.
    fn waiting(backlog: &Backlog) -> (Vec<i64>, usize) {
        let acks = backlog.acks.lock();
        let waiting: Vec<_> = acks.waiting.iter().map(|one| one.ack.id.0).collect();
        assert_eq!((backlog.len(), backlog.is_empty()), (waiting.len(), waiting.is_empty()));
        (waiting, backlog.unwritten() - backlog.len())
    }

    fn ids(backlog: &Backlog) -> Vec<i64> {
        let mut ids: Vec<_> = backlog.ids().iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_first_of_a_batch_rings_and_so_does_the_one_that_fills_it() {
        let backlog = Backlog::default();
        let rings = [1, 2, 3, 4].map(|id| {
            backlog.push(finished(id), 3);
            backlog.alarm.take()
        });
        assert_eq!(rings, [true, false, true, false]);
    }

    #[test]
    fn what_the_store_has_not_answered_for_waits_again_before_all_others_and_belongs_to_the_node_meanwhile() {
        let backlog = Backlog::default();
        for id in 1..=3 {
            backlog.push(finished(id), 9);
        }
        let flight = backlog.take(2);
        assert_eq!((waiting(&backlog), ids(&backlog)), ((vec![3], 0), vec![1, 2, 3]));
        drop(flight);
        assert_eq!((waiting(&backlog), ids(&backlog)), ((vec![1, 2, 3], 0), vec![1, 2, 3]));
        let mut flight = backlog.take(9);
        flight.left.remove(1);
        drop(flight);
        assert_eq!((waiting(&backlog), ids(&backlog)), ((vec![1, 3], 0), vec![1, 3]), "the second was answered for");
        drop(backlog.send(finished(4)));
        assert_eq!(waiting(&backlog), (vec![4, 1, 3], 0));
    }

    #[test]
    fn what_was_refused_is_set_aside_until_it_is_taken_up() {
        let backlog = Backlog::default();
        backlog.push(finished(1), 9);
        backlog.push(finished(2), 9);
        backlog.alarm.take();
        let mut flight = backlog.take(2);
        let refused = flight.left.remove(0);
        flight.refused.add(refused, &Error::Internal("a rule says no".to_owned()));
        let why = flight.refusal().unwrap().to_string();
        assert!(why.contains("the end of job 1 is not written: ") && why.contains("a rule says no"), "{why}");
        assert!(why.ends_with("it is tried again every 5 seconds") && flight.refusal().is_none(), "{why}");
        assert!(!backlog.has_aside());
        drop(flight);
        assert!(backlog.has_aside() && backlog.alarm.take(), "the role has to know when to take it up");
        assert_eq!((waiting(&backlog), ids(&backlog)), ((vec![2], 1), vec![1, 2]));
        backlog.take_up();
        assert_eq!((waiting(&backlog), backlog.has_aside()), ((vec![2, 1], 0), false));
    }

    #[test]
    fn who_waits_for_acks_on_their_way_waits_until_the_last_has_landed() {
        let backlog = Backlog::default();
        backlog.wait_landed();
        let (first, second) = (backlog.send(finished(1)), backlog.send(finished(2)));
        let (ends, ended) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                backlog.wait_landed();
                ends.send(()).unwrap();
            });
            drop(first);
            assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "one is on its way");
            drop(second);
            ended.recv().unwrap();
        });
    }

    #[test]
    fn a_cancel_that_somebody_asked_for_wins_over_what_a_handler_says() {
        let running = finished(1).running;
        running.ask_cancel();
        let says = |outcome| Finished::new(running.clone(), outcome, Moment(0)).unwrap().ack.error.unwrap().message;
        assert_eq!(says(Outcome::Completed { result: None }), "cancelled while it was running");
        assert_eq!(says(Outcome::Cancelled { reason: "I am done".to_owned() }), "I am done");
    }
}
