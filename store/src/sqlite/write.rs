//! The writing side: one connection, one transaction per batch, rows in chunks whose statements stay prepared.
//! Driven by `writer`; holds SQL and nothing else.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use formledger_domain::{Position, Sequence, StreamId, TenantId};
use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection, Either, Executor, Row, Sqlite};

use super::read::{head_from_row, remembered_from_row};
use super::{schema, writer_options};
use crate::backend::{Applied, Backend, Batch, EventRow, HeadMove, OutcomeRow, Remembered, StoredHead};
use crate::error::{StoreError, causes};
use crate::stored::{position, sequence, tenant};

/// Rows per statement are powers of two up to this, so that a handful of prepared statements serves every batch.
const CHUNK_ROWS_MAX: usize = 64;
const CHUNK_SIZES: usize = CHUNK_ROWS_MAX.ilog2() as usize + 1;

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct SqliteBackend {
    path: PathBuf,
    /// `None` after a failure that may have left a transaction behind; opened again on next use.
    connection: Option<SqliteConnection>,
    /// `PRAGMA data_version`: changes when another connection writes, and not when this one does. Each connection counts for itself, so
    /// it is forgotten with the connection; the commit whose answer was lost counts as someone else's from then on.
    data_version: Option<i64>,
}

impl SqliteBackend {
    /// Opens or creates the file and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut backend = Self { path: path.to_owned(), connection: None, data_version: None };
        schema::migrate(backend.connection().await?).await?;
        backend.moved_elsewhere().await?;
        Ok(backend)
    }

    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => SqliteConnection::connect_with(&writer_options(&self.path)).await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn disconnect(&mut self) {
        self.data_version = None;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
    }
}

