//! The timeline of one submission, folded from its stream when it is asked for.
//! A live projection, not a table: see `docs/adr/0004-timeline-is-folded-from-the-stream.md`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    Approvals, Attachment, Audit, AuditEvent, CanonicalJson, Delegation, FieldDifference, LedgerAggregate,
    Position, Sequence, Signature, Submission, SubmissionEvent, UndecodableEvent, WorkflowFact, differences,
};
use formledger_store::RecordedEvent;
use serde::Serialize;
use serde_json::{Map, Value};

/// One fact of a submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// Its place in the ledger.
    pub position: Position,
    /// Its place in the submission's stream; of a refused attempt, in the stream of these.
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
    /// Which conditions held on which values and which rows matched, by rule id, where rules ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanations: Option<Value>,
    /// Why, where someone said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// What somebody tried in vain; all else but position, time and actor is absent then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedAttempt>,
    /// What happened in the workflow.
    #[serde(flatten)]
    pub step: Step,
}

/// An attempt that was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RefusedAttempt {
    /// The route, for example `POST /v1/submissions/{id}/claim`.
    pub action: Arc<str>,
    /// The problem's code.
    pub code: Arc<str>,
    /// How often it was tried, when attempts like it were counted together.
    pub times: u32,
}

/// What happened in the workflow; all absent for other facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Step {
    /// The transition that somebody took or approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Arc<str>>,
    /// For whom, when a delegate did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// How far a transition has come that several people must take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Who took it on, was asked to, or may act for somebody else now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Arc<str>>,
    /// Until when something should be done, or should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// Since when somebody may act for somebody else; absent where that was at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Until when, exclusive; absent where that has no end of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
    /// What somebody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
    /// The file that somebody attached or took off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// What somebody signed, and as what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl Step {
    fn of(fact: &WorkflowFact) -> Self {
        let nothing = Self::default();
        match fact.clone() {
            WorkflowFact::Transitioned { transition, on_behalf_of, .. } => {
                Self { transition, on_behalf_of, ..nothing }
            }
            WorkflowFact::Approved { transition, on_behalf_of, have, need, .. } => {
                let approvals = Some(Approvals { have, need });
                Self { transition: Some(transition), on_behalf_of, approvals, ..nothing }
            }
            WorkflowFact::TaskOpened(task) => Self { due_at: task.due_at, ..nothing },
            WorkflowFact::Escalated { due_at, .. } => Self { due_at: Some(due_at), ..nothing },
            WorkflowFact::Reminded { due_at, assignee, .. } => Self { due_at, person: assignee, ..nothing },
            WorkflowFact::Claimed { by: person, on_behalf_of } => {
                Self { person: Some(person), on_behalf_of, ..nothing }
            }
            WorkflowFact::Assigned { to: person, .. } | WorkflowFact::Released { assignee: person } => {
                Self { person: Some(person), ..nothing }
            }
            WorkflowFact::Delegated { delegation, .. } => {
                let Delegation { from, to, starts_at, ends_at, .. } = delegation;
                // `due_at` said until when it holds before `ends_at` did, and goes on saying so.
                let due_at = ends_at;
                Self { person: Some(to), on_behalf_of: Some(from), starts_at, ends_at, due_at, ..nothing }
            }
            WorkflowFact::DelegationEnded { from, to, .. } => {
                Self { person: Some(to), on_behalf_of: Some(from), ..nothing }
            }
            WorkflowFact::Commented { text } => Self { comment: Some(text), ..nothing },
            WorkflowFact::Attached { attachment, on_behalf_of, .. }
            | WorkflowFact::Detached { attachment, on_behalf_of, .. } => {
                Self { attachment: Some(attachment), on_behalf_of, ..nothing }
            }
            WorkflowFact::Signed(signature) => {
                let (transition, on_behalf_of) =
                    (signature.transition.clone(), signature.on_behalf_of.clone());
                Self { transition: Some(transition), on_behalf_of, signature: Some(signature), ..nothing }
            }
            WorkflowFact::Withdrawn { .. } => nothing,
        }
    }
}

