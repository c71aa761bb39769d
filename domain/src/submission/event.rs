//! What happened to a submission, and how it is stored. The event is the contract: a stored shape never changes, it gets a new version.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::fact::WorkflowFact;
use super::state::{Submission, SubmissionState};
use crate::aggregate::{EncodedEvent, LedgerAggregate, UndecodableEvent};
use crate::ids::{FormId, FormVersion};
use crate::json::CanonicalJson;
use crate::payload::{self, Embedded, PayloadWriter, StoredName};

/// What happened to a submission. Cheap to clone: documents are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionEvent {
    /// `formledger.submission.drafted`: kept for later, not checked.
    Drafted {
        /// The data so far.
        data: CanonicalJson,
        /// The form it is made under.
        form: FormId,
        /// The form's version, which stays.
        form_version: FormVersion,
        /// The subject who made it.
        submitter: Arc<str>,
    },
    /// `formledger.submission.submitted`: accepted under the form's schema and constraints.
    Submitted {
        /// The data as accepted.
        data: CanonicalJson,
        /// The form it is made under.
        form: FormId,
        /// The form's version, which stays.
        form_version: FormVersion,
        /// The state it is in now.
        state: SubmissionState,
        /// The subject who made it.
        submitter: Arc<str>,
        /// Who submitted it in the submitter's name; `None` where that was the submitter.
        by: Option<Arc<str>>,
    },
    /// `formledger.submission.rules-evaluated`: what the rules said, recorded so that replay never asks them again.
    RulesEvaluated {
        /// Values that rules computed, by JSON Pointer into the data.
        computed: CanonicalJson,
        /// The form whose rules ran.
        form: FormId,
        /// The version whose rules ran.
        form_version: FormVersion,
        /// What each rule said, by rule id.
        outcomes: CanonicalJson,
        /// What the outcomes rest on, by rule id and in short; `None` where they say it all, and in events of before it was recorded.
        why: Option<CanonicalJson>,
        /// What rules read as `now`; `None` where none reads it, and in events of before it was recorded.
        now: Option<DateTime<Utc>>,
    },
    /// `formledger.submission.amended`: the data was changed.
    Amended {
        /// The whole data after the change.
        data: CanonicalJson,
        /// The form it is made under.
        form: FormId,
        /// The form's version.
        form_version: FormVersion,
        /// The JSON merge patch that was applied (RFC 7396).
        patch: CanonicalJson,
        /// Who wrote a draft in the submitter's name; `None` where that was the submitter, and outside of drafts.
        by: Option<Arc<str>>,
    },
    /// Something happened to it in its workflow; each kind of fact has an event type of its own.
    Worked {
        /// The form it is made under.
        form: FormId,
        /// The form's version.
        form_version: FormVersion,
        /// What happened.
        fact: WorkflowFact,
    },
}

impl SubmissionEvent {
    /// Whether a submission's data may be others after it, computed values included.
    pub fn touches_data(&self) -> bool {
        !matches!(self, Self::Worked { .. })
    }

    /// The form that the submission is made under.
    pub fn form(&self) -> &FormId {
        match self {
            Self::Drafted { form, .. }
            | Self::Submitted { form, .. }
            | Self::RulesEvaluated { form, .. }
            | Self::Amended { form, .. }
            | Self::Worked { form, .. } => form,
        }
    }

    /// The version of that form.
    pub fn form_version(&self) -> FormVersion {
        match self {
            Self::Drafted { form_version, .. }
            | Self::Submitted { form_version, .. }
            | Self::RulesEvaluated { form_version, .. }
            | Self::Amended { form_version, .. }
            | Self::Worked { form_version, .. } => *form_version,
        }
    }

    fn stored_name(&self) -> StoredName {
        let event_type = match self {
            Self::Drafted { .. } => "formledger.submission.drafted",
            Self::Submitted { .. } => "formledger.submission.submitted",
            Self::RulesEvaluated { .. } => "formledger.submission.rules-evaluated",
            Self::Amended { .. } => "formledger.submission.amended",
            Self::Worked { fact, .. } => fact.event_type(),
        };
        StoredName { event_type, event_version: "1" }
    }

    fn payload(&self) -> CanonicalJson {
        match self {
            Self::Drafted { data, form, form_version, submitter } => PayloadWriter::new(data.as_str().len())
                .json("data", data)
                .text("form", form.as_str())
                .number("form_version", form_version.0)
                .text("kind", "drafted")
                .text("submitter", submitter)
                .finish(),
            Self::Submitted { data, form, form_version, state, submitter, by } => {
                PayloadWriter::new(data.as_str().len())
                    .optional_text("by", by.as_deref())
                    .json("data", data)
                    .text("form", form.as_str())
                    .number("form_version", form_version.0)
                    .text("kind", "submitted")
                    .text("state", state.as_str())
                    .text("submitter", submitter)
                    .finish()
            }
            Self::RulesEvaluated { computed, form, form_version, outcomes, why, now } => {
                let now = now.map(|now| now.to_rfc3339_opts(SecondsFormat::AutoSi, true));
                let why_bytes = why.as_ref().map_or(0, |why| why.as_str().len());
                PayloadWriter::new(computed.as_str().len() + outcomes.as_str().len() + why_bytes)
                    .json("computed", computed)
                    .text("form", form.as_str())
                    .number("form_version", form_version.0)
                    .text("kind", "rules-evaluated")
                    .optional_text("now", now.as_deref())
                    .json("outcomes", outcomes)
                    .optional_json("why", why.as_ref())
                    .finish()
            }
            Self::Amended { data, form, form_version, patch, by } => {
                PayloadWriter::new(data.as_str().len() + patch.as_str().len())
                    .optional_text("by", by.as_deref())
                    .json("data", data)
                    .text("form", form.as_str())
                    .number("form_version", form_version.0)
                    .text("kind", "amended")
                    .json("patch", patch)
                    .finish()
            }
            Self::Worked { form, form_version, fact } => fact.payload(form, *form_version),
        }
    }
}

