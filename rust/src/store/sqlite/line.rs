//! Who writes next: whoever comes first leads, and the others wait for its commit or for the lead.
//!
//! As in `store/group.rs`, with a rest of work between the answers and the next lead, and answers that calls wait for by
//! reference: a verb is run in place.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::sync::{Arc, Condvar, Mutex};

/// A line of calls.
#[derive(Debug)]
pub struct Line<C> {
    queue: Mutex<Queue<C>>,
}

#[derive(Debug)]
struct Queue<C> {
    led: bool,
    waiting: Vec<Arc<Ticket<C>>>,
}

/// One call that waits for its turn.
#[derive(Debug)]
pub struct Ticket<C> {
    /// What is to be done.
    pub call: C,
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
enum Turn {
    Waiting,
    /// The lead is handed over: run the next group.
    Lead,
    Done(Result<()>),
}

impl<C> Default for Line<C> {
    fn default() -> Self {
        Self { queue: Mutex::new(Queue { led: false, waiting: Vec::new() }) }
    }
}

impl<C> Line<C> {
    /// Has the call run, perhaps with others. `run` gives the outcomes of a group in its order; `rest` is done when they are
    /// told, before the lead goes on.
    pub fn pass(
        &self,
        call: C,
        run: impl FnOnce(&[Arc<Ticket<C>>]) -> Vec<Result<()>>,
        rest: impl FnOnce(),
    ) -> Result<()> {
        let own = Arc::new(Ticket { call, turn: Mutex::new(Turn::Waiting), changed: Condvar::new() });
        if self.queue_up(&own) {
            let mut group = vec![own.clone()];
            group.append(&mut self.queue.lock().waiting);
            // One that panics must not leave the others waiting.
            let outcomes = catch_unwind(AssertUnwindSafe(|| run(&group))).unwrap_or_default();
            let missing =
                std::iter::repeat_with(|| Err(Error::Internal("a call to the store was not answered".into())));
            let outcomes: Vec<_> = outcomes.into_iter().chain(missing).take(group.len()).collect();
            for (ticket, outcome) in group.iter().zip(outcomes).rev() {
                ticket.turn(Turn::Done(outcome));
            }
            drop(catch_unwind(AssertUnwindSafe(rest)));
            self.hand_over();
        }
        own.outcome()
    }

    /// Waits in line. True for the one who must lead.
    fn queue_up(&self, ticket: &Arc<Ticket<C>>) -> bool {
        let mut queue = self.queue.lock();
        if !queue.led {
            queue.led = true;
            return true;
        }
        queue.waiting.push(ticket.clone());
        drop(queue);
        let mut turn = ticket.turn.lock();
        while matches!(*turn, Turn::Waiting) {
            turn = ticket.changed.wait(turn);
        }
        matches!(*turn, Turn::Lead)
    }

    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() {
            queue.led = false;
            return;
        }
        let next = queue.waiting.remove(0);
        drop(queue);
        next.turn(Turn::Lead);
    }
}

impl<C> Ticket<C> {
    fn turn(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.changed.notify_one();
    }

    fn outcome(&self) -> Result<()> {
        match &*self.turn.lock() {
            Turn::Done(outcome) => outcome.clone(),
            Turn::Waiting | Turn::Lead => Err(Error::Internal("a call to the store was not answered".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_answers_the_call_and_the_line_goes_on() {
        let line = Line::default();
        assert!(matches!(line.pass(1, |_| panic!("no"), || ()), Err(Error::Internal(_))));
        assert!(line.pass(2, |group| vec![Ok(()); group.len()], || panic!("no")).is_ok());
        assert!(line.pass(3, |group| vec![Ok(()); group.len()], || ()).is_ok());
    }
}
