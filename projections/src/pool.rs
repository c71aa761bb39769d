//! Connections that answer queries and cannot write: all that a [`TenantReader`](crate::TenantReader) holds of a database.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use formledger_domain::TenantId;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

use tokio::time::timeout;

use crate::database::{Transaction, sql};
use crate::health::Health;
use crate::identity::Identity;
use crate::place::{Place, PostgresPlace, sqlite_reading};
use crate::read_models::ReadModelSettings;

/// How long a database may take to begin a transaction, or, once it was taken out, to answer: one that is paused or cut off says nothing,
/// not even that it is. And how long it goes on with a statement after nobody waits for it any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Comes before the snapshot, which the first query takes: a rebuild in Postgres exchanges tables only while nobody holds it (docs/adr/0009).
const LOCK: &str = "LOCK TABLE checkpoints IN ACCESS SHARE MODE";

/// Connections of one set of read models.
#[derive(Debug, Clone)]
pub(crate) enum ReadPool {
    Sqlite(SqlitePool),
    Postgres { pool: PgPool, schema: &'static str, door: Arc<Door> },
}

/// What is known of a database that connections are made to.
#[derive(Debug)]
pub(crate) struct Door {
    doubt: Doubt,
    identity: Identity,
    health: Arc<Health>,
    /// Connections in the hands of who asks. The pool's own count has those in it that are being made.
    held: Arc<AtomicUsize>,
    /// How many transactions began, ever.
    begun: AtomicUsize,
}

impl Door {
    /// Takes note of where a new connection leads. Where that is another database than before, no older connection is used again, and nobody is answered
    /// from a replica until its rows are proven there.
    async fn met(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.identity.changes(connection).await? {
            self.doubt.begins();
            self.health.leads_elsewhere();
        }
        Ok(())
    }

    /// # Errors
    /// Where rows may be another ledger's.
    fn proven<T>(&self, opened: T) -> Result<T, sqlx::Error> {
        if self.health.is_proven() {
            return Ok(opened);
        }
        Err(sqlx::Error::Io(std::io::Error::other("its rows are not known to be this ledger's")))
    }
}

/// One of a pool's connections in somebody's hands; counted until dropped.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a transaction last failed to begin. Its connection may be left within it and refuse everything (its role was not there yet, say), which the pool
/// does not know: connections opened before that time are discarded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt(Arc<Mutex<Option<Instant>>>);

impl Doubt {
    fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection was made after it.
    fn clears(&self, age: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|begun| age < begun.elapsed())
    }
}

/// How many connections a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolUse {
    /// Connections that are open.
    pub open: u32,
    /// Of these, nobody uses.
    pub idle: u32,
}

impl ReadPool {
    /// Connects when it is first asked.
    pub(crate) fn new(place: &Place, settings: &ReadModelSettings) -> Self {
        Self::minding(place, settings, Arc::default())
    }

    /// The same, where rows that have to be proven are not read for anybody until they are.
    pub(crate) fn minding(place: &Place, settings: &ReadModelSettings, health: Arc<Health>) -> Self {
        match place {
            Place::Sqlite(path) => Self::Sqlite(sqlite(path, settings)),
            Place::Postgres(place) => {
                let (doubt, identity, held) = (Doubt::default(), Identity::default(), Arc::default());
                let door = Arc::new(Door { doubt, identity, health, held, begun: AtomicUsize::new(0) });
                let pool = postgres(place, settings, &door);
                Self::Postgres { pool, schema: place.schema, door }
            }
        }
    }

    /// Takes a connection for one that may write here.
    ///
    /// # Errors
    /// Where it leads to a replica whose rows are not proven to be this ledger's.
    pub(crate) async fn admit(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Self::Postgres { door, .. } = self else { return Ok(()) };
        door.met(connection).await?;
        door.proven(())
    }

