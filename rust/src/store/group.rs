//! Calls that arrive while one is on its way share the next: group commit without a thread of its own.
//!
//! Whoever comes first leads: it runs the whole group on its own thread, answers, and hands the lead to one who waits. A lone
//! call is not delayed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::sync::{Arc, Condvar, Mutex};

/// A line of calls that take `Q` and are answered with `R`.
#[derive(Debug)]
pub struct Group<Q, R> {
    line: Mutex<Line<Q, R>>,
}

#[derive(Debug)]
struct Line<Q, R> {
    led: bool,
    waiting: Vec<(Q, Arc<Ticket<Q, R>>)>,
}

#[derive(Debug)]
struct Ticket<Q, R> {
    turn: Mutex<Turn<Q, R>>,
    changed: Condvar,
}

#[derive(Debug)]
enum Turn<Q, R> {
    Waiting,
    /// The lead is handed over, with the call's own request.
    Lead(Q),
    Done(Result<R>),
}

impl<Q, R> Default for Group<Q, R> {
    fn default() -> Self {
        Self { line: Mutex::new(Line { led: false, waiting: Vec::new() }) }
    }
}

impl<Q, R> Group<Q, R> {
    /// Runs the request, perhaps with others. `work` answers each request, in order; `most` requests are run at once.
    pub fn run(&self, request: Q, most: usize, work: impl FnOnce(Vec<Q>) -> Vec<Result<R>>) -> Result<R> {
        let own = match self.queue_up(request) {
            Ok(answer) => return answer,
            Err(request) => request,
        };
        let (mut requests, mut tickets) = (vec![own], Vec::new());
        let mut line = self.line.lock();
        let others = line.waiting.len().min(most.saturating_sub(1));
        for (request, ticket) in line.waiting.drain(..others) {
            requests.push(request);
            tickets.push(ticket);
        }
        drop(line);
        // One that panics must not leave the others waiting.
        let answers = catch_unwind(AssertUnwindSafe(|| work(requests))).unwrap_or_default();
        let mut answers = answers.into_iter();
        let unanswered = || Err(Error::Internal("a call to the store ended without a reply".into()));
        let answer = answers.next().unwrap_or_else(unanswered);
        for ticket in tickets {
            ticket.turn(Turn::Done(answers.next().unwrap_or_else(unanswered)));
        }
        self.hand_over();
        answer
    }

    /// The answer of whoever led, or the request back for the one who must lead.
    fn queue_up(&self, request: Q) -> Result<Result<R>, Q> {
        let mut line = self.line.lock();
        if !line.led {
            line.led = true;
            return Err(request);
        }
        let ticket = Arc::new(Ticket { turn: Mutex::new(Turn::Waiting), changed: Condvar::new() });
        line.waiting.push((request, ticket.clone()));
        drop(line);
        let mut turn = ticket.turn.lock();
        loop {
            match std::mem::replace(&mut *turn, Turn::Waiting) {
                Turn::Waiting => turn = ticket.changed.wait(turn),
                Turn::Lead(request) => return Err(request),
                Turn::Done(answer) => return Ok(answer),
            }
        }
    }

    fn hand_over(&self) {
        let mut line = self.line.lock();
        if line.waiting.is_empty() {
            line.led = false;
            return;
        }
        let (request, next) = line.waiting.remove(0);
        drop(line);
        next.turn(Turn::Lead(request));
    }
}

impl<Q, R> Ticket<Q, R> {
    fn turn(&self, turn: Turn<Q, R>) {
        *self.turn.lock() = turn;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    #[test]
    fn each_call_gets_its_own_answer_and_those_who_come_meanwhile_share() {
        const CALLS: usize = 16;
        let group = Arc::new(Group::default());
        let runs = Arc::new(AtomicUsize::new(0));
        let call = |n: usize| {
            let (group, runs) = (group.clone(), runs.clone());
            move || {
                let answer = group.run(n, usize::MAX, |requests: Vec<usize>| {
                    // Whoever leads first is at work until all others have come.
                    let missing = CALLS - requests.len();
                    while runs.load(Ordering::SeqCst) == 0 && group.line.lock().waiting.len() < missing {
                        std::thread::yield_now();
                    }
                    runs.fetch_add(1, Ordering::SeqCst);
                    requests.into_iter().map(|n| Ok(n * 2)).collect()
                });
                assert_eq!(answer.unwrap(), n * 2);
            }
        };
        std::thread::scope(|scope| (0..CALLS).for_each(|n| drop(scope.spawn(call(n)))));
        assert!(runs.load(Ordering::SeqCst) <= 2, "{} runs", runs.load(Ordering::SeqCst));
    }

    #[test]
    fn a_panic_answers_everybody_and_the_line_goes_on() {
        let group = Group::<u8, u8>::default();
        assert!(matches!(group.run(1, 8, |_| panic!("no")), Err(Error::Internal(_))));
        assert_eq!(group.run(1, 8, |all| all.into_iter().map(Ok).collect()).unwrap(), 1);
    }
}
