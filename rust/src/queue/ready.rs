//! The claim order of one queue.
//!
//! A job is in it if and only if it is available, under the key it was inserted with.
//!
//! Most jobs come in the order in which they will be claimed: those only queue up at the end of the *run*, in constant
//! time and half the memory. The others go into a tree. The best job is the better of the two fronts.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashSet;

use crate::clock::Timestamp;
use crate::job::{JobId, Priority};

/// What decides who runs first: priority (lower first), then due time, then id.
pub type Key = (Priority, Timestamp, JobId);

/// Keys of one block of the run: growth allocates a block and never moves what is there.
const BLOCK: usize = 512;

/// The available jobs of one queue, best first.
#[derive(Debug, Default)]
pub struct Ready {
    run: Run,
    keys: BTreeSet<Key>,
}

impl Ready {
    /// Adds a job.
    pub fn insert(&mut self, key: Key) {
        if !self.run.push(key) {
            self.keys.insert(key);
        }
    }

    /// Removes exactly this job; false when it is not here.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.run.front() == Some(*key) && self.run.pop().is_some() || self.keys.remove(key) || self.run.remove(key)
    }

    /// Takes the best job out.
    pub fn pop(&mut self) -> Option<JobId> {
        let in_run = match (self.run.front(), self.keys.first()) {
            (Some(front), Some(first)) => front < *first,
            (front, None) => front.is_some(),
            (None, Some(_)) => false,
        };
        let best = if in_run { self.run.pop() } else { self.keys.pop_first() };
        best.map(|(_, _, id)| id)
    }

    /// How many jobs are ready.
    pub fn len(&self) -> usize {
        self.keys.len() + self.run.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys in rising order, in blocks. A key that leaves from the middle is marked as gone and skipped later; when the
/// marks are as many as the keys that stay, the run is written anew, so that both stay linear in what is here.
#[derive(Debug, Default)]
struct Run {
    blocks: VecDeque<Vec<Key>>,
    /// Where the front is in the first block.
    head: usize,
    last: Option<Key>,
    length: usize,
    gone: FxHashSet<Key>,
}

impl Run {
    /// Adds a key that sorts after all others; false when it does not.
    fn push(&mut self, key: Key) -> bool {
        if self.length > 0 && self.last.is_some_and(|last| key <= last) {
            return false;
        }
        if let Some(block) = self.blocks.back_mut().filter(|block| block.len() < BLOCK) {
            block.push(key);
        } else {
            let mut block = Vec::with_capacity(BLOCK);
            block.push(key);
            self.blocks.push_back(block);
        }
        self.last = Some(key);
        self.length += 1;
        true
    }

    /// The first key. Never one that is gone: those are skipped when they come to the front.
    fn front(&self) -> Option<Key> {
        self.blocks.front().map(|block| block[self.head])
    }

    fn pop(&mut self) -> Option<Key> {
        let key = self.front()?;
        self.step();
        self.length -= 1;
        self.tidy();
        Some(key)
    }

    /// Removes a key from the middle; false when it is not here.
    fn remove(&mut self, key: &Key) -> bool {
        if !self.contains(key) || !self.gone.insert(*key) {
            return false;
        }
        self.length -= 1;
        self.tidy();
        true
    }

    fn contains(&self, key: &Key) -> bool {
        let place = self.blocks.partition_point(|block| block.last().is_some_and(|last| last < key));
        let skipped = if place == 0 { self.head } else { 0 };
        self.blocks.get(place).is_some_and(|block| block[skipped..].binary_search(key).is_ok())
    }

    fn step(&mut self) {
        self.head += 1;
        if self.blocks.front().is_some_and(|block| self.head == block.len()) {
            self.blocks.pop_front();
            self.head = 0;
        }
    }

    fn tidy(&mut self) {
        while !self.gone.is_empty() && self.front().is_some_and(|front| self.gone.remove(&front)) {
            self.step();
        }
        if self.gone.len() <= self.length {
            return;
        }
        let old = std::mem::take(self);
        for key in old.blocks.into_iter().flatten().skip(old.head).filter(|key| !old.gone.contains(key)) {
            self.push(key);
        }
    }

    fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(i32, i64),
        Remove(usize),
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let insert = (prop_oneof![9 => Just(0), 1 => -2..3i32], 0..50i64)
            .prop_map(|(priority, due)| Step::Insert(priority, due));
        prop::collection::vec(
            prop_oneof![5 => insert, 2 => any::<usize>().prop_map(Step::Remove), 2 => Just(Step::Pop)],
            0..400,
        )
    }

    fn at(due: usize) -> Key {
        let due = i64::try_from(due).unwrap();
        (Priority(0), Timestamp(due), JobId(due))
    }

    fn in_order(count: usize) -> Ready {
        let mut ready = Ready::default();
        for due in 1..=count {
            ready.insert(at(due));
        }
        ready
    }

    #[test]
    fn jobs_that_come_in_order_queue_up_in_blocks() {
        let mut ready = in_order(2 * BLOCK + 1);
        assert!(ready.keys.is_empty());
        assert_eq!(ready.run.blocks.iter().map(Vec::len).collect::<Vec<_>>(), [BLOCK, BLOCK, 1]);
        ready.insert(at(0));
        assert_eq!((ready.keys.len(), ready.len()), (1, 2 * BLOCK + 2));
    }

    #[test]
    fn an_empty_run_begins_anew_with_any_job() {
        let mut ready = in_order(9);
        while ready.pop().is_some() {}
        ready.insert(at(3));
        assert!(ready.keys.is_empty() && !ready.is_empty());
    }

    #[test]
    fn what_leaves_from_the_middle_is_marked_until_the_marks_outnumber_the_rest() {
        let mut ready = in_order(4);
        assert!(ready.remove(&at(3)) && ready.remove(&at(2)));
        assert_eq!((ready.run.gone.len(), ready.run.blocks[0].len()), (2, 4));
        assert!(ready.remove(&at(4)));
        assert_eq!((ready.run.gone.len(), ready.run.blocks[0].len()), (0, 1));
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set_whatever_comes_and_goes(steps in steps(), rising in any::<bool>()) {
            let (mut ready, mut model) = (Ready::default(), BTreeSet::new());
            for (number, step) in steps.into_iter().enumerate() {
                let number = i64::try_from(number).unwrap();
                match step {
                    Step::Insert(priority, due) => {
                        let due = if rising { number } else { due };
                        let key = (Priority(priority), Timestamp(due), JobId(number));
                        ready.insert(key);
                        model.insert(key);
                    }
                    Step::Remove(place) => {
                        if let Some(key) = model.iter().nth(place % model.len().max(1)).copied() {
                            prop_assert!(ready.remove(&key));
                            prop_assert!(!ready.remove(&key));
                            model.remove(&key);
                        }
                    }
                    Step::Pop => prop_assert_eq!(ready.pop(), model.pop_first().map(|key| key.2)),
                }
                prop_assert_eq!((ready.len(), ready.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(ready.run.gone.len() <= ready.run.len());
            }
            while let Some(key) = model.pop_first() {
                prop_assert_eq!(ready.pop(), Some(key.2));
            }
            prop_assert!(ready.is_empty() && ready.run.blocks.is_empty());
        }
    }
}
