//! `formledger backtest`: candidate rules over a form's recorded submissions. Prints every changed outcome as a line of JSON in ledger
//! order, then a summary. Reads the ledger in parallel and never writes to it.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use formledger_domain::{
    Backtest, BacktestSummary, FormVersion, OutcomeDifference, PastSubmission, Position, TenantContext,
    parse_exact,
};
use formledger_store::{Store, TenantLedger};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::readable_ledger;
use super::serve::runtime;
use crate::backtest::{self, CandidateError, Misfit};
use crate::config::{BacktestArgs, ConfigError};
use crate::logging;
use crate::standbys::LedgerSource;

/// Positions that one task reads and judges; small enough that the output, which waits for its order, stays small.
const CHUNK_POSITIONS: u64 = 4_096;
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
        let store = readable_ledger(&storage).await?;
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
    if to < from {
        let what = format!("`--from` and `--to` name positions from 1 to {head}, in this order");
        return Err(ConfigError(what).into());
    }

    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let source = LedgerSource::from(ledger);
    let chunks = (from.0..=to.0).step_by(CHUNK_POSITIONS as usize);
    let judged = chunks.map(|first| {
        let (source, backtest) = (source.clone(), Arc::clone(&backtest));
        let last = Position((first + CHUNK_POSITIONS - 1).min(to.0));
        async move { tokio::spawn(judge(source, backtest, Position(first), last)).await? }
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
    let misfits = Misfit::all(&backtest);
    let mut told =
        json!({"form": backtest.form(), "from": from, "to": to, "seconds": (seconds * 1e3).round() / 1e3});
    told.as_object_mut().expect("written above").extend(match serde_json::to_value(&summary)? {
        Value::Object(members) => members,
        _ => unreachable!("a summary is an object"),
    });
    if !misfits.is_empty() {
        told["misfits"] = serde_json::to_value(misfits)?;
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
    match backtest::compile(ledger, context, &arguments.form, rules).await {
        Ok(backtest) => Ok(backtest),
        Err(CandidateError::FormMissing(form)) => {
            let tenant = &arguments.tenant;
            Err(ConfigError(format!("`{tenant}` has no published form `{form}` in this ledger")).into())
        }
        Err(CandidateError::FitsNone(problems)) => {
            for problem in problems {
                eprintln!("{}", serde_json::to_string(&problem)?);
            }
            let form = &arguments.form;
            Err(ConfigError(format!("the candidate fits no published version of `{form}`")).into())
        }
        Err(CandidateError::History(error)) => Err(error.into()),
    }
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

/// Judges one chunk.
async fn judge(
    source: LedgerSource,
    backtest: Arc<Backtest>,
    first: Position,
    last: Position,
) -> anyhow::Result<Chunk> {
    let mut chunk = Chunk { lines: Vec::new(), counted: BacktestSummary::default(), last };
    backtest::judge(&source, &backtest, first, last, |past, differences| {
        chunk.counted.count(differences.as_deref());
        chunk.write(past, differences.as_deref().unwrap_or_default());
    })
    .await?;
    Ok(chunk)
}

impl Chunk {
    fn write(&mut self, past: &PastSubmission, differences: &[OutcomeDifference]) {
        for difference in differences {
            let line = Line {
                position: past.position,
                submission_id: &past.submission,
                form_version: past.form_version,
                difference,
            };
            serde_json::to_writer(&mut self.lines, &line).expect("JSON goes into memory");
            self.lines.push(b'\n');
        }
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
            eprint!("position {at} of {}: {submissions} evaluations, {changed} changed{}", self.to, self.end);
        }
    }
}