    /// A snapshot of one tenant's rows: everything read through it is of one moment, and in Postgres the rows of others do not exist in it.
    pub(crate) async fn snapshot(&self, tenant: &TenantId) -> Result<Transaction<'static>, sqlx::Error> {
        self.begin("formledger_reader", &of_tenant(tenant)).await.and_then(|begun| self.proven(begun))
    }

    /// The same for a query, of which nobody waits for a statement any longer than `patience`. Postgres would go on with it for nobody.
    pub(crate) async fn snapshot_for(
        &self,
        tenant: &TenantId,
        patience: Duration,
    ) -> Result<Transaction<'static>, sqlx::Error> {
        // Who asks gives up first: that it took too long is not taken for a fault of the database.
        let limit = (patience + ANSWER_TIMEOUT).as_millis();
        let further = format!("SET LOCAL statement_timeout = {limit}; {}", of_tenant(tenant));
        self.begin("formledger_reader", &further).await.and_then(|begun| self.proven(begun))
    }

    /// Only now: who asks may hold the connection by which it was noticed that the database is another one.
    fn proven<T>(&self, begun: T) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(begun),
            Self::Postgres { door, .. } => door.proven(begun),
        }
    }

    /// A snapshot of all tenants' rows, for status and tools, and for who proves them.
    pub(crate) async fn snapshot_of_all(&self) -> Result<Transaction<'static>, sqlx::Error> {
        self.begin("formledger_projector", LOCK).await
    }

    async fn begin(&self, role: &str, further: &str) -> Result<Transaction<'static>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin().await?),
            Self::Postgres { pool, schema, door } => {
                // All of it lasts as long as the transaction, so that connections may be shared by a pooler in between.
                let begin = format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO {schema}; \
                     SET LOCAL ROLE {role}; {further}"
                );
                let limit = pool.options().get_acquire_timeout() + ANSWER_TIMEOUT;
                let begun_before = door.begun.load(Ordering::Relaxed);
                let mut tries = 0;
                loop {
                    // Whoever asks may leave at any time: a connection that was left before it knows that it is in a transaction would stay in it.
                    // A task of its own goes on to the end, and gives it back out of it.
                    let beginning = tokio::spawn({
                        let (pool, begin) = (pool.clone(), begin.clone());
                        async move { pool.begin_with(begin).await }
                    });
                    let Ok(begun) = timeout(limit, beginning).await else {
                        door.doubt.begins();
                        return Err(sqlx::Error::Io(ErrorKind::TimedOut.into()));
                    };
                    match begun.unwrap_or(Err(sqlx::Error::WorkerCrashed)) {
                        Ok(transaction) => {
                            door.begun.fetch_add(1, Ordering::Relaxed);
                            break Transaction::Pooled(transaction, Held::new(&door.held));
                        }
                        // The pool hands out connections that a server which was restarted no longer knows.
                        Err(sqlx::Error::Io(_)) if tries < pool.options().get_max_connections() => tries += 1,
                        // The pool tries to make a connection for as long as one may wait for it, and says the same where all are in use.
                        Err(sqlx::Error::PoolTimedOut) => {
                            let in_use = door.held.load(Ordering::Relaxed) > 0
                                || door.begun.load(Ordering::Relaxed) != begun_before;
                            let away = || sqlx::Error::Io(ErrorKind::TimedOut.into());
                            return Err(if in_use { sqlx::Error::PoolTimedOut } else { away() });
                        }
                        Err(error) => {
                            door.doubt.begins();
                            return Err(error);
                        }
                    }
                }
            }
        })
    }

    /// Whether a query would be answered now.
    pub(crate) async fn answers(&self) -> bool {
        let asked = timeout(ANSWER_TIMEOUT, async {
            let mut snapshot = self.snapshot_of_all().await?;
            sql("SELECT count(*) FROM checkpoints WHERE tenant_id = ''").one(&mut snapshot.connection()).await
        });
        matches!(asked.await, Ok(Ok(_)))
    }

    pub(crate) fn in_use(&self) -> PoolUse {
        let (open, idle) = match self {
            Self::Sqlite(pool) => (pool.size(), pool.num_idle()),
            Self::Postgres { pool, .. } => (pool.size(), pool.num_idle()),
        };
        PoolUse { open, idle: u32::try_from(idle).unwrap_or(u32::MAX) }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

fn of_tenant(tenant: &TenantId) -> String {
    // A slug holds nothing that would need quoting; `SET` takes no parameters.
    format!("SET LOCAL app.tenant = '{tenant}'; {LOCK}")
}

fn sqlite(path: &Path, settings: &ReadModelSettings) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(settings.read_connections_max)
        .acquire_timeout(settings.acquire_timeout)
        // A connection to a local file does not go stale: no ping before each use, no renewal.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(sqlite_reading(path))
}

