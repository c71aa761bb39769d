//! Follows the ledger and keeps the read models: reads what is new, applies it, commits rows and checkpoints together.
//! Started by `api` once per process.

use std::future::Future;
use std::time::Duration;

use formledger_store::{Store, StoreError};

use crate::read_models::ReadModels;

/// Limits of a runner.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// Events applied in one transaction, at most.
    pub batch_events_max: usize,
    /// Payload bytes after which a batch takes no further events.
    pub batch_bytes_max: usize,
    /// The least time from one batch to the next while nobody waits for a position: under load, batches grow instead of costing more.
    pub batch_interval_min: Duration,
    /// How often the ledger is asked for news that no signal announced.
    pub poll_interval: Duration,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            batch_events_max: 4096,
            batch_bytes_max: 8 * 1024 * 1024,
            batch_interval_min: Duration::from_millis(10),
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// Why a batch was not applied; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read-model database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

/// Keeps the read models of all tenants up to date.
#[derive(Debug)]
pub struct Runner {}

impl Runner {
    /// A runner that has read nothing yet.
    pub fn new(_store: Store, _read_models: ReadModels, _settings: RunnerSettings) -> Self {
        todo!()
    }

    /// Applies everything up to the ledgers' present heads; answers how many events that was.
    ///
    /// # Errors
    /// [`ProjectError`]; what was committed before stays.
    pub async fn run_once(&mut self) -> Result<u64, ProjectError> {
        todo!()
    }

    /// Follows until `shutdown` completes; failures are logged and tried again.
    pub async fn run(self, _shutdown: impl Future<Output = ()> + Send) {
        todo!()
    }
}
