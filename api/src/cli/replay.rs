//! `formledger replay`: a range of a tenant's ledger goes by again on standard output, at its recorded pace or faster, or is folded into shadow
//! read models that are compared with the live rows. It reads, and writes nothing but the shadow's file, which goes when it ends.
//! `POST /v1/replays` does the same on a running server, where replays can be paused and followed by many.

use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;
use formledger_domain::{Position, TenantContext};
use formledger_projections::{
    LateReplica, ReadModel, Replicas, Shadow, ShadowComparison, ShadowComparisons, ShadowDifference,
    ShadowFolder, shadow_file,
};
use formledger_store::{EventFilter, Store, TenantLedger};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep_until;

use super::serve::runtime;
use super::{existing_ledger, readable_ledger};
use crate::app::{open_read_models, open_replicas};
use crate::cloudevents::CloudEvent;
use crate::config::{ConfigError, ReplayArgs, Storage};
use crate::limits::{STREAM_PAGE_BYTES_MAX, STREAM_PAGE_EVENTS};
use crate::logging;
use crate::replays::{Pace, Speed};

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Exit status where nothing differs in what was compared, and something was not.
const NOT_ALL_COMPARED: u8 = 3;

/// Replays events, or compares a shadow: exit 1 when it differs from the live rows, 3 when some of them could not be compared.
pub fn replay(arguments: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    logging::start(&arguments.storage.log)?;
    runtime()?.block_on(async {
        // Read models that a shadow is compared with are opened by whoever may keep them.
        let store = match &arguments.shadow {
            true => existing_ledger(&storage).await?,
            false => readable_ledger(&storage).await?,
        };
        let done = run(&store, &storage, arguments).await;
        store.close().await;
        done
    })
}

async fn run(store: &Store, storage: &Storage, arguments: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let context = TenantContext::system(arguments.tenant.clone(), "replay", Utc::now());
    let ledger = store.ledger(&context);
    let head = ledger.head().await?.position;
    if head == Position::START {
        return Err(ConfigError(format!("there is no tenant `{}` in this ledger", arguments.tenant)).into());
    }
    let (from, to) = (arguments.from.unwrap_or(Position(1)), arguments.to.unwrap_or(head));
    if from < Position(1) || to < from || to > head {
        let what = format!("`--from` and `--to` name positions from 1 to {head}, in this order");
        return Err(ConfigError(what).into());
    }
    match &arguments.shadow {
        false => events(&ledger, arguments, from, to).await,
        true => shadow(store, storage, arguments, to).await,
    }
}

