//! Options of what operators do to read models: `rebuild` and `skip`.

use clap::Args;
use formledger_domain::TenantId;

use super::{StorageArgs, TenantsArgs};

/// What to rebuild.
#[derive(Debug, Clone, Args)]
pub struct RebuildArgs {
    /// Which tenants.
    #[command(flatten)]
    pub tenants: TenantsArgs,
    /// Only this projection
    #[arg(long, env = "FORMLEDGER_PROJECTION")]
    pub projection: Option<String>,
}

/// What to pass over, and who says so.
#[derive(Debug, Clone, Args)]
pub struct SkipArgs {
    /// Where the ledger and its read models are.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// The tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: TenantId,
    /// The projection that stopped, as the log names it
    #[arg(long, env = "FORMLEDGER_PROJECTION")]
    pub projection: String,
    /// The position of the event before which it stopped
    #[arg(long, env = "FORMLEDGER_POSITION")]
    pub position: u64,
    /// Who decided
    #[arg(long, env = "FORMLEDGER_ACTOR")]
    pub actor: String,
    /// Why
    #[arg(long, env = "FORMLEDGER_REASON")]
    pub reason: String,
}
