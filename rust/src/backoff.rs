//! When a failed job runs again: attempt and job id in, delay out.
//!
//! `attempt` is the attempt that just failed, from 1. All arithmetic is in `f64` and saturates at
//! [`limits::DELAY`]; it never wraps, whatever the attempt. Jitter adds up to a quarter of the delay and is a pure
//! function of job id and attempt: a run can be repeated, and two jobs that failed together spread out.

use std::time::Duration;

use crate::error::Result;
use crate::job::JobId;
use crate::limits;

/// The most that jitter adds, as a share of the delay.
pub const JITTER: f64 = 0.25;

/// A delay as a function of the attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// `min(base * 2^(attempt-1), max)`
    Exponential {
        /// The first delay.
        base: Duration,
        /// The longest delay before jitter.
        max: Duration,
    },
    /// `min(step * attempt, max)`
    Linear {
        /// The first delay.
        step: Duration,
        /// The longest delay before jitter.
        max: Option<Duration>,
    },
    /// `delay`
    Constant {
        /// Each delay.
        delay: Duration,
    },
}

/// Whether delays are spread out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Up to [`JITTER`] more, by job id and attempt.
    Spread,
    /// The exact delay.
    Exact,
}

/// A curve and its jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// How delays grow.
    pub curve: Curve,
    /// Whether they spread.
    pub jitter: Jitter,
}

impl Default for Backoff {
    /// Exponential from 15 seconds to an hour, with jitter.
    fn default() -> Self {
        let curve = Curve::Exponential { base: Duration::from_secs(15), max: Duration::from_secs(3600) };
        Self { curve, jitter: Jitter::Spread }
    }
}

impl Curve {
    /// Exponential, its parts checked.
    pub fn exponential(base_seconds: f64, max_seconds: f64) -> Result<Self> {
        Ok(Self::Exponential {
            base: limits::seconds("base_seconds", base_seconds)?,
            max: limits::seconds("max_seconds", max_seconds)?,
        })
    }

    /// Linear, its parts checked.
    pub fn linear(delay_seconds: f64, max_seconds: Option<f64>) -> Result<Self> {
        Ok(Self::Linear {
            step: limits::seconds("delay_seconds", delay_seconds)?,
            max: max_seconds.map(|max| limits::seconds("max_seconds", max)).transpose()?,
        })
    }

    /// Constant, its part checked.
    pub fn constant(delay_seconds: f64) -> Result<Self> {
        Ok(Self::Constant { delay: limits::seconds("delay_seconds", delay_seconds)? })
    }

    fn seconds(self, attempt: u32) -> f64 {
        let attempt = attempt.max(1);
        match self {
            Self::Exponential { base, max } => {
                // 2^1000 is still finite, so that a base of zero stays zero.
                let doublings = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
                (base.as_secs_f64() * 2f64.powi(doublings.min(1000))).min(max.as_secs_f64())
            }
            Self::Linear { step, max } => {
                let grown = step.as_secs_f64() * f64::from(attempt);
                max.map_or(grown, |max| grown.min(max.as_secs_f64()))
            }
            Self::Constant { delay } => delay.as_secs_f64(),
        }
    }
}

impl Backoff {
    /// How long after the failure of `attempt` the job is due again.
    pub fn delay(&self, attempt: u32, job: JobId) -> Duration {
        let exact = self.curve.seconds(attempt);
        let spread = match self.jitter {
            Jitter::Spread => exact * JITTER * unit(job, attempt),
            Jitter::Exact => 0.0,
        };
        Duration::from_secs_f64((exact + spread).clamp(0.0, limits::DELAY.as_secs_f64()))
    }
}

/// A number in `[0, 1)` that depends on job and attempt alone: the finaliser of `SplitMix64` (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014) over their mixture.
pub fn unit(job: JobId, attempt: u32) -> f64 {
    let seed = job.0.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(attempt));
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    // The top 53 bits are exact in an f64.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let unit = (z >> 11) as f64 / (1u64 << 53) as f64;
    unit
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole seconds are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JOB: JobId = JobId(1);

    fn seconds(curve: Curve, jitter: Jitter, attempt: u32) -> f64 {
        Backoff { curve, jitter }.delay(attempt, JOB).as_secs_f64()
    }

    #[test]
    fn exponential_without_jitter_doubles_from_its_base_to_an_hour() {
        let curve = Curve::exponential(15.0, 3600.0).unwrap();
        let delays: Vec<_> = (1..=10).map(|a| seconds(curve, Jitter::Exact, a)).collect();
        assert_eq!(delays, [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]);
    }

    #[test]
    fn linear_and_constant_follow_their_formula() {
        let linear = Curve::linear(60.0, None).unwrap();
        assert_eq!(seconds(linear, Jitter::Exact, 7), 420.0);
        let capped = Curve::linear(60.0, Some(100.0)).unwrap();
        assert_eq!(seconds(capped, Jitter::Exact, 7), 100.0);
        assert_eq!(seconds(Curve::constant(30.0).unwrap(), Jitter::Exact, 9), 30.0);
    }

    #[test]
    fn a_base_of_zero_is_at_once_for_every_attempt() {
        let curve = Curve::exponential(0.0, 3600.0).unwrap();
        assert_eq!(seconds(curve, Jitter::Spread, u32::MAX), 0.0);
    }

    #[test]
    fn jitter_is_the_published_formula() {
        let expected =
            [(1, 1, 0.745_781_757_262_701_1), (1, 2, 0.749_149_683_873_824_6), (-3, 7, 0.518_553_072_773_898_4)];
        for (job, attempt, unit_of_it) in expected {
            assert_eq!(unit(JobId(job), attempt), unit_of_it, "job {job}, attempt {attempt}");
        }
    }

    #[test]
    fn jitter_adds_up_to_a_quarter_of_the_delay() {
        let added = seconds(Curve::constant(100.0).unwrap(), Jitter::Spread, 1) - 100.0;
        assert_eq!((added * 1e6).round(), (100.0 * JITTER * unit(JOB, 1) * 1e6).round());
    }

    #[test]
    fn jitter_is_even_over_jobs() {
        let mean: f64 = (0..10_000).map(|id| unit(JobId(id), 1)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    proptest! {
        #[test]
        fn delays_never_wrap_and_jitter_adds_less_than_a_quarter(
            base in 0.0..1e6f64, max in 0.0..3e8f64, attempt in any::<u32>(), id in any::<i64>(),
        ) {
            let curve = Curve::exponential(base, max).unwrap();
            let exact = Backoff { curve, jitter: Jitter::Exact }.delay(attempt, JobId(id));
            let spread = Backoff { curve, jitter: Jitter::Spread }.delay(attempt, JobId(id));
            prop_assert!(exact <= limits::DELAY && spread <= limits::DELAY);
            prop_assert!(spread >= exact);
            prop_assert!(spread.as_secs_f64() <= exact.as_secs_f64() * (1.0 + JITTER) + 1e-6);
            prop_assert_eq!(spread, Backoff { curve, jitter: Jitter::Spread }.delay(attempt, JobId(id)));
        }

        #[test]
        fn exponential_never_shrinks(base in 0.0..1e4f64, attempt in 1u32..10_000) {
            let backoff = Backoff { curve: Curve::exponential(base, 3600.0).unwrap(), jitter: Jitter::Exact };
            prop_assert!(backoff.delay(attempt + 1, JOB) >= backoff.delay(attempt, JOB));
        }
    }
}
