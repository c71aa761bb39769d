//! Writes and reads event payloads: the canonical text of an event, built once, without walking the documents inside it again.
//! Used by the three event files; which members an event has is decided there.

use std::borrow::Cow;
use std::str::FromStr;

use cqrs_es::persist::{SemanticVersion, SerializedEvent};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::aggregate::UndecodableEvent;
use crate::json::{CanonicalJson, append_string};
use crate::upcast;

/// Room for an event's own members beside the documents it embeds, in bytes.
const OWN_MEMBERS_BYTES: usize = 160;

/// Writes one JSON object member by member, in the order RFC 8785 wants: by name.
///
/// The hot path makes two payloads per submission; embedding a document that is canonical already is a copy.
pub(crate) struct PayloadWriter {
    text: String,
    #[cfg(debug_assertions)]
    last: &'static str,
}

impl PayloadWriter {
    /// `embedded` is the size of the documents to come, in bytes.
    pub(crate) fn new(embedded: usize) -> Self {
        Self {
            text: String::with_capacity(embedded + OWN_MEMBERS_BYTES),
            #[cfg(debug_assertions)]
            last: "",
        }
    }

    pub(crate) fn json(mut self, name: &'static str, value: &CanonicalJson) -> Self {
        self.name(name);
        self.text.push_str(value.as_str());
        self
    }

    pub(crate) fn optional_json(self, name: &'static str, value: Option<&CanonicalJson>) -> Self {
        match value {
            Some(value) => self.json(name, value),
            None => self,
        }
    }

    pub(crate) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        append_string(&mut self.text, value);
        self
    }

    pub(crate) fn optional_text(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(crate) fn number(mut self, name: &'static str, value: u32) -> Self {
        self.name(name);
        self.text.push_str(itoa::Buffer::new().format(value));
        self
    }

    pub(crate) fn finish(mut self) -> CanonicalJson {
        self.text.push('}');
        CanonicalJson::from_stored(self.text)
    }

    fn name(&mut self, name: &'static str) {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.last < name, "`{name}` must come before `{}` in canonical JSON", self.last);
            self.last = name;
        }
        self.text.push_str(if self.text.is_empty() { "{\"" } else { ",\"" });
        self.text.push_str(name);
        self.text.push_str("\":");
    }
}

/// A document inside a stored payload. The payload is canonical, so every part of it is; one that could not be read as a tree, which only somebody
/// else can have stored, is an error here rather than in everybody who asks for the tree.
pub(crate) struct Embedded(CanonicalJson);

impl<'de> Deserialize<'de> for Embedded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        CanonicalJson::readable(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

impl From<Embedded> for CanonicalJson {
    fn from(embedded: Embedded) -> Self {
        embedded.0
    }
}

/// Reads a document that may be absent. One that is `null` is there: plain `Option` would take it for absent.
pub(crate) fn present<'de, D: Deserializer<'de>, J: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<J>, D::Error> {
    J::deserialize(deserializer).map(Some)
}

/// The stored names of an event: what `event_type` and `event_version` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredName {
    pub(crate) event_type: &'static str,
    pub(crate) event_version: &'static str,
}

/// Reads a stored event: upcasts it where it is of an older version, and checks that type and payload name the same event.
///
/// `read` reads today's payload without copying the documents in it; upcast payloads go through `E`'s own `Deserialize`.
pub(crate) fn decode<E: DeserializeOwned>(
    event_type: &str,
    event_version: &str,
    payload: &CanonicalJson,
    name: fn(&E) -> StoredName,
    read: fn(&CanonicalJson) -> Result<E, String>,
) -> Result<E, UndecodableEvent> {
    upcast::upcast(event_type, event_version, payload)
        .map_err(|error| error.to_string())
        .and_then(|lifted| decode_lifted(lifted, event_type, event_version, payload, name, read))
        .map_err(|reason| UndecodableEvent {
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            reason,
        })
}

