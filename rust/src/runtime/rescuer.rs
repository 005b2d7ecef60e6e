//! *rescuer*: takes back the jobs of nodes that are gone. Any node does it; none leads.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::Result;
use crate::runtime::role::{Now, Role, Wake};
use crate::runtime::shared::Shared;
use crate::state::State;
use crate::store::{Rescued, Store};
use crate::sync::{Arc, Ordering};
use crate::telemetry::{Event, JobResult, Kind, Sink};

/// Jobs per call.
const BATCH: usize = 500;

/// After this much more than a departure's grace it is over by every clock.
const MARGIN: Duration = Duration::from_millis(100);

/// Looks for dead nodes.
#[derive(Debug)]
pub struct Rescuer {
    shared: Arc<Shared>,
    /// When the grace is over of the first node that was said to end since the last look at such ones.
    again: Option<Moment>,
    /// The same of the last one: those who end one after the other do not put off the look at the first.
    last: Moment,
    /// When the next look is due that nobody has asked for.
    routine: Moment,
}

impl Rescuer {
    /// The role for this node.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, again: None, last: Moment(0), routine: Moment(0) }
    }
}

impl Role for Rescuer {
    fn name(&self) -> &'static str {
        "rescuer"
    }

    fn slack(&self) -> Duration {
        if self.again.is_some() { Duration::ZERO } else { self.shared.config.rescue / 4 }
    }

    fn tick(&mut self, now: Now, store: &dyn Store) -> Result<Wake> {
        let config = &self.shared.config;
        let has_ended = self.shared.orphaned.swap(false, Ordering::AcqRel);
        if self.shared.leaving.swap(false, Ordering::AcqRel) {
            self.last = now.moment + config.departure + MARGIN;
            if let Some(again) = self.again.filter(|again| *again > now.moment && !has_ended) {
                // Whoever ends says so again and again: one look for each word would be too many.
                return Ok(Wake::At(again.min(self.routine)));
            }
            self.again.get_or_insert(self.last);
        }
        if rescue(&self.shared, store)? == BATCH {
            return Ok(Wake::At(now.moment));
        }
        if self.again.is_some_and(|again| again <= now.moment) {
            self.again = (self.last > now.moment).then_some(self.last);
        }
        self.routine = now.moment + config.rescue;
        Ok(Wake::At(self.again.map_or(self.routine, |again| again.min(self.routine))))
    }
}

/// One look. Returns how many jobs were taken back.
pub fn rescue(shared: &Shared, store: &dyn Store) -> Result<usize> {
    let rescued = store.rescue(BATCH)?;
    for one in &rescued {
        tell(&*shared.sink, one);
    }
    Ok(rescued.len())
}

/// Tells of one, and of its end when it is over with this attempt.
fn tell(sink: &dyn Sink, rescued: &Rescued) {
    let job = &rescued.job;
    if sink.wants(Kind::JobRescued) {
        sink.emit(Event::JobRescued(job.clone(), rescued.reason));
    }
    let (kind, event): (_, fn(JobResult) -> Event) = match job.state {
        State::Discarded => (Kind::JobDiscarded, Event::JobDiscarded),
        State::Cancelled => (Kind::JobCancelled, Event::JobCancelled),
        _ => return,
    };
    if sink.wants(kind) {
        let error = job.details().errors.last().map(|error| error.message.clone());
        // How long it ran, nobody knows.
        sink.emit(event(JobResult { job: job.clone(), duration: Duration::ZERO, queued: job.queued(), error }));
    }
}

