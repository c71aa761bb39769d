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
use crate::json::{CanonicalJson, scan};
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
        /// Values that rules computed, by JSON Pointer into the data; `null` in the place of what was filled in where the rule made nothing.
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
        /// For whom, when it was by the right of somebody who delegated it; `None` in events of before it was recorded.
        on_behalf_of: Option<Arc<str>>,
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
            Self::Amended { data, form, form_version, patch, by, on_behalf_of } => {
                PayloadWriter::new(data.as_str().len() + patch.as_str().len())
                    .optional_text("by", by.as_deref())
                    .json("data", data)
                    .text("form", form.as_str())
                    .number("form_version", form_version.0)
                    .text("kind", "amended")
                    .optional_text("on_behalf_of", on_behalf_of.as_deref())
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

fn read_document(payload: &CanonicalJson) -> Result<SubmissionEvent, String> {
    if let Some(event) = read_canonical_document(payload) {
        return Ok(event);
    }
    serde_json::from_str::<Stored<Embedded>>(payload.as_str())
        .map_err(|error| error.to_string())?
        .into_event()
        .map_err(ToOwned::to_owned)
}

/// Nearly every event of a ledger: its text is as [`SubmissionEvent::payload`] writes it, so its documents are parts of it, neither copied nor looked
/// through again. Of anything else `None`, and the caller says what it is.
fn read_canonical_document(payload: &CanonicalJson) -> Option<SubmissionEvent> {
    let part = |value| Some(payload.part(value));
    let (mut kind, mut form, mut form_version) = (None, None, None);
    let (mut by, mut on_behalf_of, mut state, mut submitter) = (None, None, None, None);
    let [mut computed, mut data, mut outcomes, mut patch, mut why] = [const { None }; 5];
    let mut before = "";
    for (name, value) in scan::members(payload.as_str())? {
        // Twice the same is an error, which the long way says.
        if before >= name {
            return None;
        }
        before = name;
        match name {
            "by" => by = Some(scan::plain_string(value)?.into()),
            "computed" => computed = part(value),
            "data" => data = part(value),
            "form" => form = scan::plain_string(value)?.parse().ok(),
            "form_version" => form_version = value.parse().ok().map(FormVersion),
            "kind" => kind = Kind::of(scan::plain_string(value)?),
            "on_behalf_of" => on_behalf_of = Some(scan::plain_string(value)?.into()),
            "outcomes" => outcomes = part(value),
            "patch" => patch = part(value),
            "state" => state = Some(SubmissionState::named(scan::plain_string(value)?)),
            "submitter" => submitter = Some(scan::plain_string(value)?.into()),
            "why" => why = part(value),
            _ => return None,
        }
    }
    let (kind, form, form_version) = (kind?, form?, form_version?);
    let now = None;
    let stored = Stored {
        kind,
        form,
        form_version,
        by,
        now,
        on_behalf_of,
        computed,
        data,
        outcomes,
        patch,
        state,
        submitter,
        why,
    };
    stored.into_event().ok()
}

fn read_fact(payload: &CanonicalJson) -> Result<SubmissionEvent, String> {
    let payload = serde_json::from_str(payload.as_str()).map_err(|error| error.to_string())?;
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
    on_behalf_of: Option<Arc<str>>,
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

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "drafted" => Self::Drafted,
            "submitted" => Self::Submitted,
            "rules-evaluated" => Self::RulesEvaluated,
            "amended" => Self::Amended,
            _ => return None,
        })
    }
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
                on_behalf_of: self.on_behalf_of,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document() -> impl Strategy<Value = CanonicalJson> {
        let value = prop_oneof![any::<String>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        prop::collection::btree_map("[a-z\"~]{0,6}", value, 0..4)
            .prop_map(|members| CanonicalJson::from_value(&json!(members)).expect("exact"))
    }

    fn person() -> impl Strategy<Value = Arc<str>> {
        prop_oneof!["[a-z]{1,12}", any::<String>()].prop_map(Arc::from)
    }

    fn event() -> impl Strategy<Value = SubmissionEvent> {
        let pin = ("[a-z]{1,8}", 1..9u32)
            .prop_map(|(form, version)| (form.parse::<FormId>().expect("an id"), FormVersion(version)));
        let state = "[a-z]{1,9}".prop_map(|name| SubmissionState::named(&name));
        let why = prop::option::of(document());
        let now = prop::option::of(Just(DateTime::<Utc>::UNIX_EPOCH));
        let (made, evaluated) = (
            (pin, [document(), document()], person(), prop::option::of(person()), state),
            (why, now, 0..4usize),
        );
        (made, evaluated).prop_map(
            |(((form, form_version), [data, other], submitter, by, state), (why, now, kind))| match kind {
                0 => SubmissionEvent::Drafted { data, form, form_version, submitter },
                1 => SubmissionEvent::Submitted { data, form, form_version, state, submitter, by },
                2 => {
                    let (computed, outcomes) = (data, other);
                    SubmissionEvent::RulesEvaluated { computed, form, form_version, outcomes, why, now }
                }
                _ => {
                    let on_behalf_of = by.as_ref().map(|_| submitter);
                    SubmissionEvent::Amended { data, form, form_version, patch: other, by, on_behalf_of }
                }
            },
        )
    }

    fn the_long_way(text: &str) -> Result<SubmissionEvent, String> {
        let stored: Stored<Embedded> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        stored.into_event().map_err(ToOwned::to_owned)
    }

    #[test]
    fn what_is_written_today_is_read_without_the_long_way() {
        let event = SubmissionEvent::Submitted {
            data: CanonicalJson::from_stored(r#"{"amount":12.5,"name":"Ann \"A\""}"#),
            form: "claim".parse().expect("an id"),
            form_version: FormVersion(3),
            state: SubmissionState::SUBMITTED,
            submitter: "ann".into(),
            by: None,
        };
        assert_eq!(read_canonical_document(&event.payload()), Some(event));
    }

    proptest! {
        #[test]
        fn both_ways_of_reading_give_the_event_that_was_written(event in event()) {
            let payload = event.payload();
            let read = read_canonical_document(&payload);
            // What has to be looked at, because it is escaped or is a time, takes the long way.
            let is_plain = |person: &str| !person.contains(|c: char| c < ' ' || c == '"' || c == '\\');
            let is_quick = match &event {
                SubmissionEvent::Drafted { submitter, .. } => is_plain(submitter),
                SubmissionEvent::Submitted { submitter, by, .. } => {
                    is_plain(submitter) && by.as_deref().is_none_or(is_plain)
                }
                SubmissionEvent::RulesEvaluated { now, .. } => now.is_none(),
                SubmissionEvent::Amended { by, on_behalf_of, .. } => {
                    [by, on_behalf_of].into_iter().flatten().all(|person| is_plain(person))
                }
                SubmissionEvent::Worked { .. } => false,
            };
            prop_assert_eq!(read, is_quick.then(|| event.clone()));
            prop_assert_eq!(the_long_way(payload.as_str()), Ok(event));
        }

        #[test]
        fn of_a_damaged_text_the_quick_way_says_what_the_long_way_says(
            event in event(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0-9a-e. -]{0,2}", cut in 0..4usize,
        ) {
            let mut text = event.payload().as_str().to_owned();
            let mut from = at.index(text.len());
            while !text.is_char_boundary(from) { from -= 1 }
            let mut to = (from + cut).min(text.len());
            while !text.is_char_boundary(to) { to += 1 }
            text.replace_range(from..to, &with);
            if let Some(read) = read_canonical_document(&CanonicalJson::from_stored(&*text)) {
                prop_assert_eq!(the_long_way(&text), Ok(read), "{}", text);
            }
        }
    }
}
