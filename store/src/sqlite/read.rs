//! The reading side: a pool of read-only connections beside the writer's, so that reads never wait for a commit.
//! Called by the front; every statement reads one consistent snapshot.

use std::path::Path;

use chrono::DateTime;
use formledger_domain::{CanonicalJson, EventId, Position, Sequence, StreamId, TenantId};
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use uuid::Uuid;

use super::reader_options;
use crate::append::{FirstOutcome, Idempotency};
use crate::backend::{Head, Remembered};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::merkle::Frontier;
use crate::store::StoreSettings;
use crate::tail::EVENT_BYTES;

/// The connections that read.
#[derive(Debug, Clone)]
pub(crate) struct SqliteReader {
    pool: SqlitePool,
}

/// Where one event of a stream stands.
#[derive(Debug, Clone)]
pub(crate) struct StreamPlace {
    /// The value of the column, with the tenant.
    pub(crate) aggregate_id: String,
    pub(crate) sequence: Sequence,
    pub(crate) position: Position,
    /// The owner that the row names, which may be no tenant at all; anyone but the stream's own is forgery.
    pub(crate) tenant: String,
}

/// The columns that [`event_from_row`] reads, in its order.
macro_rules! event_columns {
    () => {
        "position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, \
         metadata, payload, leaf_hash"
    };
}

impl SqliteReader {
    /// Reads the file that a writer of this process opened before.
    pub(crate) fn open(path: &Path, settings: &StoreSettings) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.read_connections_max)
            .acquire_timeout(settings.acquire_timeout)
            // A connection to a local file does not go stale: no ping before each use, no renewal.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(reader_options(path));
        Self { pool }
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn load(&self, stream: &StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE aggregate_type = ? AND aggregate_id = ? AND tenant_id = ? ORDER BY sequence"
        );
        // The tenant too, although the id begins with it: only what the ledger's own proof covers may be acted on.
        let query = sqlx::query(SQL)
            .bind(stream.aggregate_type())
            .bind(stream.aggregate_id())
            .bind(stream.tenant().as_str());
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| event_from_row(row, stream.tenant())).collect()
    }

    pub(crate) async fn read_after(
        &self,
        tenant: &TenantId,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            " FROM events WHERE tenant_id = ? AND position > ? ORDER BY position LIMIT ?"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows =
            sqlx::query(SQL).bind(tenant.as_str()).bind(after.0 as i64).bind(limit).fetch(&self.pool);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(row) = rows.try_next().await?
        {
            let event = event_from_row(&row, tenant)?;
            bytes += EVENT_BYTES + event.payload.as_str().len();
            events.push(event);
        }
        Ok(events)
    }

    /// The ranges' events, in no promised order.
    pub(crate) async fn read_ranges(&self, ranges: &[&LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        // CROSS JOIN fixes the order of the loops: ranges outside, the index on positions inside.
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            ", range.key FROM json_each(?) range CROSS JOIN events \
             ON tenant_id = range.value ->> 0 AND position > range.value ->> 1 AND position <= range.value ->> 2"
        );
        let asked: Vec<_> = ranges.iter().map(|range| (&range.tenant, range.after, range.up_to)).collect();
        let asked = serde_json::to_string(&asked).expect("strings and numbers serialise");
        let rows = sqlx::query(SQL).bind(asked).fetch_all(&self.pool).await?;
        let event = |row: &SqliteRow| {
            let range: i64 = row.try_get(11)?;
            event_from_row(row, &ranges[range as usize].tenant)
        };
        rows.iter().map(event).collect()
    }

    /// Up to `limit` places of the tenant's streams of one type after a place, stream by stream in order of sequence.
    pub(crate) async fn stream_places(
        &self,
        tenant: &TenantId,
        aggregate_type: &str,
        after: Option<&StreamPlace>,
        limit: u64,
    ) -> Result<Vec<StreamPlace>, StoreError> {
        // Stream ids of the tenant lie between `<tenant>/` and `<tenant>0`: `0` follows `/`.
        let (after_id, after_sequence) = match after {
            Some(place) => (place.aggregate_id.clone(), place.sequence.0 as i64),
            None => (format!("{tenant}/"), 0),
        };
        let rows = sqlx::query(
            "SELECT aggregate_id, sequence, position, tenant_id FROM events \
             WHERE aggregate_type = ?1 AND (aggregate_id, sequence) > (?2, ?3) AND aggregate_id < ?4 \
             ORDER BY aggregate_id, sequence LIMIT ?5",
        )
        .bind(aggregate_type)
        .bind(after_id)
        .bind(after_sequence)
        .bind(format!("{tenant}0"))
        .bind(limit as i64)
        .fetch_all(&self.pool)
        .await?;
        let place = |row: &SqliteRow| {
            let (aggregate_id, sequence, position) =
                (row.try_get(0)?, self::sequence(row.try_get(1)?), self::position(row.try_get(2)?));
            Ok(StreamPlace { aggregate_id, sequence, position, tenant: row.try_get(3)? })
        };
        rows.iter().map(place).collect()
    }

    /// Every ledger's head, or what is wrong with it: one damaged ledger must not stop the others.
    pub(crate) async fn heads(&self) -> Result<Vec<Result<(TenantId, Head), StoreError>>, StoreError> {
        let rows =
            sqlx::query("SELECT tenant_id, position, recorded_at, frontier FROM ledgers ORDER BY tenant_id")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.iter().map(head_from_row).collect())
    }

    /// Everyone who is named as the owner of a ledger or of an event, in order.
    pub(crate) async fn owners(&self) -> Result<Vec<Result<TenantId, StoreError>>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id FROM ledgers UNION SELECT DISTINCT tenant_id FROM events ORDER BY tenant_id",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(|row| tenant(row.try_get(0)?)).collect())
    }

    /// `None` for a tenant without events.
    pub(crate) async fn head(&self, tenant: &TenantId) -> Result<Option<Head>, StoreError> {
        let row =
            sqlx::query("SELECT tenant_id, position, recorded_at, frontier FROM ledgers WHERE tenant_id = ?")
                .bind(tenant.as_str())
                .fetch_optional(&self.pool)
                .await?;
        row.map(|row| Ok(head_from_row(&row)?.1)).transpose()
    }

    pub(crate) async fn remembered(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Remembered>, StoreError> {
        let row = sqlx::query(
            "SELECT request_hash, outcome, position, sequence FROM idempotency \
             WHERE tenant_id = ? AND idempotency_key = ?",
        )
        .bind(tenant.as_str())
        .bind(&idempotency.key)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| remembered_from_row(&row)).transpose()?.flatten())
    }
}