/// Looks until nothing is left to take back; says how many jobs came.
pub fn rescue_all(shared: &Shared, store: &dyn Store) -> Result<usize> {
    let mut taken = 0;
    loop {
        let now = rescue(shared, store)?;
        taken += now;
        if now < BATCH {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Manual};
    use crate::job::{Job, NodeId};
    use crate::outcome::RescueReason;
    use crate::runtime::config::Config;
    use crate::runtime::engine::Engine;
    use crate::runtime::fixture::{Fixture, Heard, new_job};
    use crate::runtime::notifier::Notifier;
    use crate::store::memory::MemoryStore;
    use crate::store::{Claim, Heartbeat, Signal, Subscriber};
    use crate::telemetry::Silent;

    fn engine(clock: &Arc<Manual>, store: &Arc<MemoryStore>) -> Engine {
        let random = fastrand::Rng::with_seed(1);
        Engine::new(store.clone(), Config::default(), clock.clone(), Arc::new(Silent), random).unwrap()
    }

    #[test]
    fn who_hears_that_a_node_ends_looks_at_once_and_again_when_its_grace_is_over() {
        let (clock, store) = (Arc::new(Manual::default()), Arc::new(MemoryStore::default()));
        let engine = engine(&clock, &store);
        let Config { rescue: routine, departure, .. } = Config::default();
        let mut rescuer = Rescuer::new(engine.shared.clone());
        let wakes_after = |rescuer: &mut Rescuer| match rescuer.tick(Now::read(&*clock), &*store).unwrap() {
            Wake::At(moment) => moment.since(clock.moment()),
            Wake::OnAlarm => panic!("it looks by itself"),
        };
        assert_eq!((wakes_after(&mut rescuer), rescuer.slack()), (routine, routine / 4));
        Notifier::new(&engine.shared).signal(&Signal::Leaving);
        assert!(engine.shared.rescue_alarm.take());
        let soon = departure + MARGIN;
        assert_eq!((wakes_after(&mut rescuer), rescuer.slack()), (soon, Duration::ZERO));
        clock.advance(soon / 2);
        assert_eq!(wakes_after(&mut rescuer), soon / 2, "another look in between forgets nothing");
        Notifier::new(&engine.shared).signal(&Signal::Leaving);
        assert_eq!(wakes_after(&mut rescuer), soon / 2, "those who end later do not put it off");
        clock.advance(soon / 2);
        assert_eq!(wakes_after(&mut rescuer), soon / 2, "the second one's grace is not over");
        clock.advance(soon / 2);
        assert_eq!((wakes_after(&mut rescuer), rescuer.slack()), (routine, routine / 4));
    }

    #[test]
    fn each_node_that_has_ended_is_looked_for_at_once_also_while_others_say_that_they_end() {
        let (clock, store) = (Arc::new(Manual::default()), Arc::new(MemoryStore::default()));
        let engine = engine(&clock, &store);
        let mut rescuer = Rescuer::new(engine.shared.clone());
        let mut looks_at = |signal| {
            clock.advance(MARGIN);
            Notifier::new(&engine.shared).signal(&signal);
            assert!(engine.shared.rescue_alarm.take());
            let now = Now::read(&*clock);
            rescuer.tick(now, &*store).unwrap();
            // The next look that nobody asks for is as far from this one as it may be.
            rescuer.routine == now.moment + Config::default().rescue
        };
        let heard = [Signal::Orphaned, Signal::Orphaned, Signal::Leaving, Signal::Leaving, Signal::Orphaned];
        assert_eq!(heard.map(&mut looks_at), [true, true, true, false, true]);
    }

    #[test]
    fn it_looks_when_a_node_has_ended_or_a_grace_is_over_though_another_one_says_at_that_moment_that_it_ends() {
        let (clock, store) = (Arc::new(Manual::default()), Arc::new(MemoryStore::default()));
        let engine = engine(&clock, &store);
        let Config { departure, rescue: routine, .. } = Config::default();
        let looks_when = |signals: &[Signal], after| {
            let mut rescuer = Rescuer::new(engine.shared.clone());
            let mut tick = |signals: &[Signal]| {
                for signal in signals {
                    Notifier::new(&engine.shared).signal(signal);
                }
                rescuer.tick(Now::read(&*clock), &*store).unwrap();
                rescuer.routine == clock.moment() + routine
            };
            assert!(tick(&[Signal::Leaving]), "the first word of all");
            clock.advance(after);
            tick(signals)
        };
        let grace = departure + MARGIN;
        assert!(!looks_when(&[Signal::Leaving], grace / 2));
        assert!(looks_when(&[Signal::Leaving, Signal::Orphaned], grace / 2));
        assert!(looks_when(&[Signal::Leaving], grace));
    }

    /// A node that has claimed so many jobs, and is silent for too long.
    fn a_dead_node_with(on: &Fixture, count: usize) {
        let (node, ttl) = (NodeId(9), Duration::from_secs(20));
        let job = new_job();
        let queue = job.queue.clone();
        on.store.enqueue(vec![job; count]).unwrap();
        let beat =
            Heartbeat { node, name: String::new(), pid: 1, ttl, queues: vec![(queue.clone(), 9)], holds: vec![] };
        on.store.heartbeat(&beat).unwrap();
        assert_eq!(on.store.claim(&Claim { node, queue, limit: count }).unwrap().len(), count);
        on.clock.advance(ttl * 2);
    }

    #[test]
    fn it_goes_on_at_once_while_a_look_is_full() {
        let on = Fixture::new();
        a_dead_node_with(&on, BATCH + 1);
        let mut rescuer = Rescuer::new(on.engine.shared.clone());
        let now = Now::read(&*on.clock);
        let mut looks = || rescuer.tick(now, &*on.store).unwrap();
        assert_eq!(looks(), Wake::At(now.moment));
        assert_eq!(looks(), Wake::At(now.moment + Config::default().rescue));
    }

    #[test]
    fn by_hand_it_takes_back_all_and_says_how_many_came() {
        let on = Fixture::new();
        a_dead_node_with(&on, 2 * BATCH + 7);
        assert_eq!(rescue_all(&on.engine.shared, &*on.store).unwrap(), 2 * BATCH + 7);
        assert_eq!(rescue_all(&on.engine.shared, &*on.store).unwrap(), 0);
    }

    #[test]
    fn it_tells_of_each_job_and_of_the_end_of_those_that_are_over() {
        let on = Fixture::new();
        let id = on.enqueue(|job| job);
        let job = on.store.get(&[id]).unwrap().remove(0);
        let told = |state, unwanted| {
            let heard = Heard { unwanted, ..Heard::default() };
            tell(&heard, &Rescued { job: Job { state, ..job.clone() }, reason: RescueReason::NodeDied });
            heard.events.into_inner().iter().map(Event::kind).collect::<Vec<_>>()
        };
        assert_eq!(told(State::Available, None), [Kind::JobRescued]);
        assert_eq!(told(State::Discarded, None), [Kind::JobRescued, Kind::JobDiscarded]);
        assert_eq!(told(State::Cancelled, None), [Kind::JobRescued, Kind::JobCancelled]);
        assert_eq!(told(State::Cancelled, Some(Kind::JobRescued)), [Kind::JobCancelled]);
        assert_eq!(told(State::Cancelled, Some(Kind::JobCancelled)), [Kind::JobRescued]);
    }
}
