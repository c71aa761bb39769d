//! Past moments: the read models of one tenant as they were when its ledger ended at an earlier position, folded again from the ledger
//! by the very same projections into a file that only lives for a while ([ADR 8](../../docs/adr/0008-the-past-is-folded-again.md)).
//! Asked by `api` for lists, statistics, tasks and exports of the past; every query of a [`TenantReader`] answers there as it does live.

mod build;
mod shelf;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formledger_domain::{Position, TenantContext};
use formledger_store::Store;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::read_models::ReadModels;
use crate::reader::TenantReader;
use crate::replicas::Replicas;
use crate::shadow::{ShadowError, ShadowFile};
use build::Build;
use shelf::{Found, Shelf};

/// Limits of past moments.
#[derive(Debug, Clone)]
pub struct MomentSettings {
    /// Moments kept at once; at the limit the one goes that nobody asked for in the longest time.
    pub kept_max: usize,
    /// Bytes of all files that are kept; at the limit the same happens. Where it is 0 no moment is folded: [`MomentError::Off`].
    pub bytes_max: u64,
    /// Bytes of one file; a moment that needs more is [`MomentError::TooLarge`].
    pub moment_bytes_max: u64,
    /// Bytes that stay free on the file system of the folder, where a ledger may be, too: kept moments go before they are taken, and what would
    /// still take them is [`MomentError::DiskFull`].
    pub reserve_bytes: u64,
    /// How long a moment is kept that nobody asks for.
    pub idle_max: Duration,
    /// How long a moment is folded on at most for somebody who was told to ask again; when nobody waits and nobody is to come back, it ends.
    pub come_back_max: Duration,
    /// Moments that are folded at once, each of another tenant; the others wait for their turn.
    pub building_max: usize,
    /// Moments of one tenant that are folded or wait for it; the next one is [`MomentError::Busy`].
    pub waiting_per_tenant_max: usize,
    /// The same of all tenants.
    pub waiting_max: usize,
}

impl Default for MomentSettings {
    fn default() -> Self {
        Self {
            kept_max: 32,
            bytes_max: 4 * 1024 * 1024 * 1024,
            moment_bytes_max: 2 * 1024 * 1024 * 1024,
            reserve_bytes: 1024 * 1024 * 1024,
            idle_max: Duration::from_secs(15 * 60),
            come_back_max: Duration::from_secs(90),
            building_max: 2,
            waiting_per_tenant_max: 8,
            waiting_max: 64,
        }
    }
}

impl MomentSettings {
    /// The usual ones but for the bytes of files: of all that are kept, of which one may take half, and of those that stay free.
    pub fn with_bytes(bytes_max: u64, reserve_bytes: u64) -> Self {
        Self { bytes_max, moment_bytes_max: bytes_max / 2, reserve_bytes, ..Self::default() }
    }
}

/// Why a moment cannot be read, or not yet.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MomentError {
    /// It is still being folded; asking again goes on waiting for the same.
    #[error("the rows of position {wanted} are being folded, and are at {position}")]
    Building {
        /// How far that has come; [`Position::START`] before its turn.
        position: Position,
        /// The moment.
        wanted: Position,
        /// How much longer it takes at the present pace.
        left: Duration,
    },
    /// Too many moments are being folded.
    #[error("too many past moments are being folded")]
    Busy,
    /// Its rows are more than may be kept.
    #[error(
        "the rows of position {wanted} take more than {bytes_max} bytes: they reached them at position {position}"
    )]
    TooLarge {
        /// Where they did.
        position: Position,
        /// The moment.
        wanted: Position,
        /// The most there may be.
        bytes_max: u64,
    },
    /// This process keeps no rows of past moments.
    #[error("no rows of past moments are kept")]
    Off,
    /// The file system has no room for its rows beside what is to stay free.
    #[error("there is no room on the disk for the rows of a past moment")]
    DiskFull,
    /// This process is about to end.
    #[error("the server is stopping")]
    Closed,
    /// It could not be folded.
    #[error("a past moment could not be folded")]
    Failed(#[source] Arc<ShadowError>),
}

/// How much later than twice the time that was told somebody may come back.
const COME_BACK_LATE: Duration = Duration::from_secs(10);

/// The past moments that this process holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Moments {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    live: Replicas,
    folder: PathBuf,
    settings: MomentSettings,
    shelf: Mutex<Shelf>,
    places: Arc<Semaphore>,
    closed: AtomicBool,
}

/// The rows of one tenant at one moment. The file goes with the last who reads it.
#[derive(Debug)]
pub(crate) struct KeptMoment {
    // Closed before the file goes.
    read_models: ReadModels,
    file: ShadowFile,
    position: Position,
    bytes: u64,
}

impl KeptMoment {
    pub(crate) fn read_models(&self) -> &ReadModels {
        &self.read_models
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }
}

