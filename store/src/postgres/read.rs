//! The reading side: a pool of its own, each question a read-only transaction in the one role that may ask it.
//! Called by the front. What belongs to a tenant is read as `formledger_reader`, to whom row-level security shows that tenant alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use formledger_domain::{Position, StreamId, TenantId};
use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Postgres, Row};
use uuid::Uuid;

use super::error::{answered, failed, is_lost};
use super::{PostgresOptions, lineage};
use crate::append::Idempotency;
use crate::backend::{Head, Remembered};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::part::{POSTGRES_LAST_OF_EACH_TYPE, Part};
use crate::rows;
use crate::store::{PoolStatus, StoreSettings};
use crate::stored::{EventColumns, Stray, StreamPlace, StreamSpan, event_columns};
use crate::tail::EVENT_BYTES;

/// Rows of one page: sqlx reads an answer to its end, also what nobody takes, so a page that is bounded in bytes must be bounded in rows first.
const PAGE_ROWS: usize = 512;

/// The events of one stream. The tenant too, although the id begins with it, and no place outside of its ledger: only what the ledger's own proof
/// covers may be acted on, and where tables are distributed by tenant it tells where to look. This is why the stream is not loaded through
/// postgres-es, which could. `IS TRUE` keeps the place from being looked for: the index on positions would lead through the whole ledger.
pub(super) const LOAD: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND tenant_id = $3 \
      AND (position BETWEEN 1 AND (SELECT position FROM ledgers WHERE tenant_id = $3)) IS TRUE ORDER BY sequence"
);

/// Leaf hashes of the events before ranges.
type Links = HashMap<TenantId, [u8; 32]>;

/// The connections that read.
#[derive(Debug, Clone)]
pub(crate) struct PostgresReader {
    pool: PgPool,
    waiting: Arc<AtomicUsize>,
    /// Connections that somebody asks something on. The pool's own count has those in it that are being made.
    asking: Arc<AtomicUsize>,
    sight: Sight,
}

/// Whose rows a login sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Everybody's, as who records needs it.
    EveryTenant,
    /// In each transaction those of the one tenant that it names: a login that is a member of `formledger_reader` alone.
    OneTenant,
}

/// Whose rows a question is about.
pub(super) enum Access<'a> {
    /// One tenant's, as row-level security sees to.
    Tenant(&'a TenantId),
    /// Everybody's: projectors, verification.
    EveryTenant,
}

impl Access<'_> {
    /// Begins a transaction with all that it needs of a session, because through a pooler the next one may be another's. Without the
    /// other ways to join and to scan, every plan goes from what is asked to the index and along it, however large the tables are and whatever
    /// is known of them: a page of a ledger would otherwise be sorted out of all that comes after it. What cannot do without such a way is
    /// given an enormous cost for it, for which Postgres would compile the plan of each small question first.
    fn begin(&self) -> String {
        let (role, tenant) = match self {
            Self::Tenant(tenant) => ("formledger_reader", tenant.as_str()),
            Self::EveryTenant => ("formledger_projector", ""),
        };
        // A tenant's name holds nothing to escape.
        format!(
            "BEGIN READ ONLY; SET LOCAL ROLE {role}; SET LOCAL app.tenant = '{tenant}'; SET LOCAL enable_hashjoin = off; \
             SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
             SET LOCAL jit = off; \
             SET LOCAL statement_timeout = '25s'"
        )
    }
}

