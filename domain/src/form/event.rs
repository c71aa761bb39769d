//! What happened to a form, and how it is stored. The event is the contract: a stored shape never changes, it gets a new version.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::command::Form;
use crate::aggregate::{EncodedEvent, LedgerAggregate, Recall, UndecodableEvent};
use crate::ids::{FormId, FormVersion};
use crate::json::CanonicalJson;
use crate::payload::{self, Embedded, PayloadWriter, StoredName};

/// What happened to a form. Cheap to clone: definitions are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormEvent {
    /// `formledger.form.draft-saved`: work in progress, possibly with problems.
    DraftSaved {
        /// The definition as it was sent.
        definition: CanonicalJson,
        /// The form.
        form: FormId,
    },
    /// `formledger.form.published`: a version that takes submissions and never changes.
    Published {
        /// The definition of this version.
        definition: CanonicalJson,
        /// The form.
        form: FormId,
        /// The version.
        version: FormVersion,
    },
    /// `formledger.form.retired`: no new submissions; those made keep their version.
    Retired {
        /// The form.
        form: FormId,
        /// Why, where someone said.
        reason: Option<String>,
    },
}

impl FormEvent {
    /// The stored type of [`FormEvent::Published`]. A form's `n`th one is its version `n`.
    pub const PUBLISHED: &str = "formledger.form.published";

    /// The form it happened to.
    pub fn form(&self) -> &FormId {
        match self {
            Self::DraftSaved { form, .. } | Self::Published { form, .. } | Self::Retired { form, .. } => form,
        }
    }

    /// The definition it carries, where it carries one.
    pub fn definition(&self) -> Option<&CanonicalJson> {
        match self {
            Self::DraftSaved { definition, .. } | Self::Published { definition, .. } => Some(definition),
            Self::Retired { .. } => None,
        }
    }

    fn stored_name(&self) -> StoredName {
        let event_type = match self {
            Self::DraftSaved { .. } => "formledger.form.draft-saved",
            Self::Published { .. } => Self::PUBLISHED,
            Self::Retired { .. } => "formledger.form.retired",
        };
        StoredName { event_type, event_version: "1" }
    }

    fn payload(&self) -> CanonicalJson {
        match self {
            Self::DraftSaved { definition, form } => PayloadWriter::new(definition.as_str().len())
                .json("definition", definition)
                .text("form", form.as_str())
                .text("kind", "draft-saved")
                .finish(),
            Self::Published { definition, form, version } => PayloadWriter::new(definition.as_str().len())
                .json("definition", definition)
                .text("form", form.as_str())
                .text("kind", "published")
                .number("version", version.0)
                .finish(),
            Self::Retired { form, reason } => PayloadWriter::new(0)
                .text("form", form.as_str())
                .text("kind", "retired")
                .optional_text("reason", reason.as_deref())
                .finish(),
        }
    }
}

impl DomainEvent for FormEvent {
    fn event_type(&self) -> String {
        self.stored_name().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.stored_name().event_version.to_owned()
    }
}

impl LedgerAggregate for Form {
    const IS_BASIS: bool = true;
    // A draft replaces the one before, a publication draft, version and retirement: however often a form is saved, no more than a draft and a version are read.
    const RECALL: Recall = Recall::LastOfEachType;

    fn encode(event: &FormEvent) -> EncodedEvent {
        let StoredName { event_type, event_version } = event.stored_name();
        EncodedEvent { event_type, event_version, payload: event.payload() }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<FormEvent, UndecodableEvent> {
        payload::decode(event_type, event_version, payload, FormEvent::stored_name, |payload| {
            serde_json::from_str::<Stored<Embedded>>(payload.as_str())
                .map_err(|error| error.to_string())?
                .into_event()
                .map_err(|missing| missing.to_owned())
        })
    }
}

/// Every member of every payload. Flat, because a tagged enum would buffer the definition inside and lose its text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "J: Deserialize<'de>"))]
struct Stored<J> {
    kind: Kind,
    form: FormId,
    #[serde(default, deserialize_with = "payload::present")]
    definition: Option<J>,
    reason: Option<String>,
    version: Option<FormVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    DraftSaved,
    Published,
    Retired,
}

impl<J: Into<CanonicalJson>> Stored<J> {
    fn into_event(self) -> Result<FormEvent, &'static str> {
        let form = self.form;
        let definition = |definition: Option<J>| definition.map(Into::into).ok_or("`definition` is missing");
        Ok(match self.kind {
            Kind::DraftSaved => FormEvent::DraftSaved { definition: definition(self.definition)?, form },
            Kind::Published => FormEvent::Published {
                definition: definition(self.definition)?,
                form,
                version: self.version.ok_or("`version` is missing")?,
            },
            Kind::Retired => FormEvent::Retired { form, reason: self.reason },
        })
    }
}

impl Serialize for FormEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FormEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stored::<CanonicalJson>::deserialize(deserializer)?.into_event().map_err(serde::de::Error::custom)
    }
}