impl DomainEvent for SubmissionEvent {
    fn event_type(&self) -> String {
        self.stored_name().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.stored_name().event_version.to_owned()
    }
}

impl LedgerAggregate for Submission {
    fn encode(event: &SubmissionEvent) -> EncodedEvent {
        let StoredName { event_type, event_version } = event.stored_name();
        EncodedEvent { event_type, event_version, payload: event.payload() }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<SubmissionEvent, UndecodableEvent> {
        let read = if DOCUMENTS.contains(&event_type) { read_document } else { read_fact };
        payload::decode(event_type, event_version, payload, SubmissionEvent::stored_name, read)
    }
}

/// The events that carry documents; they are most of a ledger and read without building a tree.
const DOCUMENTS: [&str; 4] = [
    "formledger.submission.submitted",
    "formledger.submission.rules-evaluated",
    "formledger.submission.drafted",
    "formledger.submission.amended",
];

fn read_document(text: &str) -> Result<SubmissionEvent, String> {
    serde_json::from_str::<Stored<Embedded<'_>>>(text)
        .map_err(|error| error.to_string())?
        .into_event()
        .map_err(ToOwned::to_owned)
}

fn read_fact(text: &str) -> Result<SubmissionEvent, String> {
    let payload = serde_json::from_str(text).map_err(|error| error.to_string())?;
    worked(payload).ok_or("its payload is of no known kind")?.map_err(|error| error.to_string())
}

fn worked(payload: Value) -> Option<Result<SubmissionEvent, serde_json::Error>> {
    let read = WorkflowFact::read(payload)?;
    Some(read.map(|(form, form_version, fact)| SubmissionEvent::Worked { form, form_version, fact }))
}

/// Every member of every payload. Flat, because a tagged enum would buffer the documents inside and lose their text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "J: Deserialize<'de>"))]
struct Stored<J> {
    kind: Kind,
    form: FormId,
    form_version: FormVersion,
    by: Option<Arc<str>>,
    now: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "payload::present")]
    computed: Option<J>,
    #[serde(default, deserialize_with = "payload::present")]
    data: Option<J>,
    #[serde(default, deserialize_with = "payload::present")]
    outcomes: Option<J>,
    #[serde(default, deserialize_with = "payload::present")]
    patch: Option<J>,
    state: Option<SubmissionState>,
    submitter: Option<Arc<str>>,
    #[serde(default, deserialize_with = "payload::present")]
    why: Option<J>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Drafted,
    Submitted,
    RulesEvaluated,
    Amended,
}

impl<J: Into<CanonicalJson>> Stored<J> {
    fn into_event(self) -> Result<SubmissionEvent, &'static str> {
        let Self { form, form_version, .. } = self;
        let json = |document: Option<J>, missing| document.map(Into::into).ok_or(missing);
        Ok(match self.kind {
            Kind::Drafted => SubmissionEvent::Drafted {
                data: json(self.data, "`data` is missing")?,
                form,
                form_version,
                submitter: self.submitter.ok_or("`submitter` is missing")?,
            },
            Kind::Submitted => SubmissionEvent::Submitted {
                data: json(self.data, "`data` is missing")?,
                form,
                form_version,
                state: self.state.ok_or("`state` is missing")?,
                submitter: self.submitter.ok_or("`submitter` is missing")?,
                by: self.by,
            },
            Kind::RulesEvaluated => SubmissionEvent::RulesEvaluated {
                computed: json(self.computed, "`computed` is missing")?,
                form,
                form_version,
                outcomes: json(self.outcomes, "`outcomes` is missing")?,
                why: self.why.map(Into::into),
                now: self.now,
            },
            Kind::Amended => SubmissionEvent::Amended {
                data: json(self.data, "`data` is missing")?,
                form,
                form_version,
                patch: json(self.patch, "`patch` is missing")?,
                by: self.by,
            },
        })
    }
}

impl Serialize for SubmissionEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SubmissionEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let payload = Value::deserialize(deserializer)?;
        if let Some(worked) = worked(payload.clone()) {
            return worked.map_err(Error::custom);
        }
        let stored = Stored::<CanonicalJson>::deserialize(payload).map_err(Error::custom)?;
        stored.into_event().map_err(Error::custom)
    }
}
