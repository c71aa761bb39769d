//! Questions whose words both databases understand, and what the rows of their answers say. Events are not among them: each database keeps
//! their columns in types of its own.

use formledger_domain::{Position, TenantId};
use sqlx::{FromRow, Row};

use crate::backend::{Head, Micros, Remembered};
use crate::error::{StoreError, causes};
use crate::stored::{self, Stray, StreamPlace};

/// Where every ledger ends. Rows for [`head`].
pub(crate) const HEADS: &str =
    "SELECT tenant_id, position, recorded_at, frontier FROM ledgers ORDER BY tenant_id";

/// Where the ledger of `$1` ends. A row for [`head`].
pub(crate) const HEAD: &str =
    "SELECT tenant_id, position, recorded_at, frontier FROM ledgers WHERE tenant_id = $1";

/// The positions of every ledger's end. Rows for [`positions`].
pub(crate) const POSITIONS: &str = "SELECT tenant_id, position FROM ledgers";

/// Who has a ledger or is named by an event. Rows for [`owner`].
pub(crate) const OWNERS: &str =
    "SELECT tenant_id FROM ledgers UNION SELECT DISTINCT tenant_id FROM events ORDER BY tenant_id";

/// What tenant `$1` was answered under the key `$2`. A row for [`remembered`].
pub(crate) const REMEMBERED: &str = "SELECT request_hash, outcome, position, sequence FROM idempotency \
                                     WHERE tenant_id = $1 AND idempotency_key = $2";

/// The next `$5` events of streams of type `$1`, after the id `$2` and the sequence `$3`, before the id `$4`. Rows for [`stream_place`].
pub(crate) const STREAM_PLACES: &str = "SELECT aggregate_id, sequence, position, tenant_id FROM events \
    WHERE aggregate_type = $1 AND (aggregate_id, sequence) > ($2, $3) AND aggregate_id < $4 \
    ORDER BY aggregate_id, sequence LIMIT $5";

/// The first `$3` events of tenant `$1` from position `$2` on that stand outside of its ledger. One statement, so that the head and the events
/// after it are of one moment. Rows for [`stray`].
pub(crate) const STRAYS: &str = "\
    WITH head (position) AS (SELECT coalesce((SELECT position FROM ledgers WHERE tenant_id = $1), 0)) \
    SELECT position, aggregate_type, aggregate_id, sequence, (SELECT position FROM head) AS ends_at FROM events \
    WHERE tenant_id = $1 AND position >= $2 AND position < 1 \
    UNION ALL \
    SELECT position, aggregate_type, aggregate_id, sequence, (SELECT position FROM head) AS ends_at FROM events \
    WHERE tenant_id = $1 AND position >= $2 AND position >= 1 AND position > (SELECT position FROM head) \
    ORDER BY position LIMIT $3";

/// # Errors
/// [`StoreError::Damaged`] when no writer stores such a head.
pub(crate) fn head<'r, R: Row>(row: &'r R) -> Result<(TenantId, Head), StoreError>
where
    (&'r str, i64, Micros, &'r [u8]): FromRow<'r, R>,
{
    let (tenant, position, recorded_at, frontier) = FromRow::from_row(row)?;
    let tenant = stored::tenant(tenant)?;
    let head = stored::head(&tenant, position, recorded_at, frontier)?;
    Ok((tenant, head))
}

/// A ledger of an impossible name or place is logged and left out.
///
/// # Errors
/// When a row has other columns.
pub(crate) fn positions<'r, R: Row>(rows: &'r [R]) -> Result<Vec<(TenantId, Position)>, StoreError>
where
    (&'r str, i64): FromRow<'r, R>,
{
    let mut positions = Vec::with_capacity(rows.len());
    for row in rows {
        let (tenant, position) = FromRow::from_row(row)?;
        let end = stored::tenant(tenant).and_then(|tenant| Ok((tenant, stored::position(position)?)));
        match end {
            Ok(end) => positions.push(end),
            Err(error) => tracing::error!(error = causes(&error), "a ledger is left out"),
        }
    }
    Ok(positions)
}

/// # Errors
/// [`StoreError::Damaged`] when no tenant is called so.
pub(crate) fn owner<'r, R: Row>(row: &'r R) -> Result<TenantId, StoreError>
where
    (&'r str,): FromRow<'r, R>,
{
    let (tenant,) = FromRow::from_row(row)?;
    stored::tenant(tenant)
}

/// # Errors
/// [`StoreError::Damaged`] when no writer stores such an answer.
pub(crate) fn remembered<'r, R: Row>(row: &'r R) -> Result<Remembered, StoreError>
where
    (&'r [u8], String, i64, i64): FromRow<'r, R>,
{
    let (request_hash, outcome, position, sequence) = FromRow::from_row(row)?;
    stored::remembered(request_hash, outcome, position, sequence)
}

/// # Errors
/// When the row has other columns.
pub(crate) fn stream_place<'r, R: Row>(row: &'r R) -> Result<StreamPlace, StoreError>
where
    (String, i64, i64, String): FromRow<'r, R>,
{
    let (aggregate_id, sequence, position, tenant) = FromRow::from_row(row)?;
    Ok(StreamPlace { aggregate_id, sequence, position, tenant })
}

/// # Errors
/// When the row has other columns.
pub(crate) fn stray<'r, R: Row>(row: &'r R) -> Result<Stray, StoreError>
where
    (i64, String, String, i64, i64): FromRow<'r, R>,
{
    let (position, aggregate_type, aggregate_id, sequence, head) = FromRow::from_row(row)?;
    Ok(Stray { position, aggregate_type, aggregate_id, sequence, head })
}
