//! *usher*: calls the host for threads of the engine.
//!
//! The host is an interpreter, which lets in one at a time: an extension may keep the others waiting for longer than a
//! lease lasts. A thread of the program that calls it holds up itself alone. A thread of the engine has the beats, the
//! claims or the acks of all jobs to do: it leaves its call here and goes on. One thread makes these calls, in order; it
//! begins with the first and ends with the engine.
//!
//! A call that fails, for want of stack or memory or because of a Ctrl-C, is made again here, where there is enough of
//! all: nobody else would tell the loop of the work that waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Clock;
use crate::job::JobId;
use crate::runtime::pool::QueueIndex;
use crate::runtime::waiters::SettledCall;
use crate::sigmask;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, RwLock};

/// Who owns the slots: threads and an event loop outside the engine. Called without any lock held. Each call says
/// whether it could be made; one that could not is made again.
pub trait Host: Send + Sync {
    /// The event loop has work to take or somebody to interrupt.
    fn ring(&self) -> bool;
    /// The queue may use this many thread slots now.
    fn reinforce(&self, queue: QueueIndex, slots: u32) -> bool;
    /// A handler goes on after its deadline and grace, and its queue's policy is [`StuckPolicy::Exit`].
    ///
    /// [`StuckPolicy::Exit`]: crate::runtime::StuckPolicy::Exit
    fn give_up(&self, job: JobId) -> bool;
}

/// What somebody outside is to be told.
pub enum Call {
    /// [`Host::ring`].
    Ring,
    /// [`Host::reinforce`].
    Reinforce(QueueIndex, u32),
    /// [`Host::give_up`].
    GiveUp(JobId),
    /// Jobs have settled, for one who waits.
    Settled(SettledCall),
}

/// Before each further attempt at a call that failed on the thread of its own.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

/// Calls the host and those who wait: at once for threads of others, by a thread of its own for those of the engine.
#[derive(Default)]
pub struct Usher {
    desk: Arc<Desk>,
}

impl std::fmt::Debug for Usher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usher").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Desk {
    host: RwLock<Option<Arc<dyn Host>>>,
    /// The loop was rung and has not answered.
    rung: AtomicBool,
    state: Mutex<State>,
    /// There is a call to make, or none will come.
    news: Condvar,
    /// The thread has ended.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Call>,
    /// Whether the thread waits for more when it has made all calls: while there is a host.
    stays: bool,
    is_there: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ring => f.write_str("Ring"),
            Self::Reinforce(queue, slots) => f.debug_tuple("Reinforce").field(queue).field(slots).finish(),
            Self::GiveUp(job) => f.debug_tuple("GiveUp").field(job).finish(),
            Self::Settled(_) => f.write_str("Settled"),
        }
    }
}

impl State {
    fn push(&mut self, call: Call) {
        match self.waiting.iter_mut().find(|other| call.stands_for(other)) {
            Some(other) => *other = call,
            None => self.waiting.push_back(call),
        }
    }
}

impl Call {
    /// Whether the other need not be made beside this one: what waits is no more than there are queues and handlers.
    fn stands_for(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ring, Self::Ring) => true,
            (Self::Reinforce(queue, _), Self::Reinforce(other, _)) => queue == other,
            _ => false,
        }
    }
}

impl Usher {
    /// Who is called from now on.
    pub fn set_host(&self, host: Option<Arc<dyn Host>>) {
        let stays = host.is_some();
        let before = std::mem::replace(&mut *self.desk.host.write(), host);
        drop(before);
        // Whatever rang before, this one has not heard it.
        self.hear();
        self.desk.state.lock().stays = stays;
        self.desk.news.notify_one();
    }

    /// Tells the loop, unless it has been told and has not answered yet.
    pub fn ring(&self) {
        if !self.desk.rung.swap(true, Ordering::SeqCst) {
            self.call(Call::Ring);
        }
    }

    /// The loop answers: from now on it is rung again.
    pub fn hear(&self) {
        self.desk.rung.store(false, Ordering::SeqCst);
    }

    /// Makes a call, or leaves it to the thread that makes those of the engine and those that fail.
    pub fn call(&self, call: Call) {
        if sigmask::is_ours() || !self.desk.make(&call) {
            self.leave(call);
        }
    }

    /// Leaves a call to that thread.
    pub fn leave(&self, call: Call) {
        let desk = &self.desk;
        let mut state = desk.state.lock();
        state.push(call);
        if !state.is_there {
            let at = desk.clone();
            if sigmask::spawn("zjobs-usher", move || at.call_all()).is_err() {
                // Without a thread to be had they are made here.
                let left = std::mem::take(&mut state.waiting);
                drop(state);
                for call in left {
                    desk.insist(&call, &[]);
                }
                return;
            }
            state.is_there = true;
        }
        drop(state);
        desk.news.notify_one();
    }

