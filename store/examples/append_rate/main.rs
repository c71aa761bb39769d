//! Measures appending on the embedded ledger and on Postgres, and reading it back: events per second, CPU per event, latency. All
//! events are durable. `--store stock` is what is compared with, postgres-es with one event per command. Run with `cargo run --release
//! -p formledger-store --example append_rate [-- --store sqlite,postgres,stock --seconds 5 --clients 64,1200 --tenants 1,1000 --batch 512,1]`.
//! It reads no statistics of its own machinery: CPU comes from the kernel (`/proc`), so it runs on Linux only.

mod cpu;
mod load;
mod stock;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use formledger_domain::Position;
use formledger_store::{LedgerRange, PostgresOptions, Store, StoreSettings};
use formledger_test_cluster::{Postgres, Settings};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

/// Events of one read, over all ledgers.
const READ_EVENTS: u64 = 1000;
/// Enough reads for the kernel's ticks of 10 ms.
const READS_MAX: u64 = 100;
/// What anyone sets who runs Postgres in earnest.
const POSTGRES_PARAMETERS: [(&str, &str); 2] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB")];

/// One row of the table.
struct Run<'a> {
    store: &'a str,
    clients: usize,
    tenants: usize,
    batch: usize,
    time: Duration,
}

/// What the clients of a run did.
struct Done {
    /// Microseconds of each append, sorted.
    latencies: Vec<u32>,
    wall: f64,
    own_cpu: f64,
    server_cpu: f64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure_all())
}

async fn measure_all() -> anyhow::Result<()> {
    let time = Duration::from_secs(numbers("--seconds", "5")?[0] as u64);
    println!(
        "store    clients tenants batch   events/s  µs CPU/event: own  server  cores   p50 ms   p99 ms  p99.9 ms  MB on disk  µs CPU/read"
    );
    for store in option("--store", "sqlite").split(',') {
        for clients in numbers("--clients", "64,1200")? {
            for tenants in numbers("--tenants", "1,1000")? {
                for batch in numbers("--batch", "512,1")? {
                    measure(&Run { store, clients, tenants, batch, time }).await?;
                }
            }
        }
    }
    Ok(())
}

/// The text after `name`, or `default`.
fn option(name: &str, default: &str) -> String {
    std::env::args().skip_while(|arg| arg != name).nth(1).unwrap_or_else(|| default.into())
}

/// As [`option`], as comma-separated numbers.
fn numbers(name: &str, default: &str) -> anyhow::Result<Vec<usize>> {
    let text = option(name, default);
    text.split(',').map(|number| number.parse().with_context(|| format!("{name} {number}"))).collect()
}

async fn measure(run: &Run<'_>) -> anyhow::Result<()> {
    let settings = StoreSettings { append_batch_max: run.batch, ..StoreSettings::default() };
    match run.store {
        "sqlite" => {
            let folder = tempfile::tempdir()?;
            let store = Store::open_sqlite(&folder.path().join("ledger.db"), settings).await?;
            let done = append(run, &store, None).await?;
            let disk = bytes_in(folder.path())? as f64;
            print(run, &done, load::PAYLOAD_BYTES.len(), disk, microseconds_per_read(&store, None).await?);
            store.close().await;
        }
        "postgres" => {
            let server = start().await;
            let options = PostgresOptions::new(&server.url("postgres"))?;
            let store = Store::open_postgres(&options, settings).await?;
            let done = append(run, &store, Some(&server)).await?;
            let disk = database_bytes(&server).await?;
            let read = microseconds_per_read(&store, Some(&server)).await?;
            print(run, &done, load::PAYLOAD_BYTES.len(), disk, read);
            store.close().await;
        }
        // It has no batches: one row instead of one per size.
        "stock" if run.batch == 1 => {
            let server = start().await;
            sqlx::raw_sql(stock::TABLE).execute(&mut server.connect("postgres").await).await?;
            let pool = PgPoolOptions::new().max_connections(stock::CONNECTIONS);
            let pool = pool.acquire_timeout(run.time * 10).connect(&server.url("postgres")).await?;
            let (clients, tenants) = (run.clients, run.tenants);
            let client = |done, client| stock::persist_until(done, pool.clone(), client, tenants);
            let done = run_clients(run.time, clients, client, Some(&server)).await?;
            print(run, &done, 1, database_bytes(&server).await?, f64::NAN);
        }
        "stock" => {}
        other => anyhow::bail!("--store {other}: take sqlite, postgres or stock"),
    }
    Ok(())
}

