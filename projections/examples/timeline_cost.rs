//! Measures the two ways to have a timeline: folding a submission's stream when it is asked for, or inserting one row per event.
//! Run with `cargo run --release -p formledger-projections --example timeline_cost`. Figures and the decision: `docs/adr/0004`.

use std::time::{Duration, Instant};

use chrono::Utc;
use formledger_domain::{
    CanonicalJson, FormVersion, LedgerAggregate, Sequence, Submission, SubmissionEvent, TenantContext,
};
use formledger_projections::timeline;
use formledger_store::{Append, RecordedEvent, Store, StoreSettings};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, QueryBuilder};
use uuid::Uuid;

/// Events of the measured stream.
const EVENTS: usize = 50;
/// How often each way is measured.
const ROUNDS: u32 = 400;
/// Rows per statement, as the projections insert them.
const CHUNK_ROWS: usize = 50;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let store = Store::open_sqlite(&directory.path().join("ledger.db"), StoreSettings::default()).await?;
    let context = TenantContext::system("acme".parse()?, "timeline", Utc::now());
    let stream = context.stream::<Submission>(Uuid::now_v7());
    let events = history()?.iter().map(Submission::encode).collect();
    let append =
        Append { stream: stream.clone(), expected: Sequence::START, events, topic: None, idempotency: None };
    store.ledger(&context).append(append).await?;

    let mut load = Duration::ZERO;
    let mut fold = Duration::ZERO;
    let mut recorded: Vec<RecordedEvent> = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        recorded = store.ledger(&context).load(&stream).await?;
        load += began.elapsed();
        let began = Instant::now();
        assert_eq!(timeline::fold(&recorded, 0, |_| None)?.len(), EVENTS);
        fold += began.elapsed();
    }
    println!("a stream of {EVENTS} events: load {:?}, fold {:?}", load / ROUNDS, fold / ROUNDS);
    let insert = insert_rows(&directory.path().join("rows.db"), &recorded).await?;
    println!("a timeline row: insert {:?} per event", insert / (ROUNDS * EVENTS as u32));
    Ok(())
}

/// A draft of 25 fields, amended one field at a time.
fn history() -> Result<Vec<SubmissionEvent>, Failure> {
    let mut data: serde_json::Map<String, Value> =
        (0..25).map(|field| (format!("field_{field:02}"), json!(format!("text of field {field}")))).collect();
    let mut events = vec![SubmissionEvent::Drafted {
        data: CanonicalJson::from_value(&data.clone().into())?,
        form: "claim".parse()?,
        form_version: FormVersion::FIRST,
        submitter: "ann".into(),
    }];
    for number in 1..EVENTS {
        let patch = json!({format!("field_{:02}", number % 25): number});
        data.extend(patch.as_object().cloned().unwrap_or_default());
        events.push(SubmissionEvent::Amended {
            data: CanonicalJson::from_value(&data.clone().into())?,
            form: "claim".parse()?,
            form_version: FormVersion::FIRST,
            patch: CanonicalJson::from_value(&patch)?,
            by: None,
            on_behalf_of: None,
        });
    }
    Ok(events)
}

/// What a stored timeline would add to projecting: one row per event, in batches, without working out the changes.
async fn insert_rows(path: &std::path::Path, events: &[RecordedEvent]) -> Result<Duration, Failure> {
    let entries = timeline::fold(events, 0, |_| None)?;
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .connect()
        .await?;
    sqlx::raw_sql(
        "CREATE TABLE timeline (tenant_id TEXT, submission_id TEXT, sequence INTEGER, position INTEGER, at INTEGER, \
         actor TEXT, type TEXT, changes TEXT, PRIMARY KEY (tenant_id, submission_id, sequence)) WITHOUT ROWID",
    )
    .execute(&mut connection)
    .await?;
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        let submission = Uuid::now_v7().to_string();
        let began = Instant::now();
        let mut insert = QueryBuilder::new("INSERT INTO timeline ");
        insert.push_values(entries.iter().take(CHUNK_ROWS), |mut row, entry| {
            row.push_bind("acme").push_bind(submission.clone());
            row.push_bind(entry.sequence.0 as i64).push_bind(entry.position.0 as i64);
            row.push_bind(entry.at.timestamp_micros()).push_bind(entry.actor.to_string());
            row.push_bind(entry.event_type.clone());
            row.push_bind(serde_json::to_string(&entry.changes).unwrap_or_default());
        });
        insert.build().execute(&mut connection).await?;
        spent += began.elapsed();
    }
    Ok(spent)
}
