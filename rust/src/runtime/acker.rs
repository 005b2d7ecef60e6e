//! *acker*: writes what became of jobs, many at a time, and tells who listens.
//!
//! Where the store never waits, an ack is written by the slot itself and this role has nothing to do. Otherwise acks
//! wait here for company: at most the ack window, less when the node is idle, never more than a batch. A write that
//! fails is kept and tried again; acks leave only when the store has answered for them. One that the store refuses, by a
//! rule that somebody has added to its tables, is set aside, so that it holds up no other, and tried again from time to
//! time.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::failpoint::{self, Point};
use crate::outcome::Ack;
use crate::runtime::backlog::{Finished, Refused, SET_ASIDE};
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::sabotage::{self, Sabotage};
use crate::runtime::shared::Shared;
use crate::state::{Event as Move, State};
use crate::store::{Acked, Store};
use crate::sync::Arc;
use crate::telemetry::{Event, JobResult, Kind, Sink};

/// Flushes the backlog.
#[derive(Debug)]
pub struct Acker {
    shared: Arc<Shared>,
    since: Option<Moment>,
    /// When those that were set aside are tried again.
    again: Option<Moment>,
}

impl Acker {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, since: None, again: None }
    }

    /// Wakes for those that are set aside, too.
    fn until(&mut self, wake: Wake, now: Moment) -> Wake {
        if !self.shared.backlog.has_aside() {
            self.again = None;
            return wake;
        }
        let again = *self.again.get_or_insert(now + SET_ASIDE);
        Wake::At(if let Wake::At(other) = wake { again.min(other) } else { again })
    }
}

impl Role for Acker {
    fn name(&self) -> &'static str {
        "acker"
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let shared = &self.shared;
        let config = &shared.config;
        let backlog = &shared.backlog;
        if self.again.is_some_and(|again| again <= now.moment) {
            self.again = None;
            backlog.take_up();
        }
        if backlog.is_empty() {
            self.since = None;
            return Ok(self.until(Wake::OnAlarm, now.moment));
        }
        let since = *self.since.get_or_insert(now.moment);
        let flush_at = since + config.ack_window;
        if backlog.len() < config.ack_batch && now.moment < flush_at && !shared.is_idle() {
            return Ok(self.until(Wake::At(flush_at), now.moment));
        }
        write_all(shared, store)?;
        self.since = None;
        shared.claim_alarm.ring();
        Ok(self.until(Wake::OnAlarm, now.moment))
    }
}

/// Writes everything that waits; what is refused is told of and set aside.
fn write_all(shared: &Shared, store: &dyn Store) -> Result<()> {
    let backlog = &shared.backlog;
    let mut refusal = None;
    while !backlog.is_empty() {
        let mut flight = backlog.take(shared.config.ack_batch);
        let written = flight.write(store, &*shared.sink);
        refusal = flight.refusal().or(refusal);
        written?;
    }
    if let Some(error) = refusal {
        shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
    }
    Ok(())
}

