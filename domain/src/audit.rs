//! What people tried in vain, read and took away, as facts of the same ledger as everything else. Recorded by `api` where a tenant asks for
//! it; nothing is decided on them. Who it was stands where it always does, in the event's metadata; what they sent is never here.

use std::convert::Infallible;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::aggregate::{EncodedEvent, LedgerAggregate, Recall, UndecodableEvent};
use crate::ids::SubmissionId;
use crate::json::CanonicalJson;
use crate::payload::{self, StoredName};

/// What a tenant wants recorded beside what happens to its forms and submissions. Nothing, until its admin says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    /// Commands and queries of somebody who is known, refused with 403, 404, 409, 412, 413, 415 or 422, or with 401 when their good credential was
    /// too old for it or ended meanwhile.
    pub refusals: bool,
    /// Queries and feeds that show what was submitted.
    pub reads: bool,
    /// Exports, and ranges of events as files.
    pub exports: bool,
}

/// What somebody used the API for, once or several times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The route: method and template, for example `POST /v1/submissions/{id}/claim`.
    pub action: Arc<str>,
    /// The path that was asked for, without its query; `None` where several were folded together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
    /// The submission that it was about, where it was one that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission_id: Option<SubmissionId>,
    /// How often, at least 1.
    pub times: u32,
    /// The first of these times.
    pub first_at: DateTime<Utc>,
    /// The last of these times.
    pub last_at: DateTime<Utc>,
}

/// A fact for auditors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AuditEvent {
    /// `formledger.audit.attempt-refused`: somebody tried something and was refused.
    AttemptRefused {
        /// What they tried.
        attempt: Use,
        /// The problem's stable code.
        code: Arc<str>,
        /// The answer's status.
        status: u16,
    },
    /// `formledger.audit.data-read`: somebody saw what was submitted.
    DataRead {
        /// What they read.
        read: Use,
    },
    /// `formledger.audit.exported`: somebody took a copy away.
    Exported {
        /// What they exported.
        export: Use,
    },
}

impl AuditEvent {
    /// The stored type of [`AuditEvent::AttemptRefused`].
    pub const ATTEMPT_REFUSED: &str = "formledger.audit.attempt-refused";

    /// What it was about.
    pub fn about(&self) -> &Use {
        match self {
            Self::AttemptRefused { attempt, .. } => attempt,
            Self::DataRead { read } => read,
            Self::Exported { export } => export,
        }
    }

    /// Leaves out a submission that does not exist.
    pub fn forget_submission(&mut self) {
        let (Self::AttemptRefused { attempt: about, .. }
        | Self::DataRead { read: about }
        | Self::Exported { export: about }) = self;
        about.submission_id = None;
    }

    fn stored_name(&self) -> StoredName {
        let event_type = match self {
            Self::AttemptRefused { .. } => Self::ATTEMPT_REFUSED,
            Self::DataRead { .. } => "formledger.audit.data-read",
            Self::Exported { .. } => "formledger.audit.exported",
        };
        StoredName { event_type, event_version: "1" }
    }
}

/// A stream of such facts: of one submission under its id, of anything else a stream of its own. It has no state, because nothing is decided on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {}

/// What may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditCommand {
    /// Keep these facts.
    Record(Vec<AuditEvent>),
}

impl Aggregate for Audit {
    const TYPE: &'static str = "Audit";
    type Command = AuditCommand;
    type Event = AuditEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: AuditCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Infallible> {
        let AuditCommand::Record(events) = command;
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _: AuditEvent) {}
}

impl DomainEvent for AuditEvent {
    fn event_type(&self) -> String {
        self.stored_name().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.stored_name().event_version.to_owned()
    }
}

impl LedgerAggregate for Audit {
    const RECALL: Recall = Recall::Nothing;

    fn encode(event: &AuditEvent) -> EncodedEvent {
        let StoredName { event_type, event_version } = event.stored_name();
        let payload = serde_json::to_value(event).expect("facts hold texts, small numbers and times");
        let payload = CanonicalJson::from_value(&payload).expect("counts are far below 2^53");
        EncodedEvent { event_type, event_version, payload }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<AuditEvent, UndecodableEvent> {
        payload::decode(event_type, event_version, payload, AuditEvent::stored_name, |payload| {
            serde_json::from_str(payload.as_str()).map_err(|error| error.to_string())
        })
    }
}
