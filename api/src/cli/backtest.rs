//! `formledger backtest`: candidate rules over a form's recorded submissions. Prints every changed outcome as a line of JSON in ledger
//! order, then a summary. Reads the ledger in parallel and never writes to it.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use formledger_domain::{
    Backtest, BacktestSummary, Form, FormEvent, FormVersion, History, LedgerAggregate, OutcomeDifference,
    PastSubmission, Position, Submission, TenantContext, parse_exact,
};
use formledger_store::{RecordedEvent, Store, TenantLedger};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::existing_ledger;
use super::serve::runtime;
use crate::config::{BacktestArgs, ConfigError};
use crate::limits::STREAM_PAGE_BYTES_MAX;
use crate::logging;

/// Positions that one task reads and judges; small enough that the output, which waits for its order, stays small.
const CHUNK_POSITIONS: u64 = 4_096;
/// Events that a task reads at once.
const PAGE_EVENTS: usize = 1_024;
/// Chunks in work for each core: one that reads while another computes.
const CHUNKS_PER_CORE: usize = 2;
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the candidate; exit 0 whether or not something changed.
pub fn backtest(arguments: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    let rules = read_rules(&arguments.rules)?;
    logging::start(&arguments.storage.log)?;
    runtime()?.block_on(async {
        let store = existing_ledger(&storage).await?;
        let done = run(&store, arguments, &rules).await;
        store.close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}

/// The candidate: a list of rules, or a form definition or other object with a `rules` member.
fn read_rules(path: &Path) -> anyhow::Result<Value> {
    let named = || format!("`{}`", path.display());
    let text = std::fs::read(path).map_err(|error| ConfigError(format!("{}: {error}", named())))?;
    let rules = match parse_exact(&text).map_err(|error| ConfigError(format!("{}: {error}", named())))? {
        Value::Object(mut members) => members.remove("rules"),
        other => Some(other),
    };
    rules.filter(Value::is_array).ok_or_else(|| {
        ConfigError(format!("{} holds no list of rules and no `rules` member", named())).into()
    })
}

async fn run(store: &Store, arguments: &BacktestArgs, rules: &Value) -> anyhow::Result<()> {
    let context = TenantContext::system(arguments.tenant.clone(), "backtest", Utc::now());
    let ledger = store.ledger(&context);
    let backtest = Arc::new(compile(&ledger, &context, arguments, rules).await?);
    let head = ledger.head().await?.position;
    let from = arguments.from.unwrap_or(Position(1)).max(Position(1));
    let to = arguments.to.unwrap_or(head).min(head);

    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chunks = (from.0..=to.0).step_by(CHUNK_POSITIONS as usize);
    let judged = chunks.map(|first| {
        let (ledger, backtest) = (ledger.clone(), Arc::clone(&backtest));
        let last = Position((first + CHUNK_POSITIONS - 1).min(to.0));
        async move { tokio::spawn(judge(ledger, backtest, Position(first), last)).await? }
    });
    let mut judged = stream::iter(judged).buffered(cores * CHUNKS_PER_CORE);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut summary = BacktestSummary::default();
    let mut progress = Progress::new(to);
    while let Some(chunk) = judged.next().await {
        let Chunk { lines, counted, last } = chunk?;
        out.write_all(&lines)?;
        summary.add(counted);
        progress.tell(last, &summary);
    }
    let seconds = started.elapsed().as_secs_f64();
    let misfits: Vec<Value> = backtest
        .misfits()
        .map(|(version, problems)| json!({"form_version": version, "problems": problems}))
        .collect();
    let mut told =
        json!({"form": backtest.form(), "from": from, "to": to, "seconds": (seconds * 1e3).round() / 1e3});
    told.as_object_mut().expect("written above").extend(match serde_json::to_value(&summary)? {
        Value::Object(members) => members,
        _ => unreachable!("a summary is an object"),
    });
    if !misfits.is_empty() {
        told["misfits"] = Value::Array(misfits);
    }
    serde_json::to_writer(&mut out, &json!({"summary": told}))?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// The candidate, compiled for every published version of the form.
///
/// # Errors
/// A [`ConfigError`] when there is no such form, or the candidate fits none of its versions; its problems go to standard error.
async fn compile(
    ledger: &TenantLedger,
    context: &TenantContext,
    arguments: &BacktestArgs,
    rules: &Value,
) -> anyhow::Result<Backtest> {
    let form = &arguments.form;
    let mut versions: Vec<(FormVersion, Value)> = Vec::new();
    for event in ledger.load(&context.stream::<Form>(form)).await? {
        if let FormEvent::Published { version, definition, .. } =
            Form::decode(&event.event_type, &event.event_version, &event.payload)?
        {
            versions.push((version, definition.to_value()));
        }
    }
    if versions.is_empty() {
        let tenant = &arguments.tenant;
        return Err(ConfigError(format!("`{tenant}` has no published form `{form}` in this ledger")).into());
    }
    let backtest = Backtest::new(
        form.clone(),
        versions.iter().map(|(version, definition)| (*version, definition)),
        rules,
    );
    if backtest.fits_none() {
        let newest = backtest.misfits().last();
        for problem in newest.iter().flat_map(|(_, problems)| problems.iter()) {
            eprintln!("{}", serde_json::to_string(problem)?);
        }
        return Err(ConfigError(format!("the candidate fits no published version of `{form}`")).into());
    }
    Ok(backtest)
}

/// What one task found.
struct Chunk {
    lines: Vec<u8>,
    counted: BacktestSummary,
    last: Position,
}

/// One changed outcome, as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    position: Position,
    submission_id: &'a str,
    form_version: FormVersion,
    #[serde(flatten)]
    difference: &'a OutcomeDifference,
}

/// Judges the data recorded at `first` to `last`. Reads one event more: the outcomes of the last data stand right behind them.
async fn judge(
    ledger: TenantLedger,
    backtest: Arc<Backtest>,
    first: Position,
    last: Position,
) -> anyhow::Result<Chunk> {
    let form = backtest.form().clone();
    let mut history = History::of(&form);
    let mut chunk = Chunk { lines: Vec::new(), counted: BacktestSummary::default(), last };
    let mut after = Position(first.0 - 1);
    while after <= last {
        let wanted = PAGE_EVENTS.min(usize::try_from(last.0 + 1 - after.0).unwrap_or(PAGE_EVENTS));
        let page = ledger.read_page(after, wanted, STREAM_PAGE_BYTES_MAX).await?;
        let Some(newest) = page.last() else { break };
        after = newest.position;
        for event in page {
            if let Some(past) = advance(&mut history, &event)? {
                chunk.add(&backtest, &past, last)?;
            }
        }
    }
    if let Some(past) = history.finish() {
        chunk.add(&backtest, &past, last)?;
    }
    Ok(chunk)
}

fn advance(history: &mut History<'_>, event: &RecordedEvent) -> anyhow::Result<Option<PastSubmission>> {
    let said = match event.aggregate_type.as_str() {
        <Submission as cqrs_es::Aggregate>::TYPE => {
            let said = Submission::decode(&event.event_type, &event.event_version, &event.payload);
            Some(said.with_context(|| format!("the event at position {}", event.position))?)
        }
        _ => None,
    };
    Ok(history.next(&event.aggregate_id, (event.position, event.recorded_at), said))
}

impl Chunk {
    fn add(&mut self, backtest: &Backtest, past: &PastSubmission, last: Position) -> anyhow::Result<()> {
        // What begins behind the chunk belongs to the next one.
        if past.position > last {
            return Ok(());
        }
        let differences = backtest.differences(past);
        self.counted.count(differences.as_deref());
        for difference in differences.iter().flatten() {
            let line = Line {
                position: past.position,
                submission_id: &past.submission,
                form_version: past.form_version,
                difference,
            };
            serde_json::to_writer(&mut self.lines, &line)?;
            self.lines.push(b'\n');
        }
        Ok(())
    }
}

/// Progress on standard error: lines that overwrite each other for people, lines for logs.
struct Progress {
    to: Position,
    told: Instant,
    end: char,
}

impl Progress {
    fn new(to: Position) -> Self {
        let end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
        Self { to, told: Instant::now(), end }
    }

    fn tell(&mut self, at: Position, summary: &BacktestSummary) {
        if self.told.elapsed() >= PROGRESS_INTERVAL || at == self.to {
            self.told = Instant::now();
            let BacktestSummary { submissions, changed, .. } = summary;
            eprint!("position {at} of {}: {submissions} submissions, {changed} changed{}", self.to, self.end);
        }
    }
}