/// Writes each event as a feed would show it, when it is due.
async fn events(
    ledger: &TenantLedger,
    arguments: &ReplayArgs,
    from: Position,
    to: Position,
) -> anyhow::Result<ExitCode> {
    let topic = arguments.form.as_ref().map(ToString::to_string);
    let filter = EventFilter { topic, stream: None, types: arguments.types.clone() };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut progress = Progress::new(from, to);
    let (mut pace, mut after, mut line) = (None, Position(from.0 - 1), Vec::new());
    while after < to {
        let page = ledger.read_page(after, STREAM_PAGE_EVENTS, STREAM_PAGE_BYTES_MAX).await?;
        anyhow::ensure!(!page.is_empty(), "the ledger ends at position {after}, before the range");
        for event in page.iter().take_while(|event| event.position <= to) {
            if let Speed::Times(times) = arguments.speed {
                let due =
                    pace.get_or_insert_with(|| Pace::new(times, event.recorded_at)).due(event.recorded_at);
                if due > tokio::time::Instant::now() {
                    // Whoever reads sees what went by before the next one is waited for.
                    out.flush()?;
                    progress.tell(after);
                    sleep_until(due).await;
                }
            }
            if filter.wants(event) {
                line.clear();
                CloudEvent::write(event, &mut line);
                line.push(b'\n');
                out.write_all(&line)?;
            }
            after = event.position;
        }
        progress.tell(after);
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A difference, and with which database.
#[derive(Serialize)]
struct Found<'a> {
    replica: &'a str,
    #[serde(flatten)]
    difference: &'a ShadowDifference,
}

/// Builds the shadow up to a position, compares it with every database that answers queries, and writes a line for each difference.
async fn shadow(
    store: &Store,
    storage: &Storage,
    arguments: &ReplayArgs,
    to: Position,
) -> anyhow::Result<ExitCode> {
    let followed = match &arguments.projection {
        Some(name) => vec![name.parse().map_err(|error| ConfigError(format!("`--projection`: {error}")))?],
        None => ReadModel::ALL.to_vec(),
    };
    let own = open_read_models(storage).await?;
    let replicas = open_replicas(store, &own, &arguments.storage.replicas()?, true).await?;
    let live = Replicas::new(own, replicas);
    let folder = ShadowFolder::of_replay(&storage.data)?;
    let file = shadow_file(folder.path(), "replay");
    let mut shadow = Shadow::begin(store, &live, &file, &arguments.tenant, &followed).await?;
    let compared = compare(&mut shadow, &live, to).await;
    shadow.remove().await;
    drop(folder);
    live.close().await;
    let all = compared?;

    let mut out = BufWriter::new(std::io::stdout().lock());
    for ShadowComparison { replica, told, .. } in &all.compared {
        for difference in told {
            serde_json::to_writer(&mut out, &Found { replica, difference })?;
            writeln!(out)?;
        }
    }
    let read_models = || all.compared.iter().flat_map(|comparison| &comparison.read_models);
    let differences: u64 = read_models().map(|read_model| read_model.differences).sum();
    let rows: u64 = read_models().map(|read_model| read_model.rows).sum();
    let summary = json!({"summary": {"rows": rows, "differences": differences, "compared": all.compared,
        "behind": all.behind, "unavailable": all.unavailable}});
    serde_json::to_writer(&mut out, &summary)?;
    writeln!(out)?;
    out.flush()?;
    for late in &all.behind {
        let LateReplica { replica, position, wanted } = late;
        eprintln!(
            "{replica} is not compared: it stays at position {position}, before the shadow at {wanted}"
        );
    }
    for replica in &all.unavailable {
        eprintln!("{replica} is not compared: it does not answer");
    }
    Ok(match differences {
        0 if all.is_whole() => ExitCode::SUCCESS,
        0 => ExitCode::from(NOT_ALL_COMPARED),
        _ => ExitCode::FAILURE,
    })
}

async fn compare(shadow: &mut Shadow, live: &Replicas, to: Position) -> anyhow::Result<ShadowComparisons> {
    let mut progress = Progress::new(Position(1), to);
    loop {
        let (position, done) = shadow.advance(to).await?;
        progress.tell(position);
        if done {
            break;
        }
    }
    let mut all = ShadowComparisons::default();
    for replica in 0..live.count() {
        let compared = shadow.compare(live, replica).await;
        all.add(live.label(replica), compared)?;
    }
    Ok(all)
}

/// Progress on standard error with an estimated end: lines that overwrite each other for people, lines for logs.
struct Progress {
    first: Position,
    to: Position,
    began: Instant,
    told: Instant,
    end: char,
}

impl Progress {
    fn new(first: Position, to: Position) -> Self {
        let end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
        Self { first, to, began: Instant::now(), told: Instant::now(), end }
    }

    fn tell(&mut self, at: Position) {
        if self.told.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        self.told = Instant::now();
        let done = (at.0 + 1).saturating_sub(self.first.0);
        let left = self.to.0.saturating_sub(at.0);
        let seconds = self.began.elapsed().as_secs_f64() * left as f64 / done.max(1) as f64;
        eprint!("position {at} of {}, about {seconds:.0} s to go{}", self.to, self.end);
    }
}
