//! Builds read models again from the ledger in a fresh place (a file, or a schema) and switches, while another process or this one serves.
//! Called by `formledger rebuild` and by tests. Readers see the old rows until the moment they see the new ones; a live projector
//! notices by its compare-and-set that its checkpoint was moved, and goes on from there.

mod fresh;
mod swap;
mod switch;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::BTreeSet;

use formledger_domain::{Position, TenantId};
use formledger_store::{Store, StoreError};

use crate::ahead::Forward;
use crate::checkpoint;
use crate::database::{OwnConnection, sql};
use crate::place::ReadModelPlace;
use crate::position::ReadModel;
use crate::projector::{BatchLimits, ProjectError, Projector};
use crate::read_models::{OpenError, ReadModelSettings, ReadModels};
use crate::schema;
use fresh::{Fresh, Sides};

/// One batch of a rebuild: larger than a live one, because nobody waits for its commit. Two are in memory where one is read ahead.
const BATCH: BatchLimits = BatchLimits { events_max: 16_384, bytes_max: 32 * 1024 * 1024 };
/// How often fresh rows are brought up to the live ones before they are switched in even though they are behind; readers then
/// see an older position for a moment, and the live projector catches up from there.
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
    schema::migrate(&live.0).await?;
    let mut fresh = Fresh::claim(&live.0).await?;
    let read_models = ReadModels::open(fresh.place(), ReadModelSettings::default()).await?;
    let whole = request.tenant.is_none() && fresh.can_replace_tables().await?;
    let indexes = fresh.lighten(&read_models, whole).await?;
    let (mut connection, sides) = fresh.connect().await?;
    // What operators decided to pass over is passed over again.
    let Sides { live, fresh: made } = sides;
    let skips = format!("INSERT INTO {made}.skips SELECT * FROM {live}.skips");
    sql(skips).execute(&mut connection.connection()).await?;

    let mut rebuilding = Rebuilding {
        projector: Projector::new(store.clone(), read_models.clone(), &request.read_models, batch),
        batch,
        live: connection,
        sides,
        read_models: request.read_models,
    };
    rebuilding.projector.load(false).await?;
    let folded = rebuilding.fold(request.tenant, &mut progress).await?;
    let mut switched = None;
    if whole && Rebuilding::switches_whole(&folded, fresh.bytes()) {
        fresh.make_ready(&read_models, &indexes, &rebuilding.read_models).await?;
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
    rebuilding.live.close().await?;
    drop(rebuilding.projector);
    read_models.close().await;
    fresh.remove().await
}

struct Rebuilding {
    projector: Projector,
    batch: BatchLimits,
    /// Writes the live rows and sees the fresh ones.
    live: OwnConnection,
    sides: Sides,
    read_models: Vec<ReadModel>,
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
}
