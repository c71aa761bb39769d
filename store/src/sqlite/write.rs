//! The writing side: one connection, one transaction per batch, rows in chunks whose statements stay prepared.
//! Driven by `writer`; holds SQL and nothing else. It speaks to SQLite itself rather than through sqlx, which would copy every value twice and
//! cross to a thread of its own and back for every statement: see docs/adr/0002.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use formledger_domain::{Position, Sequence, StreamId, TenantId};
use rusqlite::{CachedStatement, Connection, Row, ToSql, params};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::time::{Instant, sleep};

use super::{open_writer, schema, text, writer_options};
use crate::backend::{
    Applied, Backend, Batch, EventRow, Head, HeadMove, ImportStep, OutcomeRow, Remembered, StoredHead,
    Withheld,
};
use crate::direct::blocking;
use crate::error::{StoreError, causes};
use crate::stored;

/// Rows per statement are powers of two up to this, so that a handful of prepared statements serves every batch.
const CHUNK_ROWS_MAX: usize = 64;
const CHUNK_SIZES: usize = CHUNK_ROWS_MAX.ilog2() as usize + 1;

/// How long a file that others just make is opened anew.
const BEGINNING_MAX: Duration = Duration::from_secs(5);
const BEGINNING_PAUSE: Duration = Duration::from_millis(20);

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct SqliteBackend {
    path: PathBuf,
    /// `None` after a failure that may have left a transaction behind; opened again on next use.
    connection: Option<Connection>,
    /// `PRAGMA data_version`: changes when another connection writes, and not when this one does. Each connection counts for itself, so
    /// it is forgotten with the connection; the commit whose answer was lost counts as someone else's from then on.
    data_version: Option<i64>,
}

impl SqliteBackend {
    /// Opens or creates the file and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let until = Instant::now() + BEGINNING_MAX;
        loop {
            match Self::open_once(path).await {
                // Of several that make the file at once, SQLite tells the others at once while one changes its journal mode, however long they would wait.
                Err(StoreError::Busy) if Instant::now() < until => sleep(BEGINNING_PAUSE).await,
                opened => return opened,
            }
        }
    }

    async fn open_once(path: &Path) -> Result<Self, StoreError> {
        let mut migrating = SqliteConnection::connect_with(&writer_options(path)).await?;
        schema::migrate(&mut migrating).await?;
        migrating.close().await?;
        let mut backend = Self { path: path.to_owned(), connection: None, data_version: None };
        backend.moved_elsewhere().await?;
        Ok(backend)
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => open_writer(&self.path)?,
        };
        Ok(self.connection.insert(connection))
    }

    fn disconnect(&mut self) {
        self.data_version = None;
        if let Some(connection) = self.connection.take()
            && let Err((_still_open, error)) = connection.close()
        {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
    }

    /// All rows of a query, read by `read`.
    fn rows<T>(
        &mut self,
        statement: &str,
        parameters: impl rusqlite::Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection()?.prepare_cached(statement)?;
        let mut rows = statement.query(parameters)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        let connection = self.connection()?;
        run(connection, "BEGIN IMMEDIATE")?;
        let moved = move_heads(connection, batch)?;
        let events: Vec<&EventRow<'_>> =
            batch.events.iter().filter(|event| !moved.contains(event.stream.tenant())).collect();
        let outcomes: Vec<&OutcomeRow<'_>> =
            batch.outcomes.iter().filter(|outcome| !moved.contains(outcome.tenant)).collect();
        let inserted = insert(connection, &INSERT_EVENTS, &events, bind_event)?
            && insert(connection, &INSERT_OUTCOMES, &outcomes, bind_outcome)?;
        if inserted {
            return Ok(Applied::Open { moved });
        }
        run(connection, "ROLLBACK")?;
        Ok(Applied::Collided)
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        Ok(run(self.connection()?, "COMMIT")?)
    }
}

