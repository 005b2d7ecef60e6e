//! What processes tell each other: lines that anybody may have written.

use arbitrary::Unstructured;
use zjobs_engine::store::Signal;
use zjobs_engine::store::fuzzing::{LONGEST, line, read};
use zjobs_engine::store::sqlite::neighbours::News;
use zjobs_engine::{JobId, Timestamp};

use crate::words;

pub(crate) fn run(data: &[u8]) {
    if let Some(news) = read(data) {
        let line = line(&news);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(read(line.as_bytes()), Some(news), "{line}");
    }
    let mut u = Unstructured::new(data);
    let Ok(signal) = signal(&mut u) else { return };
    let mut told = Vec::new();
    for news in News::of(&signal) {
        let line = line(&news);
        assert!(line.len() <= LONGEST, "{} bytes", line.len());
        assert_eq!(read(line.as_bytes()), Some(news.clone()), "{line}");
        told.push(news.signal());
    }
    match signal {
        Signal::Settled | Signal::Missed => assert!(told.is_empty()),
        Signal::Cancel(ids) => {
            let parts = told.into_iter().flat_map(|part| if let Signal::Cancel(ids) = part { ids } else { Vec::new() });
            assert_eq!(parts.collect::<Vec<_>>(), ids, "an id is lost on the way");
        }
        Signal::Ready(_) | Signal::Due(_) | Signal::Control(_) | Signal::Orphaned | Signal::Leaving => {
            assert_eq!(told, [signal]);
        }
    }
}

fn signal(u: &mut Unstructured<'_>) -> arbitrary::Result<Signal> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Signal::Ready(words::queue(u)?),
        1 => Signal::Due(Timestamp(u.arbitrary()?)),
        2 => {
            let count = u.int_in_range(0..=200)?;
            Signal::Cancel((0..count).map(|_| u.arbitrary().map(JobId)).collect::<Result<_, _>>()?)
        }
        3 => Signal::Control(words::queue(u)?),
        4 => Signal::Settled,
        5 => Signal::Leaving,
        6 => Signal::Missed,
        _ => Signal::Orphaned,
    })
}
