//! The path that is compared with: a stock postgres-es repository, one event and one transaction per command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use postgres_es::PostgresEventRepository;
use serde_json::json;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use crate::load::{Submission, next_turn, payloads};

/// The table of postgres-es, as its documentation has it.
pub(crate) const TABLE: &str = "\
CREATE TABLE events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    timestamp timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";
/// Connections of the pool that the clients share; more do not commit faster on two cores.
pub(crate) const CONNECTIONS: u32 = 32;

/// One client: persist, wait, persist again. Gives each answer's microseconds.
pub(crate) async fn persist_until(
    done: Arc<AtomicBool>,
    pool: PgPool,
    client: usize,
    tenants: usize,
) -> anyhow::Result<Vec<u32>> {
    let repository = PostgresEventRepository::new(pool);
    let payload: serde_json::Value = serde_json::from_str(&payloads()[0])?;
    let metadata = json!({"actor": "system", "correlationid": "measure", "topic": "expense"});
    let (mut latencies, mut turn) = (Vec::new(), client);
    while !done.load(Ordering::Relaxed) {
        turn = next_turn(turn);
        let event = SerializedEvent {
            aggregate_id: format!("tenant-{}/{}", (turn >> 33) % tenants, Uuid::now_v7()),
            sequence: 1,
            aggregate_type: "Submission".into(),
            event_type: "formledger.submission.submitted".into(),
            event_version: "1".into(),
            payload: payload.clone(),
            metadata: metadata.clone(),
        };
        let began = Instant::now();
        repository.persist::<Submission>(&[event], None).await?;
        latencies.push(began.elapsed().as_micros() as u32);
    }
    Ok(latencies)
}
