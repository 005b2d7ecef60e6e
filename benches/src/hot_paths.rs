//! `hot-paths VERB COUNT`: does one thing many times, for `tools/instructions.py` to count its instructions.

use std::time::Duration;

use zjobs_benches::{ARGS, Bench};
use zjobs_engine::backoff::Backoff;
use zjobs_engine::{JobId, limits};

fn main() {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let count: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let bench = Bench::new();
    match verb.as_str() {
        "validate" => (0..count).for_each(|_| assert!(limits::json("args", ARGS, limits::PAYLOAD_BYTES).is_ok())),
        "backoff" => {
            let total: Duration =
                (0..count).map(|id| Backoff::default().delay(7, JobId(i64::try_from(id).unwrap_or(0)))).sum();
            assert!(count == 0 || !total.is_zero());
        }
        "enqueue" => bench.enqueue(count, 1),
        "enqueue_many" => bench.enqueue(count, 1000),
        "walk" => {
            bench.enqueue(count, 1000);
            while let jobs = bench.claim(10)
                && !jobs.is_empty()
            {
                bench.complete(&jobs);
            }
        }
        other => {
            eprintln!("hot-paths: no such verb: {other}; there are validate, backoff, enqueue, enqueue_many and walk");
            std::process::exit(2);
        }
    }
}
