//! The timeline of one submission, folded from its stream when it is asked for.
//! A live projection, not a table: see `docs/adr/0004-timeline-is-folded-from-the-stream.md`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    CanonicalJson, FieldDifference, LedgerAggregate, Position, Sequence, Submission, SubmissionEvent,
    UndecodableEvent, differences,
};
use formledger_store::RecordedEvent;
use serde::Serialize;
use serde_json::{Map, Value};

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
    /// The state after it, where it is another one than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Fields that changed, in pointer order; computed ones too. At most [`formledger_domain::DIFFERENCES_MAX`].
    pub changes: Vec<FieldDifference>,
    /// What each rule said, where rules ran: `{ "<rule id>": {"matched": bool, "value": {…}} }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<CanonicalJson>,
    /// Why, where someone said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Folds a submission's stream, from its first event up to any later one, into what happened to it.
///
/// # Errors
/// [`UndecodableEvent`] when this binary cannot read one of them.
pub fn fold(events: &[RecordedEvent]) -> Result<Vec<TimelineEntry>, UndecodableEvent> {
    let mut submission = Submission::default();
    let mut before = Value::Object(Map::new());
    let mut state = None;
    let mut entries = Vec::with_capacity(events.len());
    for event in events {
        let said = Submission::decode(&event.event_type, &event.event_version, &event.payload)?;
        let outcomes = match &said {
            SubmissionEvent::RulesEvaluated { outcomes, .. } => Some(outcomes.clone()),
            _ => None,
        };
        submission.apply(said);
        let after = submission.data().unwrap_or_default();
        let state_after = submission.state().map(|state| state.as_str().to_owned());
        entries.push(TimelineEntry {
            position: event.position,
            sequence: event.sequence,
            at: event.recorded_at,
            actor: event.metadata.actor.clone(),
            event_type: event.versioned_type(),
            state: state_after.clone().filter(|_| state_after != state),
            changes: differences(&before, &after),
            outcomes,
            reason: None,
        });
        before = after;
        state = state_after;
    }
    Ok(entries)
}