impl Backend for SqliteBackend {
    async fn heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        const SQL: &str = "SELECT tenant_id, position, recorded_at, frontier, importing FROM ledgers \
                           WHERE tenant_id IN (SELECT value FROM json_each(?))";
        blocking(|| self.rows(SQL, [json(tenants)], head_of)).await
    }

    async fn overrun(&mut self, tenants: &[TenantId]) -> Result<Vec<TenantId>, StoreError> {
        // One statement, so that a head and the events after it are of one moment.
        const SQL: &str = "SELECT asked.value FROM json_each(?) asked LEFT JOIN ledgers ON ledgers.tenant_id = asked.value \
             WHERE EXISTS (SELECT 1 FROM events WHERE events.tenant_id = asked.value \
                           AND events.position > coalesce(ledgers.position, 0)) \
                OR EXISTS (SELECT 1 FROM events WHERE events.tenant_id = asked.value AND events.position < 1)";
        blocking(|| self.rows(SQL, [json(tenants)], |row| stored::tenant(text(row, 0)?))).await
    }

    async fn sequences(&mut self, streams: &[&StreamId]) -> Result<Vec<Sequence>, StoreError> {
        const SQL: &str = "SELECT (SELECT coalesce(max(sequence), 0) FROM events \
                     WHERE aggregate_type = asked.value ->> 0 AND aggregate_id = asked.value ->> 1) \
             FROM json_each(?) asked ORDER BY asked.key";
        let keys: Vec<_> =
            streams.iter().map(|stream| (stream.aggregate_type(), stream.aggregate_id())).collect();
        blocking(|| self.rows(SQL, [json(&keys)], |row| stored::sequence(row.get(0)?))).await
    }

    async fn remembered(
        &mut self,
        keys: &[(&TenantId, &str)],
    ) -> Result<Vec<Option<Remembered>>, StoreError> {
        const SQL: &str = "SELECT request_hash, outcome, position, sequence FROM json_each(?) asked \
             LEFT JOIN idempotency ON tenant_id = asked.value ->> 0 AND idempotency_key = asked.value ->> 1 \
             ORDER BY asked.key";
        blocking(|| self.rows(SQL, [json(keys)], remembered_of)).await
    }

    async fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        blocking(|| self.write(batch)).await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        blocking(|| self.make_durable()).await
    }

    async fn record(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        blocking(|| {
            let applied = self.write(batch)?;
            if matches!(applied, Applied::Open { .. }) {
                self.make_durable()?;
            }
            Ok(applied)
        })
        .await
    }

    async fn recover(&mut self) {
        blocking(|| {
            // After a failed COMMIT nobody knows what the file holds; only a new connection reads it afresh.
            self.disconnect();
            // At once rather than with the next batch: SQLite removes the WAL with its last connection, and readers need one.
            if let Err(error) = self.connection() {
                tracing::warn!(error = causes(&error), "cannot open the database again yet");
            }
        })
        .await;
    }

    async fn moved_elsewhere(&mut self) -> Result<Option<Vec<(TenantId, Position)>>, StoreError> {
        blocking(|| {
            let before = self.data_version;
            let version = self.rows("PRAGMA data_version", [], |row| Ok(row.get(0)?))?.pop();
            if version == before {
                return Ok(Some(Vec::new()));
            }
            let place = |row: &Row<'_>| {
                let (tenant, position) = (stored::tenant(text(row, 0)?), stored::position(row.get(1)?));
                Ok(tenant.and_then(|tenant| Ok((tenant, position?))))
            };
            let places = self.rows("SELECT tenant_id, position FROM ledgers", [], place)?;
            self.data_version = version;
            let mut moved = Vec::with_capacity(places.len());
            for place in places {
                match place {
                    Ok(place) => moved.push(place),
                    // Nobody can follow it; everybody else must still be told.
                    Err(error) => {
                        tracing::error!(error = causes(&error), "a ledger is left out")
                    }
                }
            }
            Ok(Some(moved))
        })
        .await
    }

    async fn close(mut self) {
        blocking(|| self.disconnect()).await;
    }
}

fn head_of(row: &Row<'_>) -> Result<(TenantId, StoredHead), StoreError> {
    let tenant = stored::tenant(text(row, 0)?)?;
    let frontier: Vec<u8> = row.get(3)?;
    let head: Result<Head, StoreError> = stored::head(&tenant, row.get(1)?, row.get(2)?, &frontier);
    match head {
        Err(StoreError::Damaged(what)) => Ok((tenant, Err(Withheld::Damaged(what)))),
        read if row.get(4)? => Ok((tenant, Err(Withheld::Importing(read?)))),
        read => Ok((tenant, Ok(read?))),
    }
}