    /// Once there is no host, waits until the thread has made the calls that are left and has ended; at most so long: an
    /// interpreter may never let it in.
    pub fn wait_gone(&self, most: Duration, clock: &dyn Clock) {
        let until = clock.moment() + most;
        let mut state = self.desk.state.lock();
        while state.is_there && !state.stays {
            let left = until.since(clock.moment());
            if left.is_zero() {
                return;
            }
            state = self.desk.gone.wait_for(state, left);
        }
    }
}

impl Drop for Usher {
    fn drop(&mut self) {
        self.set_host(None);
    }
}

impl Desk {
    fn make(&self, call: &Call) -> bool {
        if let Call::Settled(call) = call {
            return call();
        }
        let host = self.host.read().clone();
        // Without a host nobody is there to be told.
        host.is_none_or(|host| match call {
            Call::Ring => host.ring(),
            Call::Reinforce(queue, slots) => host.reinforce(*queue, *slots),
            Call::GiveUp(job) => host.give_up(*job),
            Call::Settled(call) => call(),
        })
    }

    fn call_all(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(call) = state.waiting.pop_front() {
                drop(state);
                self.insist(&call, &PAUSES);
                state = self.state.lock();
            } else if state.stays {
                state = self.news.wait(state);
            } else {
                break;
            }
        }
        state.is_there = false;
        drop(state);
        self.gone.notify_all();
    }

    /// Makes a call, and makes it again after each of these pauses while it fails.
    fn insist(&self, call: &Call, pauses: &[Duration]) {
        let made = || catch_unwind(AssertUnwindSafe(|| self.make(call))).unwrap_or(false);
        for pause in pauses {
            if made() {
                return;
            }
            drop(self.news.wait_for(self.state.lock(), *pause));
        }
        if !made() && matches!(call, Call::Ring) {
            // The loop has heard nothing: the next who has something for it rings again, and so does the next beat.
            self.rung.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::thread::ThreadId;

    use super::*;
    use crate::clock::System;

    /// Tells a test what is called, and where; waits at each call when there is a gate, and fails as often as it is told.
    struct House {
        called: Mutex<Sender<(String, ThreadId)>>,
        gate: Mutex<Option<Receiver<()>>>,
        fails: Mutex<u32>,
    }

    impl House {
        fn note(&self, call: String) -> bool {
            self.called.lock().send((call, std::thread::current().id())).unwrap();
            if let Some(gate) = &*self.gate.lock() {
                // An end that was dropped is an open gate.
                let _ = gate.recv();
            }
            let mut fails = self.fails.lock();
            let fine = *fails == 0;
            *fails = fails.saturating_sub(1);
            fine
        }
    }

    impl Host for House {
        fn ring(&self) -> bool {
            self.note("ring".to_owned())
        }

        fn reinforce(&self, queue: QueueIndex, slots: u32) -> bool {
            self.note(format!("reinforce {} {slots}", queue.0))
        }

        fn give_up(&self, job: JobId) -> bool {
            self.note(format!("give up {job}"))
        }
    }

    type Calls = Receiver<(String, ThreadId)>;

    fn house(gate: Option<Receiver<()>>, fails: u32) -> (Arc<Usher>, Calls) {
        let (call, called) = channel();
        let house = House { called: Mutex::new(call), gate: Mutex::new(gate), fails: Mutex::new(fails) };
        let usher = Arc::<Usher>::default();
        usher.set_host(Some(Arc::new(house)));
        (usher, called)
    }

    /// Lets a thread of ours do it.
    fn as_ours(usher: &Arc<Usher>, run: impl FnOnce(&Usher) + Send + 'static) {
        let usher = usher.clone();
        sigmask::spawn("ours", move || run(&usher)).unwrap().join().unwrap();
    }

    fn close(usher: &Usher) {
        usher.set_host(None);
        usher.wait_gone(Duration::from_secs(60), &System);
        assert!(!usher.desk.state.lock().is_there);
    }

    fn names(called: &Calls) -> Vec<String> {
        called.try_iter().map(|(call, _)| call).collect()
    }

    #[test]
    fn a_thread_of_ours_goes_on_while_its_call_is_made_and_any_other_makes_its_own() {
        let (open, gate) = channel();
        let (usher, called) = house(Some(gate), 0);
        // It returns, though the host does not.
        as_ours(&usher, Usher::ring);
        let (call, by) = called.recv().unwrap();
        assert!(call == "ring" && by != std::thread::current().id());
        drop(open);
        usher.call(Call::GiveUp(JobId(7)));
        assert_eq!(called.recv().unwrap(), ("give up 7".to_owned(), std::thread::current().id()));
        close(&usher);
    }

    #[test]
    fn what_waits_is_made_in_order_and_only_the_latest_of_what_is_the_same() {
        let (open, gate) = channel();
        let (usher, called) = house(Some(gate), 0);
        as_ours(&usher, |usher| usher.call(Call::GiveUp(JobId(1))));
        assert_eq!(called.recv().unwrap().0, "give up 1");
        as_ours(&usher, |usher| {
            let queue = QueueIndex(0);
            usher.call(Call::Reinforce(queue, 2));
            usher.ring();
            usher.hear();
            usher.ring();
            usher.call(Call::Reinforce(QueueIndex(1), 3));
            usher.call(Call::Reinforce(queue, 4));
        });
        drop(open);
        let rest: Vec<_> = (0..3).map(|_| called.recv().unwrap().0).collect();
        assert_eq!(rest, ["reinforce 0 4", "ring", "reinforce 1 3"]);
        close(&usher);
        assert!(names(&called).is_empty());
    }

    #[test]
    fn a_ring_that_fails_is_rung_again_on_a_thread_of_its_own() {
        let (usher, called) = house(None, 2);
        usher.ring();
        let by: Vec<_> = (0..3).map(|_| called.recv().unwrap().1).collect();
        assert!(by[0] == std::thread::current().id() && by[1] != by[0] && by[2] == by[1]);
        // Until the loop answers it need not be told of anything else.
        usher.ring();
        close(&usher);
        assert!(names(&called).is_empty());
    }

    #[test]
    fn a_loop_that_could_not_be_told_is_told_by_whoever_rings_next() {
        let attempts = 1 + PAUSES.len() + 1;
        let (usher, called) = house(None, u32::try_from(attempts).unwrap());
        usher.ring();
        for _ in 0..attempts {
            called.recv().unwrap();
        }
        while usher.desk.rung.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        usher.ring();
        assert_eq!(called.recv().unwrap().0, "ring");
        close(&usher);
    }

    #[test]
    fn a_loop_that_has_been_told_is_told_again_when_it_has_answered() {
        let (usher, called) = house(None, 0);
        usher.ring();
        usher.ring();
        assert_eq!(names(&called), ["ring"]);
        usher.hear();
        usher.ring();
        assert_eq!(names(&called), ["ring"]);
        close(&usher);
    }

    #[test]
    fn its_thread_ends_with_it() {
        let (usher, called) = house(None, 0);
        as_ours(&usher, Usher::ring);
        assert_eq!(called.recv().unwrap().0, "ring");
        drop(usher);
        assert_eq!(called.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn its_thread_ends_with_the_host_and_begins_again_with_the_next_call() {
        let (usher, _called) = house(None, 0);
        let (call, called) = channel();
        for round in 0..3 {
            let call = call.clone();
            as_ours(&usher, move |usher| usher.call(Call::Settled(Box::new(move || call.send(round).is_ok()))));
            assert_eq!(called.recv().unwrap(), round);
            close(&usher);
        }
    }

    #[test]
    fn one_that_is_dropped_makes_the_calls_that_are_left() {
        let (open, gate) = channel::<()>();
        let (call, called) = channel();
        let usher = Usher::default();
        for round in 0..3 {
            let call = call.clone();
            usher.leave(Call::Settled(Box::new(move || call.send(round).is_ok())));
        }
        let wait = move || gate.recv().is_err();
        usher.leave(Call::Settled(Box::new(wait)));
        drop((usher, open, call));
        assert_eq!(called.iter().collect::<Vec<_>>(), [0, 1, 2], "until the last who could call has ended");
    }

    #[test]
    fn an_end_waits_so_long_and_no_longer_for_a_host() {
        let (open, gate) = channel();
        let (usher, called) = house(Some(gate), 0);
        as_ours(&usher, Usher::ring);
        called.recv().unwrap();
        usher.set_host(None);
        usher.wait_gone(Duration::from_millis(1), &System);
        assert!(usher.desk.state.lock().is_there);
        drop(open);
        close(&usher);
    }

    #[test]
    fn a_call_that_panics_stops_nobody() {
        let (usher, called) = house(None, 0);
        usher.leave(Call::Settled(Box::new(|| panic!("somebody who waits panics"))));
        as_ours(&usher, Usher::ring);
        assert_eq!(called.recv().unwrap().0, "ring");
        close(&usher);
    }
}
