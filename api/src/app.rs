//! The composition root: builds everything from settings, in one place, for `main.rs` and for tests alike.
//! Nothing here answers requests; see `router` for what does.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use formledger_domain::TenantId;
use formledger_projections::{
    Moments, OpenError, ProjectError, ReadModelPlace, ReadModelSettings, ReadModels, Replicas,
    RunnerSettings, ShadowFolder, remove_stale_shadows,
};
use formledger_store::{Restoration, Store, StoreError, StoreSettings};
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::attachments::{self, AttachmentStore};
use crate::audit::{self, AuditLog};
use crate::auth::{self, Authenticator};
use crate::begun::Begun;
use crate::catalogue::Catalogue;
use crate::config::{ConfigError, Settings, Storage};
use crate::feed::FeedPages;
use crate::form_queries::CheckedForms;
use crate::metrics::{RouteMetrics, ServerMetrics, UPKEEP_INTERVAL, recorder};
use crate::places::Places;
use crate::replays::Replays;
use crate::router;
use crate::server::{Cors, Server};
use crate::standbys::Standbys;
use crate::tenant_states::TenantStates;
use crate::tenants::Tenants;
use crate::timers;
use crate::upkeep;

/// File of the ledger in the data directory.
const LEDGER_FILE: &str = "ledger.db";
/// File of the read models there; losing it costs a rebuild, no fact.
const READ_MODELS_FILE: &str = "read-models.db";
/// Connections of a node that answer queries, to each Postgres database that holds read models.
const READ_CONNECTIONS_MAX: u32 = 16;
/// How long a query waits for a connection to a replica before another one is asked.
const REPLICA_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stop waits for each kind of work that goes on without its connection, where connections took all the time that there was.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Why the application does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings cannot be served.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be made or used.
    #[error("the data directory `{path}` cannot be used")]
    DataDirectory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("`{address}` cannot be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The ledger cannot be opened.
    #[error("the ledger cannot be opened")]
    Ledger(#[from] StoreError),
    /// The read models cannot be opened.
    #[error("the read models cannot be opened")]
    ReadModels(#[from] OpenError),
    /// Attachments cannot be kept.
    #[error(transparent)]
    Attachments(#[from] attachments::OpenError),
    /// A database that should answer queries cannot be used.
    #[error("`--replica-url`")]
    Replica(#[source] OpenError),
}

/// Where a server keeps shadows: in a folder of its own, so that another server on the same data folder leaves them alone.
pub struct Shadows {
    data: PathBuf,
    own: Option<ShadowFolder>,
}

impl Shadows {
    /// Where that cannot be made, the rest of the server goes on.
    fn new(data: &Path) -> Self {
        let own = ShadowFolder::of_server(data);
        let failed = |error: &std::io::Error| tracing::warn!(%error, path = %data.display(), "there is no folder for past moments and shadow replays");
        Self { data: data.to_owned(), own: own.inspect_err(failed).ok() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.own.as_ref().map_or(&self.data, ShadowFolder::path)
    }
}

/// What handlers share.
pub struct Api {
    /// How the application was configured.
    pub settings: Settings,
    /// All tenants' ledgers.
    pub store: Store,
    /// Copies of them that replays read.
    pub standbys: Standbys,
    /// All tenants' read models.
    pub read_models: Replicas,
    /// Read models of past moments.
    pub moments: Moments,
    /// Where those, and the shadows of replays, are.
    pub shadows: Shadows,
    /// Which tenants exist.
    pub tenants: Tenants,
    /// What their own streams say of tenants.
    pub tenant_states: TenantStates,
    /// What is to be audited and was not recorded yet.
    pub audit: AuditLog,
    /// Where the bytes of attachments are.
    pub attachments: AttachmentStore,
    /// Attachments that may still arrive.
    pub uploads: Arc<Places>,
    /// Published forms, compiled.
    pub catalogue: Catalogue,
    /// What the checker says of forms.
    pub checked_forms: CheckedForms,
    /// Checks credentials.
    pub authenticator: Authenticator,
    /// What the server counts.
    pub metrics: Arc<ServerMetrics>,
    /// Pages of ledgers that feeds share.
    pub feed_pages: FeedPages,
    /// Feeds that may still be opened.
    pub feeds: Arc<Places>,
    /// Requests with many commands that may still begin.
    pub bulks: Arc<Places>,
    /// Exports that may still begin.
    pub exports: Arc<Places>,
    /// What goes on when its client has left.
    pub begun: Begun,
    /// Replays that run, and those that ended lately.
    pub replays: Replays,
    /// Turns true when the application stops, so that feeds end.
    pub stopping: watch::Receiver<bool>,
}

/// The application, listening and not yet answering.
pub struct App {
    api: Arc<Api>,
    listener: TcpListener,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl App {
    /// Opens the ledger and the read models, applies migrations, loads keys, listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn build(settings: Settings) -> Result<Self, StartError> {
        recorder();
        let authenticator = Authenticator::new(&settings.auth)?;
        let (listener, address) = listen(settings.listen).await?;
        let store = open_ledger(&settings.storage, settings.append_batch_max).await?;
        if let Err(error) = remove_stale_shadows(&settings.storage.data) {
            tracing::warn!(%error, "files of a server of an earlier version could not be removed");
        }
        let attachments = AttachmentStore::open(&settings.storage.data, &settings.storage.attachments)?;
        attachments.prepare()?;
        let own = open_read_models(&settings.storage).await?;
        let replicas = open_replicas(&store, &own, &settings.replicas, false).await?;
        let read_models = Replicas::new(own, replicas);
        if settings.auth.has_weak_secret() {
            tracing::warn!("a secret has fewer than 32 bytes, so tokens could be forged by trying");
        }
        let (stop, stopping) = watch::channel(false);
        let shadows = Shadows::new(&settings.storage.data);
        let folder = shadows.path().to_owned();
        let moments = Moments::new(store.clone(), read_models.clone(), folder, settings.moments.clone());
        let api = Api {
            moments,
            shadows,
            tenants: Tenants::new(settings.provisioned_tenants),
            tenant_states: TenantStates::new(),
            audit: AuditLog::new(),
            attachments,
            uploads: Places::new(settings.limits.uploads_max, settings.limits.uploads_per_tenant_max),
            catalogue: Catalogue::new(settings.limits.compiled_forms_max),
            checked_forms: CheckedForms::new(),
            feed_pages: FeedPages::new(),
            feeds: Places::new(settings.limits.feeds_max, settings.limits.feeds_per_tenant_max),
            bulks: Places::new(settings.limits.bulks_max, settings.limits.bulks_per_tenant_max),
            exports: Places::new(settings.limits.exports_max, settings.limits.exports_per_tenant_max),
            begun: Begun::new(),
            replays: Replays::new(&settings.limits),
            metrics: ServerMetrics::new(),
            standbys: Standbys::new(&settings.possible_standbys),
            settings,
            store,
            read_models,
            authenticator,
            stopping,
        };
        Ok(Self { api: Arc::new(api), listener, address, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers share.
    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Brings the read models up to what is recorded now, so that the first query finds it.
    ///
    /// # Errors
    /// When the ledger cannot be read or the read models not be written.
    pub(crate) async fn catch_up(&self) -> Result<(), ProjectError> {
        catch_up(&self.api).await
    }

    /// Answers until `until` is ready; then stops accepting, closes feeds, answers what is in flight and flushes what was recorded.
    pub async fn run(self, until: impl Future<Output = ()>) {
        let Self { api, listener, stop, .. } = self;
        let metrics = kept(&api, "metrics", keep_metrics);
        let keys = kept(&api, "keys", auth::follow_keys);
        let (end_projecting, projecting_ends) = oneshot::channel::<()>();
        let projector = tokio::spawn(project(Arc::clone(&api), projecting_ends));
        let timer = kept(&api, "timer", timers::run);
        let auditor = kept(&api, "auditor", audit::run);
        let probing = Arc::clone(&api);
        tokio::spawn(async move { probing.attachments.probe().await });
        let server = Server {
            routes: router::routes(&api),
            cors: Cors::of(&api.settings.cors_origins),
            limits: api.settings.limits.clone(),
            metrics: Arc::clone(&api.metrics),
            unmatched: Arc::new(RouteMetrics::unmatched()),
        };
        let stopping = async {
            until.await;
            tracing::info!("stopping");
            // Before connections are drained: a feed would otherwise keep its own open for ever.
            stop.send_replace(true);
        };
        let drained_by = server.run(listener, stopping).await;
        // What connections leave of that time, and something for what they left behind when they were dropped at its end.
        let drained_by = drained_by.max(Instant::now() + LEFT_BEHIND);
        if tokio::time::timeout_at(drained_by, api.begun.ended()).await.is_err() {
            tracing::warn!("requests whose clients left were dropped, because they did not end in time");
        }
        api.moments.close();
        api.replays.stop(drained_by.max(Instant::now() + LEFT_BEHIND)).await;
        metrics.abort();
        keys.abort();
        // It heard that the application stops; what it has begun is recorded before the ledger is closed.
        if let Err(error) = timer.await {
            tracing::error!(%error, "the timer did not end well");
        }
        if let Err(error) = auditor.await {
            tracing::error!(%error, "the auditor did not end well");
        }
        audit::flush(&api, None).await;
        // Fails only when the projector has ended already.
        let _ = end_projecting.send(());
        if let Err(error) = projector.await {
            tracing::error!(%error, "the projector did not end well");
        }
        api.read_models.close().await;
        api.standbys.close().await;
        api.store.close().await;
        tracing::info!("stopped");
    }
}

/// Begins what goes on beside requests.
fn kept<R: Future<Output = ()> + Send + 'static>(
    api: &Arc<Api>,
    task: &'static str,
    run: fn(Arc<Api>) -> R,
) -> JoinHandle<()> {
    let stopping = api.stopping.clone();
    let api = Arc::clone(api);
    upkeep::spawn(task, move || run(Arc::clone(&api)), stopping)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Opens the ledger, makes it where there is none, and makes the data directory when it is missing.
///
/// # Errors
/// When the directory cannot be made or the database cannot be opened.
pub async fn open_ledger(storage: &Storage, append_batch_max: usize) -> Result<Store, StartError> {
    let Storage { data, database, .. } = storage;
    std::fs::create_dir_all(data)
        .map_err(|source| StartError::DataDirectory { path: data.display().to_string(), source })?;
    let limits = StoreSettings { append_batch_max, ..StoreSettings::default() };
    Ok(match database {
        Some(postgres) => Store::open_postgres(postgres, limits).await?,
        None => Store::open_sqlite(&ledger_file(data), limits).await?,
    })
}

/// Opens the ledger to put a tenant's exported events into it; as [`open_ledger`] otherwise.
///
/// # Errors
/// As [`open_ledger`].
pub async fn open_restoration(storage: &Storage, tenant: TenantId) -> Result<Restoration, StartError> {
    let Storage { data, database, .. } = storage;
    std::fs::create_dir_all(data)
        .map_err(|source| StartError::DataDirectory { path: data.display().to_string(), source })?;
    Ok(match database {
        Some(postgres) => Restoration::open_postgres(postgres, tenant).await?,
        None => Restoration::open_sqlite(&ledger_file(data), tenant).await?,
    })
}

/// Where the embedded ledger is.
pub fn ledger_file(directory: &Path) -> PathBuf {
    directory.join(LEDGER_FILE)
}

/// Opens the read models beside the ledger.
///
/// # Errors
/// When they cannot be opened, or a newer program wrote them.
pub async fn open_read_models(storage: &Storage) -> Result<ReadModels, StartError> {
    let place = read_model_place(storage).await?;
    let settings = if place.is_file() {
        ReadModelSettings::default()
    } else {
        ReadModelSettings { read_connections_max: READ_CONNECTIONS_MAX, ..ReadModelSettings::default() }
    };
    Ok(ReadModels::open(place, settings).await?)
}

/// Where read models are kept beside the ledger: in its own database, or in a file where it has none, or none whose sessions can hold a lock.
///
/// # Errors
/// When the database does not let us in.
pub async fn read_model_place(storage: &Storage) -> Result<ReadModelPlace, StartError> {
    if let Some(place) = &storage.read_models {
        if place.has_own_sessions().await? {
            return Ok(place.clone());
        }
        tracing::warn!(
            "`--database-url` leads through a pooler, so read models are kept in `{}` and not in the database: state \
             `--database-listen-url` as well",
            storage.data.display()
        );
    }
    Ok(ReadModelPlace::file(&storage.data.join(READ_MODELS_FILE)))
}

/// Opens the databases that answer queries before the ledger's `own`, unless one is that. One that is away is an error where
/// `all_there` says so; else it is left out until it comes.
///
/// # Errors
/// When one does not let us in, or holds something else or another ledger's rows.
pub async fn open_replicas(
    store: &Store,
    own: &ReadModels,
    places: &[ReadModelPlace],
    all_there: bool,
) -> Result<Vec<ReadModels>, StartError> {
    let mut replicas = Vec::with_capacity(places.len());
    for place in places.iter().filter(|place| place.name() != own.name()) {
        // Another replica answers sooner than a pool that waits for a server which is gone.
        let settings = ReadModelSettings {
            read_connections_max: READ_CONNECTIONS_MAX,
            acquire_timeout: REPLICA_ACQUIRE_TIMEOUT,
        };
        let opened = if all_there {
            ReadModels::open_replica(place.clone(), settings).await
        } else {
            ReadModels::open_when_there(place.clone(), settings).await
        };
        let opened = opened.map_err(StartError::Replica)?;
        opened.prove(store).await.map_err(|error| match error {
            ProjectError::Open(error) => StartError::Replica(error),
            ProjectError::Store(error) => StartError::Ledger(error),
            ProjectError::Database(error) => StartError::Replica(error.into()),
            lost @ ProjectError::HistoryLost { .. } => {
                StartError::Ledger(StoreError::Damaged(lost.to_string()))
            }
        })?;
        replicas.push(opened);
    }
    Ok(replicas)
}

/// Applies everything recorded so far to all read models that this process keeps; one that is away keeps no other from it.
async fn catch_up(api: &Api) -> Result<(), ProjectError> {
    let mut all = Ok(());
    for mut runner in api.read_models.runners(&api.store, &RunnerSettings::default()) {
        if let Err(error) = runner.run_once().await {
            all = Err(error);
        }
    }
    all
}

/// Keeps the read models up to date until told to end; then applies what was recorded last, for a while.
async fn project(api: Arc<Api>, ends: oneshot::Receiver<()>) {
    // A dropped sender means the same.
    api.read_models.keep(&api.store, &RunnerSettings::default(), ends.map(drop)).await;
    match tokio::time::timeout(api.settings.limits.drain_timeout, catch_up(&api)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the read models are behind and catch up at the next start"),
        Err(_) => tracing::warn!("the read models are behind and catch up at the next start"),
    }
}

/// Folds recorded samples into buckets from time to time; without it they would pile up until somebody scrapes. Removes past moments that
/// nobody asks for any more.
async fn keep_metrics(api: Arc<Api>) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        api.read_models.report();
        api.store.report_readers();
        api.moments.tidy();
        recorder().run_upkeep();
    }
}
