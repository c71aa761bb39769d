//! Measures appending on the embedded ledger, and reading it back: events per second, CPU per event, latency. All events are durable.
//! Run with `cargo run --release -p formledger-store --example append_rate [-- --seconds 5 --clients 64,1200 --tenants 1,1000 --batch 512,1]`.
//! It reads no statistics of its own machinery: CPU comes from the kernel (`/proc/self/stat`), so it runs on Linux only.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use formledger_domain::{CanonicalJson, EncodedEvent, Position, Sequence, TenantContext};
use formledger_store::{Append, Appended, LedgerRange, Store, StoreSettings};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Payloads of the two events of each append: a submission and its rule outcomes.
const PAYLOAD_BYTES: [usize; 2] = [1000, 300];
/// Events of one read, over all ledgers.
const READ_EVENTS: u64 = 1000;
/// Enough reads for the kernel's ticks of 10 ms.
const READS_MAX: u64 = 100;
/// `sysconf(_SC_CLK_TCK)` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure_all())
}

async fn measure_all() -> anyhow::Result<()> {
    let seconds = numbers("--seconds", "5")?[0];
    println!(
        "clients tenants batch   events/s  µs CPU/event  cores   p50 ms   p99 ms  p99.9 ms  MB on disk  µs CPU/read"
    );
    for clients in numbers("--clients", "64,1200")? {
        for tenants in numbers("--tenants", "1,1000")? {
            for batch in numbers("--batch", "512,1")? {
                measure(clients, tenants, batch, Duration::from_secs(seconds as u64)).await?;
            }
        }
    }
    Ok(())
}

/// The comma-separated numbers after `option`, or of `default`.
fn numbers(option: &str, default: &str) -> anyhow::Result<Vec<usize>> {
    let given = std::env::args().skip_while(|arg| arg != option).nth(1);
    let text = given.as_deref().unwrap_or(default);
    text.split(',').map(|number| number.parse().with_context(|| format!("{option} {number}"))).collect()
}

async fn measure(clients: usize, tenants: usize, batch: usize, time: Duration) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = StoreSettings { append_batch_max: batch, ..StoreSettings::default() };
    let store = Store::open_sqlite(&folder.path().join("ledger.db"), settings).await?;
    let payloads = PAYLOAD_BYTES.map(|bytes| {
        CanonicalJson::from_stored(format!(
            r#"{{"answers":"{}"}}"#,
            "x".repeat(bytes - r#"{"answers":""}"#.len())
        ))
    });
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        tasks.spawn(append_until(done.clone(), store.clone(), client, tenants, payloads.clone()));
    }
    let (cpu, began) = (cpu_seconds()?, Instant::now());
    tokio::time::sleep(time).await;
    done.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(of_client) = tasks.join_next().await {
        latencies.extend(of_client??);
    }
    let (cpu, wall) = (cpu_seconds()? - cpu, began.elapsed().as_secs_f64());
    latencies.sort_unstable();
    let events = (latencies.len() * PAYLOAD_BYTES.len()) as f64;
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let disk = bytes_in(folder.path())? as f64 / 1e6;
    let read = microseconds_per_read(&store).await?;
    println!(
        "{clients:7} {tenants:7} {batch:5} {:10.0} {:13.1} {:6.2} {:8.2} {:8.2} {:9.2} {disk:11.0} {read:12.1}",
        events / wall,
        cpu * 1e6 / events,
        cpu / wall,
        at(0.5),
        at(0.99),
        at(0.999),
    );
    store.close().await;
    Ok(())
}

/// Reads ledgers back as a projector does: the same few positions of many ledgers, or many positions of one, at a time.
async fn microseconds_per_read(store: &Store) -> anyhow::Result<f64> {
    let heads = store.heads().await?;
    let per_ledger = (READ_EVENTS / heads.len() as u64).max(1);
    let (cpu, mut events) = (cpu_seconds()?, 0);
    for after in (0..READ_EVENTS * READS_MAX / heads.len() as u64).step_by(per_ledger as usize) {
        let ranges = heads.iter().map(|head| LedgerRange {
            tenant: head.tenant.clone(),
            after: Position(after),
            up_to: Position(after + per_ledger),
        });
        events += store.read_ranges(&ranges.collect::<Vec<_>>()).await?.len();
    }
    Ok((cpu_seconds()? - cpu) * 1e6 / events as f64)
}

/// One client: append, wait for the answer, append again. Gives each answer's microseconds.
async fn append_until(
    done: Arc<AtomicBool>,
    store: Store,
    client: usize,
    tenants: usize,
    payloads: [CanonicalJson; 2],
) -> anyhow::Result<Vec<u32>> {
    let mut latencies = Vec::new();
    let mut turn = client;
    while !done.load(Ordering::Relaxed) {
        // Each append goes to another tenant, so that a batch meets as many ledgers as it can.
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let tenant = format!("tenant-{}", (turn >> 33) % tenants).parse()?;
        let context = TenantContext::system(tenant, "measure", chrono::Utc::now());
        let events = ["formledger.submission.submitted", "formledger.submission.rules-evaluated"]
            .into_iter()
            .zip(payloads.clone())
            .map(|(event_type, payload)| EncodedEvent { event_type, event_version: "1", payload });
        let append = Append {
            stream: context.stream::<Submission>(Uuid::now_v7()),
            expected: Sequence::START,
            events: events.collect(),
            topic: Some("expense".into()),
            idempotency: None,
        };
        let began = Instant::now();
        let appended = store.ledger(&context).append(append).await?;
        anyhow::ensure!(matches!(appended, Appended::Recorded { .. }), "no key, no replay");
        latencies.push(began.elapsed().as_micros() as u32);
    }
    Ok(latencies)
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses; user and system time are the 14th and 15th.
    let after_name = stat.rsplit_once(')').context("a stat line has a name")?.1;
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    std::fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len())).sum()
}

/// Only its type is used, to name streams.
#[derive(Default, Serialize, Deserialize)]
struct Submission;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

impl DomainEvent for Nothing {
    fn event_type(&self) -> String {
        String::new()
    }

    fn event_version(&self) -> String {
        String::new()
    }
}

impl Aggregate for Submission {
    const TYPE: &'static str = "Submission";
    type Command = ();
    type Event = Nothing;
    type Error = std::fmt::Error;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), std::fmt::Error> {
        Ok(())
    }

    fn apply(&mut self, _: Nothing) {}
}
