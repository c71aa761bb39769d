//! The published figures from start to end: the comparison in closed loop, then Formledger and the noise floor in open
//! loop with samples written and checked.
//!
//! Called by `cli`. It adds no measurement of its own; everything it writes can be repeated with the single subcommands.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::check::{Bounds, SAMPLES_MIN_DEFAULT};
use crate::compare::{self, ComparePlan, Comparison};
use crate::contestant::{CREATED, Contestant};
use crate::load::{self, LoadPlan, Pace};
use crate::machine::{self, Machine};
use crate::pacer::Length;
use crate::percentile::{Latencies, Quantile};
use crate::report::Summary;
use crate::sample;
use crate::schedule::Schedule;

/// How long answers may still arrive after the last one was due.
const GRACE: Duration = Duration::from_secs(30);

/// What to run and where to put it.
#[derive(Debug, Clone)]
pub struct FiguresPlan {
    /// The closed-loop part.
    pub compare: ComparePlan,
    /// Who runs in open loop.
    pub open: Vec<Contestant>,
    /// Arrivals a second in open loop.
    pub rate_per_second: u64,
    /// Connections in open loop.
    pub open_connections: usize,
    /// Bound on p99.9 in open loop, if one is to be enforced.
    pub p99_9_max: Option<Duration>,
    /// Folder for `figures.json`, `figures.md` and the samples.
    pub out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    durable_write_4_kib: Latencies,
    comparison: Comparison,
    open_loop: Vec<OpenLoop>,
}

#[derive(Debug, Serialize)]
struct OpenLoop {
    contestant: String,
    offered_per_second: u64,
    connections: usize,
    summary: Summary,
    violations: Vec<String>,
}

/// Runs everything, writes the results, prints them.
///
/// # Errors
/// A contestant does not start, a file cannot be written, or a check failed.
pub fn run(plan: &FiguresPlan) -> Result<()> {
    fs::create_dir_all(&plan.out).with_context(|| format!("creating {}", plan.out.display()))?;
    let figures = Figures {
        machine: Machine::here(),
        durable_write_4_kib: machine::durable_write(&plan.compare.data_root)?,
        comparison: compare::run(&plan.compare)?,
        open_loop: plan.open.iter().map(|contestant| open_loop(plan, contestant)).collect::<Result<_>>()?,
    };
    let text = text(&figures);
    fs::write(plan.out.join("figures.json"), serde_json::to_string_pretty(&figures)?)?;
    fs::write(plan.out.join("figures.md"), &text)?;
    println!("{text}");
    let failed: Vec<&String> = figures.open_loop.iter().flat_map(|open| &open.violations).collect();
    ensure!(failed.is_empty(), "bounds failed: {failed:?}");
    Ok(())
}

fn open_loop(plan: &FiguresPlan, contestant: &Contestant) -> Result<OpenLoop> {
    let running = contestant.start(&plan.compare.data_root)?;
    running.settle()?;
    let rate = plan.rate_per_second;
    let least = Duration::from_secs((SAMPLES_MIN_DEFAULT as u64).div_ceil(rate));
    let run = load::run(LoadPlan {
        target: running.target(),
        request: running.submission()?,
        pace: Pace::Open(Schedule::new(rate).context("the open loop needs a rate")?),
        connections: plan.open_connections,
        warmup: plan.compare.warmup,
        length: Length::Time(least.max(plan.compare.duration)),
        grace: GRACE,
        server_pid: Some(running.pid()),
        database_pid: running.database_pid(),
    })?;
    let csv = plan.out.join(format!("open-{}-{rate}.csv", file_name(&contestant.name)));
    sample::write_csv(&run.samples, &mut BufWriter::new(File::create(&csv)?))?;
    let summary = Summary::of(&run);
    eprintln!("-- {}, open loop at {rate}/s\n{summary}", contestant.name);
    let (contestant, connections) = (contestant.name.clone(), plan.open_connections);
    let violations = check(plan, &csv)?;
    Ok(OpenLoop { contestant, offered_per_second: rate, connections, summary, violations })
}

/// Checks what is in the file, not what is in memory: the file is the evidence.
fn check(plan: &FiguresPlan, csv: &Path) -> Result<Vec<String>> {
    let samples = sample::read_csv(BufReader::new(File::open(csv)?))?;
    let bounds = Bounds {
        expect_status: Some(CREATED),
        rate_per_second: Some(plan.rate_per_second),
        latencies_max: plan.p99_9_max.map(|bound| (Quantile::P99_9, bound)).into_iter().collect(),
        ..Bounds::samples(SAMPLES_MIN_DEFAULT)
    };
    Ok(bounds.violations(&samples))
}

fn file_name(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

fn text(figures: &Figures) -> String {
    let Machine { cpu, cores, memory_gib, kernel } = &figures.machine;
    let disk = &figures.durable_write_4_kib;
    let mut text = format!(
        "{cpu}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}; 4 KiB + fdatasync: p50 {} µs, p99 {} µs\n\n{}\n",
        disk.p50_us, disk.p99_us, figures.comparison
    );
    for open in &figures.open_loop {
        let OpenLoop { contestant, offered_per_second, connections, summary, violations } = open;
        text.push_str(&format!(
            "{contestant}, open loop at {offered_per_second}/s over {connections} connections, check {}:\n\n```text\n{summary}\n```\n\n",
            if violations.is_empty() { "passed".to_owned() } else { format!("FAILED: {violations:?}") }
        ));
    }
    text
}