impl Backend for SqliteBackend {
    async fn heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, position, recorded_at, frontier FROM ledgers \
             WHERE tenant_id IN (SELECT value FROM json_each(?))",
        )
        .bind(json(tenants))
        .fetch_all(self.connection().await?)
        .await?;
        let head = |row: &SqliteRow| {
            let head = match head_from_row(row) {
                Err(StoreError::Damaged(what)) => Err(what),
                read => Ok(read?.1),
            };
            Ok((tenant(row.try_get(0)?)?, head))
        };
        rows.iter().map(head).collect()
    }

    async fn overrun(&mut self, tenants: &[TenantId]) -> Result<Vec<TenantId>, StoreError> {
        // One statement, so that a head and the events after it are of one moment.
        let rows = sqlx::query(
            "SELECT asked.value FROM json_each(?) asked LEFT JOIN ledgers ON ledgers.tenant_id = asked.value \
             WHERE EXISTS (SELECT 1 FROM events WHERE events.tenant_id = asked.value \
                           AND events.position > coalesce(ledgers.position, 0))",
        )
        .bind(json(tenants))
        .fetch_all(self.connection().await?)
        .await?;
        rows.iter().map(|row| tenant(row.try_get(0)?)).collect()
    }

    async fn sequences(&mut self, streams: &[&StreamId]) -> Result<Vec<Sequence>, StoreError> {
        let keys: Vec<_> =
            streams.iter().map(|stream| (stream.aggregate_type(), stream.aggregate_id())).collect();
        let rows = sqlx::query(
            "SELECT (SELECT coalesce(max(sequence), 0) FROM events \
                     WHERE aggregate_type = asked.value ->> 0 AND aggregate_id = asked.value ->> 1) \
             FROM json_each(?) asked ORDER BY asked.key",
        )
        .bind(json(&keys))
        .fetch_all(self.connection().await?)
        .await?;
        rows.iter().map(|row| Ok(sequence(row.try_get(0)?))).collect()
    }

    async fn remembered(
        &mut self,
        keys: &[(&TenantId, &str)],
    ) -> Result<Vec<Option<Remembered>>, StoreError> {
        let rows = sqlx::query(
            "SELECT request_hash, outcome, position, sequence FROM json_each(?) asked \
             LEFT JOIN idempotency ON tenant_id = asked.value ->> 0 AND idempotency_key = asked.value ->> 1 \
             ORDER BY asked.key",
        )
        .bind(json(keys))
        .fetch_all(self.connection().await?)
        .await?;
        rows.iter().map(remembered_from_row).collect()
    }

    async fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        let connection = self.connection().await?;
        connection.execute("BEGIN IMMEDIATE").await?;
        let moved = move_heads(connection, &batch.heads).await?;
        let events: Vec<&EventRow<'_>> =
            batch.events.iter().filter(|event| !moved.contains(event.stream.tenant())).collect();
        let outcomes: Vec<&OutcomeRow<'_>> =
            batch.outcomes.iter().filter(|outcome| !moved.contains(outcome.tenant)).collect();
        let inserted = insert(connection, &INSERT_EVENTS, &events, bind_event).await?
            && insert(connection, &INSERT_OUTCOMES, &outcomes, bind_outcome).await?;
        if inserted {
            return Ok(Applied::Open { moved });
        }
        connection.execute("ROLLBACK").await?;
        Ok(Applied::Collided)
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.connection().await?.execute("COMMIT").await?;
        Ok(())
    }

    async fn recover(&mut self) {
        // After a failed COMMIT nobody knows what the file holds; only a new connection reads it afresh.
        self.disconnect().await;
        // At once rather than with the next batch: SQLite removes the WAL with its last connection, and readers need one.
        if let Err(error) = self.connection().await {
            tracing::warn!(error = causes(&error), "cannot open the database again yet");
        }
    }

    async fn moved_elsewhere(&mut self) -> Result<Vec<(TenantId, Position)>, StoreError> {
        let before = self.data_version;
        let connection = self.connection().await?;
        let version = Some(sqlx::query("PRAGMA data_version").fetch_one(&mut *connection).await?.try_get(0)?);
        if version == before {
            return Ok(Vec::new());
        }
        let rows = sqlx::query("SELECT tenant_id, position FROM ledgers").fetch_all(connection).await?;
        self.data_version = version;
        let mut moved = Vec::with_capacity(rows.len());
        for row in &rows {
            match tenant(row.try_get(0)?) {
                Ok(tenant) => moved.push((tenant, position(row.try_get(1)?))),
                // Nobody can follow it; everybody else must still be told.
                Err(error) => {
                    tracing::error!(error = causes(&error), "a ledger is left out")
                }
            }
        }
        Ok(moved)
    }

    async fn close(mut self) {
        self.disconnect().await;
    }
}

type Binding<'q> = Query<'q, Sqlite, SqliteArguments<'q>>;

/// One text per power of two of rows, each prepared once per connection.
struct Chunked([String; CHUNK_SIZES]);

impl Chunked {
    /// One statement that inserts all rows, or fewer where some are there already.
    fn insert(into: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self::per_size(|rows| {
            format!("{into} VALUES {} ON CONFLICT DO NOTHING", vec![row.as_str(); rows].join(", "))
        })
    }

    /// One statement per row, all in one text, so that each tells its own fate in one round trip to SQLite's thread.
    fn each(statement: &str) -> Self {
        Self::per_size(|rows| vec![statement; rows].join("; "))
    }

    fn per_size(text: impl Fn(usize) -> String) -> Self {
        Self(std::array::from_fn(|log| text(1 << log)))
    }

    /// Cuts rows into chunks, largest first, each with its text.
    fn chunks<'r, R>(&self, mut rows: &'r [R]) -> impl Iterator<Item = (&str, &'r [R])> {
        std::iter::from_fn(move || {
            let log = rows.len().min(CHUNK_ROWS_MAX).checked_ilog2()? as usize;
            let (chunk, rest) = rows.split_at(1 << log);
            rows = rest;
            Some((self.0[log].as_str(), chunk))
        })
    }
}

static CREATE_LEDGERS: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::each(
        "INSERT INTO ledgers (tenant_id, position, recorded_at, frontier) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
});

