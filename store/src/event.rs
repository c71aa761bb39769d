//! The shape of a fact before and after it is recorded. The event is the contract: these fields are what stays.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{CanonicalJson, EventId, Position, Sequence, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Who and what stands behind an event. Strings only, so that a stock postgres-es repository can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The subject of the credential that caused the event.
    pub actor: Arc<str>,
    /// The event or message that caused it, where one did.
    #[serde(rename = "causationid", default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Arc<str>>,
    /// Shared by everything that one request caused.
    #[serde(rename = "correlationid")]
    pub correlation_id: Arc<str>,
    /// What the event is about across streams, for filters: the form's id for events of forms and submissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Arc<str>>,
}

/// A fact in a tenant's ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    /// The ledger's owner.
    pub tenant: TenantId,
    /// The place in the ledger, from 1.
    pub position: Position,
    /// `Aggregate::TYPE` of the stream.
    pub aggregate_type: Cow<'static, str>,
    /// The aggregate's own identifier, without the tenant.
    pub aggregate_id: Arc<str>,
    /// The place in the stream, from 1.
    pub sequence: Sequence,
    /// Unique to this event.
    pub event_id: EventId,
    /// The stored type, without version.
    pub event_type: Cow<'static, str>,
    /// The stored version.
    pub event_version: Cow<'static, str>,
    /// When the writer recorded it, microseconds; never before the event at the position before.
    pub recorded_at: DateTime<Utc>,
    /// Who and what stands behind it.
    pub metadata: Metadata,
    /// What happened, canonical.
    pub payload: CanonicalJson,
    /// SHA-256 leaf hash of the canonical envelope (RFC 6962 section 2.1), 32 bytes.
    pub leaf_hash: [u8; 32],
}

impl RecordedEvent {
    /// Type and version as feeds name them, for example `formledger.submission.submitted.v1`.
    pub fn versioned_type(&self) -> String {
        format!("{}.v{}", self.event_type, self.event_version)
    }
}

/// An event as the database holds it: metadata is still the text that the leaf hash commits to.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) tenant: TenantId,
    pub(crate) position: Position,
    pub(crate) aggregate_type: Cow<'static, str>,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) sequence: Sequence,
    pub(crate) event_id: EventId,
    pub(crate) event_type: Cow<'static, str>,
    pub(crate) event_version: Cow<'static, str>,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) metadata: String,
    pub(crate) payload: CanonicalJson,
    pub(crate) leaf_hash: [u8; 32],
}

impl StoredEvent {
    /// Reads the metadata; everything else is as it was.
    pub(crate) fn into_recorded(self) -> Result<RecordedEvent, StoreError> {
        let metadata = serde_json::from_str(&self.metadata).map_err(|error| {
            let (tenant, position) = (&self.tenant, self.position);
            StoreError::Damaged(format!("metadata of event {position} of `{tenant}` cannot be read: {error}"))
        })?;
        Ok(RecordedEvent {
            tenant: self.tenant,
            position: self.position,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_id: self.event_id,
            event_type: self.event_type,
            event_version: self.event_version,
            recorded_at: self.recorded_at,
            metadata,
            payload: self.payload,
            leaf_hash: self.leaf_hash,
        })
    }
}
