//! Criterion's times of the engine's verbs. Compare only what ran side by side.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use zjobs_benches::{ARGS, Bench};
use zjobs_engine::limits;
use zjobs_engine::unique::{Field, derive};
use zjobs_engine::{State, Timestamp};

fn rules(c: &mut Criterion) {
    c.bench_function("validate arguments", |b| b.iter(|| limits::json("args", black_box(ARGS), limits::PAYLOAD_BYTES)));
    c.bench_function("derive a unique key", |b| {
        b.iter(|| derive(&[Field::Worker, Field::Args], None, "w", "q", black_box(ARGS), Timestamp(0)));
    });
    c.bench_function("look up a transition", |b| {
        b.iter(|| black_box(State::Executing).on(zjobs_engine::Event::Complete, zjobs_engine::state::Attempts::Left));
    });
}

fn verbs(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory store, per 1000 jobs");
    group.throughput(Throughput::Elements(1000)).sample_size(30);
    for (name, batch) in [("enqueue one by one", 1), ("enqueue a batch", 1000)] {
        group.bench_function(name, |b| {
            b.iter_batched(Bench::new, |bench| bench.enqueue(1000, batch), BatchSize::LargeInput);
        });
    }
    for (name, scheduled) in [("claim and complete", 0), ("claim and complete beside a million scheduled", 1_000_000)] {
        let bench = Bench::new();
        bench.schedule(scheduled);
        group.bench_function(name, |b| {
            b.iter_batched(
                || bench.enqueue(1000, 1000),
                |()| {
                    for _ in 0..100 {
                        bench.complete(&bench.claim(10));
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("stage", |b| {
        b.iter_batched(
            || {
                let bench = Bench::new();
                bench.schedule(1000);
                bench.advance(Duration::from_secs(366 * 24 * 3600));
                bench
            },
            |bench| zjobs_engine::Store::stage(&bench.store, 1000).map(|staged| staged.moved),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, rules, verbs);
criterion_main!(benches);
