//! A recorded event as CloudEvents 1.0 JSON: the one shape that feeds, event pages and event streams share.
//! Called by `feed` and `events`; the exported ledger has a shape of its own, because it carries what is hashed.

use chrono::SecondsFormat;
use formledger_domain::CanonicalJson;
use formledger_store::RecordedEvent;
use serde::Serialize;

/// An event as CloudEvents 1.0 JSON (cloudevents.io, JSON event format 1.0.2).
///
/// `position` and `sequence` are decimal strings here, because a CloudEvents integer has 32 bits.
#[derive(Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    tenant: &'a str,
    position: String,
    sequence: String,
    actor: &'a str,
    correlationid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    data: &'a CanonicalJson,
}

impl<'a> CloudEvent<'a> {
    /// The event's CloudEvents form.
    pub fn of(event: &'a RecordedEvent) -> Self {
        Self {
            specversion: "1.0",
            id: event.event_id.to_string(),
            source: format!("urn:formledger:tenant:{}", event.tenant),
            event_type: event.versioned_type(),
            subject: format!("{}s/{}", event.aggregate_type.to_ascii_lowercase(), event.aggregate_id),
            time: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            tenant: event.tenant.as_str(),
            position: event.position.to_string(),
            sequence: event.sequence.to_string(),
            actor: &event.metadata.actor,
            correlationid: &event.metadata.correlation_id,
            causationid: event.metadata.causation_id.as_deref(),
            data: &event.payload,
        }
    }

    /// Appends the event's JSON, one line without line break, to `out`.
    pub fn write(event: &'a RecordedEvent, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &Self::of(event)).expect("strings and canonical JSON go into memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formledger_domain::{EventId, Position, Sequence};
    use formledger_store::Metadata;
    use serde_json::{Value, json};

    #[test]
    fn it_carries_what_the_contract_names() {
        let event = RecordedEvent {
            tenant: "acme".parse().expect("a slug"),
            position: Position(7),
            aggregate_type: "Form".into(),
            aggregate_id: "expense".into(),
            sequence: Sequence(2),
            event_id: EventId(uuid::Uuid::nil()),
            event_type: "formledger.form.published".into(),
            event_version: "1".into(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            metadata: Metadata {
                actor: "ada".into(),
                causation_id: None,
                correlation_id: "r1".into(),
                topic: Some("expense".into()),
            },
            payload: CanonicalJson::from_stored(r#"{"kind":"published"}"#),
            leaf_hash: [0; 32],
        };
        let mut text = Vec::new();
        CloudEvent::write(&event, &mut text);
        assert_eq!(
            serde_json::from_slice::<Value>(&text).expect("JSON"),
            json!({
                "specversion": "1.0", "id": "00000000-0000-0000-0000-000000000000",
                "source": "urn:formledger:tenant:acme", "type": "formledger.form.published.v1",
                "subject": "forms/expense", "time": "1970-01-01T00:00:00.000000Z",
                "datacontenttype": "application/json", "tenant": "acme", "position": "7", "sequence": "2",
                "actor": "ada", "correlationid": "r1", "data": {"kind": "published"}
            })
        );
    }
}
