//! One set of read models: a SQLite file beside the ledger (docs/adr/0003) or a schema of a Postgres database, opened, migrated and handed
//! out as readers. Called by `api` at start; the writer's connection never leaves this crate.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::TenantContext;
use formledger_store::{LedgerHead, Store, causes};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::sleep;

use crate::database::{Connection, OwnConnection, Transaction};
use crate::health::{Health, PAUSE_FIRST, PAUSE_MAX, is_outage};
use crate::in_use::{InUse, Taken};
use crate::leadership::Leadership;
pub use crate::open_error::OpenError;
use crate::place::{Place, ReadModelPlace};
use crate::pool::{PoolUse, ReadPool};
use crate::position::{Applied, ReadModel};
use crate::projector::ProjectError;
use crate::reader::{QueryError, TenantReader};
use crate::schema;
use crate::shares::Shares;
use crate::standing::{Heads, Known, Standing, by_tenant};
use crate::status::{self, ReadModelStatus, Skip, SkipError};
use crate::tasks::{self, DueTask};
use crate::waited::Looks;
use crate::witness;

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

/// All tenants' read models in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadModels {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    readers: ReadPool,
    shares: Arc<Shares>,
    /// `None` before the first use, and after a transaction failed.
    writer: Mutex<Option<OwnConnection>>,
    applied: Applied,
    looks: Looks,
    leadership: Leadership,
    standing: Standing,
    health: Arc<Health>,
    /// Set once migrations are applied there; of a file that others may open, with a share in it.
    prepared: OnceCell<Option<InUse>>,
    /// Whether the log says that rows come by statements.
    told_policed: AtomicBool,
    is_own: bool,
}

impl ReadModels {
    /// Opens what is at `place`, makes it if missing, and applies migrations. A Postgres standby is only looked at. Rows that another version
    /// of a projection made stay until a projector of this one begins: who opens may not be who keeps.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the place.
    pub async fn open(place: ReadModelPlace, settings: ReadModelSettings) -> Result<Self, OpenError> {
        let models = Self::new(place, &settings, false);
        models.prepare().await?;
        Ok(models)
    }

    /// As [`ReadModels::open`], of a place that nobody else knows.
    pub(crate) async fn open_own(
        place: ReadModelPlace,
        settings: ReadModelSettings,
    ) -> Result<Self, OpenError> {
        let models = Self::new(place, &settings, true);
        models.prepare().await?;
        Ok(models)
    }

