//! Which events a reader of a ledger wants. Used by feeds and event queries; decides on what is recorded, never on payloads.

use crate::event::RecordedEvent;

/// Which events of a ledger a reader wants; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events about this topic.
    pub topic: Option<String>,
    /// Only events of this stream: aggregate type and id.
    pub stream: Option<(String, String)>,
    /// Only these types, with or without version suffix; empty for all.
    pub types: Vec<String>,
}

impl EventFilter {
    /// Whether `event` is wanted.
    pub fn wants(&self, event: &RecordedEvent) -> bool {
        let topic = self.topic.as_deref().is_none_or(|topic| event.metadata.topic.as_deref() == Some(topic));
        let stream = self.stream.as_ref().is_none_or(|(aggregate_type, aggregate_id)| {
            event.aggregate_type == *aggregate_type && *event.aggregate_id == **aggregate_id
        });
        let of_type = self.types.is_empty() || self.types.iter().any(|wanted| is_of_type(event, wanted));
        topic && stream && of_type
    }
}

/// `wanted` names the type in all its versions, or one version of it as [`RecordedEvent::versioned_type`] does.
fn is_of_type(event: &RecordedEvent, wanted: &str) -> bool {
    wanted.strip_prefix(&*event.event_type).is_some_and(|suffix| {
        suffix.is_empty() || suffix.strip_prefix(".v").is_some_and(|version| version == event.event_version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;
    use chrono::DateTime;
    use formledger_domain::{CanonicalJson, EventId, Position, Sequence};
    use uuid::Uuid;

    fn published() -> RecordedEvent {
        RecordedEvent {
            tenant: "acme".parse().expect("slug"),
            position: Position(1),
            aggregate_type: "Form".into(),
            aggregate_id: "expense".into(),
            sequence: Sequence(1),
            event_id: EventId(Uuid::nil()),
            event_type: "formledger.form.published".into(),
            event_version: "2".into(),
            recorded_at: DateTime::UNIX_EPOCH,
            metadata: Metadata {
                actor: "ada".into(),
                causation_id: None,
                correlation_id: "r".into(),
                topic: Some("expense".into()),
            },
            payload: CanonicalJson::from_stored("{}"),
            leaf_hash: [0; 32],
        }
    }

    fn of_types(types: &[&str]) -> EventFilter {
        EventFilter { types: types.iter().map(ToString::to_string).collect(), ..EventFilter::default() }
    }

    #[test]
    fn an_empty_filter_wants_everything() {
        assert!(EventFilter::default().wants(&published()));
    }

    #[test]
    fn a_type_matches_with_its_version_or_without() {
        assert!(of_types(&["formledger.form.published"]).wants(&published()));
        assert!(
            of_types(&["formledger.form.retired.v1", "formledger.form.published.v2"]).wants(&published())
        );
        for other in [
            "formledger.form.published.v1",
            "formledger.form.published.v",
            "formledger.form",
            "",
            "formledger.form.published2",
        ] {
            assert!(!of_types(&[other]).wants(&published()), "{other}");
        }
    }

    #[test]
    fn topic_and_stream_must_both_match() {
        let stream = Some(("Form".into(), "expense".into()));
        let topic = Some("expense".into());
        assert!(EventFilter { topic: topic.clone(), stream, types: vec![] }.wants(&published()));
        let other = Some(("Form".into(), "travel".into()));
        assert!(!EventFilter { topic, stream: other, types: vec![] }.wants(&published()));
        assert!(!EventFilter { topic: Some("travel".into()), ..EventFilter::default() }.wants(&published()));
    }
}