fn postgres(place: &PostgresPlace, settings: &ReadModelSettings, door: &Arc<Door>) -> PgPool {
    let (doubt, door) = (door.doubt.clone(), Arc::clone(door));
    PgPoolOptions::new()
        .max_connections(settings.read_connections_max)
        .acquire_timeout(settings.acquire_timeout)
        // A stale connection fails at the begin of its transaction, which is then begun on another: cheaper than a ping before each.
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let usable = doubt.clears(connection.age);
            Box::pin(async move { Ok(usable) })
        })
        .after_connect(move |connection, _| {
            let door = Arc::clone(&door);
            Box::pin(async move { door.met(connection).await })
        })
        .connect_lazy_with(place.options.clone())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use formledger_test_cluster::Database;
    use uuid::Uuid;

    use super::*;
    use crate::place::ReadModelPlace;
    use crate::read_models::ReadModels;
    use crate::reader::QueryError;

    #[tokio::test]
    async fn a_connection_whose_transaction_could_not_begin_is_not_used_again() {
        let database = Database::create().await;
        let ReadModelPlace(place) = ReadModelPlace::postgres(&database.url()).expect("a place");
        let pool = ReadPool::new(&place, &ReadModelSettings::default());
        let role = format!("late_{}", Uuid::now_v7().simple());
        assert!(pool.begin(&role, "").await.is_err(), "there is no such role yet");
        let mut connection = database.connect().await;
        sqlx::raw_sql(&format!("CREATE ROLE {role}")).execute(&mut connection).await.expect("a role");
        for _ in 0..8 {
            let mut snapshot = pool.begin(&role, "").await.expect("it is there now");
            sql("SELECT 1").one(&mut snapshot.connection()).await.expect("an answer");
        }
        sqlx::raw_sql(&format!("DROP ROLE {role}")).execute(&mut connection).await.expect("dropped");
        assert!(pool.begin(&role, "").await.is_err(), "it is gone");
        pool.begin("pg_monitor", "").await.expect("which is nobody else's affair");
    }

    #[tokio::test]
    async fn who_leaves_while_a_transaction_begins_leaves_none_behind() {
        let database = Database::create().await;
        let place = ReadModelPlace::postgres(&database.url()).expect("a place");
        ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("opens");
        let settings = ReadModelSettings { read_connections_max: 1, ..Default::default() };
        let pool = ReadPool::new(&place.0, &settings);
        let tenant: TenantId = "acme".parse().expect("a slug");
        drop(pool.snapshot(&tenant).await.expect("a snapshot"));
        let mut watching = database.connect().await;
        let resting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        // Left at each of the times that it is polled: acquired, asked, answered.
        for polls in 1..8 {
            let mut beginning = Box::pin(pool.snapshot(&tenant));
            for _ in 0..polls {
                let begun = poll_fn(|context| Poll::Ready(beginning.as_mut().poll(context).is_ready()));
                if begun.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(beginning);
            let mut looks = 0;
            while sqlx::query_scalar::<_, i64>(resting).fetch_one(&mut watching).await.expect("a count") > 0 {
                looks += 1;
                assert!(looks < 100, "left after {polls} polls, it is in a transaction still");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_statement_that_nobody_waits_for_ends_in_postgres() {
        let database = Database::create().await;
        let place = ReadModelPlace::postgres(&database.url()).expect("a place");
        ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("opens");
        let settings = ReadModelSettings { read_connections_max: 1, ..Default::default() };
        let pool = ReadPool::new(&place.0, &settings);
        let tenant = "acme".parse().expect("a slug");
        let limit = async |snapshot: &mut Transaction<'static>| {
            let shown =
                sql("SHOW statement_timeout").one(&mut snapshot.connection()).await.expect("a setting");
            shown.value::<&str>().expect("a text").to_owned()
        };
        let mut snapshot = pool.snapshot_for(&tenant, Duration::from_secs(10)).await.expect("a snapshot");
        assert_eq!(limit(&mut snapshot).await, "12s", "who asks gives up before");
        let sooner = sql("SELECT set_config('statement_timeout', '1', true)");
        sooner.rows(&mut snapshot.connection()).await.expect("set");
        let error = sql("SELECT pg_sleep(60)").execute(&mut snapshot.connection()).await.expect_err("ended");
        let error = QueryError::from(error);
        assert!(matches!(error, QueryError::Slow), "no outage: {error:?}");
        drop(snapshot);
        let mut snapshot = pool.snapshot(&tenant).await.expect("a snapshot");
        assert_eq!(limit(&mut snapshot).await, "0", "it ends with the transaction");
    }

    /// What an exchange of tables waits for (docs/adr/0009).
    #[tokio::test]
    async fn whoever_reads_holds_the_checkpoints() {
        let database = Database::create().await;
        let place = ReadModelPlace::postgres(&database.url()).expect("a place");
        ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("opens");
        let pool = ReadPool::new(&place.0, &ReadModelSettings::default());
        let tenant = "acme".parse().expect("a slug");
        let holders = "SELECT count(*) FROM pg_locks WHERE relation = 'read_models.checkpoints'::regclass \
                       AND mode = 'AccessShareLock' AND granted";
        let mut connection = database.connect().await;
        let mut held = async || -> i64 {
            sqlx::query_scalar(holders).fetch_one(&mut connection).await.expect("an answer")
        };
        assert_eq!(held().await, 0);
        let one = pool.snapshot(&tenant).await.expect("a snapshot");
        assert_eq!(held().await, 1);
        let all = pool.snapshot_of_all().await.expect("a snapshot");
        assert_eq!(held().await, 2);
        drop((one, all));
    }
}
