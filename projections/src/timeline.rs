//! The timeline of one submission, folded from its stream when it is asked for.
//! A live projection, not a table: see `docs/adr/0004-timeline-is-folded-from-the-stream.md`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{CanonicalJson, Position, Sequence, UndecodableEvent};
use formledger_store::RecordedEvent;
use serde::Serialize;
use serde_json::Value;

/// One fact of a submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// Its place in the ledger.
    pub position: Position,
    /// Its place in the submission's stream.
    pub sequence: Sequence,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: Arc<str>,
    /// The event type as feeds name it, with version.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The state after it, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Fields that changed, in pointer order.
    pub changes: Vec<Change>,
    /// What each rule said, where rules ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<CanonicalJson>,
    /// Why, where someone said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One field that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Which, as a JSON Pointer (RFC 6901) into the data.
    pub pointer: String,
    /// The value before; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The value after; absent where there is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Folds a submission's stream, from its first event, into what happened to it.
///
/// # Errors
/// [`UndecodableEvent`] when this binary cannot read one of them.
pub fn fold(_events: &[RecordedEvent]) -> Result<Vec<TimelineEntry>, UndecodableEvent> {
    todo!()
}
