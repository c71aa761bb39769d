//! Contestants in turns: A, B, C, A, B, C, … each alone on the machine or beside others at rest, then medians and ratios.
//!
//! `cli` and `figures` call it. A shared machine changes from minute to minute, so a ratio is taken between neighbours in
//! one round and the median of those ratios is reported; a ratio of two separate runs would compare two machines.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::contestant::{CREATED, Contestant, Running};
use crate::pacer::Length;
use crate::percentile::median;
use crate::report::Summary;

/// What to compare, and for how long.
#[derive(Debug, Clone)]
pub struct ComparePlan {
    /// Who takes part; the first is the one whose ratios to the others are taken.
    pub contestants: Vec<Contestant>,
    /// One set of rounds for each number of connections.
    pub connections: Vec<usize>,
    /// Rounds of each set.
    pub rounds: usize,
    /// Before each measurement.
    pub warmup: Duration,
    /// Of each measurement.
    pub duration: Duration,
    /// Contestants keep their data below this; it should be a real disk.
    pub data_root: PathBuf,
}

/// One contestant in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Which round, from 0.
    pub round: usize,
    /// Connections held open.
    pub connections: usize,
    /// The contestant's name.
    pub contestant: String,
    /// What the load saw.
    pub summary: Summary,
    /// CPU spent after the last answer on work put off (read models), for each answer of the measured time.
    pub afterwards_cpu_us: f64,
}

/// All rounds, and what they come to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Every measurement, in the order it was made.
    pub rounds: Vec<Round>,
    /// One line for each contestant and number of connections.
    pub lines: Vec<Line>,
}

/// Medians over the rounds of one contestant at one number of connections.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Connections held open.
    pub connections: usize,
    /// The contestant's name.
    pub contestant: String,
    /// Answers a second.
    pub rate_per_second: f64,
    /// Server CPU for each answer.
    pub server_cpu_us: f64,
    /// CPU of the server's database for each answer, where that is a process of its own.
    pub database_cpu_us: Option<f64>,
    /// CPU of both for each answer, spent after the run on work put off.
    pub afterwards_cpu_us: f64,
    /// Generator CPU for each answer.
    pub generator_cpu_us: f64,
    /// Median latency, closed loop.
    pub p50_ms: f64,
    /// 99th percentile, closed loop.
    pub p99_ms: f64,
    /// Cores the machine gave.
    pub cores_delivered: f64,
    /// The first contestant's rate over this one's: median of each round's ratio.
    pub rate_ratio: f64,
    /// This contestant's CPU for each answer, database included, over the first one's: median of each round's ratio.
    pub cpu_ratio: f64,
    /// Requests in all rounds that were not answered 201.
    pub failed: usize,
}

/// Runs all rounds. Prints each to standard error as it ends.
///
/// # Errors
/// A contestant does not start or dies.
pub fn run(plan: &ComparePlan) -> Result<Comparison> {
    let (mut rounds, mut staying) = (Vec::new(), HashMap::new());
    for &connections in &plan.connections {
        for round in 0..plan.rounds {
            for contestant in &plan.contestants {
                let result = one(plan, contestant, &mut staying, connections, round).with_context(|| {
                    format!("{}, {connections} connections, round {round}", contestant.name)
                })?;
                eprintln!("{result}");
                rounds.push(result);
            }
        }
    }
    let lines = lines(plan, &rounds);
    Ok(Comparison { rounds, lines })
}

fn one<'p>(
    plan: &ComparePlan,
    contestant: &'p Contestant,
    staying: &mut HashMap<&'p str, Running>,
    connections: usize,
    round: usize,
) -> Result<Round> {
    let running = match staying.remove(&*contestant.name) {
        Some(running) => running,
        None => {
            let running = contestant.start(&plan.data_root)?;
            running.record(running.submission()?, contestant.recorded)?;
            running.settle()?;
            running
        }
    };
    let request = running.submission()?;
    let run = running.closed_loop(request, connections, plan.warmup, Length::Time(plan.duration))?;
    let afterwards_cpu_us = running.settle()?.busy_us() as f64 / run.answered.max(1) as f64;
    if contestant.stays {
        staying.insert(&contestant.name, running);
    }
    let (summary, contestant) = (Summary::of(&run), contestant.name.clone());
    Ok(Round { round, connections, contestant, summary, afterwards_cpu_us })
}