/// Counts one who waits for a connection, or has one, until dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PostgresReader {
    /// Reads a database that was looked at before. Connects when first asked.
    pub(crate) fn open(options: &PostgresOptions, settings: &StoreSettings, sight: Sight) -> Self {
        Self { sight, ..Self::new(&options.database, settings) }
    }

    pub(super) fn new(options: &PgConnectOptions, settings: &StoreSettings) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(settings.read_connections_max)
            .acquire_timeout(settings.acquire_timeout)
            // Beginning the transaction finds out as well, and is asked anyway.
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        Self { pool, waiting: Arc::default(), asking: Arc::default(), sight: Sight::EveryTenant }
    }

    pub(crate) fn sees_every_tenant(&self) -> bool {
        self.sight == Sight::EveryTenant
    }

    /// For a question that is better asked about everybody, and about `tenant` can be asked where the login sees no more.
    ///
    /// # Errors
    /// [`StoreError::MissingPrivilege`] where it is about several.
    fn widest<'a>(&self, tenant: Option<&'a TenantId>) -> Result<Access<'a>, StoreError> {
        match (self.sight, tenant) {
            (Sight::EveryTenant, _) => Ok(Access::EveryTenant),
            (Sight::OneTenant, Some(tenant)) => Ok(Access::Tenant(tenant)),
            (Sight::OneTenant, None) => Err(StoreError::MissingPrivilege(
                "the login sees one tenant's ledger at a time: name a tenant, or let an administrator make it a \
                 member of `formledger_projector`"
                    .to_owned(),
            )),
        }
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            connections: self.pool.size(),
            connections_max: self.pool.options().get_max_connections(),
            idle: self.pool.num_idle(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The rows of one question.
    pub(super) async fn fetch(
        &self,
        access: Access<'_>,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut rows = Vec::new();
        let take = |row| {
            rows.push(row);
            Ok(true)
        };
        self.fetch_while(access, query, take).await?;
        Ok(rows)
    }

    /// Gives one question's rows to `take` as they arrive, for as long as it wants more. The rest of the answer is read and thrown away
    /// before the connection is used again. A connection that broke while nobody used it, as all of them do when a server restarts, is
    /// replaced.
    async fn fetch_while(
        &self,
        access: Access<'_>,
        query: Query<'_, Postgres, PgArguments>,
        mut take: impl FnMut(PgRow) -> Result<bool, StoreError> + Send,
    ) -> Result<(), StoreError> {
        let begin = access.begin();
        let mut stale_max = self.pool.size();
        loop {
            let (mut connection, _asking) = self.acquire().await?;
            let error = match answered(connection.begin_with(begin.clone())).await {
                // Without a commit: the rollback travels with the pool's next message, and there is nothing to keep. The pool itself
                // closes a connection that broke meanwhile.
                Ok(mut transaction) => {
                    let mut rows = query.fetch(&mut *transaction);
                    while let Some(row) = answered(rows.try_next()).await.map_err(failed)? {
                        if !take(row)? {
                            break;
                        }
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            // What was begun in part is not rolled back by itself.
            drop(connection.detach());
            if stale_max == 0 || !is_lost(&error) {
                return Err(failed(error));
            }
            stale_max -= 1;
        }
    }

    /// A connection, counted for as long as it is held.
    ///
    /// # Errors
    /// [`StoreError::ReadersBusy`] when others hold them all; [`StoreError::Unreachable`] when nobody has one, because none can be made:
    /// the pool tries that for as long as one may wait, and says the same of both.
    async fn acquire(&self) -> Result<(PoolConnection<Postgres>, Counted<'_>), StoreError> {
        let _waiting = Counted::new(&self.waiting);
        match self.pool.acquire().await {
            Ok(connection) => Ok((connection, Counted::new(&self.asking))),
            Err(sqlx::Error::PoolTimedOut) if self.asking.load(Ordering::Relaxed) == 0 => {
                Err(failed(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) async fn load(&self, stream: &StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        let query = sqlx::query(LOAD)
            .bind(stream.aggregate_type())
            .bind(stream.aggregate_id())
            .bind(stream.tenant().as_str());
        let rows = self.fetch(Access::Tenant(stream.tenant()), query).await?;
        rows.iter().map(|row| event_from_row(row, stream.tenant())).collect()
    }

    pub(crate) async fn load_part(
        &self,
        stream: &StreamId,
        part: Part<'_>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut query = sqlx::query(part.sql(POSTGRES_LAST_OF_EACH_TYPE))
            .bind(stream.aggregate_type())
            .bind(stream.aggregate_id())
            .bind(stream.tenant().as_str());
        if let Some((event_type, number)) = part.bound() {
            query = query.bind(event_type).bind(number);
        }
        let rows = self.fetch(Access::Tenant(stream.tenant()), query).await?;
        rows.iter().map(|row| event_from_row(row, stream.tenant())).collect()
    }

    pub(crate) async fn read_after(
        &self,
        tenant: &TenantId,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        // What is stored is no larger than the text, so the server never leaves out what belongs to the page.
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            " FROM (SELECT *, sum(pg_column_size(payload)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) \
                        - pg_column_size(payload) AS before \
                    FROM (SELECT * FROM events WHERE tenant_id = $1 AND position > $2 ORDER BY position LIMIT $3) AS page) AS page \
             WHERE before < $4 ORDER BY position"
        );
        let (mut events, mut bytes, mut after) = (Vec::new(), 0, after);
        loop {
            let rows_max = PAGE_ROWS.min(limit - events.len());
            let query = sqlx::query(SQL)
                .bind(tenant.as_str())
                .bind(after.0 as i64)
                .bind(rows_max as i64)
                .bind(i64::try_from(bytes_max - bytes).unwrap_or(i64::MAX));
            let mut rows = 0;
            let take = |row: PgRow| {
                let event = event_from_row(&row, tenant)?;
                rows += 1;
                bytes += EVENT_BYTES + event.payload.as_str().len();
                after = event.position;
                events.push(event);
                Ok(bytes < bytes_max)
            };
            self.fetch_while(Access::Tenant(tenant), query, take).await?;
            if rows < PAGE_ROWS || bytes >= bytes_max {
                return Ok(events);
            }
        }
    }

    pub(crate) async fn read_ranges(&self, ranges: &[&LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = self.ranges(ranges, |range| range.after).await?;
        rows.iter().map(|row| event_from_row(row, &owner(row, ranges)?.tenant)).collect()
    }

    /// As [`PostgresReader::read_ranges`], with the leaf hashes of the events at the ranges' `after`, in the same snapshot.
    pub(crate) async fn read_linked(
        &self,
        ranges: &[&LedgerRange],
    ) -> Result<(Vec<StoredEvent>, Links), StoreError> {
        let rows = self.ranges(ranges, |range| Position(range.after.0.saturating_sub(1))).await?;
        let (mut events, mut links) = (Vec::with_capacity(rows.len()), Links::new());
        for row in &rows {
            let LedgerRange { tenant, after, .. } = owner(row, ranges)?;
            if row.try_get::<i64, _>(0)? == after.0 as i64 {
                // Only this of it: what else may be wrong with the event was dealt with when it was read.
                links.extend(row.try_get::<[u8; 32], _>(10).ok().map(|link| (tenant.clone(), link)));
            } else {
                events.push(event_from_row(row, tenant)?);
            }
        }
        Ok((events, links))
    }

    async fn ranges(
        &self,
        ranges: &[&LedgerRange],
        after: fn(&LedgerRange) -> Position,
    ) -> Result<Vec<PgRow>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            event_columns!(),
            ", range.place FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY \
                 AS range (owner, after, up_to, place) \
             JOIN events ON tenant_id = range.owner AND position > range.after AND position <= range.up_to"
        );
        let query = sqlx::query(SQL)
            .bind(ranges.iter().map(|range| range.tenant.as_str()).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| after(range).0 as i64).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.up_to.0 as i64).collect::<Vec<_>>());
        let first = ranges.first().map(|range| &range.tenant);
        let only = first.filter(|first| ranges.iter().all(|range| range.tenant == **first));
        self.fetch(self.widest(only)?, query).await
    }

    /// The row of [`lineage::ASK`].
    pub(super) async fn lineage(&self) -> Result<PgRow, StoreError> {
        let rows = self.fetch(Access::EveryTenant, sqlx::query(lineage::ASK)).await?;
        rows.into_iter().next().ok_or_else(|| StoreError::from(sqlx::Error::RowNotFound))
    }

    pub(crate) async fn stream_places(
        &self,
        tenant: &TenantId,
        aggregate_type: &str,
        after: Option<&StreamPlace>,
        limit: u64,
    ) -> Result<Vec<StreamPlace>, StoreError> {
        let StreamSpan { after_id, after_sequence, before_id } = StreamSpan::of(tenant, after);
        // As one who sees every tenant: a row of a foreign owner in the tenant's streams is what verification looks for.
        let query = sqlx::query(rows::STREAM_PLACES)
            .bind(aggregate_type)
            .bind(after_id)
            .bind(after_sequence)
            .bind(before_id)
            .bind(limit as i64);
        let rows = self.fetch(self.widest(Some(tenant))?, query).await?;
        rows.iter().map(rows::stream_place).collect()
    }

    pub(crate) async fn strays(
        &self,
        tenant: &TenantId,
        from: i64,
        limit: u64,
    ) -> Result<Vec<Stray>, StoreError> {
        let query = sqlx::query(rows::STRAYS).bind(tenant.as_str()).bind(from).bind(limit as i64);
        let rows = self.fetch(Access::Tenant(tenant), query).await?;
        rows.iter().map(rows::stray).collect()
    }

    pub(crate) async fn heads(&self) -> Result<Vec<Result<(TenantId, Head), StoreError>>, StoreError> {
        let rows = self.fetch(self.widest(None)?, sqlx::query(rows::HEADS)).await?;
        Ok(rows.iter().map(rows::head).collect())
    }

    /// Where ledgers end, of `tenants` or of all.
    pub(crate) async fn positions(
        &self,
        tenants: Option<&[&str]>,
    ) -> Result<Vec<(TenantId, Position)>, StoreError> {
        let query = match tenants {
            Some(tenants) => {
                sqlx::query("SELECT tenant_id, position FROM ledgers WHERE tenant_id = ANY($1)").bind(tenants)
            }
            None => sqlx::query(rows::POSITIONS),
        };
        rows::positions(&self.fetch(self.widest(None)?, query).await?)
    }

    pub(crate) async fn owners(&self) -> Result<Vec<Result<TenantId, StoreError>>, StoreError> {
        let rows = self.fetch(self.widest(None)?, sqlx::query(rows::OWNERS)).await?;
        Ok(rows.iter().map(rows::owner).collect())
    }

    pub(crate) async fn head(&self, tenant: &TenantId) -> Result<Option<Head>, StoreError> {
        let query = sqlx::query(rows::HEAD).bind(tenant.as_str());
        let rows = self.fetch(Access::Tenant(tenant), query).await?;
        rows.first().map(|row| Ok(rows::head(row)?.1)).transpose()
    }

    pub(crate) async fn remembered(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Remembered>, StoreError> {
        let query = sqlx::query(rows::REMEMBERED).bind(tenant.as_str()).bind(&idempotency.key);
        let rows = self.fetch(Access::Tenant(tenant), query).await?;
        rows.first().map(rows::remembered).transpose()
    }
}

/// The range that a row of [`PostgresReader::ranges`] belongs to; `WITH ORDINALITY` counts from 1.
fn owner<'r>(row: &PgRow, ranges: &[&'r LedgerRange]) -> Result<&'r LedgerRange, StoreError> {
    let place: i64 = row.try_get(11)?;
    Ok(ranges[place.unsigned_abs() as usize - 1])
}

fn event_from_row(row: &PgRow, tenant: &TenantId) -> Result<StoredEvent, StoreError> {
    let event_id: Uuid = row.try_get(4)?;
    let columns = EventColumns {
        position: row.try_get(0)?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        sequence: row.try_get(3)?,
        event_id: event_id.as_bytes(),
        event_type: row.try_get(5)?,
        event_version: row.try_get(6)?,
        recorded_at: row.try_get(7)?,
        // The type `json` comes as the text that was stored, byte by byte; sqlx would only lend it to a parser.
        metadata: row.try_get_unchecked(8)?,
        payload: row.try_get_unchecked(9)?,
        leaf_hash: row.try_get(10)?,
    };
    columns.event(tenant)
}
