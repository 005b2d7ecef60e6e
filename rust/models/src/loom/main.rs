//! Every schedule of small programs, with at most so many preemptions, and every value that a load may see.
//!
//! `loom-models [--list] [--preemptions 3] [--only WORD]`: the last line says what was proved.

mod acks;
mod attempt;
mod commit;
mod ground;
mod life;
mod roles;
mod slots;
mod store;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One model: what it shows, and one run of the program that shows it.
type Model = (&'static str, fn());

fn models() -> Vec<Model> {
    [
        ground::MODELS,
        roles::MODELS,
        acks::MODELS,
        slots::MODELS,
        attempt::MODELS,
        commit::MODELS,
        store::MODELS,
        life::MODELS,
    ]
    .concat()
}

struct Wanted {
    preemptions: usize,
    only: String,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted { preemptions: 3, only: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--list" {
            for (name, _) in models() {
                println!("{name}");
            }
            std::process::exit(0);
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--preemptions" => wanted.preemptions = value.parse().map_err(|_| format!("{value} is no number"))?,
            "--only" => wanted.only = value,
            _ => return Err(format!("{word} is unknown; there are --list, --preemptions and --only")),
        }
    }
    Ok(wanted)
}

/// Runs all schedules of one model; how many there are, or nothing when one of them fails.
fn explore(run: fn(), preemptions: usize) -> Option<usize> {
    let schedules = Arc::new(AtomicUsize::new(0));
    let counted = schedules.clone();
    let mut builder = loom::model::Builder::new();
    // All of them: neither a number nor a time ends the search, whatever the environment says.
    (builder.max_permutations, builder.max_duration, builder.checkpoint_file) = (None, None, None);
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            run();
        });
    }));
    checked.ok().map(|()| schedules.load(Ordering::Relaxed))
}

fn main() -> ExitCode {
    let Wanted { preemptions, only } = match wanted() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let (mut all, mut count) = (0, 0);
    for (name, run) in models().into_iter().filter(|(name, _)| name.contains(&only)) {
        println!("model: {name}");
        #[expect(clippy::disallowed_methods, reason = "how long the checker takes, outside of any model")]
        let began = Instant::now();
        let Some(schedules) = explore(run, preemptions) else {
            println!("failed: {name}");
            return ExitCode::FAILURE;
        };
        println!("  {schedules} schedules, {:.1} s", began.elapsed().as_secs_f64());
        (all, count) = (all + schedules, count + 1);
    }
    if count == 0 {
        eprintln!("no model has '{only}' in its name");
        return ExitCode::from(2);
    }
    println!(
        "proved: {count} models, each explored to its end with at most {preemptions} preemptions: {all} schedules, \
         no failure"
    );
    ExitCode::SUCCESS
}
