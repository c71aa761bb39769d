//! Turns columns into the ledger's types, and refuses what no writer stores. Called by every database's reader; holds no SQL.

use chrono::DateTime;
use formledger_domain::{CanonicalJson, EventId, Position, Sequence, TenantId};
use uuid::Uuid;

use crate::append::FirstOutcome;
use crate::backend::{Head, Micros, Remembered};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::merkle::Frontier;

/// Where one event of a stream stands.
#[derive(Debug, Clone)]
pub(crate) struct StreamPlace {
    /// The value of the column, with the tenant.
    pub(crate) aggregate_id: String,
    /// As they are stored, which may be where no writer puts anything: verification looks for that.
    pub(crate) sequence: i64,
    /// As `sequence`.
    pub(crate) position: i64,
    /// The owner that the row names, which may be no tenant at all; anyone but the stream's own is forgery.
    pub(crate) tenant: String,
}

/// A row that names a ledger as its own and stands outside of it: before its first position, or after its last one.
#[derive(Debug, Clone)]
pub(crate) struct Stray {
    /// As it is stored.
    pub(crate) position: i64,
    pub(crate) aggregate_type: String,
    /// The value of the column, with a tenant.
    pub(crate) aggregate_id: String,
    /// As it is stored.
    pub(crate) sequence: i64,
    /// Where the ledger ended when the row was read.
    pub(crate) head: i64,
}

/// Which rows of `events` belong to a tenant's streams of one type, from a place on.
pub(crate) struct StreamSpan {
    /// What comes after this stream's sequence belongs to it.
    pub(crate) after_id: String,
    pub(crate) after_sequence: i64,
    /// The first id that is beyond the tenant's.
    pub(crate) before_id: String,
}

impl StreamSpan {
    /// Stream ids of the tenant lie between `<tenant>/` and `<tenant>0`: `0` follows `/`.
    pub(crate) fn of(tenant: &TenantId, after: Option<&StreamPlace>) -> Self {
        let (after_id, after_sequence) = match after {
            Some(place) => (place.aggregate_id.clone(), place.sequence),
            None => (format!("{tenant}/"), 0),
        };
        Self { after_id, after_sequence, before_id: format!("{tenant}0") }
    }
}

/// The columns that [`EventColumns`] holds, in its order.
macro_rules! event_columns {
    () => {
        "position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, \
         metadata, payload, leaf_hash"
    };
}
pub(crate) use event_columns;

/// A row of `events` as it was read.
pub(crate) struct EventColumns<'r> {
    pub(crate) position: i64,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: &'r str,
    pub(crate) sequence: i64,
    pub(crate) event_id: &'r [u8],
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) recorded_at: Micros,
    pub(crate) metadata: String,
    pub(crate) payload: &'r str,
    pub(crate) leaf_hash: &'r [u8],
}

impl EventColumns<'_> {
    /// The event, as one of `tenant`'s.
    pub(crate) fn event(self, tenant: &TenantId) -> Result<StoredEvent, StoreError> {
        let stored_position = self.position;
        let damaged =
            |what: &str| StoreError::Damaged(format!("event {stored_position} of `{tenant}` has {what}"));
        let position = position(stored_position)?;
        let sequence = sequence(self.sequence)?;
        if sequence == Sequence::START {
            return Err(damaged("sequence 0"));
        }
        let aggregate_id = self
            .aggregate_id
            .strip_prefix(tenant.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| damaged("a stream of another tenant"))?;
        let event_id = Uuid::from_slice(self.event_id).map_err(|_| damaged("an id that is no UUID"))?;
        let recorded_at =
            DateTime::from_timestamp_micros(self.recorded_at).ok_or_else(|| damaged("no time"))?;
        let leaf_hash = self.leaf_hash.try_into().map_err(|_| damaged("a leaf hash that is not 32 bytes"))?;
        Ok(StoredEvent {
            tenant: tenant.clone(),
            position,
            aggregate_type: self.aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            sequence,
            event_id: EventId(event_id),
            event_type: self.event_type.into(),
            event_version: self.event_version.into(),
            recorded_at,
            metadata: self.metadata,
            payload: CanonicalJson::from_stored(self.payload),
            leaf_hash,
        })
    }
}

/// A row of `ledgers`.
pub(crate) fn head(
    tenant: &TenantId,
    stored_position: i64,
    recorded_at: Micros,
    frontier: &[u8],
) -> Result<Head, StoreError> {
    let position = position(stored_position).map_err(|_| {
        StoreError::Damaged(format!("the ledger of `{tenant}` ends at {stored_position}, where none can"))
    })?;
    let frontier = Frontier::from_stored(position.0, frontier).ok_or_else(|| {
        StoreError::Damaged(format!("the frontier of `{tenant}` does not fit position {position}"))
    })?;
    if DateTime::from_timestamp_micros(recorded_at).is_none() {
        return Err(StoreError::Damaged(format!("the time of `{tenant}` is none: {recorded_at} µs")));
    }
    Ok(Head { position, recorded_at, frontier })
}

/// A row of `idempotency`.
pub(crate) fn remembered(
    request_hash: &[u8],
    outcome: String,
    stored_position: i64,
    stored_sequence: i64,
) -> Result<Remembered, StoreError> {
    let request_hash = request_hash
        .try_into()
        .map_err(|_| StoreError::Damaged("a remembered request hash is not 32 bytes".into()))?;
    let first =
        FirstOutcome { outcome, position: position(stored_position)?, sequence: sequence(stored_sequence)? };
    Ok(Remembered { request_hash, first })
}

pub(crate) fn tenant(stored: &str) -> Result<TenantId, StoreError> {
    stored.parse().map_err(|error| StoreError::Damaged(format!("a stored tenant is none: {error}")))
}

/// Integers of databases are signed, and a check constraint keeps positions at 1 and above: what is below was put there by somebody who took
/// the constraint away, and no proof covers it.
pub(crate) fn position(stored: i64) -> Result<Position, StoreError> {
    match u64::try_from(stored) {
        Ok(position @ 1..) => Ok(Position(position)),
        _ => Err(StoreError::Damaged(format!("there is no position {stored}"))),
    }
}

/// As [`position`]; 0 is where a stream without events is.
pub(crate) fn sequence(stored: i64) -> Result<Sequence, StoreError> {
    let sequence = u64::try_from(stored);
    sequence.map(Sequence).map_err(|_| StoreError::Damaged(format!("there is no sequence {stored}")))
}