fn lines(plan: &ComparePlan, rounds: &[Round]) -> Vec<Line> {
    let mut lines = Vec::new();
    for &connections in &plan.connections {
        let of = |name: &str| -> Vec<&Round> {
            let same = |round: &&Round| round.connections == connections && round.contestant == name;
            rounds.iter().filter(same).collect()
        };
        let Some(first) = plan.contestants.first().map(|first| of(&first.name)) else { return lines };
        lines.extend(plan.contestants.iter().map(|contestant| line(&first, &of(&contestant.name))));
    }
    lines
}

/// `first` and `rounds` hold one entry for each round, in the same order.
fn line(first: &[&Round], rounds: &[&Round]) -> Line {
    let middle = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(|round| figure(round)).collect());
    let ratio = |ratio: &dyn Fn(&Round, &Round) -> f64| {
        median(first.iter().zip(rounds).map(|(first, round)| ratio(first, round)).collect())
    };
    let of_rounds = |figure: &dyn Fn(&Round) -> f64| middle(figure).unwrap_or(f64::NAN);
    let between = |figure: &dyn Fn(&Round, &Round) -> f64| ratio(figure).unwrap_or(f64::NAN);
    Line {
        connections: rounds.first().map_or(0, |round| round.connections),
        contestant: rounds.first().map(|round| round.contestant.clone()).unwrap_or_default(),
        rate_per_second: of_rounds(&|round| round.summary.rate_per_second),
        server_cpu_us: of_rounds(&Round::server_cpu_us),
        database_cpu_us: median(rounds.iter().filter_map(|round| round.database_cpu_us()).collect()),
        afterwards_cpu_us: of_rounds(&|round| round.afterwards_cpu_us),
        generator_cpu_us: of_rounds(&|round| round.summary.generator_cpu.total_us),
        p50_ms: of_rounds(&|round| round.summary.latencies.p50_us as f64 / 1_000.0),
        p99_ms: of_rounds(&|round| round.summary.latencies.p99_us as f64 / 1_000.0),
        cores_delivered: of_rounds(&|round| round.summary.cores.delivered),
        rate_ratio: between(&|first, round| first.summary.rate_per_second / round.summary.rate_per_second),
        cpu_ratio: between(&|first, round| round.cpu_us() / first.cpu_us()),
        failed: rounds.iter().map(|round| round.summary.others_than(CREATED)).sum(),
    }
}

impl Round {
    fn server_cpu_us(&self) -> f64 {
        self.summary.server_cpu.map_or(f64::NAN, |cpu| cpu.total_us)
    }

    fn database_cpu_us(&self) -> Option<f64> {
        self.summary.database_cpu.map(|cpu| cpu.total_us)
    }

    /// Server and database.
    fn cpu_us(&self) -> f64 {
        self.server_cpu_us() + self.database_cpu_us().unwrap_or(0.0)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, connections, contestant, summary, afterwards_cpu_us } = self;
        let number = round + 1;
        writeln!(formatter, "-- {contestant}, {connections} connections, round {number}")?;
        writeln!(formatter, "{summary}")?;
        write!(formatter, "afterwards {afterwards_cpu_us:.1} us CPU a request on work put off")
    }
}

impl fmt::Display for Comparison {
    /// A Markdown table, ready for `docs/benchmarks.md`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| connections | contestant | answers/s | server CPU µs | + database | + afterwards | generator CPU µs | p50 ms | p99 ms | cores given | \
             rate: first ÷ this | CPU: this ÷ first | failed |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )?;
        for line in &self.lines {
            let Line { connections, contestant, rate_per_second, server_cpu_us, afterwards_cpu_us, .. } =
                line;
            let database_cpu_us =
                line.database_cpu_us.map_or("–".to_owned(), |cpu_us| format!("{cpu_us:.1}"));
            let Line {
                generator_cpu_us, p50_ms, p99_ms, cores_delivered, rate_ratio, cpu_ratio, failed, ..
            } = line;
            writeln!(
                formatter,
                "| {connections} | {contestant} | {rate_per_second:.0} | {server_cpu_us:.1} | {database_cpu_us} | {afterwards_cpu_us:.1} | {generator_cpu_us:.1} | \
                 {p50_ms:.1} | {p99_ms:.1} | {cores_delivered:.2} | {rate_ratio:.2} | {cpu_ratio:.2} | {failed} |"
            )?;
        }
        Ok(())
    }
}
