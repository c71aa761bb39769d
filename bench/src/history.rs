//! What looking back costs: a submission as it was beside the same one as it is, read models folded again beside the live ones, and a
//! person's tasks among very many.
//!
//! Called by `cli`. One server of its own in an empty folder, asked over HTTP like any other.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::contestant::{CREATED, Contestant, Running};
use crate::pacer::Length;
use crate::percentile::{Latencies, median};
use crate::report::Summary;
use crate::review;

/// Before each measurement.
const WARMUP: Duration = Duration::from_millis(500);
const OK: u16 = 200;
/// How often a replay is asked whether it is done, and after which time it is given up.
const REPLAY_LOOK: Duration = Duration::from_millis(50);
const REPLAY_MAX: Duration = Duration::from_secs(1_800);

/// What to do, how often and for how long.
#[derive(Debug, Clone)]
pub struct HistoryPlan {
    /// The server, on its embedded storage.
    pub contestant: Contestant,
    /// Pairs of measurements: as it is, as it was.
    pub rounds: usize,
    /// Of each measurement.
    pub duration: Duration,
    /// Connections of each measurement of a submission.
    pub connections: usize,
    /// Events of the submission that is looked at.
    pub events: u64,
    /// Submissions that wait for a reviewer while tasks are listed and read models folded.
    pub tasks: u64,
    /// Submissions with 25 fields and 3 rules recorded beside them.
    pub submissions: u64,
    /// The server keeps its data below this.
    pub data_root: PathBuf,
}

/// What came out.
#[derive(Debug, serde::Serialize)]
pub struct History {
    /// Events of the submission that was looked at.
    pub events: u64,
    /// Microseconds of server CPU for each answer: as it is.
    pub live_cpu_us: f64,
    /// As it was before its last event.
    pub past_cpu_us: f64,
    /// Median of each round's ratio, past ÷ live.
    pub ratio: f64,
    /// Open tasks.
    pub tasks: u64,
    /// Latencies of the first page of tasks, one request at a time.
    pub task_list: Latencies,
    /// Events that a shadow folded.
    pub shadow_events: u64,
    /// From the request to the last event folded; without the comparison.
    pub shadow_fold_seconds: f64,
    /// The comparison with the live rows.
    pub shadow_compare_seconds: f64,
    /// Differences that it found; anything but 0 is a defect.
    pub shadow_differences: u64,
}

/// Runs `plan`. Prints each step to standard error as it ends.
///
/// # Errors
/// The server does not start, or answers with another status than it should.
pub fn run(plan: &HistoryPlan) -> Result<History> {
    ensure!(plan.events >= 2, "a submission with a past has at least two events");
    let running = plan.contestant.start(&plan.data_root)?;
    review::publish(&running)?;
    let (live_cpu_us, past_cpu_us, ratio) = past_and_present(plan, &running)?;
    running.record(review::submission(&running)?, plan.tasks)?;
    running.record(running.submission()?, plan.submissions)?;
    running.settle()?;
    let task_list = tasks(plan, &running)?;
    let mut history = History {
        events: plan.events,
        live_cpu_us,
        past_cpu_us,
        ratio,
        tasks: plan.tasks,
        task_list,
        shadow_events: 0,
        shadow_fold_seconds: 0.0,
        shadow_compare_seconds: 0.0,
        shadow_differences: 0,
    };
    shadow(&running, &mut history)?;
    Ok(history)
}

