//! The shapes of what those who keep a tenant are answered: API keys, replays, what is audited.

use chrono::{DateTime, Utc};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parts::{ReadModelName, ReplayKind};

/// An API key that was made.
#[derive(ToSchema)]
pub struct ApiKeyMade {
    id: Uuid,
    name: String,
    roles: Vec<String>,
    #[schema(required = false)]
    forms: Option<Vec<String>>,
    #[schema(required = false)]
    expires_at: Option<DateTime<Utc>>,
    /// What goes into `X-Api-Key`; missing when the request was repeated.
    #[schema(required = false)]
    secret: Option<String>,
    sequence: u64,
    position: u64,
}

/// An API key that is revoked.
#[derive(ToSchema)]
pub struct ApiKeyRevoked {
    id: Uuid,
    revoked: bool,
    sequence: u64,
    position: u64,
}

/// All API keys.
#[derive(ToSchema)]
pub struct ApiKeyList {
    items: Vec<ApiKey>,
    position: u64,
}

/// An API key.
#[derive(ToSchema)]
pub struct ApiKey {
    id: Uuid,
    name: String,
    roles: Vec<String>,
    /// The forms it is limited to.
    #[schema(required = false)]
    forms: Option<Vec<String>>,
    #[schema(required = false)]
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    created_by: String,
    #[schema(required = false)]
    revoked_at: Option<DateTime<Utc>>,
    #[schema(required = false)]
    revoked_by: Option<String>,
}

/// A replay.
#[derive(ToSchema)]
pub struct Replay {
    replay_id: Uuid,
    kind: ReplayKind,
    from: u64,
    to: u64,
    status: ReplayStatus,
    /// Everything up to here is done.
    position: u64,
    /// In events.
    progress: ReplayProgress,
    /// Events a second, pauses left out.
    rate: f64,
    created_at: DateTime<Utc>,
    created_by: String,
    /// Of kind `feed`: as it was asked for.
    #[schema(required = false)]
    speed: Option<Value>,
    /// Of kind `rules`: the form.
    #[schema(required = false)]
    form: Option<String>,
    /// Of kind `shadow`: the read models.
    #[schema(required = false)]
    projections: Option<Vec<ReadModelName>>,
    /// When it will be through; only while it runs, and somebody can say.
    #[schema(required = false)]
    estimated_end: Option<DateTime<Utc>>,
    #[schema(required = false)]
    ended_at: Option<DateTime<Utc>>,
    /// Of kind `rules`: `{evaluated, changed, refused, not_compared, rules: {"<rule id>": changed}, misfits?}`, so far while it runs. Of kind
    /// `shadow`: `{rows, differences, told, compared[{replica, read_models[{read_model, position, rows, differences}]}], behind[{replica, position,
    /// wanted}], unavailable[]}`; of the databases in the last two nothing was compared.
    #[schema(required = false)]
    summary: Option<Value>,
    /// Of one that failed.
    #[schema(required = false)]
    error: Option<ReplayError>,
}

/// How a replay stands.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayStatus {
    Running,
    Paused,
    Done,
    Cancelled,
    Failed,
}

/// How far a replay is.
#[derive(ToSchema)]
pub struct ReplayProgress {
    done: u64,
    total: u64,
}

/// Why a replay failed.
#[derive(ToSchema)]
pub struct ReplayError {
    code: String,
    detail: String,
}

/// Replays.
#[derive(ToSchema)]
pub struct ReplayList {
    items: Vec<Replay>,
    position: u64,
}

/// What is audited.
#[derive(ToSchema)]
pub struct AuditSettings {
    refusals: bool,
    reads: bool,
    exports: bool,
    position: u64,
}

/// What is audited from now on.
#[derive(ToSchema)]
pub struct AuditConfigured {
    refusals: bool,
    reads: bool,
    exports: bool,
    sequence: u64,
    position: u64,
}
