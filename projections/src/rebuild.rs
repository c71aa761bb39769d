//! Builds read models again from the ledger in a fresh place (a file, or a schema) and switches, while another process or this one serves.
//! Called by `formledger rebuild` and by tests. Readers see the old rows until the moment they see the new ones; a live projector
//! notices by its compare-and-set, or when it polls, that its checkpoint was moved, and goes on from there.

mod alone;
mod fresh;
mod swap;
mod switch;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::BTreeSet;

use chrono::Utc;
use formledger_domain::{Position, TenantContext, TenantId};
use formledger_store::{Store, StoreError};

use crate::ahead::Forward;
use crate::checkpoint;
use crate::database::{OwnConnection, sql};
use crate::place::{Place, ReadModelPlace};
use crate::position::ReadModel;
use crate::projector::{BatchLimits, ProjectError, Projector};
use crate::read_models::{OpenError, ReadModelSettings, ReadModels, share};
use crate::schema;
use fresh::{Fresh, Sides};

/// One batch of a rebuild: larger than a live one, because nobody waits for its commit. Two are in memory where one is read ahead.
const BATCH: BatchLimits = BatchLimits { events_max: 16_384, bytes_max: 32 * 1024 * 1024 };
/// How often fresh rows are brought up to the ledger beside the live projector, each time with what came during the time before, until that is
/// no more than a batch. What is left then is folded while the live projector waits, so that no rows go back that are right.
const CATCH_UPS_MAX: usize = 20;

/// What to build again.
#[derive(Debug, Clone)]
pub struct RebuildRequest {
    /// Which read models; all by default.
    pub read_models: Vec<ReadModel>,
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
}

impl Default for RebuildRequest {
    fn default() -> Self {
        Self { read_models: ReadModel::ALL.to_vec(), tenant: None }
    }
}

/// What a rebuild is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildProgress {
    /// Events folded so far into the fresh file, of how many there were at the start.
    Folded {
        /// So far.
        events: u64,
        /// Of these.
        total: u64,
    },
    /// A tenant's rows were replaced.
    Switched {
        /// Whose.
        tenant: TenantId,
        /// The position that all of them reach.
        position: Position,
    },
}

/// Why a rebuild ended early; tenants not yet switched keep their rows.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A read-model database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be read, or a batch not be applied.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A read-model database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
    /// The fresh file cannot be made or removed.
    #[error("the file for the fresh read models cannot be used")]
    File(#[from] std::io::Error),
    /// Another process rebuilds the same database.
    #[error("another rebuild of this database is running: wait until it has ended")]
    Running,
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Project(error.into())
    }
}

/// Rebuilds what `request` names at the place `live`, reporting progress.
///
/// Safe to interrupt at any point and to run again.
///
/// # Errors
/// [`RebuildError`]; tenants not yet switched keep their rows.
pub async fn rebuild(
    store: &Store,
    live: &ReadModelPlace,
    request: RebuildRequest,
    progress: impl FnMut(RebuildProgress) + Send,
) -> Result<(), RebuildError> {
    rebuild_in(BATCH, store, live, request, progress).await
}

async fn rebuild_in(
    batch: BatchLimits,
    store: &Store,
    live: &ReadModelPlace,
    request: RebuildRequest,
    mut progress: impl FnMut(RebuildProgress) + Send,
) -> Result<(), RebuildError> {
    let mut rebuilding = Rebuilding::begin(batch, store, live, &request).await?;
    let folded = rebuilding.fold(request.tenant, &mut progress).await?;
    let mut switched = None;
    // By the size of the rows: indexes are made next.
    let switches_whole = rebuilding.whole && rebuilding.switches_whole(&folded);
    if rebuilding.whole {
        switched = rebuilding.switch_alone(&folded).await?;
    }
    if switched.is_none() && switches_whole {
        switched = rebuilding.switch_whole(&folded).await?;
    }
    match switched {
        Some(tenants) => tenants
            .into_iter()
            .for_each(|(tenant, position)| progress(RebuildProgress::Switched { tenant, position })),
        None => {
            for tenant in folded.tenants.into_iter().chain(folded.gone) {
                let position = rebuilding.switch(&tenant).await?;
                progress(RebuildProgress::Switched { tenant, position });
            }
        }
    }
    rebuilding.end().await
}

struct Rebuilding {
    projector: Projector,
    batch: BatchLimits,
    fresh: Fresh,
    /// The fresh ones.
    made: ReadModels,
    /// Writes the live rows and sees the fresh ones.
    live: OwnConnection,
    sides: Sides,
    read_models: Vec<ReadModel>,
    /// Whether whole tables can be switched.
    whole: bool,
    /// What makes the indexes of fresh tables again that folding does without; empty once they are made.
    indexes: Vec<String>,
}

/// What a fold went through.
#[derive(Debug, Default)]
struct Folded {
    /// Whose ledgers.
    tenants: BTreeSet<TenantId>,
    /// Tenants with live rows that no ledger stands behind.
    gone: BTreeSet<TenantId>,
    /// Events of the longest ledger.
    largest: u64,
    /// Events of all.
    total: u64,
}