    /// As [`ReadModels::open`], of a database that answers beside the ledger's own, once [`ReadModels::prove`] found its rows to be this ledger's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_replica(place: ReadModelPlace, settings: ReadModelSettings) -> Result<Self, OpenError> {
        let models = Self::replica(place, &settings);
        models.prepare().await?;
        Ok(models)
    }

    /// As [`ReadModels::open_replica`], but a database that is away is no error: it is left out, and opened and taken in when it comes.
    ///
    /// # Errors
    /// [`OpenError`] for one that answers and cannot be used.
    pub async fn open_when_there(
        place: ReadModelPlace,
        settings: ReadModelSettings,
    ) -> Result<Self, OpenError> {
        let models = Self::replica(place, &settings);
        match models.prepare().await {
            Err(error) if error.is_outage() => models.take_out(&error),
            prepared => prepared?,
        }
        Ok(models)
    }

    fn replica(place: ReadModelPlace, settings: &ReadModelSettings) -> Self {
        let models = Self::new(place, settings, false);
        models.inner.health.require_proof();
        models
    }

    /// Looks whether a replica's rows were made from this ledger, as far as they say so; nobody is answered from it before. One that does not answer is proven
    /// when it comes, and one whose URL comes to lead to another database is proven again there.
    ///
    /// # Errors
    /// [`OpenError::OtherLedger`], or why the ledger cannot be read.
    pub async fn prove(&self, store: &Store) -> Result<(), ProjectError> {
        let health = &self.inner.health;
        if health.is_proven() {
            return Ok(());
        }
        // Whatever led or wrote until now did so elsewhere, or where nothing of ours may be.
        self.inner.leadership.resign().await;
        self.forget_writer().await;
        let looked_at = health.databases();
        match witness::stranger(&self.inner.readers, store).await {
            Ok(None) => health.prove(looked_at),
            Ok(Some(tenant)) => return Err(OpenError::OtherLedger { place: self.name(), tenant }.into()),
            Err(ProjectError::Database(error)) if is_outage(&error) => self.take_out(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn new(ReadModelPlace(place): ReadModelPlace, settings: &ReadModelSettings, is_own: bool) -> Self {
        let health = Arc::<Health>::default();
        let inner = Inner {
            readers: ReadPool::minding(&place, settings, Arc::clone(&health)),
            shares: Shares::of(settings.read_connections_max, settings.acquire_timeout),
            writer: Mutex::default(),
            applied: Applied::default(),
            looks: Looks::default(),
            leadership: Leadership::of(&place),
            standing: Standing::default(),
            health,
            prepared: OnceCell::new(),
            told_policed: AtomicBool::default(),
            is_own,
            place,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Applies migrations, the first time that it can.
    pub(crate) async fn prepare(&self) -> Result<(), OpenError> {
        self.inner.prepare().await
    }

    /// Opens the file `path`; see [`ReadModels::open`].
    ///
    /// # Errors
    /// [`OpenError::Newer`] for a file written by a newer binary.
    pub async fn open_sqlite(path: &Path, settings: ReadModelSettings) -> Result<Self, OpenError> {
        Self::open(ReadModelPlace::file(path), settings).await
    }

    /// Opens the schema `read_models` in the database that a `postgres://` URL names; see [`ReadModels::open`].
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the database.
    pub async fn open_postgres(url: &str, settings: ReadModelSettings) -> Result<Self, OpenError> {
        Self::open(ReadModelPlace::postgres(url)?, settings).await
    }

    /// What people call the place: a file, or server and database.
    pub fn name(&self) -> String {
        self.inner.place.name()
    }

    /// How metrics call it: server and database, or `embedded`, because nobody needs to know a path there.
    pub(crate) fn label(&self) -> String {
        match &self.inner.place {
            Place::Sqlite(_) => "embedded".to_owned(),
            Place::Postgres(place) => place.name(),
        }
    }

    /// The read models of the context's tenant, and of no other.
    pub fn reader(&self, context: &TenantContext) -> TenantReader {
        TenantReader::new(context.tenant.clone(), Arc::new([self.clone()]))
    }

    /// How far each read model is behind `heads`, and which tenants are parked; for readiness and tools.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn status(&self, heads: &[LedgerHead]) -> Result<Vec<ReadModelStatus>, QueryError> {
        let heads = by_tenant(heads);
        self.look(&heads).await?;
        Ok(self.last_status(&heads))
    }

    /// Finds out where they are, for [`ReadModels::last_status`] and for the choice of who answers.
    pub(crate) async fn look(&self, heads: &Heads) -> Result<(), QueryError> {
        if !self.inner.health.is_proven() {
            // Another ledger's rows say nothing of how far ours are.
            return Ok(());
        }
        let mut snapshot = self.inner.readers.snapshot_of_all().await?;
        let before = self.inner.standing.known();
        let known = Known::read(&mut snapshot.connection(), heads, &before).await?;
        self.inner.standing.note(&known);
        Ok(())
    }

    /// How they stand by where they were when they were last looked at, beside ledgers that end at `heads`; at the beginning, where that was never.
    pub(crate) fn last_status(&self, heads: &Heads) -> Vec<ReadModelStatus> {
        let known = self.inner.standing.known();
        ReadModel::ALL.map(|read_model| known.status(read_model, heads)).into()
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    /// What is due at `now` in all tenants, the longest overdue first, at most `limit` behind `after`, the last one of the page before;
    /// for timers, which ask the ledger before they act. Tenants at which the tasks are parked are left out.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn due_tasks(
        &self,
        now: DateTime<Utc>,
        after: Option<&DueTask>,
        limit: u32,
    ) -> Result<Vec<DueTask>, QueryError> {
        let mut snapshot = self.inner.readers.snapshot_of_all().await?;
        Ok(tasks::due(&mut snapshot.connection(), now, after, limit).await?)
    }

    /// One of the tasks that [`Self::due_tasks`] pages through, by chance: `dice` says about where among them; `None` when nothing is due.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn any_due_task(&self, now: DateTime<Utc>, dice: u32) -> Result<Option<DueTask>, QueryError> {
        let mut snapshot = self.inner.readers.snapshot_of_all().await?;
        Ok(tasks::any_due(&mut snapshot.connection(), now, dice).await?)
    }

    /// Lets a parked projection pass over the event that it cannot apply, and records who decided so and why.
    ///
    /// A running projector goes on at its next poll. A rebuild passes over the event again.
    ///
    /// # Errors
    /// [`SkipError::NotParkedThere`] unless the projection is parked right before that event.
    pub async fn skip(&self, skip: &Skip) -> Result<(), SkipError> {
        status::skip(self.writer().await?.own(), skip).await
    }

    /// Connections that answer queries.
    pub fn pool_use(&self) -> PoolUse {
        self.inner.readers.in_use()
    }

    /// Closes the database and leaves its keeping to others. Queries that run are finished; a projector that still runs keeps its connection.
    pub async fn close(&self) {
        self.inner.leadership.resign().await;
        self.inner.readers.close().await;
    }

    /// The one connection that writes.
    pub(crate) async fn writer(&self) -> Result<Writer<'_>, sqlx::Error> {
        self.inner.writer().await
    }

    /// Lets the next one take a fresh connection to write, after a transaction failed: a connection to a server may be gone, and a file may be
    /// another one by now.
    pub(crate) async fn forget_writer(&self) {
        if let Some(writer) = self.inner.writer.lock().await.take() {
            writer.forget().await;
        }
    }

    /// As [`ReadModels::forget_writer`], and sees the connection end.
    pub(crate) async fn close_writer(&self) -> Result<(), sqlx::Error> {
        match self.inner.writer.lock().await.take() {
            Some(writer) => writer.close().await,
            None => Ok(()),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.inner.place
    }

    pub(crate) fn readers(&self) -> &ReadPool {
        &self.inner.readers
    }

    pub(crate) fn shares(&self) -> &Arc<Shares> {
        &self.inner.shares
    }

    pub(crate) fn applied(&self) -> &Applied {
        &self.inner.applied
    }

    pub(crate) fn looks(&self) -> &Looks {
        &self.inner.looks
    }

    pub(crate) fn leadership(&self) -> &Leadership {
        &self.inner.leadership
    }

    /// After a runner panicked: whatever its connections were doing is undone, and another process may lead.
    pub(crate) async fn runner_failed(&self) {
        self.inner.health.runner_failed(true);
        self.forget_writer().await;
        self.inner.leadership.resign().await;
    }

    pub(crate) fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Takes a replica out that its runner cannot reach, so that nobody has to ask it first. The ledger's own read models are asked whatever happened.
    pub(crate) fn note_outage(&self, error: &sqlx::Error) {
        if self.inner.health.needs_proof() && is_outage(error) {
            self.take_out(error);
        }
    }

    /// Takes this database out after it failed, and sees to it that it comes back.
    pub(crate) fn take_out(&self, error: &(dyn std::error::Error + 'static)) {
        if self.inner.health.take_out() {
            tracing::warn!(
                replica = self.name(),
                error = causes(error),
                "a replica is taken out until it answers"
            );
            tokio::spawn(bring_back(Arc::downgrade(&self.inner)));
        }
    }
}

impl Inner {
    async fn prepare(&self) -> Result<(), OpenError> {
        let preparing = async || {
            let in_use = match &self.place {
                Place::Sqlite(path) if !self.is_own => Some(share(path).await?),
                _ => None,
            };
            schema::migrate(&self.place).await?;
            Ok(in_use)
        };
        if self.prepared.initialized() && !self.health.is_proven() {
            // It may be another database by now, and another installation's.
            return schema::migrate_if_new(&self.place).await;
        }
        self.prepared.get_or_try_init(preparing).await.map(drop)
    }

    async fn writer(&self) -> Result<Writer<'_>, sqlx::Error> {
        let mut writer = self.writer.lock().await;
        if writer.is_none() {
            let mut connection = self.place.connect_writer().await?;
            if let OwnConnection::Postgres(connection, _) = &mut connection {
                self.readers.admit(connection).await?;
            }
            if connection.is_policed() && !self.told_policed.swap(true, Ordering::Relaxed) {
                tracing::info!(
                    replica = self.place.name(),
                    "new rows come by statements: an administrator can make that cheaper (docs/operations.md, Logins)"
                );
            }
            *writer = Some(connection);
        }
        Ok(Writer(writer))
    }
}

/// Says that this process has the file open.
pub(crate) async fn share(path: &Path) -> Result<InUse, OpenError> {
    let taken = |Taken| OpenError::BeingExchanged { path: path.display().to_string() };
    InUse::shared(path).await.map_err(taken)
}

/// Tries a database that was taken out until it answers, or nobody has it any more.
async fn bring_back(inner: Weak<Inner>) {
    let mut pause = PAUSE_FIRST;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.prepare().await {
            if !error.is_outage() {
                tracing::error!(
                    replica = inner.place.name(),
                    error = causes(&error),
                    "a replica came and cannot be used"
                );
            }
            continue;
        }
        if inner.readers.answers().await {
            inner.health.take_in();
            tracing::info!(replica = inner.place.name(), "a replica answers again");
            return;
        }
    }
}

/// The connection that writes, for one user at a time.
#[derive(Debug)]
pub(crate) struct Writer<'a>(MutexGuard<'a, Option<OwnConnection>>);

impl Writer<'_> {
    pub(crate) fn own(&mut self) -> &mut OwnConnection {
        self.0.as_mut().expect("a writer is handed out connected")
    }

    pub(crate) fn connection(&mut self) -> Connection<'_> {
        self.own().connection()
    }

    pub(crate) async fn begin_writing(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        self.own().begin_writing().await
    }
}