static MOVE_LEDGERS: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::each(
        "UPDATE ledgers SET position = ?, recorded_at = ?, frontier = ? WHERE tenant_id = ? AND position = ?",
    )
});

static INSERT_EVENTS: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::insert(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
         tenant_id, position, event_id, recorded_at, leaf_hash)",
        12,
    )
});

static INSERT_OUTCOMES: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::insert(
        "INSERT INTO idempotency (tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at)",
        7,
    )
});

/// Compares and sets every head; gives the tenants that were elsewhere.
async fn move_heads(
    connection: &mut SqliteConnection,
    heads: &[HeadMove],
) -> Result<Vec<TenantId>, StoreError> {
    let (new, known): (Vec<_>, Vec<_>) = heads.iter().partition(|head| head.from == Position::START);
    let mut moved = set_heads(connection, &CREATE_LEDGERS, &new, bind_new_ledger).await?;
    moved.extend(set_heads(connection, &MOVE_LEDGERS, &known, bind_ledger).await?);
    Ok(moved)
}

async fn set_heads<'q>(
    connection: &mut SqliteConnection,
    chunked: &'static Chunked,
    heads: &[&'q HeadMove],
    bind: fn(Binding<'q>, &'q HeadMove) -> Binding<'q>,
) -> Result<Vec<TenantId>, StoreError> {
    let mut moved = Vec::new();
    for (text, chunk) in chunked.chunks(heads) {
        let query = chunk.iter().fold(sqlx::query(text), |query, head| bind(query, head));
        let mut results = connection.fetch_many(query);
        for head in chunk {
            match results.try_next().await? {
                Some(Either::Left(done)) if done.rows_affected() == 1 => {}
                _ => moved.push(head.tenant.clone()),
            }
        }
    }
    Ok(moved)
}

/// Inserts all rows; `false` when one of them was already there.
async fn insert<'q, R>(
    connection: &mut SqliteConnection,
    chunked: &'static Chunked,
    rows: &[&'q R],
    bind: fn(Binding<'q>, &'q R) -> Binding<'q>,
) -> Result<bool, StoreError> {
    for (text, chunk) in chunked.chunks(rows) {
        let query = chunk.iter().fold(sqlx::query(text), |query, row| bind(query, row));
        if query.execute(&mut *connection).await?.rows_affected() != chunk.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn bind_new_ledger<'q>(query: Binding<'q>, head: &'q HeadMove) -> Binding<'q> {
    query
        .bind(head.tenant.as_str())
        .bind(head.to.position.0 as i64)
        .bind(head.to.recorded_at)
        .bind(head.to.frontier.to_stored())
}

fn bind_ledger<'q>(query: Binding<'q>, head: &'q HeadMove) -> Binding<'q> {
    query
        .bind(head.to.position.0 as i64)
        .bind(head.to.recorded_at)
        .bind(head.to.frontier.to_stored())
        .bind(head.tenant.as_str())
        .bind(head.from.0 as i64)
}

fn bind_event<'q>(query: Binding<'q>, event: &'q EventRow<'q>) -> Binding<'q> {
    query
        .bind(event.stream.aggregate_type())
        .bind(event.aggregate_id)
        .bind(event.sequence.0 as i64)
        .bind(event.event_type)
        .bind(event.event_version)
        .bind(event.payload.as_str())
        .bind(event.metadata)
        .bind(event.stream.tenant().as_str())
        .bind(event.position.0 as i64)
        .bind(event.event_id.0.as_bytes().as_slice())
        .bind(event.recorded_at)
        .bind(event.leaf_hash.as_slice())
}

fn bind_outcome<'q>(query: Binding<'q>, outcome: &'q OutcomeRow<'q>) -> Binding<'q> {
    query
        .bind(outcome.tenant.as_str())
        .bind(outcome.key)
        .bind(outcome.request_hash.as_slice())
        .bind(outcome.outcome)
        .bind(outcome.position.0 as i64)
        .bind(outcome.sequence.0 as i64)
        .bind(outcome.recorded_at)
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings and arrays serialise")
}