/// Writes a batch and tells what came of it. What the store has answered for leaves the batch before anybody hears of it.
pub(super) fn write(store: &dyn Store, sink: &dyn Sink, left: &mut Vec<Finished>, refused: &mut Refused) -> Result<()> {
    while let Some(node) = left.first().map(|finished| finished.running.node) {
        let is_mine = |finished: &Finished| finished.running.node == node;
        let acks: Vec<Ack> = left.iter().filter(|one| is_mine(one)).map(|one| one.ack.clone()).collect();
        let replies = match store.ack(node, &acks) {
            Ok(replies) => replies,
            Err(error) if error.is_refusal() && !sabotage::is_on(Sabotage::KeepBatchesWhole) => {
                write_apart(store, sink, left, refused)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        failpoint::pass(Point::Flushed);
        let mine: Vec<Finished> = left.extract_if(.., |one| is_mine(one)).collect();
        let mut told = Vec::with_capacity(mine.len());
        for (finished, reply) in mine.into_iter().zip(replies) {
            if reply == Acked::CancelRequested {
                left.extend(finished.cancelled_instead());
            } else {
                told.push((finished, reply));
            }
        }
        for (finished, reply) in &told {
            tell(sink, finished, *reply);
        }
    }
    Ok(())
}

/// Writes each by itself, since one of them was refused and nobody knows which.
fn write_apart(store: &dyn Store, sink: &dyn Sink, left: &mut Vec<Finished>, refused: &mut Refused) -> Result<()> {
    while let Some(one) = left.first() {
        let reply = store.ack_one(one.running.node, &one.ack);
        if reply.as_ref().is_err_and(|error| !error.is_refusal()) {
            return reply.map(drop);
        }
        let finished = left.remove(0);
        match reply {
            Ok(Acked::CancelRequested) => left.extend(finished.cancelled_instead()),
            Ok(reply) => tell(sink, &finished, reply),
            Err(error) => refused.add(finished, &error),
        }
    }
    Ok(())
}

/// Writes one ack without the detour over vectors that would be thrown away.
pub fn write_one(store: &dyn Store, sink: &dyn Sink, finished: Finished) -> Result<(), Box<(Error, Finished)>> {
    match store.ack_one(finished.running.node, &finished.ack) {
        Ok(Acked::CancelRequested) => match finished.cancelled_instead() {
            Some(again) => write_one(store, sink, again),
            None => Ok(()),
        },
        Ok(reply) => {
            tell(sink, &finished, reply);
            Ok(())
        }
        Err(error) => Err(Box::new((error, finished))),
    }
}

/// Tells the reply to one ack.
fn tell(sink: &dyn Sink, finished: &Finished, reply: Acked) {
    match reply {
        Acked::Stored | Acked::Already => told(sink, finished),
        Acked::LeaseLost if sink.wants(Kind::LeaseLost) => {
            sink.emit(Event::LeaseLost(finished.running.job.clone()));
        }
        Acked::LeaseLost | Acked::CancelRequested => {}
    }
}

fn told(sink: &dyn Sink, finished: &Finished) {
    let ack = &finished.ack;
    let kind = match (ack.event, ack.to) {
        (Move::Complete, _) => Kind::JobCompleted,
        (Move::Fail, State::Discarded) | (Move::Discard, _) => Kind::JobDiscarded,
        (Move::Fail, _) => Kind::JobFailed,
        (Move::Snooze, _) => Kind::JobSnoozed,
        (Move::Cancel, _) => Kind::JobCancelled,
        (Move::Release, _) => Kind::JobReleased,
        (Move::Stage | Move::Claim | Move::Rescue | Move::Retry, _) => return,
    };
    if !sink.wants(kind) {
        return;
    }
    let mut job = finished.running.job.clone();
    job.state = ack.to;
    let queued = job.queued();
    let started = finished.running.started();
    // No handler began: the worker is unknown here, or the job goes back as it was.
    let duration = if started == Moment(0) { Duration::ZERO } else { finished.ended.since(started) };
    let error = ack.error.as_ref().map(|failure| failure.message.clone());
    let result = JobResult { job, duration, queued, error };
    sink.emit(match kind {
        Kind::JobCompleted => Event::JobCompleted(result),
        Kind::JobDiscarded => Event::JobDiscarded(result),
        Kind::JobFailed => Event::JobFailed(result),
        Kind::JobSnoozed => Event::JobSnoozed(result),
        Kind::JobCancelled => Event::JobCancelled(result),
        _ => Event::JobReleased(result.job),
    });
}

/// As [`flush`], and waits for what the role has on its way. Not for threads of the engine, which would wait for themselves.
pub fn flush_all(shared: &Shared) {
    flush(shared);
    shared.backlog.wait_landed();
}

/// Writes everything that waits, once; what the store does not answer for stays.
pub fn flush(shared: &Shared) {
    if let Err(error) = write_all(shared, &*shared.store) {
        shared.outage.failed(shared.clock.moment(), &*shared.sink, &error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Manual};
    use crate::job::{JobId, NewJob};
    use crate::outcome::{Again, Failure, Outcome};
    use crate::runtime::config::Config;
    use crate::runtime::fixture::{FILE, Fixture, Heard};
    use crate::runtime::pool::QueueIndex;
    use crate::runtime::running::Running;
    use crate::store::Filter;
    use crate::store::memory::{MemoryConfig, MemoryStore};
    use crate::telemetry::Silent;

    #[test]
    fn what_a_rule_of_the_file_refuses_is_tried_again_after_a_while_and_counts_as_unwritten() {
        let (folder, on) = Fixture::on_a_file();
        let path = folder.path().join(FILE);
        let run = |statement: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(statement).unwrap();
        run("CREATE TRIGGER rule BEFORE UPDATE ON zjobs_jobs WHEN new.state = 2 AND new.id = 1
             BEGIN SELECT RAISE(ABORT, 'no'); END");
        on.beat();
        let made = [on.enqueue(|job| job), on.enqueue(|job| job)];
        on.engine.claim_here(QueueIndex(0)).unwrap();
        let states = || on.store.get(&made).unwrap().iter().map(|job| job.state).collect::<Vec<_>>();
        let mut acker = Acker::new(on.engine.shared.clone());
        let backlog = &on.engine.shared.backlog;
        let mut ticks = || on.tick(&mut acker);
        for _ in made {
            on.engine.finish(&on.next(), Outcome::Completed { result: None });
        }
        assert_eq!(ticks(), Some(SET_ASIDE));
        assert_eq!(states(), [State::Executing, State::Completed]);
        assert_eq!((backlog.len(), backlog.unwritten(), backlog.ids()), (0, 1, vec![made[0]]));
        on.clock.advance(SET_ASIDE / 2);
        assert_eq!(ticks(), Some(SET_ASIDE / 2), "a look in between does not put it off");
        on.clock.advance(SET_ASIDE / 2);
        assert_eq!(ticks(), Some(SET_ASIDE), "it is refused again");
        run("DROP TRIGGER rule");
        on.clock.advance(SET_ASIDE);
        assert_eq!(ticks(), None);
        assert_eq!(states(), [State::Completed; 2]);
        assert_eq!((backlog.unwritten(), backlog.ids()), (0, Vec::new()));
    }

    #[test]
    fn an_end_that_a_cancel_has_overtaken_is_written_as_a_cancel() {
        let on = Fixture::new();
        on.beat();
        let id = on.enqueue(|job| job);
        let completed = Outcome::Completed { result: None };
        let finished = Finished::new(on.next(), completed, on.clock.moment()).unwrap();
        on.store.cancel(&Filter { ids: Some(vec![id]), ..Filter::default() }).unwrap();
        write_one(&*on.store, &Silent, finished).unwrap();
        assert_eq!(on.store.get(&[id]).unwrap()[0].state, State::Cancelled);
    }

    fn in_memory(clock: Arc<Manual>) -> MemoryStore {
        MemoryStore::new(MemoryConfig { clock, ..MemoryConfig::default() })
    }

    fn completed(running: Arc<Running>, on: &Fixture) -> Finished {
        Finished::new(running, Outcome::Completed { result: None }, on.clock.moment()).unwrap()
    }

    #[test]
    fn acks_wait_for_company_until_their_window_is_over_a_batch_is_full_or_nothing_runs() {
        let on = Fixture::set(in_memory, |config| config.ack_batch = 2);
        on.beat();
        let (shared, window) = (&on.engine.shared, Config::default().ack_window);
        let mut acker = Acker::new(shared.clone());
        // When it looks again, how many wait, and whether it has told the claimer that there is room.
        let mut look = || (on.tick(&mut acker), shared.backlog.len(), shared.claim_alarm.take());
        // One ends and another one goes on; its slot takes the next.
        let ends = || {
            on.enqueue(|job| job);
            let running = on.next();
            shared.backlog.push(completed(running.clone(), &on), shared.config.ack_batch);
            on.engine.pool().finish(&running, on.clock.moment());
        };
        shared.claim_alarm.take();
        assert_eq!(look(), (None, 0, false));
        on.enqueue(|job| job);
        let goes_on = on.next();
        ends();
        assert_eq!(look(), (Some(window), 1, false));
        on.clock.advance(window / 2);
        assert_eq!(look(), (Some(window / 2), 1, false));
        on.clock.advance(window / 2);
        assert_eq!(look(), (None, 0, true));
        ends();
        assert_eq!(look(), (Some(window), 1, false), "each batch has a window of its own");
        ends();
        assert_eq!(look(), (None, 0, true), "a full one does not wait");
        ends();
        on.engine.pool().finish(&goes_on, on.clock.moment());
        assert_eq!(look(), (None, 0, true), "nobody else will come");
    }

    #[test]
    fn each_end_is_told_when_it_is_stored() {
        let on = Fixture::new();
        let told = |outcome, max_attempts, unwanted| {
            on.beat();
            on.enqueue(|job| NewJob { max_attempts, ..job });
            let running = on.next();
            on.clock.advance(Duration::from_secs(7));
            let finished = Finished::new(running.clone(), outcome, on.clock.moment()).unwrap();
            let heard = Heard { unwanted, ..Heard::default() };
            write_one(&*on.store, &heard, finished).unwrap();
            on.engine.pool().finish(&running, on.clock.moment());
            heard.events.into_inner()
        };
        let failed = |again| Outcome::Failed { failure: Failure::new("Boom", "it broke", ""), again };
        let again = Again::In(Duration::from_secs(1_000));
        let snoozed = Outcome::Snoozed { delay: Duration::from_secs(1_000) };
        let cancelled = Outcome::Cancelled { reason: "no more".to_owned() };
        let discarded = Outcome::Discarded { failure: Failure::new("Boom", "it broke", "") };
        for (outcome, max_attempts, kind, error) in [
            (Outcome::Completed { result: None }, 3, Kind::JobCompleted, None),
            (failed(again), 3, Kind::JobFailed, Some("it broke")),
            (failed(again), 1, Kind::JobDiscarded, Some("it broke")),
            (failed(Again::Never), 3, Kind::JobDiscarded, Some("it broke")),
            (snoozed, 3, Kind::JobSnoozed, None),
            (cancelled, 3, Kind::JobCancelled, Some("no more")),
            (discarded, 3, Kind::JobDiscarded, Some("it broke")),
        ] {
            assert!(told(outcome.clone(), max_attempts, Some(kind)).is_empty(), "nobody wants {kind:?}");
            let events = told(outcome, max_attempts, None);
            let [
                Event::JobCompleted(result)
                | Event::JobFailed(result)
                | Event::JobDiscarded(result)
                | Event::JobSnoozed(result)
                | Event::JobCancelled(result),
            ] = &*events
            else {
                panic!("{events:?}")
            };
            assert_eq!((events[0].kind(), result.error.as_deref()), (kind, error));
            assert_eq!((result.duration, result.queued), (Duration::from_secs(7), Duration::ZERO));
            assert_ne!(result.job.state, State::Executing);
        }
        let events = told(Outcome::Released, 3, None);
        assert!(matches!(&*events, [Event::JobReleased(job)] if job.state == State::Available), "{events:?}");
    }

    #[test]
    fn an_end_without_a_beginning_took_no_time() {
        let on = Fixture::new();
        on.beat();
        on.enqueue(|job| job);
        let claimed = on.next();
        let never_ran = Arc::new(Running::new(claimed.job.clone(), claimed.queue, claimed.lane, claimed.node));
        on.clock.advance(Duration::from_secs(7));
        let heard = Heard::default();
        write_one(&*on.store, &heard, completed(never_ran, &on)).unwrap();
        let events = heard.events.into_inner();
        assert!(matches!(&*events, [Event::JobCompleted(JobResult { duration: Duration::ZERO, .. })]), "{events:?}");
    }

    #[test]
    fn an_end_that_comes_too_late_is_told_as_a_lost_lease() {
        let on = Fixture::new();
        on.beat();
        let id = on.enqueue(|job| job);
        let running = on.next();
        write_one(&*on.store, &Silent, completed(running.clone(), &on)).unwrap();
        let told = |running: &Arc<Running>, unwanted| {
            let heard = Heard { unwanted, ..Heard::default() };
            write_one(&*on.store, &heard, completed(running.clone(), &on)).unwrap();
            heard.events.into_inner().iter().map(Event::kind).collect::<Vec<_>>()
        };
        assert_eq!(told(&running, None), [Kind::JobCompleted], "it was stored, by whoever asks again");
        on.store.retry(&Filter { ids: Some(vec![id]), ..Filter::default() }).unwrap();
        assert_eq!(told(&running, None), [Kind::LeaseLost]);
        assert_eq!(told(&running, Some(Kind::LeaseLost)), []);
    }

    #[test]
    fn a_cancel_that_overtakes_one_of_a_batch_is_written_for_that_one() {
        let on = Fixture::new();
        on.beat();
        let ids: [JobId; 2] = [(); 2].map(|()| on.enqueue(|job| job));
        for _ in ids {
            on.engine.shared.backlog.push(completed(on.next(), &on), usize::MAX);
        }
        on.store.cancel(&Filter { ids: Some(vec![ids[0]]), ..Filter::default() }).unwrap();
        flush(&on.engine.shared);
        let states: Vec<_> = on.store.get(&ids).unwrap().iter().map(|job| job.state).collect();
        assert_eq!((states, on.engine.shared.backlog.len()), (vec![State::Cancelled, State::Completed], 0));
    }
}
