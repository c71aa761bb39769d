//! Writes and reads event payloads: the canonical text of an event, built once, without walking the documents inside it again.
//! Used by the three event files; which members an event has is decided there.

use std::str::FromStr;

use cqrs_es::persist::SemanticVersion;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::aggregate::UndecodableEvent;
use crate::json::CanonicalJson;
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

    pub(crate) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        // RFC 8785 writes strings as ECMAScript does, and so does serde_json.
        self.text.push_str(&serde_json::to_string(value).expect("a string can be written as JSON"));
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
        self.text.push_str(&value.to_string());
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

/// A document inside a stored payload. The payload is canonical, so every part of it is.
#[derive(Deserialize)]
pub(crate) struct Embedded<'a>(#[serde(borrow)] &'a RawValue);

impl From<Embedded<'_>> for CanonicalJson {
    fn from(embedded: Embedded<'_>) -> Self {
        Self::from_stored(embedded.0.get())
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
/// `read` reads today's payload without copying more than the documents in it; upcast payloads go through `E`'s own `Deserialize`.
pub(crate) fn decode<E: DeserializeOwned>(
    event_type: &str,
    event_version: &str,
    payload: &CanonicalJson,
    name: fn(&E) -> StoredName,
    read: fn(&str) -> Result<E, String>,
) -> Result<E, UndecodableEvent> {
    let fail = |reason: String| UndecodableEvent {
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        reason,
    };
    let upcast = upcast::upcast(event_type, event_version, payload);
    let (event, stored_version) = match upcast {
        None => (read(payload.as_str()).map_err(fail)?, event_version.to_owned()),
        Some(upcast) => {
            let version = upcast.event_version;
            (serde_json::from_value(upcast.payload).map_err(|error| fail(error.to_string()))?, version)
        }
    };
    let today = name(&event);
    if today.event_type != event_type {
        return Err(fail(format!("its payload is that of `{}`", today.event_type)));
    }
    if !same_version(today.event_version, &stored_version) {
        return Err(fail(format!("this binary knows version `{}`", today.event_version)));
    }
    Ok(event)
}

/// cqrs-es's upcasters write `2.0.0` where we write `2`.
fn same_version(left: &str, right: &str) -> bool {
    let parse = |text: &str| SemanticVersion::from_str(text).ok();
    left == right || parse(left).is_some_and(|version| Some(version) == parse(right))
}