async fn start() -> Postgres {
    let parameters = POSTGRES_PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Postgres::start_with(Settings { parameters, ..Settings::default() }).await
}

async fn append(run: &Run<'_>, store: &Store, server: Option<&Postgres>) -> anyhow::Result<Done> {
    let client = |done, client| load::append_until(done, store.clone(), client, run.tenants);
    run_clients(run.time, run.clients, client, server).await
}

async fn run_clients<C>(
    time: Duration,
    clients: usize,
    client: impl Fn(Arc<AtomicBool>, usize) -> C,
    server: Option<&Postgres>,
) -> anyhow::Result<Done>
where
    C: Future<Output = anyhow::Result<Vec<u32>>> + Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks: JoinSet<_> = (0..clients).map(|number| client(done.clone(), number)).collect();
    let (own, of_server, began) = (cpu::own()?, server_cpu(server).await?, Instant::now());
    tokio::time::sleep(time).await;
    done.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(of_client) = tasks.join_next().await {
        latencies.extend(of_client??);
    }
    latencies.sort_unstable();
    let wall = began.elapsed().as_secs_f64();
    Ok(Done {
        latencies,
        wall,
        own_cpu: cpu::own()? - own,
        server_cpu: server_cpu(server).await? - of_server,
    })
}

fn print(run: &Run<'_>, done: &Done, events_per_append: usize, disk_bytes: f64, read: f64) {
    let Run { store, clients, tenants, batch, .. } = run;
    let Done { latencies, wall, own_cpu, server_cpu } = done;
    let events = (latencies.len() * events_per_append) as f64;
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{store:8} {clients:7} {tenants:7} {batch:5} {:10.0} {:18.1} {:7.1} {:6.2} {:8.2} {:8.2} {:9.2} {:11.0} {read:12.1}",
        events / wall,
        own_cpu * 1e6 / events,
        server_cpu * 1e6 / events,
        (own_cpu + server_cpu) / wall,
        at(0.5),
        at(0.99),
        at(0.999),
        disk_bytes / 1e6,
    );
}

/// Reads ledgers back as a projector does: the same few positions of many ledgers, or many positions of one, at a time.
async fn microseconds_per_read(store: &Store, server: Option<&Postgres>) -> anyhow::Result<f64> {
    let heads = store.heads().await?;
    let per_ledger = (READ_EVENTS / heads.len() as u64).max(1);
    let (cpu, mut events) = (cpu::own()? + server_cpu(server).await?, 0);
    for after in (0..READ_EVENTS * READS_MAX / heads.len() as u64).step_by(per_ledger as usize) {
        let ranges = heads.iter().map(|head| LedgerRange {
            tenant: head.tenant.clone(),
            after: Position(after),
            up_to: Position(after + per_ledger),
        });
        events += store.read_ranges(&ranges.collect::<Vec<_>>()).await?.len();
    }
    Ok((cpu::own()? + server_cpu(server).await? - cpu) * 1e6 / events as f64)
}

async fn server_cpu(server: Option<&Postgres>) -> anyhow::Result<f64> {
    match server {
        Some(server) => cpu::of(server).await,
        None => Ok(0.0),
    }
}

async fn database_bytes(server: &Postgres) -> anyhow::Result<f64> {
    Ok(server.ask("SELECT pg_database_size(current_database())::text").await.parse()?)
}

fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    std::fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len())).sum()
}
