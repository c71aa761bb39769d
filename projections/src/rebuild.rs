//! Builds read models again from the ledger in a fresh file and switches, while another process or this one serves.
//! Called by `formledger rebuild` and by tests.

use std::path::Path;

use formledger_domain::{Position, TenantId};
use formledger_store::{Store, StoreError};

use crate::position::ReadModel;
use crate::read_models::OpenError;

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
        /// The position they reach.
        position: Position,
    },
}

/// Why a rebuild ended early; tenants not yet switched keep their rows.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A read-model database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A read-model database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

/// Rebuilds what `request` names in the database at `live`, reporting progress.
///
/// # Errors
/// [`RebuildError`]; tenants not yet switched keep their rows.
pub async fn rebuild(
    _store: &Store,
    _live: &Path,
    _request: RebuildRequest,
    _progress: impl FnMut(RebuildProgress) + Send,
) -> Result<(), RebuildError> {
    todo!()
}
