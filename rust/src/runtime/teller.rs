//! *teller*: tells listeners what threads of the engine see.
//!
//! A listener is somebody else's code and takes as long as it likes. Where the program enqueues or has run a job it holds
//! up that one thread. A thread of the engine has the acks, the beats or the rescue of all jobs to do: it leaves what it
//! has to tell here and goes on. One thread tells it, in order; it begins with the first event and ends with the engine.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::Clock;
use crate::sigmask;
use crate::sync::{Arc, Condvar, Mutex};
use crate::telemetry::{Event, Kind, Sink};

/// So many events wait to be told. What comes beyond is dropped and counted.
pub const MOST: usize = 10_000;

/// As long a thread of the engine waits for room before it drops: quick listeners that have many to hear miss none, and
/// slow ones hold up nobody for long.
const PATIENCE: Duration = Duration::from_millis(10);

std::thread_local! {
    /// Whether this thread tells: what happens on it is told on the spot.
    static TELLS: Cell<bool> = const { Cell::new(false) };
}

/// The sink of an engine: passes on at once what happens on threads of others, and keeps the rest for its own.
pub struct Teller {
    sink: Arc<dyn Sink>,
    desk: Arc<Desk>,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

struct Desk {
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
    /// There is something to tell, or it ends.
    news: Condvar,
    /// One more may wait.
    room: Condvar,
    /// All is told, or the thread has ended.
    told: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    /// Since the last that was told.
    dropped: u64,
    /// Whether room was waited for in vain: until half is told, nobody waits for it.
    is_behind: bool,
    ends: bool,
    thread: Thread,
}

/// The one that tells.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    #[default]
    Absent,
    Waits,
    Tells,
}

impl State {
    fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    fn is_done(&self) -> bool {
        match self.thread {
            Thread::Absent => true,
            Thread::Waits => self.waiting.is_empty(),
            Thread::Tells => false,
        }
    }
}

impl Sink for Teller {
    fn wants(&self, kind: Kind) -> bool {
        self.sink.wants(kind)
    }

    fn emit(&self, event: Event) {
        if sigmask::is_ours() && !TELLS.get() {
            self.leave(event);
        } else {
            self.sink.emit(event);
        }
    }
}

