//! Where a set of read models is kept, and how one connects there: a SQLite file, or a schema of a Postgres database.
//! Used by whatever opens read models. No statement of a read model is here.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use formledger_store::PostgresOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::database::{FileConnection, OwnConnection, Rights};
use crate::read_models::OpenError;
use crate::schema;

/// How long a statement waits for another process's write transaction (a rebuild switching a tenant) before it fails.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory in which the server takes the rows of a batch apart, at most 32 MiB of payloads: with less it goes by way of a file.
const BATCH_MEMORY: &str = "64MB";
/// Prepared statements kept per connection: every statement of every projection in all its sizes.
const STATEMENTS_MAX: usize = 256;
/// Page cache of the writer, KiB: the inner pages and append points of all indexes.
const WRITER_CACHE_KIB: u32 = 64 * 1024;
/// Bytes per page of a new file: of the ledger's size, and half as many pages to copy for the same rows as with SQLite's own 4 KiB.
const PAGE_BYTES: u32 = 8192;
/// Pages of write-ahead log, at which they are copied into the file, 32 MiB: the pages that every batch touches are copied once for
/// many batches, and the disk is synced seldom while the ledger syncs for every commit.
const LOG_PAGES: u32 = 4096;
/// Bytes of write-ahead log that are kept on the disk once they are copied: a switch of whole tables writes hundreds of MiB there.
const LOG_BYTES_KEPT: u64 = 64 * 1024 * 1024;
/// The schema that holds the read models in a Postgres database, beside the ledger's tables or alone.
const SCHEMA: &str = "read_models";
/// The schema that a rebuild makes fresh rows in.
const FRESH_SCHEMA: &str = "read_models_rebuild";
/// How PgBouncer refuses settings of a session.
const PROTOCOL_VIOLATION: &str = "08P01";
/// How long a server may take to let one in. A machine that hangs accepts connections and says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite file or a Postgres database that holds read models, or will.
#[derive(Debug, Clone)]
pub struct ReadModelPlace(pub(crate) Place);

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PostgresPlace>),
}

#[derive(Debug, Clone)]
pub(crate) struct PostgresPlace {
    pub(crate) options: PgConnectOptions,
    pub(crate) schema: &'static str,
}

impl ReadModelPlace {
    /// What people call it: the file, or server and database without user and password.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Whether it is a Postgres server that follows another one and takes no writes.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`], and what the server says.
    pub async fn is_standby(&self) -> Result<bool, OpenError> {
        let Place::Postgres(place) = &self.0 else { return Ok(false) };
        let connected = place.connect().await;
        let mut connection =
            connected.map_err(|source| OpenError::Unreachable { place: place.name(), source })?;
        let is_standby = schema::is_standby(&mut connection).await?;
        connection.close().await?;
        Ok(is_standby)
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self.0, Place::Sqlite(_))
    }

    /// Whether connections to it are sessions of their own, which who keeps read models needs, for the lock that says so. They are not where a
    /// pooler hands each transaction another one: such a pooler takes no settings of a session, or ignores them.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`].
    pub async fn has_own_sessions(&self) -> Result<bool, OpenError> {
        let Place::Postgres(place) = &self.0 else { return Ok(true) };
        let unreachable = |source| OpenError::Unreachable { place: place.name(), source };
        let options = place.options.clone().options([("search_path", place.schema)]);
        let mut session = match within(PgConnection::connect_with(&options)).await {
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(PROTOCOL_VIOLATION) => {
                return Ok(false);
            }
            session => session.map_err(unreachable)?,
        };
        let set: String =
            sqlx::query_scalar("SHOW search_path").fetch_one(&mut session).await.map_err(unreachable)?;
        session.close().await.map_err(unreachable)?;
        Ok(set == place.schema)
    }

    /// The file `path`; it need not be there yet.
    pub fn file(path: &Path) -> Self {
        Self(Place::Sqlite(path.to_owned()))
    }

    /// The database that a `postgres://` URL names.
    ///
    /// # Errors
    /// [`OpenError::Url`]; the URL itself is not told, because it may hold a password.
    pub fn postgres(url: &str) -> Result<Self, OpenError> {
        // sqlx takes any scheme; what the ledger takes, and no more, has no password where the name is.
        PostgresOptions::new(url).map_err(|_| OpenError::Url)?;
        let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::Url)?;
        let options = options.statement_cache_capacity(STATEMENTS_MAX).disable_statement_logging();
        Ok(Self(Place::Postgres(Box::new(PostgresPlace { options, schema: SCHEMA }))))
    }
}

