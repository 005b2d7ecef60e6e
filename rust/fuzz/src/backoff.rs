//! Delays between attempts.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use zjobs_engine::JobId;
use zjobs_engine::backoff::{Backoff, Curve, JITTER, Jitter};
use zjobs_engine::limits;

use crate::words::assert_shown;

#[derive(Debug, Arbitrary)]
struct Input {
    curve: Shape,
    attempt: u32,
    job: i64,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Shape {
    Exponential(f64, f64),
    Linear(f64, Option<f64>),
    Constant(f64),
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let (made, parts) = match input.curve {
        Shape::Exponential(base, max) => (Curve::exponential(base, max), vec![base, max]),
        Shape::Linear(step, max) => (Curve::linear(step, max), [Some(step), max].into_iter().flatten().collect()),
        Shape::Constant(delay) => (Curve::constant(delay), vec![delay]),
    };
    let fine = |part: &f64| (0.0..=limits::DELAY.as_secs_f64()).contains(part);
    let curve = match made {
        Ok(curve) => curve,
        Err(error) => {
            assert_shown(&error.to_string());
            assert!(!parts.iter().all(fine), "refused without a reason: {error}");
            return;
        }
    };
    assert!(parts.iter().all(fine), "{parts:?} is let in");
    let job = JobId(input.job);
    let exact = |attempt| Backoff { curve, jitter: Jitter::Exact }.delay(attempt, job);
    let spread = |attempt| Backoff { curve, jitter: Jitter::Spread }.delay(attempt, job);
    let (calm, later) = (exact(input.attempt), exact(input.attempt.saturating_add(1)));
    assert!(calm <= limits::DELAY && spread(input.attempt) <= limits::DELAY, "beyond ten years");
    assert!(later >= calm, "{later:?} after {calm:?}");
    assert!(spread(input.attempt) >= calm, "jitter takes away");
    let most = calm.as_secs_f64() * (1.0 + JITTER) + 1e-6;
    assert!(spread(input.attempt).as_secs_f64() <= most, "jitter adds more than a quarter");
    assert_eq!(spread(input.attempt), spread(input.attempt), "the same attempt waits twice the same");
    close(calm, expected(input.curve, input.attempt.max(1)));
}

/// The documented formula, by repetition instead of a power, of parts as they are kept: in whole nanoseconds.
fn expected(curve: Shape, attempt: u32) -> f64 {
    let kept = |part| Duration::from_secs_f64(part).as_secs_f64();
    let seconds = match curve {
        Shape::Exponential(base, max) => {
            let max = kept(max);
            (1..attempt.min(2_000)).fold(kept(base), |delay, _| (delay * 2.0).min(max)).min(max)
        }
        Shape::Linear(step, max) => (kept(step) * f64::from(attempt)).min(max.map_or(f64::INFINITY, kept)),
        Shape::Constant(delay) => kept(delay),
    };
    seconds.min(limits::DELAY.as_secs_f64())
}

fn close(got: Duration, expected: f64) {
    let got = got.as_secs_f64();
    assert!((got - expected).abs() <= expected * 1e-9 + 1e-8, "{got} is not {expected}");
}