fn decode_lifted<E: DeserializeOwned>(
    lifted: Option<SerializedEvent>,
    event_type: &str,
    event_version: &str,
    payload: &CanonicalJson,
    name: fn(&E) -> StoredName,
    read: fn(&CanonicalJson) -> Result<E, String>,
) -> Result<E, String> {
    let (event, version) = match lifted {
        None => (read(payload)?, Cow::Borrowed(event_version)),
        Some(lifted) => {
            let event = serde_json::from_value(lifted.payload).map_err(|error| error.to_string())?;
            (event, Cow::Owned(lifted.event_version))
        }
    };
    let today = name(&event);
    if today.event_type != event_type {
        return Err(format!("its payload is that of `{}`", today.event_type));
    }
    if !same_version(today.event_version, &version) {
        return Err(format!("this binary knows version `{}`", today.event_version));
    }
    Ok(event)
}

/// cqrs-es's upcasters write `2.0.0` where we write `2`.
fn same_version(left: &str, right: &str) -> bool {
    let parse = |text: &str| SemanticVersion::from_str(text).ok();
    left == right || parse(left).is_some_and(|version| Some(version) == parse(right))
}

#[cfg(test)]
mod tests {
    use cqrs_es::EventEnvelope;
    use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster};
    use serde_json::{Value, json};

    use super::*;
    use crate::aggregate::LedgerAggregate;
    use crate::tenant::{Tenant, TenantEvent};

    const TYPE: &str = "formledger.tenant.registered";

    /// As if a version 0 had called the tenant's slug `slug`.
    fn from_version_0() -> Vec<Box<dyn EventUpcaster>> {
        let rename = |mut payload: Value| {
            let slug = payload["slug"].take();
            payload["tenant"] = slug;
            if let Some(members) = payload.as_object_mut() {
                members.remove("slug");
            }
            payload
        };
        vec![Box::new(SemanticVersionEventUpcaster::new(TYPE, "1", Box::new(rename)))]
    }

    fn stored() -> CanonicalJson {
        CanonicalJson::from_stored(r#"{"kind":"registered","slug":"acme"}"#)
    }

    fn expected() -> TenantEvent {
        TenantEvent::Registered { tenant: "acme".parse().expect("a slug") }
    }

    fn decode_from(event_version: &str, payload: &CanonicalJson) -> Result<TenantEvent, String> {
        let lifted = upcast::upcast_with(&from_version_0(), TYPE, event_version, payload).expect("JSON");
        decode_lifted(lifted, TYPE, event_version, payload, TenantEvent::stored_name, |payload| {
            serde_json::from_str(payload.as_str()).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn an_event_of_an_older_version_is_read_in_todays_shape() {
        assert_eq!(decode_from("0", &stored()), Ok(expected()));
        let today = Tenant::encode(&expected());
        assert_eq!(decode_from(today.event_version, &today.payload), Ok(expected()));
    }

    #[test]
    fn a_stock_cqrs_es_repository_reads_it_through_the_same_upcaster() {
        let event = SerializedEvent::new(
            "acme/acme".to_owned(),
            1,
            "Tenant".to_owned(),
            TYPE.to_owned(),
            "0".to_owned(),
            stored().to_value(),
            json!({}),
        );
        let event = from_version_0().iter().fold(event, |event, upcaster| upcaster.upcast(event));
        let envelope = EventEnvelope::<Tenant>::try_from(event).expect("readable");
        assert_eq!(envelope.payload, expected());
    }

    #[test]
    fn an_event_that_this_binary_does_not_know_is_an_error_that_names_it() {
        let today = Tenant::encode(&expected()).payload;
        let newer = Tenant::decode(TYPE, "2", &today).expect_err("newer");
        assert!(newer.to_string().contains("version `2`"), "{newer}");
        let other = Tenant::decode("formledger.tenant.renamed", "1", &today).expect_err("unknown type");
        assert!(other.to_string().contains("formledger.tenant.renamed"), "{other}");
        let damaged = CanonicalJson::from_stored(r#"{"kind":"registered","tenant":"acme","more":1}"#);
        assert!(Tenant::decode(TYPE, "1", &damaged).is_err());
    }

    #[test]
    fn a_document_that_is_no_tree_is_no_event() {
        use crate::submission::Submission;
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        for document in ["1e400", r#""\ud800""#, &deep] {
            let text = format!(
                r#"{{"data":{{"a":{document}}},"form":"claim","form_version":1,"kind":"submitted","state":"submitted","submitter":"ann"}}"#
            );
            let read =
                Submission::decode("formledger.submission.submitted", "1", &CanonicalJson::from_stored(text));
            assert!(read.is_err(), "{document:.20}");
        }
    }
}