impl Teller {
    /// Nothing waits, and no thread runs.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        let (state, news, room, told) = Default::default();
        Self { desk: Arc::new(Desk { sink: sink.clone(), state, news, room, told }), sink }
    }

    /// Leaves an event to the thread that tells.
    pub fn leave(&self, event: Event) {
        let desk = &self.desk;
        let mut state = desk.state.lock();
        if state.is_full() && !state.is_behind {
            state = desk.room.wait_for(state, PATIENCE);
            state.is_behind = state.is_full();
        }
        if state.is_full() {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(event);
        state.ends = false;
        if state.thread == Thread::Absent {
            let at = desk.clone();
            if sigmask::spawn("zjobs-teller", move || at.tell_all()).is_err() {
                // Without a thread to be had it is told here.
                let left = std::mem::take(&mut state.waiting);
                drop(state);
                for event in left {
                    desk.sink.emit(event);
                }
                return;
            }
            state.thread = Thread::Waits;
        }
        drop(state);
        desk.news.notify_one();
    }

    /// Waits until all that was left is told. Without effect for a listener, which would wait for itself.
    pub fn wait_told(&self) {
        let mut state = self.desk.state.lock();
        while !TELLS.get() && !state.is_done() {
            state = self.desk.told.wait(state);
        }
    }

    /// The thread tells what is left and ends. Waits for that, at most so long: a listener may never return.
    pub fn close(&self, most: Duration, clock: &dyn Clock) {
        let until = clock.moment() + most;
        let mut state = self.desk.state.lock();
        state.ends = true;
        self.desk.news.notify_one();
        while !TELLS.get() && state.thread != Thread::Absent {
            let left = until.since(clock.moment());
            if left.is_zero() {
                return;
            }
            state = self.desk.told.wait_for(state, left);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.desk.state.lock().ends = true;
        self.desk.news.notify_one();
    }
}

impl Desk {
    fn tell_all(&self) {
        TELLS.set(true);
        let mut state = self.state.lock();
        loop {
            if let Some(event) = state.waiting.pop_front() {
                let dropped = std::mem::take(&mut state.dropped);
                state.is_behind &= state.waiting.len() > MOST / 2;
                state.thread = Thread::Tells;
                drop(state);
                self.room.notify_one();
                self.tell(event, dropped);
                state = self.state.lock();
                state.thread = Thread::Waits;
            } else if state.ends {
                break;
            } else {
                self.told.notify_all();
                state = self.news.wait(state);
            }
        }
        state.thread = Thread::Absent;
        drop(state);
        self.told.notify_all();
    }

    fn tell(&self, event: Event, dropped: u64) {
        // Those who wait for it to be told wait for this thread.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if dropped > 0 {
                self.sink.dropped(dropped);
            }
            self.sink.emit(event);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;

    use super::*;
    use crate::clock::System;
    use crate::error::Error;

    /// Tells a test what it hears, and where; waits at each event when there is a gate.
    struct Ear {
        heard: Mutex<Sender<(String, ThreadId)>>,
        gate: Mutex<Option<Receiver<()>>>,
        dropped: Mutex<u64>,
    }

    impl Sink for Ear {
        fn wants(&self, _: Kind) -> bool {
            true
        }

        fn emit(&self, event: Event) {
            self.heard.lock().send((number(&event), std::thread::current().id())).unwrap();
            if let Some(gate) = &*self.gate.lock() {
                // An end that was dropped is an open gate.
                let _ = gate.recv();
            }
        }

        fn dropped(&self, count: u64) {
            *self.dropped.lock() += count;
        }
    }

    fn ear(gate: Option<Receiver<()>>) -> (Arc<Ear>, Arc<Teller>, Receiver<(String, ThreadId)>) {
        let (tell, hears) = channel();
        let ear = Arc::new(Ear { heard: Mutex::new(tell), gate: Mutex::new(gate), dropped: Mutex::default() });
        (ear.clone(), Arc::new(Teller::new(ear)), hears)
    }

    fn event(number: usize) -> Event {
        Event::StoreUnavailable(Error::Internal(number.to_string()))
    }

    fn number(event: &Event) -> String {
        let Event::StoreUnavailable(Error::Internal(number)) = event else { panic!("{event:?} is no event of ours") };
        number.clone()
    }

    fn leave(teller: &Teller, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            teller.leave(event(number));
        }
    }

    fn numbers(hears: &Receiver<(String, ThreadId)>) -> Vec<usize> {
        hears.try_iter().map(|(number, _)| number.parse().unwrap()).collect()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_happens_on_a_thread_of_ours_is_told_on_another_and_the_rest_on_the_spot() {
        let (_, teller, hears) = ear(None);
        teller.emit(event(0));
        assert_eq!(hears.recv().unwrap(), ("0".into(), std::thread::current().id()));
        let at = teller.clone();
        let thread = sigmask::spawn("ours", move || at.emit(event(1))).unwrap();
        let ours = thread.thread().id();
        thread.join().unwrap();
        teller.wait_told();
        let (number, told_by) = hears.recv().unwrap();
        assert_eq!(number, "1");
        assert!(told_by != ours && told_by != std::thread::current().id());
    }

    #[test]
    fn quick_listeners_hear_all_in_order_however_much_it_is() {
        let (ear, teller, hears) = ear(None);
        for part in 0..5 {
            leave(&teller, part * MOST..(part + 1) * MOST);
            teller.wait_told();
        }
        assert!(numbers(&hears).into_iter().eq(0..5 * MOST));
        assert_eq!(*ear.dropped.lock(), 0);
    }

    #[test]
    fn what_comes_faster_than_it_can_be_told_is_told_in_order_or_counted() {
        let (ear, teller, hears) = ear(None);
        leave(&teller, 0..5 * MOST);
        teller.wait_told();
        let told = numbers(&hears);
        assert!(told.is_sorted() && told.len() >= MOST);
        assert_eq!(told.len() as u64 + *ear.dropped.lock(), 5 * MOST as u64);
    }

    #[test]
    fn a_listener_that_blocks_holds_up_nobody_and_what_was_dropped_is_counted() {
        let (open, gate) = channel();
        let (ear, teller, hears) = ear(Some(gate));
        leave(&teller, [0]);
        assert_eq!(hears.recv().unwrap().0, "0");
        leave(&teller, 1..MOST + 6);
        open.send(()).unwrap();
        // Half way behind, nobody waits for room, and what finds none is dropped.
        assert_eq!(hears.recv().unwrap().0, "1");
        assert_eq!(*ear.dropped.lock(), 5);
        drop(open);
        teller.wait_told();
        assert!(numbers(&hears).into_iter().eq(2..=MOST));
        leave(&teller, [7]);
        teller.wait_told();
        assert_eq!((numbers(&hears), *ear.dropped.lock()), (vec![7], 5));
    }

    #[test]
    fn it_ends_when_all_is_told_and_begins_again_with_the_next_event() {
        let (_, teller, hears) = ear(None);
        for number in 0..3 {
            leave(&teller, [number]);
            teller.close(LONG, &System);
            assert_eq!(teller.desk.state.lock().thread, Thread::Absent);
            assert_eq!(numbers(&hears), [number]);
        }
        teller.close(LONG, &System);
        teller.wait_told();
    }

    #[test]
    fn an_end_waits_so_long_and_no_longer_for_a_listener() {
        let (open, gate) = channel();
        let (_, teller, hears) = ear(Some(gate));
        leave(&teller, [0]);
        teller.close(Duration::from_millis(1), &System);
        leave(&teller, [1]);
        drop(open);
        teller.wait_told();
        assert_eq!(numbers(&hears), [0, 1]);
    }

    #[test]
    fn a_teller_that_is_dropped_tells_what_is_left() {
        let (open, gate) = channel();
        let (_, teller, hears) = ear(Some(gate));
        leave(&teller, 0..3);
        drop((teller, open));
        assert_eq!(hears.iter().count(), 3, "until the last who could tell has ended");
    }

    /// Panics at the first event, and at the second does what would wait for itself.
    struct Hostile {
        teller: Mutex<Option<Arc<Teller>>>,
        heard: Mutex<Vec<String>>,
    }

    impl Sink for Hostile {
        fn wants(&self, _: Kind) -> bool {
            true
        }

        fn emit(&self, event: Event) {
            let number = number(&event);
            self.heard.lock().push(number.clone());
            assert!(number != "0", "a listener panics");
            if number == "1" {
                let teller = self.teller.lock().clone().unwrap();
                teller.wait_told();
                teller.close(LONG, &System);
                teller.emit(self::event(2));
            }
        }
    }

    #[test]
    fn a_listener_that_panics_or_waits_for_itself_stops_nobody() {
        let hostile = Arc::new(Hostile { teller: Mutex::default(), heard: Mutex::default() });
        let teller = Arc::new(Teller::new(hostile.clone()));
        *hostile.teller.lock() = Some(teller.clone());
        leave(&teller, [0, 1, 3]);
        teller.wait_told();
        leave(&teller, [4]);
        teller.wait_told();
        assert_eq!(*hostile.heard.lock(), ["0", "1", "2", "3", "4"]);
        *hostile.teller.lock() = None;
    }
}