impl Place {
    /// What people call it: the file, or server and database without user and password.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(place) => place.name(),
        }
    }

    /// A connection for the projector, to read models that were opened. In Postgres it has the projector's rights
    /// and no more, except where a rebuild makes its tables: those are the login's own.
    pub(crate) async fn connect_writer(&self) -> Result<OwnConnection, sqlx::Error> {
        match self {
            Self::Sqlite(path) => file_writer(path).await.map(OwnConnection::File),
            Self::Postgres(place) => {
                let mut connection = place.connect().await?;
                let schema = place.schema;
                let role = if schema == FRESH_SCHEMA { "" } else { "SET ROLE formledger_projector; " };
                // A crash may lose the last commits, rows and checkpoints alike, as in a file; and no batch waits for a standby that is away.
                // Without the other ways to join and scan, every plan goes from a batch's rows to the index, whatever the statistics say;
                // planned for each batch (and never compiled, for what such a plan seems to cost), because a plan that was made while a table was small may take an index of the tenant alone.
                let enter = format!(
                    "{role}SET search_path TO {schema}; SET synchronous_commit TO off; \
                     SET enable_hashjoin TO off; SET enable_mergejoin TO off; SET enable_seqscan TO off; \
                     SET plan_cache_mode TO force_custom_plan; SET jit TO off; SET work_mem TO '{BATCH_MEMORY}'"
                );
                connection.execute(&*enter).await?;
                let rights = rights(&mut connection).await?;
                Ok(OwnConnection::Postgres(connection, rights))
            }
        }
    }

    /// Where a rebuild of what is here makes its rows.
    pub(crate) fn fresh(&self) -> Self {
        match self {
            Self::Sqlite(path) => Self::Sqlite(suffixed(path, ".rebuild")),
            Self::Postgres(place) => {
                Self::Postgres(Box::new(PostgresPlace { schema: FRESH_SCHEMA, ..(**place).clone() }))
            }
        }
    }
}

impl PostgresPlace {
    pub(crate) fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        format!("{}:{}/{database}", self.options.get_host(), self.options.get_port())
    }

    /// A connection with the rights of the URL's user.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        within(PgConnection::connect_with(&self.options)).await
    }
}

/// Whether policies look at what a session writes into the tables of its `search_path`; all have the same ones.
async fn rights(session: &mut PgConnection) -> Result<Rights, sqlx::Error> {
    let asked = "SELECT row_security_active('submissions')";
    let policed = sqlx::query_scalar::<_, bool>(asked).fetch_one(session).await?;
    Ok(if policed { Rights::Policed } else { Rights::Exempt })
}

async fn within(
    connecting: impl Future<Output = Result<PgConnection, sqlx::Error>>,
) -> Result<PgConnection, sqlx::Error> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    connected.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// How a connection writes a file, in the order in which it is set.
fn writing() -> [(&'static str, String); 6] {
    [
        ("journal_mode", "WAL".to_owned()),
        // A crash may lose the last commits, rows and checkpoints alike; they are derived again from the ledger.
        ("synchronous", "NORMAL".to_owned()),
        // Statements over many rows keep what they overwrite until they are done; in a file that costs more than the rows themselves.
        ("temp_store", "MEMORY".to_owned()),
        ("wal_autocheckpoint", LOG_PAGES.to_string()),
        ("journal_size_limit", LOG_BYTES_KEPT.to_string()),
        ("cache_size", format!("-{WRITER_CACHE_KIB}")),
    ]
}

/// A connection that may change the schema; the file is made when it is missing.
pub(crate) async fn sqlite_migrating(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = sqlite_options(path).create_if_missing(true).page_size(PAGE_BYTES);
    let options = writing().into_iter().fold(options, |options, (name, value)| options.pragma(name, value));
    options.connect().await
}

/// A connection that writes rows, to a file that is there.
async fn file_writer(path: &Path) -> Result<FileConnection, sqlx::Error> {
    let settings = writing().map(|(name, value)| format!("PRAGMA {name} = {value}; ")).concat();
    FileConnection::open(path, BUSY_TIMEOUT, STATEMENTS_MAX, &settings).await
}

/// Connections that cannot write; the file must be there.
pub(crate) fn sqlite_reading(path: &Path) -> SqliteConnectOptions {
    sqlite_options(path).read_only(true).pragma("query_only", "ON")
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging()
}

/// The files of a database at `path`: itself, its write-ahead log with that log's index, and what a transaction without such a log left when it was killed.
pub(crate) fn sqlite_files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| suffixed(path, suffix))
}

pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

#[cfg(test)]
mod tests {
    use formledger_test_cluster::Database;

    use super::*;
    use crate::database::sql;
    use crate::read_models::{ReadModelSettings, ReadModels};

    #[tokio::test]
    async fn the_log_of_a_large_transaction_does_not_stay_on_the_disk() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("read-models.db");
        sqlite_migrating(&path).await.expect("makes the file").close().await.expect("closes");
        let place = Place::Sqlite(path.clone());
        let mut writer = place.connect_writer().await.expect("connects");
        let large =
            format!("CREATE TABLE t (b); INSERT INTO t VALUES (zeroblob({}))", 3 * LOG_BYTES_KEPT / 2);
        writer.run_script(&large).await.expect("writes");
        let log = || std::fs::metadata(suffixed(&path, "-wal")).expect("a log").len();
        assert!(log() > LOG_BYTES_KEPT);
        writer.run_script("INSERT INTO t VALUES (1)").await.expect("the next batch");
        assert!(log() <= LOG_BYTES_KEPT, "{}", log());
    }

    #[tokio::test]
    async fn what_writes_read_models_does_not_have_its_statements_compiled() {
        let database = Database::create().await;
        let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
        ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("opens");
        // Whatever the server would do.
        let on = format!("ALTER DATABASE {} SET jit = on", database.name());
        database.connect().await.execute(&*on).await.expect("sets");
        let mut writer = place.0.connect_writer().await.expect("connects");
        let shown = sql("SHOW jit").one(&mut writer.connection()).await.expect("answers");
        assert_eq!(shown.value::<String>().expect("a text"), "off");
    }
}
