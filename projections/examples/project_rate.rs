//! Measures what projecting costs: events per second and process CPU per event, for one tenant and for many.
//! Run with `cargo run --release -p formledger-projections --example project_rate [-- SUBMISSIONS TENANTS BATCH_EVENTS INDEXED postgres]`;
//! with `postgres` the read models are kept by a server of its own, and are built again afterwards, and as a shadow. CPU is that of the whole process, read from `/proc/self/stat`, and counts reading the ledger too; elsewhere it shows as 0.

use std::path::Path;
use std::time::Instant;

use chrono::Utc;
use formledger_domain::{
    CanonicalJson, Form, FormEvent, FormVersion, LedgerAggregate, Position, Sequence, Submission,
    SubmissionEvent, SubmissionState, TenantContext,
};
use formledger_projections::{
    ReadModel, ReadModelPlace, ReadModelSettings, ReadModels, RebuildProgress, RebuildRequest, Replicas,
    Runner, RunnerSettings, Shadow, rebuild, shadow_file,
};
use formledger_store::{Append, LedgerRange, Store, StoreSettings};
use formledger_test_cluster::Postgres;
use futures_util::StreamExt;
use serde_json::json;
use uuid::Uuid;

// The server's `malloc`: figures with another one are of another program.
use mimalloc as _;

/// Appends that wait for the writer at once.
const APPENDS_IN_FLIGHT: usize = 1024;

/// Events per read when reading alone is measured; the runner's own number.
const READ_EVENTS: u64 = 512;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).take(4).map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (submissions, tenants, batch, indexed) = (next(20_000)?, next(1)?, next(4096)?, next(2)?);
    let on_postgres = std::env::args().nth(5).as_deref() == Some("postgres");

    let directory = tempfile::tempdir()?;
    let store = Store::open_sqlite(&directory.path().join("ledger.db"), StoreSettings::default()).await?;
    fill(&store, submissions, tenants, indexed).await?;

    let reading = cpu_seconds();
    for head in store.heads().await? {
        let mut after = Position::START;
        while after < head.position {
            let up_to = Position(head.position.0.min(after.0 + READ_EVENTS));
            store.read_ranges(&[LedgerRange { tenant: head.tenant.clone(), after, up_to }]).await?;
            after = up_to;
        }
    }
    let reading = cpu_seconds() - reading;

    // The server ends with the value.
    let server = if on_postgres { Some(Postgres::start().await) } else { None };
    let place = match &server {
        Some(server) => ReadModelPlace::postgres(&server.create_database("rate").await)?,
        None => ReadModelPlace::file(&directory.path().join("read-models.db")),
    };
    let models = ReadModels::open(place.clone(), ReadModelSettings::default()).await?;
    let settings = RunnerSettings { batch_events_max: batch, ..RunnerSettings::default() };
    let mut runner = Runner::new(store.clone(), models, settings);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let events = runner.run_once().await?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{submissions} submissions, {tenants} tenants, {indexed} indexed fields, {batch} events a batch: \
         {:.0} events/s, {:.2} µs CPU per event, {:.2} µs per submission, of which {:.2} to read the ledger",
        events as f64 / wall,
        cpu * 1e6 / events as f64,
        cpu * 1e6 / submissions as f64,
        reading * 1e6 / submissions as f64,
    );
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut folded = began.elapsed();
    rebuild(&store, &place, RebuildRequest::default(), |progress| {
        if let RebuildProgress::Folded { .. } = progress {
            folded = began.elapsed();
        }
    })
    .await?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "built again: {:.0} events/s, folded {:.0} events/s, {:.2} µs CPU per event",
        events as f64 / wall,
        events as f64 / folded.as_secs_f64(),
        cpu * 1e6 / events as f64
    );
    shadow(
        &store,
        Replicas::new(ReadModels::open(place, ReadModelSettings::default()).await?, Vec::new()),
        directory.path(),
    )
    .await
}