impl Rebuilding {
    /// Claims the fresh place and makes empty read models there.
    async fn begin(
        batch: BatchLimits,
        store: &Store,
        live: &ReadModelPlace,
        request: &RebuildRequest,
    ) -> Result<Self, RebuildError> {
        {
            let _in_use = match &live.0 {
                Place::Sqlite(path) => Some(share(path).await?),
                Place::Postgres(_) => None,
            };
            schema::migrate(&live.0).await?;
        }
        let mut fresh = Fresh::claim(&live.0).await?;
        let made = ReadModels::open_own(fresh.place(), ReadModelSettings::default()).await?;
        let whole = request.tenant.is_none() && fresh.can_replace_tables().await?;
        let indexes = fresh.lighten(&made, whole).await?;
        let (mut live, sides) = fresh.connect().await?;
        // What operators decided to pass over is passed over again.
        let skips = format!("INSERT INTO {}.skips SELECT * FROM {}.skips", sides.fresh, sides.live);
        sql(skips).execute(&mut live.connection()).await?;
        let read_models = request.read_models.clone();
        let mut projector = Projector::new(store.clone(), made.clone(), &read_models, batch);
        projector.load(false).await?;
        Ok(Self { projector, batch, fresh, made, live, sides, read_models, whole, indexes })
    }

    /// See [`Fresh::make_ready`].
    async fn make_ready(&mut self) -> Result<bool, RebuildError> {
        let indexes = std::mem::take(&mut self.indexes);
        self.fresh.make_ready(&self.made, &indexes, &self.read_models).await
    }

    async fn end(self) -> Result<(), RebuildError> {
        self.live.close().await?;
        drop(self.projector);
        self.made.close().await;
        self.fresh.remove().await
    }

    /// Whether every read model is built again.
    fn builds_all(&self) -> bool {
        ReadModel::ALL.iter().all(|read_model| self.read_models.contains(read_model))
    }

    /// Folds all ledgers, or one, into the fresh file; answers whose rows to switch.
    async fn fold(
        &mut self,
        only: Option<TenantId>,
        progress: &mut (impl FnMut(RebuildProgress) + Send),
    ) -> Result<Folded, RebuildError> {
        let heads: Vec<(TenantId, Position)> = (self.projector.store().heads().await?.into_iter())
            .filter(|head| only.as_ref().is_none_or(|only| *only == head.tenant))
            .map(|head| (head.tenant, head.position))
            .collect();
        let total = heads.iter().map(|(_, position)| position.0).sum();
        let largest = heads.iter().map(|(_, position)| position.0).max().unwrap_or_default();
        let tenants: BTreeSet<TenantId> = heads.iter().map(|(tenant, _)| tenant.clone()).collect();
        let mut events = 0;
        // A ledger that fills whole batches is read ahead; the others share batches.
        let mut forward = Forward::default();
        for (tenant, head) in heads.iter().filter(|(_, head)| head.0 >= self.batch.events_max as u64) {
            loop {
                let taken = forward.advance(&mut self.projector, tenant, *head, self.batch).await?;
                if taken == 0 {
                    break;
                }
                events += taken as u64;
                progress(RebuildProgress::Folded { events, total });
            }
        }
        self.projector.aim(heads);
        while self.projector.is_behind() {
            events += self.projector.advance().await? as u64;
            progress(RebuildProgress::Folded { events, total });
        }
        // Rows of tenants that the ledger does not hold go too.
        let mut gone = BTreeSet::new();
        for read_model in &self.read_models {
            let known = checkpoint::load_all(&mut self.live.connection(), *read_model).await?.into_keys();
            gone.extend(known.filter(|tenant| only.as_ref().is_none_or(|only| only == tenant)));
        }
        gone.retain(|tenant| !tenants.contains(tenant));
        Ok(Folded { tenants, gone, largest, total })
    }

    /// Brings fresh rows near the end of all ledgers, or of one, beside the live projector.
    async fn catch_up(&mut self, only: Option<&TenantId>) -> Result<(), RebuildError> {
        for _ in 0..CATCH_UPS_MAX {
            if fold_news(&mut self.projector, only).await? <= self.batch.events_max as u64 {
                break;
            }
        }
        Ok(())
    }
}

/// Folds what all ledgers hold by now, or one; answers how many events that was. While the live projector waits, fresh rows reach at least as far
/// afterwards as live ones, unless these reflect what no ledger holds, or events that this version stops at.
async fn fold_news(projector: &mut Projector, only: Option<&TenantId>) -> Result<u64, RebuildError> {
    match only {
        Some(tenant) => {
            let context = TenantContext::system(tenant.clone(), "rebuild", Utc::now());
            let head = projector.store().ledger(&context).head().await?.position;
            projector.aim([(tenant.clone(), head)]);
        }
        None => {
            let heads = projector.store().heads().await?;
            projector.aim(heads.into_iter().map(|head| (head.tenant, head.position)));
        }
    }
    let mut events = 0;
    while projector.is_behind() {
        events += projector.advance().await? as u64;
    }
    Ok(events)
}
