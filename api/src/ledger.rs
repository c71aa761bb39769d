//! `GET /v1/ledger`: where the tenant's ledger ends and the root hash that stands for all of it.

use chrono::{DateTime, Utc};
use formledger_domain::{Position, TenantId};
use serde::Serialize;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::hex;
use crate::openapi::answers;
use crate::query::{QueryCall, answer};

/// The end of a ledger.
#[derive(Serialize)]
struct Head {
    tenant: TenantId,
    position: Position,
    root_hash: String,
    recorded_at: Option<DateTime<Utc>>,
}

/// Where the ledger ends.
#[utoipa::path(get, path = "/v1/ledger", operation_id = "getLedger", tag = "ledger", security(("bearer" = []), ("api-key" = [])),
    params(("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position.")),
    responses((status = 200, body = answers::Ledger, description = "`{tenant, position, root_hash, recorded_at}`; the root is RFC 6962's, in hex.")))]
pub async fn head(call: Call) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    query.reach_ledger().await?;
    let head = query.ledger.head().await?;
    let root_hash = hex::encode(&head.root_hash());
    let body =
        Head { tenant: head.tenant, position: head.position, root_hash, recorded_at: head.recorded_at };
    answer(head.position, &body)
}
