//! The one list of upcasters: how a stored event of an older version becomes today's shape.
//! Used when an aggregate decodes, and by anyone who reads the ledger with a stock cqrs-es repository. An upcaster is never removed.

use std::sync::LazyLock;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};

use crate::json::CanonicalJson;

static UPCASTERS: LazyLock<Vec<Box<dyn EventUpcaster>>> = LazyLock::new(upcasters);

/// All upcasters, oldest version first. Hand them to a stock repository's `with_upcasters`.
///
/// To change an event's shape: raise its version, add a `SemanticVersionEventUpcaster` here that lifts the version before, and add
/// (never edit) a golden file.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    // Every event is at its first version today.
    Vec::new()
}

/// Lifts a stored event through every upcaster that claims it; `None` when none does, which is the usual case and costs nothing.
///
/// # Errors
/// What the reader said of a payload that is no JSON: a damaged database.
pub(crate) fn upcast(
    event_type: &str,
    event_version: &str,
    payload: &CanonicalJson,
) -> serde_json::Result<Option<SerializedEvent>> {
    upcast_with(&UPCASTERS, event_type, event_version, payload)
}

/// See [`upcast`]; apart, so that tests can bring their own list.
pub(crate) fn upcast_with(
    upcasters: &[Box<dyn EventUpcaster>],
    event_type: &str,
    event_version: &str,
    payload: &CanonicalJson,
) -> serde_json::Result<Option<SerializedEvent>> {
    if !upcasters.iter().any(|upcaster| upcaster.can_upcast(event_type, event_version)) {
        return Ok(None);
    }
    let event = SerializedEvent::new(
        String::new(),
        0,
        String::new(),
        event_type.to_owned(),
        event_version.to_owned(),
        serde_json::from_str(payload.as_str())?,
        serde_json::Value::Null,
    );
    Ok(Some(upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    })))
}
