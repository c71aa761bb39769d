//! What readiness and operators see: lag and parked tenants per read model.

use formledger_domain::{Position, TenantId};
use serde::Serialize;

use crate::position::ReadModel;

/// How one read model stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadModelStatus {
    /// Which one.
    pub read_model: ReadModel,
    /// Events recorded and not applied, over all tenants that are not parked.
    pub lag_events: u64,
    /// Tenants whose next event cannot be read; at most [`PARKED_LISTED_MAX`].
    pub parked: Vec<ParkedTenant>,
    /// How many tenants are parked.
    pub parked_count: u64,
}

/// The most parked tenants that a status lists.
pub const PARKED_LISTED_MAX: usize = 100;

/// A tenant at which a projection stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedTenant {
    /// Whose ledger.
    pub tenant: TenantId,
    /// The last position applied; the next one cannot be read.
    pub position: Position,
    /// Why.
    pub error: String,
}
