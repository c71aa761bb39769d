//! What is appended, and the clients that append it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use formledger_domain::{CanonicalJson, EncodedEvent, Sequence, TenantContext};
use formledger_store::{Append, Appended, Store};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Payloads of the two events of each append: a submission and its rule outcomes.
pub(crate) const PAYLOAD_BYTES: [usize; 2] = [1000, 300];

pub(crate) fn payloads() -> [String; 2] {
    PAYLOAD_BYTES.map(|bytes| format!(r#"{{"answers":"{}"}}"#, "x".repeat(bytes - r#"{"answers":""}"#.len())))
}

/// Each append goes to another tenant, so that a batch meets as many ledgers as it can.
pub(crate) fn next_turn(turn: usize) -> usize {
    turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// One client: append, wait for the answer, append again. Gives each answer's microseconds.
pub(crate) async fn append_until(
    done: Arc<AtomicBool>,
    store: Store,
    client: usize,
    tenants: usize,
) -> anyhow::Result<Vec<u32>> {
    let payloads = payloads().map(CanonicalJson::from_stored);
    let mut latencies = Vec::new();
    let mut turn = client;
    while !done.load(Ordering::Relaxed) {
        turn = next_turn(turn);
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

/// Only its type is used, to name streams.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Submission;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Nothing;

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