/// Replays the first tenant into a shadow and compares it with the live rows.
async fn shadow(store: &Store, live: Replicas, folder: &Path) -> Result<(), Failure> {
    let head =
        store.heads().await?.into_iter().find(|head| head.tenant.as_str() == "t0").ok_or("no events")?;
    let mut shadow =
        Shadow::begin(store, &live, &shadow_file(folder, "rate"), &head.tenant, &ReadModel::ALL).await?;
    let began = Instant::now();
    while !shadow.advance(head.position).await?.1 {}
    let folded = began.elapsed().as_secs_f64();
    let compared = shadow.compare(&live, 0).await?;
    println!(
        "shadow: {:.0} events/s folded, {:.0} with the comparison, {} differences",
        head.position.0 as f64 / folded,
        head.position.0 as f64 / began.elapsed().as_secs_f64(),
        compared.told.len()
    );
    shadow.remove().await;
    Ok(())
}

/// Records submissions of 25 fields and three rule outcomes each, round the tenants.
async fn fill(store: &Store, submissions: usize, tenants: usize, indexed: usize) -> Result<(), Failure> {
    let contexts: Vec<TenantContext> = (0..tenants)
        .map(|tenant| Ok(TenantContext::system(format!("t{tenant}").parse()?, "rate", Utc::now())))
        .collect::<Result<_, Failure>>()?;
    for context in &contexts {
        let fields: Vec<String> = (0..indexed).map(|field| format!("/field_{field:02}")).collect();
        let definition = CanonicalJson::from_value(&json!({"title": "Rate", "schema": {}, "index": fields}))?;
        let published =
            FormEvent::Published { definition, form: "rate".parse()?, version: FormVersion::FIRST };
        append(store, context, context.stream::<Form>("rate"), vec![Form::encode(&published)]).await?;
    }
    let mut appends = futures_util::stream::iter(0..submissions)
        .map(|number| submit(store, &contexts[number % tenants], number))
        .buffer_unordered(APPENDS_IN_FLIGHT);
    while let Some(appended) = appends.next().await {
        appended?;
    }
    Ok(())
}

async fn submit(store: &Store, context: &TenantContext, number: usize) -> Result<(), Failure> {
    let data: serde_json::Map<String, serde_json::Value> = (0..25)
        .map(|field| match field % 3 {
            0 => (format!("field_{field:02}"), json!((number * 31 + field) % 10_000)),
            1 => (format!("field_{field:02}"), json!(format!("some text of field {field} {}", number % 97))),
            _ => (format!("field_{field:02}"), json!(number.is_multiple_of(2))),
        })
        .collect();
    let outcomes = json!({
        "big": {"matched": number.is_multiple_of(3), "value": {"big": true}},
        "route": {"matched": true, "value": {"route": if number.is_multiple_of(2) { "auto" } else { "committee" }}},
        "zone": {"matched": true, "value": {"zone": number % 4}},
    });
    let events = [
        SubmissionEvent::Submitted {
            data: CanonicalJson::from_value(&data.into())?,
            form: "rate".parse()?,
            form_version: FormVersion::FIRST,
            state: SubmissionState::SUBMITTED,
            submitter: "load".into(),
            by: None,
        },
        SubmissionEvent::RulesEvaluated {
            computed: CanonicalJson::from_value(&json!({}))?,
            form: "rate".parse()?,
            form_version: FormVersion::FIRST,
            outcomes: CanonicalJson::from_value(&outcomes)?,
            why: None,
            now: None,
        },
    ];
    let stream = context.stream::<Submission>(Uuid::now_v7());
    append(store, context, stream, events.iter().map(Submission::encode).collect()).await
}

async fn append(
    store: &Store,
    context: &TenantContext,
    stream: formledger_domain::StreamId,
    events: Vec<formledger_domain::EncodedEvent>,
) -> Result<(), Failure> {
    let append = Append { stream, expected: Sequence::START, events, topic: None, idempotency: None };
    store.ledger(context).append(append).await?;
    Ok(())
}

/// User and system time of this process so far (proc(5), fields 14 and 15, in hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |field| after_name.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0
}
