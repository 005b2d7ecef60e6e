//! Calls that share a commit.

use zjobs_engine::store::group::Group;
use zjobs_engine::store::sqlite::line::{Line, Ticket};
use zjobs_engine::sync::{Arc, AtomicUsize, Ordering, thread};

use crate::Model;

pub(crate) const MODELS: &[Model] = &[
    ("each call of a group gets its own answer, and the lead is never lost", each_call_is_answered),
    ("a group that is full leaves the rest to the next lead", a_full_group_leaves_the_rest),
    ("each write of the line is answered after its commit, and the lead is never lost", each_write_is_answered),
];

/// Three calls, at most so many in a group, with one lead at a time.
fn three_calls(most: usize) {
    let group = Arc::new(Group::default());
    let leading = Arc::new(AtomicUsize::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let call = |n: usize| {
        let (group, leading, ran) = (group.clone(), leading.clone(), ran.clone());
        move || {
            let answer = group.run(n, most, |requests: Vec<usize>| {
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead at once");
                thread::yield_now();
                assert!(requests.len() <= most);
                ran.fetch_add(requests.len(), Ordering::SeqCst);
                leading.fetch_sub(1, Ordering::SeqCst);
                requests.into_iter().map(|n| Ok(n * 2)).collect()
            });
            assert_eq!(answer.expect("it was answered"), n * 2);
        }
    };
    let others = [thread::spawn(call(1)), thread::spawn(call(2))];
    call(3)();
    for other in others {
        other.join().expect("it was answered");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 3);
}

fn each_call_is_answered() {
    three_calls(usize::MAX);
}

fn a_full_group_leaves_the_rest() {
    three_calls(1);
}

fn each_write_is_answered() {
    let line = Arc::new(Line::default());
    let leading = Arc::new(AtomicUsize::new(0));
    let committed = Arc::new(AtomicUsize::new(0));
    let write = |n: usize| {
        let (line, leading, committed) = (line.clone(), leading.clone(), committed.clone());
        move || {
            let run = |group: &[Arc<Ticket<usize>>]| {
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two write at once");
                thread::yield_now();
                for ticket in group {
                    committed.fetch_or(1 << ticket.call, Ordering::SeqCst);
                }
                vec![Ok(()); group.len()]
            };
            // The rest belongs to the lead: nobody writes meanwhile.
            let rest = || _ = leading.fetch_sub(1, Ordering::SeqCst);
            line.pass(n, run, rest).expect("it was committed");
            assert!(committed.load(Ordering::SeqCst) & (1 << n) != 0, "answered before its commit");
        }
    };
    let others = [thread::spawn(write(1)), thread::spawn(write(2))];
    write(3)();
    for other in others {
        other.join().expect("it was answered");
    }
    assert_eq!(committed.load(Ordering::SeqCst), 0b1110);
}
