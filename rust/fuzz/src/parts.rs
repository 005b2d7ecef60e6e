//! Parts of a row that are JSON text: whoever edits them, the job stays usable.

use arbitrary::{Arbitrary, Unstructured};
use zjobs_engine::Timestamp;
use zjobs_engine::job::{Name, Progress};
use zjobs_engine::limits;
use zjobs_engine::outcome::Failure;
use zjobs_engine::store::fuzzing;

use crate::words;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    text: &'a str,
    attempt: u32,
    at: i64,
    kind: &'a str,
    message: &'a str,
    traceback: &'a str,
    done: f64,
    total: Option<f64>,
    concurrency: u32,
}

pub(crate) fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(input) = u.arbitrary::<Input<'_>>() else { return };
    hand_edited(input.text);
    errors(&input);
    progress(&input);
    let tags: Vec<Name> = (0..3).map_while(|_| words::tag(&mut u).ok()).collect();
    let text = fuzzing::tags_text(&tags);
    assert_eq!(text.as_deref().map(fuzzing::tags_of).unwrap_or_default(), tags);
    if let Ok(queue) = words::queue(&mut u) {
        let queues = [(queue, input.concurrency)];
        assert_eq!(fuzzing::queues_of(&fuzzing::queues_text(&queues)), queues);
    }
}

/// Any text reads as something, and what it reads as is written and read again as the same.
fn hand_edited(text: &str) {
    let tags = fuzzing::tags_of(text);
    assert_eq!(fuzzing::tags_text(&tags).as_deref().map(fuzzing::tags_of).unwrap_or_default(), tags);
    let queues = fuzzing::queues_of(text);
    assert_eq!(fuzzing::queues_of(&fuzzing::queues_text(&queues)), queues);
    if let Some(progress) = fuzzing::progress_of(text) {
        assert_eq!(fuzzing::progress_of(&fuzzing::progress_text(&progress)), Some(progress), "{text}");
    }
}

fn errors(input: &Input<'_>) {
    let failure = Failure::new(input.kind, input.message, input.traceback);
    let known = fuzzing::errors_of(input.text);
    let at = Timestamp(input.at).clamp(Timestamp::MIN, Timestamp::MAX);
    let mut text = fuzzing::errors_after(Some(input.text), input.attempt, at, &failure);
    for _ in 0..2 {
        let errors = fuzzing::errors_of(&text);
        let latest = errors.last().unwrap_or_else(|| panic!("the latest error is gone"));
        assert_eq!((latest.attempt, latest.at, &latest.kind), (input.attempt, at, &failure.kind));
        assert_eq!((&latest.message, &latest.traceback), (&failure.message, &failure.traceback));
        assert!(errors.len() <= limits::ERRORS_KEPT, "{} errors", errors.len());
        assert!(errors.len() >= (known.len() + 1).min(limits::ERRORS_KEPT), "an error is lost");
        text = fuzzing::errors_after(Some(&text), input.attempt, at, &failure);
    }
}

fn progress(input: &Input<'_>) {
    let message = input.message.to_owned();
    let progress = Progress { done: input.done, total: input.total, message };
    if input.done.is_finite() && input.total.is_none_or(f64::is_finite) {
        assert_eq!(fuzzing::progress_of(&fuzzing::progress_text(&progress)), Some(progress));
    }
}
