//! Many schedules of a whole engine: producers, slots, cancels and a stop at once.
//!
//! `shuttle-models [--list] [--random 20000] [--pct 4000] [--seed 1] [--only WORD]`: the last line says what was proved. A
//! schedule that fails is printed as a text; `--replay TEXT --only WORD` runs it again.

mod engine;
mod line;

use std::process::ExitCode;
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// One model: what it shows, and one run of the program that shows it.
type Model = (&'static str, fn());

fn models() -> Vec<Model> {
    [engine::MODELS, line::MODELS].concat()
}

/// The depth of PCT: a failure that needs so many orders to be right is found with a known probability.
const DEPTH: usize = 3;

struct Wanted {
    random: usize,
    pct: usize,
    seed: u64,
    replay: Option<String>,
    only: String,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted { random: 20_000, pct: 4_000, seed: 1, replay: None, only: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--list" {
            for (name, _) in models() {
                println!("{name}");
            }
            std::process::exit(0);
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{value} is no number"));
        match word.as_str() {
            "--random" => wanted.random = number()?,
            "--pct" => wanted.pct = number()?,
            "--seed" => wanted.seed = value.parse().map_err(|_| format!("{value} is no number"))?,
            "--replay" => wanted.replay = Some(value),
            "--only" => wanted.only = value,
            _ => {
                return Err(format!(
                    "{word} is unknown; there are --list, --random, --pct, --seed, --replay and --only"
                ));
            }
        }
    }
    Ok(wanted)
}

/// Runs the schedules that the scheduler chooses; how many, or nothing when one of them fails.
fn run(model: fn(), scheduler: impl Scheduler + 'static) -> Option<usize> {
    let mut config = Config::new();
    config.stack_size = 0x2_0000;
    config.max_steps = MaxSteps::FailAfter(100_000);
    let runner = Runner::new(scheduler, config);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runner.run(model))).ok()
}

fn main() -> ExitCode {
    let Wanted { random, pct, seed, replay, only } = match wanted() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let models: Vec<Model> = models().into_iter().filter(|(name, _)| name.contains(&only)).collect();
    let share = models.len().max(1);
    let (mut randoms, mut pcts) = (0, 0);
    for (name, model) in &models {
        println!("model: {name}");
        #[expect(clippy::disallowed_methods, reason = "how long the checker takes, outside of any model")]
        let began = Instant::now();
        let ran = match &replay {
            Some(text) => run(*model, ReplayScheduler::new_from_encoded(text)).map(|ran| (ran, 0)),
            None => run(*model, RandomScheduler::new_from_seed(seed, random.div_ceil(share))).and_then(|ran| {
                Some((ran, run(*model, PctScheduler::new_from_seed(seed, DEPTH, pct.div_ceil(share)))?))
            }),
        };
        let Some((ran, by_pct)) = ran else {
            println!("failed: {name}");
            return ExitCode::FAILURE;
        };
        println!("  {ran} random, {by_pct} PCT, {:.1} s", began.elapsed().as_secs_f64());
        (randoms, pcts) = (randoms + ran, pcts + by_pct);
    }
    if models.is_empty() {
        eprintln!("no model has '{only}' in its name");
        return ExitCode::from(2);
    }
    println!(
        "proved: {} models of the whole engine, {randoms} random and {pcts} PCT schedules of depth {DEPTH} from seed {seed}, \
         no failure",
        models.len()
    );
    ExitCode::SUCCESS
}
