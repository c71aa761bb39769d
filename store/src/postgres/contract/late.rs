//! Promise: a batch whose connection was lost is recorded once, also when the server begins with it only after it was looked for.

use std::borrow::Cow;

use chrono::Utc;
use formledger_domain::{CanonicalJson, EventId, Position, Sequence};
use formledger_test_cluster::{Postgres, Proxy};
use uuid::Uuid;

use super::super::{PostgresBackend, PostgresOptions};
use crate::backend::{Applied, Backend, Batch, EventRow, Head, HeadMove, ImportStep};
use crate::contract::stream;
use crate::event::Metadata;
use crate::merkle::Frontier;

static EVENT_TYPE: Cow<'static, str> = Cow::Borrowed("formledger.tally.added");
static EVENT_VERSION: Cow<'static, str> = Cow::Borrowed("1");

/// Backends that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_arrives_after_it_was_looked_for_is_recorded_once() {
    let server = Postgres::start().await;
    let proxy = Proxy::to(server.port());
    let url = server.url("postgres");
    let open = async |url: &str| {
        PostgresBackend::open(&PostgresOptions::new(url).expect("a URL")).await.expect("opens")
    };
    let mut writer = open(&url.replace(&server.port().to_string(), &proxy.port().to_string())).await;
    // What the writer's lost connection had sent: the server gets to it when it gets to it.
    let mut sent = open(&url).await;

    let (stream, payload) = (stream("acme", "lost"), CanonicalJson::from_stored("{}"));
    let origin =
        Metadata { actor: "ann".into(), causation_id: None, correlation_id: "request-1".into(), topic: None };
    let metadata = serde_json::to_string(&origin).expect("strings");
    let recorded_at = Utc::now().timestamp_micros();
    let aggregate_id = stream.aggregate_id();
    let mut head = Head::default();
    for position in 1..=2 {
        let leaf_hash = [position as u8; 32];
        let (from, tip, mut frontier) = (head.position, head.frontier.tip(), Frontier::clone(&head.frontier));
        frontier.append(leaf_hash);
        head = Head { position: Position(position), recorded_at, frontier };
        let batch = Batch {
            heads: vec![HeadMove { tenant: stream.tenant().clone(), from, tip, to: head.clone() }],
            events: vec![EventRow {
                stream: &stream,
                aggregate_id: &aggregate_id,
                sequence: Sequence(position),
                event_type: &EVENT_TYPE,
                event_version: &EVENT_VERSION,
                payload: &payload,
                metadata: &metadata,
                origin: &origin,
                position: Position(position),
                event_id: EventId(Uuid::now_v7()),
                recorded_at,
                leaf_hash,
            }],
            outcomes: Vec::new(),
            import: ImportStep::None,
        };
        if position == 1 {
            writer.record(&batch).await.expect("recorded");
            continue;
        }
        let mut holder = server.connect("postgres").await;
        let hold = "BEGIN; UPDATE ledgers SET position = position";
        sqlx::raw_sql(hold).execute(&mut holder).await.expect("holds the head");
        proxy.cut();
        let arrive = async {
            // First the writer asks for its batch, then the server begins with it, then both go on in that order.
            server.until(WAITING, "1").await;
            let release = async {
                server.until(WAITING, "2").await;
                sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("releases");
            };
            tokio::join!(sent.record(&batch), release).0
        };
        let (answer, arrived) = tokio::join!(writer.record(&batch), arrive);
        assert_eq!(arrived.expect("recorded"), Applied::Open { moved: Vec::new() });
        assert_eq!(answer.expect("found"), Applied::Open { moved: Vec::new() });
    }
    let count = "SELECT count(*) FROM events";
    server.until(count, "2").await;
}