/// How far a moment is that somebody asked for.
#[derive(Debug, Clone)]
enum Stage {
    /// Others come first.
    Waiting,
    /// It is being folded since then, from a position on, and came as far as another one.
    Folding {
        since: Instant,
        from: Position,
        reached: Position,
    },
    Ready(Arc<KeptMoment>),
    Failed(MomentError),
}

impl Moments {
    /// None yet. Files are made in `folder`, named as shadows are; events that operators let `live` pass over are passed over.
    pub fn new(store: Store, live: Replicas, folder: PathBuf, settings: MomentSettings) -> Self {
        let places = Arc::new(Semaphore::new(settings.building_max));
        let inner = Inner {
            store,
            live,
            folder,
            settings,
            shelf: Mutex::default(),
            places,
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A reader of the context's tenant as its read models were when the ledger ended at `position`, which it did or does: folds them
    /// where nobody did lately, and waits for that at most until `deadline`.
    ///
    /// # Errors
    /// [`MomentError`]. Who is told that it is [`MomentError::Building`] is waited for: it is folded on for a while.
    pub async fn at(
        &self,
        context: &TenantContext,
        position: Position,
        deadline: Instant,
    ) -> Result<TenantReader, MomentError> {
        let tenant = &context.tenant;
        let mut stages = self.find_or_begin(context, position)?;
        let ended = stages.wait_for(|stage| matches!(stage, Stage::Ready(_) | Stage::Failed(_)));
        let in_time = timeout_at(deadline, ended).await.map(|ended| ended.is_ok());
        if in_time == Ok(false) {
            return Err(MomentError::Closed);
        }
        let stage = stages.borrow().clone();
        match stage {
            Stage::Ready(kept) => Ok(TenantReader::of_moment(tenant.clone(), kept)),
            Stage::Failed(error) => Err(error),
            Stage::Waiting | Stage::Folding { .. } => {
                let told = stage.as_building(position);
                if let MomentError::Building { left, .. } = told {
                    let back = (left * 2 + COME_BACK_LATE).min(self.inner.settings.come_back_max);
                    self.shelf().expect_back(tenant, position, Instant::now() + back);
                }
                Err(told)
            }
        }
    }

    fn find_or_begin(
        &self,
        context: &TenantContext,
        position: Position,
    ) -> Result<watch::Receiver<Stage>, MomentError> {
        let Inner { store, settings, closed, .. } = &*self.inner;
        if settings.bytes_max == 0 {
            return Err(MomentError::Off);
        }
        let mut shelf = self.shelf();
        if closed.load(Ordering::Relaxed) {
            return Err(MomentError::Closed);
        }
        let gone = shelf.tidy(store.era(), settings);
        let found = shelf.find(&context.tenant, position, settings);
        let stages = match found {
            Found::Known(stages) => stages,
            Found::Full => return Err(MomentError::Busy),
            Found::Begun { stages, announce, turn } => {
                let build = Build { moments: self.clone(), context: context.clone(), position, announce };
                tokio::spawn(build.run(turn));
                stages
            }
        };
        drop(shelf);
        // Removes files, so nobody should wait for it.
        drop(gone);
        Ok(stages)
    }

    /// Removes what nobody asked for in a long time; to be called now and then.
    pub fn tidy(&self) {
        let gone = self.shelf().tidy(self.inner.store.era(), &self.inner.settings);
        drop(gone);
    }

    /// Ends the folding and removes all files but those that are being read.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Relaxed);
        let gone = std::mem::take(&mut *self.shelf());
        drop(gone);
    }

    /// Makes sure that the disk keeps its reserve when `bytes` more are written. What can be folded again goes before it is touched.
    fn keep_reserve(&self, bytes: u64) -> Result<(), MomentError> {
        if self.has_room(bytes)? {
            return Ok(());
        }
        let gone = self.shelf().take_kept();
        // Removes the files that nobody reads.
        drop(gone);
        if self.has_room(bytes)? { Ok(()) } else { Err(MomentError::DiskFull) }
    }

    fn has_room(&self, bytes: u64) -> Result<bool, MomentError> {
        let Inner { folder, settings, .. } = &*self.inner;
        let disk = rustix::fs::statvfs(folder)
            .map_err(|error| MomentError::Failed(Arc::new(std::io::Error::from(error).into())))?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(free_bytes >= settings.reserve_bytes.saturating_add(bytes))
    }

    /// A panic elsewhere leaves entries that are complete.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.inner.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// What somebody is told who cannot wait for longer.
    fn as_building(&self, wanted: Position) -> MomentError {
        let (position, left) = match self {
            Self::Folding { since, from, reached } if reached > from => {
                let pace = since.elapsed().as_secs_f64() / (reached.0 - from.0) as f64;
                (*reached, Duration::from_secs_f64(pace * wanted.0.saturating_sub(reached.0) as f64))
            }
            Self::Folding { from, .. } => (*from, Duration::ZERO),
            _ => (Position::START, Duration::ZERO),
        };
        MomentError::Building { position, wanted, left }
    }
}