/// Rules that ran: what they said, what that rests on, and the data as they were then, computed values included.
#[derive(Debug)]
pub struct RulesRan<'a> {
    /// The recorded outcomes.
    pub outcomes: &'a CanonicalJson,
    /// What was recorded of their grounds.
    pub why: Option<&'a CanonicalJson>,
    /// What the rules saw.
    pub data: &'a Value,
}

/// Folds a submission's stream, from its first event up to any later one, into what happened to it after its first `known` events. `explain`
/// knows the form version that the submission is pinned to.
///
/// # Errors
/// [`UndecodableEvent`] when this binary cannot read one of them.
pub fn fold(
    events: &[RecordedEvent],
    known: usize,
    explain: impl Fn(RulesRan<'_>) -> Option<Value>,
) -> Result<Vec<TimelineEntry>, UndecodableEvent> {
    let mut submission = Submission::default();
    let mut before = Value::Object(Map::new());
    let mut state = None;
    let mut entries = Vec::with_capacity(events.len().saturating_sub(known));
    for (place, event) in events.iter().enumerate() {
        let said = Submission::decode(&event.event_type, &event.event_version, &event.payload)?;
        let ran = match &said {
            SubmissionEvent::RulesEvaluated { outcomes, why, .. } => Some((outcomes.clone(), why.clone())),
            _ => None,
        };
        let (reason, step) = match &said {
            SubmissionEvent::Worked { fact, .. } => (fact.reason().cloned(), Step::of(fact)),
            SubmissionEvent::Amended { on_behalf_of, .. } => {
                (None, Step { on_behalf_of: on_behalf_of.clone(), ..Step::default() })
            }
            _ => Default::default(),
        };
        let touches_data = said.touches_data();
        submission.apply(said);
        let state_after = submission.state().map(|state| state.as_str().to_owned());
        // Reading the whole data is what a timeline costs: done where they may be others, and where somebody asks.
        let wanted = place + 1 == known || place >= known && touches_data;
        let after = wanted.then(|| submission.data().unwrap_or_default());
        if place < known {
            before = after.unwrap_or(before);
            state = state_after;
            continue;
        }
        let changes = after.as_ref().map(|after| differences(&before, after)).unwrap_or_default();
        before = after.unwrap_or(before);
        let explanations = ran
            .as_ref()
            .and_then(|(outcomes, why)| explain(RulesRan { outcomes, why: why.as_ref(), data: &before }));
        entries.push(TimelineEntry {
            position: event.position,
            sequence: event.sequence,
            at: event.recorded_at,
            actor: event.metadata.actor.clone(),
            event_type: event.versioned_type(),
            state: state_after.clone().filter(|_| state_after != state),
            changes,
            outcomes: ran.map(|(outcomes, _)| outcomes),
            explanations,
            reason,
            refused: None,
            step,
        });
        state = state_after;
    }
    Ok(entries)
}

/// Adds the refused attempts among a submission's audited facts, and puts everything in the ledger's order.
///
/// # Errors
/// [`UndecodableEvent`] when this binary cannot read one of them.
pub fn add_refusals(
    entries: &mut Vec<TimelineEntry>,
    audited: &[RecordedEvent],
) -> Result<(), UndecodableEvent> {
    for event in audited {
        let said = Audit::decode(&event.event_type, &event.event_version, &event.payload)?;
        let AuditEvent::AttemptRefused { attempt, code, .. } = said else { continue };
        entries.push(TimelineEntry {
            position: event.position,
            sequence: event.sequence,
            at: event.recorded_at,
            actor: event.metadata.actor.clone(),
            event_type: event.versioned_type(),
            state: None,
            changes: Vec::new(),
            outcomes: None,
            explanations: None,
            reason: None,
            refused: Some(RefusedAttempt { action: attempt.action, code, times: attempt.times }),
            step: Step::default(),
        });
    }
    entries.sort_by_key(|entry| entry.position);
    Ok(())
}
