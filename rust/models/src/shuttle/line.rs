//! Many calls that share commits.

use zjobs_engine::store::group::Group;
use zjobs_engine::sync::{Arc, AtomicUsize, Ordering, thread};

use crate::Model;

pub(crate) const MODELS: &[Model] =
    &[("six calls in groups of at most three are answered, one lead at a time", six_calls)];

const CALLS: usize = 6;
const MOST: usize = 3;

fn six_calls() {
    let group = Arc::new(Group::default());
    let (leading, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calls = (0..CALLS).map(|n| {
        let (group, leading, ran) = (group.clone(), leading.clone(), ran.clone());
        thread::spawn(move || {
            let answer = group.run(n, MOST, |requests: Vec<usize>| {
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead at once");
                thread::yield_now();
                assert!(requests.len() <= MOST);
                ran.fetch_add(requests.len(), Ordering::SeqCst);
                leading.fetch_sub(1, Ordering::SeqCst);
                requests.into_iter().map(|n| Ok(n * 2)).collect()
            });
            assert_eq!(answer.expect("it was answered"), n * 2);
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.join().expect("it was answered");
    }
    assert_eq!(ran.load(Ordering::SeqCst), CALLS);
}