/// `None` when the row is the empty side of a left join.
fn remembered_of(row: &Row<'_>) -> Result<Option<Remembered>, StoreError> {
    let Some(request_hash) = row.get::<_, Option<Vec<u8>>>(0)? else {
        return Ok(None);
    };
    stored::remembered(&request_hash, row.get(1)?, row.get(2)?, row.get(3)?).map(Some)
}

/// One text per power of two of rows, each prepared once per connection.
struct Chunked([String; CHUNK_SIZES]);

impl Chunked {
    /// One statement that inserts all rows, or fewer where some are there already.
    fn insert(into: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let text =
            |rows| format!("{into} VALUES {} ON CONFLICT DO NOTHING", vec![row.as_str(); rows].join(", "));
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

const CREATE_LEDGER: &str = "INSERT INTO ledgers (tenant_id, position, recorded_at, frontier, importing) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const MOVE_LEDGER: &str = "UPDATE ledgers SET position = ?, recorded_at = ?, frontier = ?, importing = ? WHERE tenant_id = ? AND position = ? AND importing <= ?";

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

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// Compares and sets every head; gives the tenants that were elsewhere.
fn move_heads(connection: &Connection, batch: &Batch<'_>) -> rusqlite::Result<Vec<TenantId>> {
    let mut create = connection.prepare_cached(CREATE_LEDGER)?;
    let mut go_on = connection.prepare_cached(MOVE_LEDGER)?;
    let mut moved = Vec::new();
    let (goes_on_later, is_import) = (batch.import == ImportStep::GoesOn, batch.import != ImportStep::None);
    for HeadMove { tenant, from, to, tip: _ } in &batch.heads {
        let (position, frontier) = (to.position.0 as i64, to.frontier.to_stored());
        let set = if *from == Position::START {
            create.execute(params![tenant.as_str(), position, to.recorded_at, frontier, goes_on_later])?
        } else {
            let (name, from) = (tenant.as_str(), from.0 as i64);
            go_on.execute(params![
                position,
                to.recorded_at,
                frontier,
                goes_on_later,
                name,
                from,
                is_import
            ])?
        };
        if set != 1 {
            moved.push(tenant.clone());
        }
    }
    Ok(moved)
}

/// Inserts all rows; `false` when one of them was already there.
fn insert<R>(
    connection: &Connection,
    chunked: &Chunked,
    rows: &[&R],
    bind: fn(&mut Parameters<'_, '_>, &R) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    for (text, chunk) in chunked.chunks(rows) {
        let mut statement = connection.prepare_cached(text)?;
        let mut parameters = Parameters { statement: &mut statement, bound: 0 };
        for row in chunk {
            bind(&mut parameters, row)?;
        }
        if statement.raw_execute()? != chunk.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A statement's parameters, bound one after the other.
struct Parameters<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
}

impl Parameters<'_, '_> {
    fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<&mut Self> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)?;
        Ok(self)
    }
}

fn bind_event(parameters: &mut Parameters<'_, '_>, event: &EventRow<'_>) -> rusqlite::Result<()> {
    parameters
        .bind(event.stream.aggregate_type())?
        .bind(event.aggregate_id)?
        .bind(event.sequence.0 as i64)?
        .bind(event.event_type.as_ref())?
        .bind(event.event_version.as_ref())?
        .bind(event.payload.as_str())?
        .bind(event.metadata)?
        .bind(event.stream.tenant().as_str())?
        .bind(event.position.0 as i64)?
        .bind(event.event_id.0.as_bytes().as_slice())?
        .bind(event.recorded_at)?
        .bind(event.leaf_hash.as_slice())?;
    Ok(())
}

fn bind_outcome(parameters: &mut Parameters<'_, '_>, outcome: &OutcomeRow<'_>) -> rusqlite::Result<()> {
    parameters
        .bind(outcome.tenant.as_str())?
        .bind(outcome.key)?
        .bind(outcome.request_hash.as_slice())?
        .bind(outcome.outcome)?
        .bind(outcome.position.0 as i64)?
        .bind(outcome.sequence.0 as i64)?
        .bind(outcome.recorded_at)?;
    Ok(())
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("strings and arrays serialise")
}
