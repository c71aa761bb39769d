//! The shapes of what happened: events, what replays tell beside them, pages and lines of them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// An event as CloudEvents 1.0 JSON; docs/feeds.md tells what each type holds.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "01a22ee0-44ac-7594-a842-791eed9dba91", "source": "urn:formledger:tenant:example",
    "type": "formledger.submission.commented.v1", "subject": "submissions/01a205ee-ec42-7257-b82e-33d9267efd6d",
    "time": "2026-11-30T23:52:59.332639Z", "datacontenttype": "application/json", "tenant": "example", "position": "42", "sequence": "5",
    "actor": "ada", "correlationid": "01a205ef-1111-7257-b82e-33d9267efd6d",
    "data": {"kind": "commented", "form": "claim", "form_version": 1, "text": "The receipt follows."}
}))]
pub struct Event {
    specversion: String,
    id: Uuid,
    source: String,
    r#type: String,
    subject: String,
    time: DateTime<Utc>,
    datacontenttype: String,
    tenant: String,
    /// Decimal digits.
    position: String,
    /// Decimal digits.
    sequence: String,
    actor: String,
    correlationid: String,
    #[schema(required = false)]
    causationid: Option<String>,
    data: Value,
}

/// A message of a replay's feed that is no event of the ledger: what a candidate decides otherwise, a difference, or the summary at the end.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "01a205ee-ec42-7257-b82e-33d9267efd6d/43",
    "source": "urn:formledger:tenant:example:replay:01a205ee-ec42-7257-b82e-33d9267efd6d",
    "type": "formledger.replay.summary.v1", "subject": "replays/01a205ee-ec42-7257-b82e-33d9267efd6d",
    "time": "2026-11-30T23:52:59.332639Z", "datacontenttype": "application/json", "tenant": "example", "actor": "ada",
    "correlationid": "01a205ee-ec42-7257-b82e-33d9267efd6d", "data": {"kind": "feed", "status": "done"}
}))]
pub struct ReplayMessage {
    specversion: String,
    /// The replay's id and the message's, with a slash in between.
    id: String,
    source: String,
    #[schema(pattern = "^formledger[.]replay[.]")]
    r#type: String,
    subject: String,
    time: DateTime<Utc>,
    datacontenttype: String,
    tenant: String,
    /// Decimal digits; where it is about a place in the ledger. What to come back with is the message's `id`, not this.
    #[schema(required = false)]
    position: String,
    /// Who began the replay.
    actor: String,
    correlationid: String,
    data: Value,
}

/// What the feed of a replay tells.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum ReplayFeedMessage {
    Event(Event),
    Message(ReplayMessage),
}

/// A page of events.
#[derive(ToSchema)]
pub struct EventPage {
    events: Vec<Event>,
    /// Where the ledger ended.
    position: u64,
    /// The `after` of the next page; absent when this one reaches the end.
    #[schema(required = false)]
    next_after: Option<u64>,
}

/// Events as lines: each is an `Event`. As a whole it is text, which generated clients tell from the page.
#[derive(ToSchema)]
#[schema(value_type = String, content_media_type = "application/x-ndjson")]
pub struct EventLines(String);
