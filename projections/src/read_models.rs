//! The read-model database: one SQLite file beside the ledger, opened, migrated and handed out as readers.
//! Called by `api` at start; the writer's connection never leaves this crate.

use std::path::Path;
use std::time::Duration;

use formledger_domain::TenantContext;
use formledger_store::LedgerHead;

use crate::reader::{QueryError, TenantReader};
use crate::status::ReadModelStatus;

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
        "the read models are at schema {found}, this binary knows {known}: use the newer binary, or move the file away to have it built again"
    )]
    Newer {
        /// The file's schema version.
        found: i64,
        /// The newest one this binary knows.
        known: i64,
    },
    /// The database refused or failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

/// All tenants' read models in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadModels {}

impl ReadModels {
    /// Opens the file `path`, creates it if missing, applies migrations.
    ///
    /// # Errors
    /// [`OpenError::Newer`] for a file written by a newer binary.
    pub async fn open_sqlite(_path: &Path, _settings: ReadModelSettings) -> Result<Self, OpenError> {
        todo!()
    }

    /// The read models of the context's tenant, and of no other.
    pub fn reader(&self, _context: &TenantContext) -> TenantReader {
        todo!()
    }

    /// How far each read model is behind `heads`, and which tenants are parked; for readiness and tools.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn status(&self, _heads: &[LedgerHead]) -> Result<Vec<ReadModelStatus>, QueryError> {
        todo!()
    }

    /// Closes the database.
    pub async fn close(&self) {
        todo!()
    }
}
