//! The envelope of an event: the canonical JSON that its leaf hash commits to. Members and order: docs/proof.md.
//! Called by the front (everything known before the queue), the writer (the rest) and `verify` (the whole); forms no opinion on payloads.

use chrono::{DateTime, SecondsFormat, Utc};
use formledger_domain::{EventId, Position, Sequence, TenantId, append_canonical_string};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::merkle::{Hash, LEAF_PREFIX};

/// What an envelope says before the writer adds where and when.
pub(crate) struct Opening<'a> {
    pub(crate) aggregate_id: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) event_id: EventId,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: &'a str,
    /// The stored metadata, canonical.
    pub(crate) metadata: &'a RawValue,
    /// SHA-256 of the stored payload.
    pub(crate) payload_sha256: Hash,
}

/// Writes members of a canonical object one after the other; their names have to ascend.
struct Members(String);

impl Members {
    fn text(mut self, before: &str, value: &str) -> Self {
        self.0.push_str(before);
        append_canonical_string(&mut self.0, value);
        self
    }

    fn number(mut self, before: &str, value: u64) -> Self {
        self.0.push_str(before);
        self.0.push_str(itoa::Buffer::new().format(value));
        self
    }

    fn json(mut self, before: &str, value: &str) -> Self {
        self.0.push_str(before);
        self.0.push_str(value);
        self
    }
}

/// A leaf hash of which the writer computes only the end: hashing the long part needs no position.
#[derive(Debug, Clone)]
pub(crate) struct OpenLeaf(Sha256);

impl OpenLeaf {
    pub(crate) fn new(opening: &Opening<'_>) -> Self {
        let mut id = uuid::Uuid::encode_buffer();
        let event_id: &str = opening.event_id.0.as_hyphenated().encode_lower(&mut id);
        let mut members = Members(String::with_capacity(OPENING_BYTES));
        members.0.push(char::from(LEAF_PREFIX));
        let Members(text) = members
            .text("{\"aggregate_id\":", opening.aggregate_id)
            .text(",\"aggregate_type\":", opening.aggregate_type)
            .text(",\"event_id\":", event_id)
            .text(",\"event_type\":", opening.event_type)
            .text(",\"event_version\":", opening.event_version)
            .json(",\"metadata\":", opening.metadata.get())
            .text(",\"payload_sha256\":", &hex(&opening.payload_sha256));
        Self(Sha256::new_with_prefix(text))
    }

    /// The leaf hash of the whole envelope, RFC 6962 section 2.1. `recorded_at` as [`rfc3339`] writes it.
    pub(crate) fn close(
        &self,
        tenant: &TenantId,
        position: Position,
        sequence: Sequence,
        recorded_at: &str,
    ) -> Hash {
        let Members(mut text) = Members(String::with_capacity(CLOSING_BYTES))
            .number(",\"position\":", position.0)
            .text(",\"recorded_at\":", recorded_at)
            .number(",\"sequence\":", sequence.0)
            .text(",\"tenant\":", tenant.as_str());
        text.push('}');
        self.0.clone().chain_update(text).finalize().into()
    }
}

/// Enough for most openings: names, identifiers, a hash, and metadata of a few people and requests.
const OPENING_BYTES: usize = 768;
/// Enough for the longest tenant and two 16-digit numbers.
const CLOSING_BYTES: usize = 192;

/// The one text form of a recording time: UTC, six fractional digits, `Z`.
pub(crate) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// SHA-256 as lower-case hexadecimal.
pub(crate) fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits =
        hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| DIGITS[usize::from(nibble)]);
    String::from_utf8(digits.collect()).expect("digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    fn metadata(actor: &str, topic: Option<&str>) -> String {
        let metadata = Metadata {
            actor: actor.into(),
            causation_id: None,
            correlation_id: "req-1".into(),
            topic: topic.map(Into::into),
        };
        serde_json::to_string(&metadata).expect("strings")
    }

    /// The envelope as an auditor builds it: any JSON library, then RFC 8785.
    fn auditors_leaf(
        id: &str,
        event_id: EventId,
        metadata: &str,
        payload: &str,
        position: u64,
        at: &str,
    ) -> Hash {
        let envelope = json!({
            "tenant": "acme", "position": position, "sequence": 3, "recorded_at": at,
            "aggregate_type": "Form", "aggregate_id": id, "event_id": event_id.to_string(),
            "event_type": "formledger.form.published", "event_version": "1",
            "metadata": serde_json::from_str::<serde_json::Value>(metadata).expect("JSON"),
            "payload_sha256": format!("{:x}", Sha256::digest(payload)),
        });
        let canonical = serde_json_canonicalizer::to_vec(&envelope).expect("canonical");
        Sha256::new().chain_update([0x00]).chain_update(canonical).finalize().into()
    }

    fn our_leaf(id: &str, event_id: EventId, metadata: &str, payload: &str, position: u64, at: &str) -> Hash {
        let opening = Opening {
            aggregate_id: id,
            aggregate_type: "Form",
            event_id,
            event_type: "formledger.form.published",
            event_version: "1",
            metadata: serde_json::from_str(metadata).expect("JSON"),
            payload_sha256: Sha256::digest(payload).into(),
        };
        let tenant = "acme".parse().expect("slug");
        OpenLeaf::new(&opening).close(&tenant, Position(position), Sequence(3), at)
    }

    #[test]
    fn a_time_has_exactly_six_fractional_digits() {
        let time = DateTime::from_timestamp_micros(1_700_000_000_000_000).expect("in range");
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.000000Z");
    }

    proptest! {
        #[test]
        fn the_leaf_is_the_hash_of_the_canonical_envelope(
            id in ".{0,40}", actor in ".{0,40}", topic in proptest::option::of(".{0,10}"),
            payload in ".{0,200}", position in 1..(1u64 << 53), event_id in any::<u128>(),
        ) {
            let metadata = metadata(&actor, topic.as_deref());
            let event_id = EventId(Uuid::from_u128(event_id));
            let at = "2026-01-02T03:04:05.000006Z";
            prop_assert_eq!(
                our_leaf(&id, event_id, &metadata, &payload, position, at),
                auditors_leaf(&id, event_id, &metadata, &payload, position, at)
            );
        }
    }
}