fn event_from_row(row: &SqliteRow, tenant: &TenantId) -> Result<StoredEvent, StoreError> {
    let position = position(row.try_get(0)?);
    let damaged = |what: &str| StoreError::Damaged(format!("event {position} of `{tenant}` has {what}"));
    let aggregate_id: &str = row.try_get(2)?;
    let aggregate_id = aggregate_id
        .strip_prefix(tenant.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| damaged("a stream of another tenant"))?;
    let event_id = Uuid::from_slice(row.try_get(4)?).map_err(|_| damaged("an id that is no UUID"))?;
    let recorded_at = DateTime::from_timestamp_micros(row.try_get(7)?).ok_or_else(|| damaged("no time"))?;
    let leaf_hash: &[u8] = row.try_get(10)?;
    Ok(StoredEvent {
        tenant: tenant.clone(),
        position,
        aggregate_type: row.try_get(1)?,
        aggregate_id: aggregate_id.to_owned(),
        sequence: sequence(row.try_get(3)?),
        event_id: EventId(event_id),
        event_type: row.try_get(5)?,
        event_version: row.try_get(6)?,
        recorded_at,
        metadata: row.try_get(8)?,
        payload: CanonicalJson::from_stored(row.try_get::<&str, _>(9)?),
        leaf_hash: leaf_hash.try_into().map_err(|_| damaged("a leaf hash that is not 32 bytes"))?,
    })
}

pub(super) fn head_from_row(row: &SqliteRow) -> Result<(TenantId, Head), StoreError> {
    let tenant = tenant(row.try_get(0)?)?;
    let position = position(row.try_get(1)?);
    let frontier = Frontier::from_stored(position.0, row.try_get(3)?).ok_or_else(|| {
        StoreError::Damaged(format!("the frontier of `{tenant}` does not fit position {position}"))
    })?;
    let recorded_at = row.try_get(2)?;
    if DateTime::from_timestamp_micros(recorded_at).is_none() {
        return Err(StoreError::Damaged(format!("the time of `{tenant}` is none: {recorded_at} µs")));
    }
    Ok((tenant, Head { position, recorded_at, frontier }))
}

/// `None` when the row is the empty side of a left join.
pub(super) fn remembered_from_row(row: &SqliteRow) -> Result<Option<Remembered>, StoreError> {
    let Some(request_hash): Option<&[u8]> = row.try_get(0)? else {
        return Ok(None);
    };
    let request_hash = request_hash
        .try_into()
        .map_err(|_| StoreError::Damaged("a remembered request hash is not 32 bytes".into()))?;
    let first = FirstOutcome {
        outcome: row.try_get(1)?,
        position: position(row.try_get(2)?),
        sequence: sequence(row.try_get(3)?),
    };
    Ok(Some(Remembered { request_hash, first }))
}

pub(super) fn tenant(stored: &str) -> Result<TenantId, StoreError> {
    stored.parse().map_err(|error| StoreError::Damaged(format!("a stored tenant is none: {error}")))
}

/// SQLite's integers are signed; a check constraint keeps places at 1 and above.
pub(super) fn position(stored: i64) -> Position {
    Position(stored.unsigned_abs())
}

/// As [`position`].
pub(super) fn sequence(stored: i64) -> Sequence {
    Sequence(stored.unsigned_abs())
}