/// CPU of the submission as it is, as it was, and the ratio: medians over the rounds.
fn past_and_present(plan: &HistoryPlan, running: &Running) -> Result<(f64, f64, f64)> {
    let body = r#"{"data":{"amount":1,"title":"the one that is looked at"}}"#;
    let answer = running.once("POST", &review::submissions_path(), Some(body), CREATED)?;
    let answer: Value = serde_json::from_slice(&answer).context("the answer to a submission")?;
    let id = answer["submission_id"].as_str().context("its submission_id")?;
    let path = format!("/v1/submissions/{id}");
    let sequence = |running: &Running| -> Result<(u64, u64)> {
        let shown: Value = serde_json::from_slice(&running.once("GET", &path, None, OK)?)?;
        Ok((shown["sequence"].as_u64().context("sequence")?, shown["position"].as_u64().context("position")?))
    };
    let mut amount = 1;
    while sequence(running)?.0 < plan.events {
        amount += 1;
        let patch =
            json!({"amount": amount, "note": format!("looked at for the time number {amount}")}).to_string();
        let answer: Value = serde_json::from_slice(&running.once("PATCH", &path, Some(&patch), OK)?)?;
        let position = answer["position"].as_u64().context("the position of an amendment")?;
        running.once("GET", &format!("{path}?min_position={position}"), None, OK)?;
    }
    let before_last = sequence(running)?.1 - 1;
    let past = format!("{path}?at_position={before_last}");
    let (mut live_us, mut past_us, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let live = cpu_us(plan, running, &path)?;
        let past = cpu_us(plan, running, &past)?;
        eprintln!("-- round {round}: as it is {live:.1} us, as it was {past:.1} us CPU a request");
        live_us.push(live);
        past_us.push(past);
        ratios.push(past / live);
    }
    let middle = |figures: Vec<f64>| median(figures).context("no rounds");
    Ok((middle(live_us)?, middle(past_us)?, middle(ratios)?))
}

fn cpu_us(plan: &HistoryPlan, running: &Running, path: &str) -> Result<f64> {
    let request = running.request("GET", path, None)?;
    let run = running.closed_loop(request, plan.connections, WARMUP, Length::Time(plan.duration))?;
    let summary = Summary::of(&run);
    ensure!(summary.others_than(OK) == 0, "{path} was answered {:?}", summary.by_status);
    Ok(summary.server_cpu.context("the server's CPU")?.total_us)
}

fn tasks(plan: &HistoryPlan, running: &Running) -> Result<Latencies> {
    let request = running.request("GET", "/v1/tasks", None)?;
    let run = running.closed_loop(request, 1, WARMUP, Length::Time(plan.duration))?;
    let summary = Summary::of(&run);
    ensure!(summary.others_than(OK) == 0, "tasks were answered {:?}", summary.by_status);
    eprintln!("-- tasks: {summary}");
    Ok(summary.latencies)
}

/// Folds all read models of the tenant beside the live ones and compares.
fn shadow(running: &Running, history: &mut History) -> Result<()> {
    let began = Instant::now();
    let order = running.once("POST", "/v1/replays", Some(r#"{"kind":"shadow"}"#), CREATED)?;
    let mut replay: Value = serde_json::from_slice(&order)?;
    let path = format!("/v1/replays/{}", replay["replay_id"].as_str().context("replay_id")?);
    let mut folded = None;
    while replay["status"] == "running" {
        ensure!(began.elapsed() < REPLAY_MAX, "the replay is not done after {REPLAY_MAX:?}");
        std::thread::sleep(REPLAY_LOOK);
        replay = serde_json::from_slice(&running.once("GET", &path, None, OK)?)?;
        if folded.is_none() && replay["progress"]["done"] == replay["progress"]["total"] {
            folded = Some(began.elapsed());
        }
    }
    if replay["status"] != "done" {
        bail!("the replay ended otherwise: {replay}");
    }
    let (whole, folded) = (began.elapsed(), folded.context("the replay never came to its end")?);
    history.shadow_events = replay["progress"]["total"].as_u64().context("progress")?;
    history.shadow_fold_seconds = folded.as_secs_f64();
    history.shadow_compare_seconds = (whole - folded).as_secs_f64();
    history.shadow_differences = replay["summary"]["differences"].as_u64().context("summary")?;
    Ok(())
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, live_cpu_us, past_cpu_us, ratio, tasks, task_list, .. } = self;
        writeln!(
            formatter,
            "a submission with {events} events: {live_cpu_us:.1} µs CPU as it is, {past_cpu_us:.1} µs as it was, {ratio:.2} times"
        )?;
        writeln!(
            formatter,
            "the first page among {tasks} open tasks: p50 {:.2} ms, p99 {:.2} ms",
            task_list.p50_us as f64 / 1e3,
            task_list.p99_us as f64 / 1e3
        )?;
        let Self { shadow_events, shadow_fold_seconds, shadow_compare_seconds, shadow_differences, .. } =
            self;
        write!(
            formatter,
            "a shadow of {shadow_events} events: folded in {shadow_fold_seconds:.2} s ({:.0} events/s), compared in \
             {shadow_compare_seconds:.2} s, {shadow_differences} differences",
            *shadow_events as f64 / shadow_fold_seconds
        )
    }
}
