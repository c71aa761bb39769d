//! Standbys of the ledger's database among the databases that answer queries. What goes by again and what candidate rules judge is read
//! there, so that it costs the primary nothing; where no standby has what is asked for, or it goes away, the ledger itself is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use formledger_domain::{Position, TenantContext};
use formledger_store::{
    PostgresOptions, RecordedEvent, Store, StoreError, StoreSettings, TenantLedger, causes,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// How long a standby may take to let us in, or to come as far as the ledger is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// How long one that did not answer, or is no standby, is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The databases that may be such standbys.
pub struct Standbys {
    known: Vec<Arc<Standby>>,
}

struct Standby {
    options: PostgresOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: Option<Store>,
    not_before: Option<Instant>,
}

/// Why a standby is not read.
#[derive(Debug, thiserror::Error)]
enum PassedOver {
    #[error("it cannot be read")]
    Store(#[from] StoreError),
    #[error("it did not come to position {0} in time")]
    Behind(Position),
    #[error("what it holds at position {0} is not what the ledger holds")]
    Foreign(Position),
}

impl Standbys {
    /// None of them is asked before it is needed.
    pub fn new(possible: &[PostgresOptions]) -> Self {
        let standby = |options: &PostgresOptions| {
            Arc::new(Standby { options: options.clone(), state: Mutex::default() })
        };
        Self { known: possible.iter().map(standby).collect() }
    }

    /// Where a tenant's ledger is read up to a position: at the first standby that has all of it, else at the ledger's `own` store.
    ///
    /// # Errors
    /// When the ledger itself cannot be read.
    pub async fn ledger(
        &self,
        own: &Store,
        context: &TenantContext,
        up_to: Position,
    ) -> Result<LedgerSource, StoreError> {
        let ledger = own.ledger(context);
        if self.known.is_empty() {
            return Ok(ledger.into());
        }
        let Some(there) = event_at(&ledger, up_to).await? else { return Ok(ledger.into()) };
        for standby in &self.known {
            let Some(store) = standby.store().await else { continue };
            let copy = store.ledger(context);
            match timeout(PATIENCE, reached(&copy, up_to)).await {
                Ok(Ok(here)) if here == there => {
                    let copy = StandbyCopy {
                        ledger: copy,
                        standby: Arc::clone(standby),
                        is_gone: AtomicBool::new(false),
                    };
                    return Ok(LedgerSource { ledger, copy: Some(Arc::new(copy)) });
                }
                Ok(Ok(_)) => standby.pass_over(&PassedOver::Foreign(up_to)).await,
                Ok(Err(error)) => standby.pass_over(&error.into()).await,
                Err(_) => standby.pass_over(&PassedOver::Behind(up_to)).await,
            }
        }
        Ok(ledger.into())
    }

    /// Gives its connections back.
    pub async fn close(&self) {
        for standby in &self.known {
            if let Some(store) = standby.state.lock().await.opened.take() {
                store.close().await;
            }
        }
    }
}

impl Standby {
    async fn store(&self) -> Option<Store> {
        let mut state = self.state.lock().await;
        if state.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return None;
        }
        if state.opened.is_none() {
            let settings = StoreSettings::default();
            match timeout(PATIENCE, Store::open_postgres_standby(&self.options, &settings)).await {
                Ok(Ok(opened)) => state.opened = opened,
                Err(_) => tracing::info!("a replica is not read by replays: it does not answer"),
                Ok(Err(error)) => tracing::info!(error = causes(&error), "a replica is not read by replays"),
            }
        }
        if state.opened.is_none() {
            state.not_before = Some(Instant::now() + RETRY_AFTER);
        }
        state.opened.clone()
    }

    async fn pass_over(&self, reason: &PassedOver) {
        tracing::warn!(error = causes(reason), "a standby is not read by replays for a while");
        self.state.lock().await.not_before = Some(Instant::now() + RETRY_AFTER);
    }
}

/// Where what was recorded is read: a tenant's ledger, and the copy of it that is asked first as long as it answers.
#[derive(Clone)]
pub struct LedgerSource {
    ledger: TenantLedger,
    copy: Option<Arc<StandbyCopy>>,
}

struct StandbyCopy {
    ledger: TenantLedger,
    standby: Arc<Standby>,
    /// It failed once; nobody who reads here asks it again.
    is_gone: AtomicBool,
}

impl From<TenantLedger> for LedgerSource {
    fn from(ledger: TenantLedger) -> Self {
        Self { ledger, copy: None }
    }
}

impl LedgerSource {
    /// As [`TenantLedger::read_page`], of what the copy was found to hold.
    ///
    /// # Errors
    /// When the ledger itself cannot be read.
    pub async fn read_page(
        &self,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        match self.of_copy(after, limit, bytes_max).await {
            Some(page) => Ok(page),
            None => self.ledger.read_page(after, limit, bytes_max).await,
        }
    }

    /// As [`TenantLedger::read_next`]; a copy that lacks the next position is not asked again.
    ///
    /// # Errors
    /// When the ledger itself cannot be read, or lacks it, too.
    pub async fn read_next(
        &self,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        match self.of_copy(after, limit, bytes_max).await {
            Some(page) if !page.is_empty() => return Ok(page),
            Some(_) => self.copy.iter().for_each(|copy| copy.is_gone.store(true, Ordering::Relaxed)),
            None => {}
        }
        self.ledger.read_next(after, limit, bytes_max).await
    }

    /// What the copy answers; `None` where there is none that does.
    async fn of_copy(&self, after: Position, limit: usize, bytes_max: usize) -> Option<Vec<RecordedEvent>> {
        let copy = self.copy.as_ref().filter(|copy| !copy.is_gone.load(Ordering::Relaxed))?;
        match copy.ledger.read_page(after, limit, bytes_max).await {
            Ok(page) => Some(page),
            Err(error) => {
                copy.is_gone.store(true, Ordering::Relaxed);
                copy.standby.pass_over(&error.into()).await;
                None
            }
        }
    }
}

/// The leaf hash of the event at a position; `None` where the ledger does not reach it.
async fn event_at(ledger: &TenantLedger, position: Position) -> Result<Option<[u8; 32]>, StoreError> {
    let Some(before) = position.0.checked_sub(1) else { return Ok(None) };
    let event = ledger.read_after(Position(before), 1).await?.pop();
    Ok(event.filter(|event| event.position == position).map(|event| event.leaf_hash))
}

async fn reached(copy: &TenantLedger, position: Position) -> Result<[u8; 32], StoreError> {
    loop {
        if let Some(event) = event_at(copy, position).await? {
            return Ok(event);
        }
        sleep(LOOK).await;
    }
}
