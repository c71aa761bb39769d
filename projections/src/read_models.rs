//! The read-model database: one SQLite file beside the ledger (docs/adr/0003), opened, migrated and handed out as readers.
//! Called by `api` at start; the writer's connection never leaves this crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use formledger_domain::TenantContext;
use formledger_store::LedgerHead;
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::position::{Applied, ReadModel};
use crate::reader::{QueryError, TenantReader};
use crate::schema;
use crate::status::{self, ReadModelStatus, Skip, SkipError};

/// How long a statement waits for another process's write transaction (a rebuild switching a tenant) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Prepared statements kept per connection: every statement of every projection in all its sizes.
const STATEMENTS_MAX: usize = 256;
/// Page cache of the writer, KiB: the inner pages and append points of all indexes.
const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// Pages of write-ahead log, at which they are copied into the file, 32 MiB of 4 KiB pages: the pages that every batch touches are copied once for
/// many batches, and the disk is synced seldom while the ledger syncs for every commit.
const LOG_PAGES: u32 = 8192;

/// Limits of a read-model database.
#[derive(Debug, Clone)]
pub struct ReadModelSettings {
    /// Connections that answer queries.
    pub read_connections_max: u32,
    /// How long a query waits for a connection before it fails.
    pub acquire_timeout: Duration,
}

impl Default for ReadModelSettings {
    fn default() -> Self {
        Self { read_connections_max: 4, acquire_timeout: Duration::from_secs(5) }
    }
}

/// Why a read-model database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer binary.
    #[error(
        "the read models are at schema {found}, this binary knows {known}: use the newer binary, or move the file \
         away to have it built again"
    )]
    Newer {
        /// The file's schema version.
        found: i64,
        /// The newest one this binary knows.
        known: i64,
    },
    /// It is a database of something else.
    #[error("the file is not a read-model database: state another one")]
    Foreign,
    /// The database refused or failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

/// All tenants' read models in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadModels {
    path: Arc<Path>,
    readers: ReadPool,
    writer: Arc<Mutex<SqliteConnection>>,
    applied: Arc<Applied>,
}

/// Connections that cannot write: all that a [`TenantReader`] holds.
#[derive(Debug, Clone)]
pub(crate) struct ReadPool(SqlitePool);

impl ReadPool {
    /// A snapshot: everything read through it is of one moment.
    pub(crate) async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
        self.0.begin().await
    }
}

impl ReadModels {
    /// Opens the file `path`, creates it if missing, applies migrations, and drops rows that other versions of the projections made.
    ///
    /// # Errors
    /// [`OpenError::Newer`] for a file written by a newer binary.
    pub async fn open_sqlite(path: &Path, settings: ReadModelSettings) -> Result<Self, OpenError> {
        let mut writer = connect_writer(path).await?;
        schema::migrate(&mut writer).await?;
        status::drop_other_versions(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.read_connections_max)
            .acquire_timeout(settings.acquire_timeout)
            // A connection to a local file does not go stale: no ping before each use, no renewal.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(reading(path))
            .await?;
        Ok(Self {
            path: path.into(),
            readers: ReadPool(readers),
            writer: Arc::new(Mutex::new(writer)),
            applied: Arc::default(),
        })
    }

    /// The read models of the context's tenant, and of no other.
    pub fn reader(&self, context: &TenantContext) -> TenantReader {
        TenantReader::new(context.tenant.clone(), self.readers.clone(), self.applied.clone())
    }

    /// How far each read model is behind `heads`, and which tenants are parked; for readiness and tools.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn status(&self, heads: &[LedgerHead]) -> Result<Vec<ReadModelStatus>, QueryError> {
        let mut snapshot = self.readers.snapshot().await?;
        let mut all = Vec::with_capacity(ReadModel::ALL.len());
        for read_model in ReadModel::ALL {
            all.push(status::of(&mut snapshot, read_model, heads).await?);
        }
        Ok(all)
    }

    /// Lets a parked projection pass over the event that it cannot apply, and records who decided so and why.
    ///
    /// A running projector goes on at its next poll. A rebuild passes over the event again.
    ///
    /// # Errors
    /// [`SkipError::NotParkedThere`] unless the projection is parked right before that event.
    pub async fn skip(&self, skip: &Skip) -> Result<(), SkipError> {
        status::skip(&mut *self.writer().await, skip).await
    }

    /// Closes the database. Queries that run are finished; a projector that still runs keeps its connection.
    pub async fn close(&self) {
        self.readers.0.close().await;
    }

    /// The one connection that writes.
    pub(crate) async fn writer(&self) -> MutexGuard<'_, SqliteConnection> {
        self.writer.lock().await
    }

    /// Takes a fresh connection for the one that writes, after a transaction failed: SQLite rolls back by itself when the disk is full,
    /// and sqlx would go on to believe in a transaction that is no longer open.
    pub(crate) async fn renew_writer(&self) -> Result<(), sqlx::Error> {
        let mut writer = self.writer().await;
        *writer = connect_writer(&self.path).await?;
        Ok(())
    }

    pub(crate) fn applied(&self) -> &Applied {
        &self.applied
    }
}

/// A connection that writes; the file is made when it is missing.
pub(crate) async fn connect_writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A crash may lose the last commits, rows and checkpoints alike; they are derived again from the ledger.
        .synchronous(SqliteSynchronous::Normal)
        // Statements over many rows keep what they overwrite until they are done; in a file that costs more than the rows themselves.
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", LOG_PAGES.to_string())
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .connect()
        .await
}

/// A connection that cannot write; the file must be there.
pub(crate) async fn connect_reader(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    reading(path).connect().await
}

/// The files of a database at `path`: itself, its write-ahead log and that log's index.
pub(crate) fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        file.into()
    })
}

fn reading(path: &Path) -> SqliteConnectOptions {
    options(path).read_only(true).pragma("query_only", "ON")
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging()
}
