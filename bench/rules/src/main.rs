//! What rules cost: ours, and the same rule in `cel`, `zen-expression` and `datalogic-rs`, in one run.
//! `cargo run --release --manifest-path bench/rules/Cargo.toml`
//!
//! Medians over many short rounds, because the machine is shared; engines take turns round by round, so that what disturbs the machine
//! disturbs them alike. The best tenth of the rounds tells what it does while nobody disturbs it. No framework, so that what is timed is all on these pages.

mod others;
mod ours;

use std::time::Instant;

/// Rounds whose median is printed.
const ROUNDS: usize = 401;
/// Timed calls in one round.
const CALLS: usize = 400;
/// Calls before them, which bring back what the contestant before pushed out of the caches.
const WARMING: usize = 100;

/// The rule of the comparison.
pub const RULE: &str = "amount > 10000 && (country in ['DE','FR'] || risk >= 0.8) && applicant.age >= 18";

/// Something to time, and what it is called.
pub struct Contestant<'c> {
    /// The line's title.
    pub name: &'static str,
    /// One call.
    pub call: Box<dyn FnMut() + 'c>,
}

impl<'c> Contestant<'c> {
    /// A contestant of this name.
    pub fn new(name: &'static str, call: impl FnMut() + 'c) -> Self {
        Self { name, call: Box::new(call) }
    }
}

/// Of many times, in nanoseconds.
pub struct Times {
    /// As many were shorter as longer.
    pub median: f64,
    /// A tenth were shorter.
    pub tenth: f64,
}

impl Times {
    /// Of at least one time.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self { median: times[times.len() / 2], tenth: times[times.len() / 10] }
    }
}

/// Prints the median nanoseconds of a call of each, the best tenth, and the medians' ratio to the first.
pub fn race(title: &str, mut contestants: Vec<Contestant<'_>>) {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    for _ in 0..ROUNDS {
        for (contestant, times) in contestants.iter_mut().zip(&mut rounds) {
            (0..WARMING).for_each(|_| (contestant.call)());
            let start = Instant::now();
            (0..CALLS).for_each(|_| (contestant.call)());
            times.push(start.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }
    println!("\n{title}");
    let rounds: Vec<Times> = rounds.into_iter().map(Times::of).collect();
    for (contestant, Times { median, tenth }) in contestants.iter().zip(&rounds) {
        let ratio = median / rounds[0].median;
        println!("  {:<44} {median:10.1} ns, best tenth {tenth:8.1} ns {ratio:8.1}x", contestant.name);
    }
}

fn main() {
    println!("rule: {RULE}");
    let layout = ours::layout();
    let data = ours::data();
    let program = formledger_rules::Program::compile(RULE, &layout).expect("the rule is right");
    let rules = ours::constraint(&layout);

    let mut evaluated = ours::evaluation(&program, &layout, &rules, &data);
    evaluated.extend(others::evaluation(&data));
    race("evaluate, from filled slots or from parsed JSON", evaluated);
    let mut compiled = ours::compilation(&layout);
    compiled.extend(others::compilation());
    race("parse (ours: and check against the form) and compile", compiled);
    ours::tables(&layout, &data);
    ours::large();
}
