//! The reading side: a pool of read-only connections beside the writer's, so that reads never wait for a commit.
//! Called by the front; every statement reads one consistent snapshot.

use std::path::{Path, PathBuf};

use formledger_domain::{Position, StreamId, TenantId};
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};

use super::scan::Scanner;
use super::{Access, open_writer, reader_options};
use crate::append::Idempotency;
use crate::backend::{Head, Remembered};
use crate::direct::blocking;
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::part::{Part, SQLITE_LAST_OF_EACH_TYPE};
use crate::rows;
use crate::store::{PoolStatus, StoreSettings};
use crate::stored::{EventColumns, Stray, StreamPlace, StreamSpan, event_columns};
use crate::tail::EVENT_BYTES;

/// The events of one stream. The tenant too, although the id begins with it, and no place outside of its ledger: only what the ledger's own proof
/// covers may be acted on. `+` keeps the place from being looked for: the index on positions would lead through the whole ledger.
pub(super) const LOAD: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND tenant_id = ?3 \
      AND +position BETWEEN 1 AND (SELECT position FROM ledgers WHERE tenant_id = ?3) ORDER BY sequence"
);

/// The connections that read.
#[derive(Debug, Clone)]
pub(crate) struct SqliteReader {
    path: PathBuf,
    access: Access,
    pool: SqlitePool,
    scanner: Scanner,
}

impl SqliteReader {
    /// Reads the file that a writer of this process opened before, or that was found to be readable.
    pub(crate) fn open(path: &Path, access: Access, settings: &StoreSettings) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.read_connections_max)
            .acquire_timeout(settings.acquire_timeout)
            // A connection to a local file does not go stale: no ping before each use, no renewal.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(reader_options(path, access));
        Self { path: path.to_owned(), access, pool, scanner: Scanner::new(path, access) }
    }

    /// Who waits inside SQLite's pool is not counted.
    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            connections: self.pool.size(),
            connections_max: self.pool.options().get_max_connections(),
            idle: self.pool.num_idle(),
            waiting: 0,
        }
    }

    pub(crate) async fn close(&self) {
        self.scanner.close();
        // A connection that was on its way back while the pool closed lies in it afterwards; the second look finds it.
        self.pool.close().await;
        self.pool.close().await;
        if self.access == Access::Shared {
            blocking(|| settle(&self.path)).await;
        }
    }

    pub(crate) async fn load(&self, stream: &StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        let query = sqlx::query(LOAD)
            .bind(stream.aggregate_type())
            .bind(stream.aggregate_id())
            .bind(stream.tenant().as_str());
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(|row| event_from_row(row, stream.tenant())).collect()
    }

    pub(crate) async fn load_part(
        &self,
        stream: &StreamId,
        part: Part<'_>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut query = sqlx::query(part.sql(SQLITE_LAST_OF_EACH_TYPE))
            .bind(stream.aggregate_type())
            .bind(stream.aggregate_id())
            .bind(stream.tenant().as_str());
        if let Some((event_type, number)) = part.bound() {
            query = query.bind(event_type).bind(number);
        }
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

    pub(crate) async fn read_ranges(&self, ranges: &[&LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        self.scanner.read(ranges).await
    }

    pub(crate) async fn stream_places(
        &self,
        tenant: &TenantId,
        aggregate_type: &str,
        after: Option<&StreamPlace>,
        limit: u64,
    ) -> Result<Vec<StreamPlace>, StoreError> {
        let StreamSpan { after_id, after_sequence, before_id } = StreamSpan::of(tenant, after);
        let rows = sqlx::query(rows::STREAM_PLACES)
            .bind(aggregate_type)
            .bind(after_id)
            .bind(after_sequence)
            .bind(before_id)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rows::stream_place).collect()
    }

    pub(crate) async fn strays(
        &self,
        tenant: &TenantId,
        from: i64,
        limit: u64,
    ) -> Result<Vec<Stray>, StoreError> {
        let rows = sqlx::query(rows::STRAYS)
            .bind(tenant.as_str())
            .bind(from)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rows::stray).collect()
    }

    pub(crate) async fn heads(&self) -> Result<Vec<Result<(TenantId, Head), StoreError>>, StoreError> {
        let rows = sqlx::query(rows::HEADS).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(rows::head).collect())
    }

    pub(crate) async fn positions(&self) -> Result<Vec<(TenantId, Position)>, StoreError> {
        rows::positions(&sqlx::query(rows::POSITIONS).fetch_all(&self.pool).await?)
    }

    pub(crate) async fn owners(&self) -> Result<Vec<Result<TenantId, StoreError>>, StoreError> {
        let rows = sqlx::query(rows::OWNERS).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(rows::owner).collect())
    }

    pub(crate) async fn head(&self, tenant: &TenantId) -> Result<Option<Head>, StoreError> {
        let row = sqlx::query(rows::HEAD).bind(tenant.as_str()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(rows::head(&row)?.1)).transpose()
    }

    pub(crate) async fn remembered(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Remembered>, StoreError> {
        let query = sqlx::query(rows::REMEMBERED).bind(tenant.as_str()).bind(&idempotency.key);
        query.fetch_optional(&self.pool).await?.as_ref().map(rows::remembered).transpose()
    }
}

/// Brings what the log holds into the file and takes the log away, as the last connection that may write does when it goes; readers went after
/// the writer, and may not. So a ledger that nobody has open is one file, which can be copied, and read where nothing can be written. Nothing is
/// lost where it cannot be done now: while another process has the ledger open, or where this one may not write.
fn settle(path: &Path) {
    let settled = open_writer(path)
        .and_then(|last| last.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())));
    if let Err(error) = settled {
        tracing::debug!(%error, path = %path.display(), "the ledger's log stays beside it");
    }
}

fn event_from_row(row: &SqliteRow, tenant: &TenantId) -> Result<StoredEvent, StoreError> {
    let columns = EventColumns {
        position: row.try_get(0)?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        sequence: row.try_get(3)?,
        event_id: row.try_get(4)?,
        event_type: row.try_get(5)?,
        event_version: row.try_get(6)?,
        recorded_at: row.try_get(7)?,
        metadata: row.try_get(8)?,
        payload: row.try_get(9)?,
        leaf_hash: row.try_get(10)?,
    };
    columns.event(tenant)
}
