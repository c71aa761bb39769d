//! What is audited, said by the tenant's `admin`, and what was, for its auditors. The recording itself is in `audit`.

use formledger_domain::{AuditSettings, Position, Tenant, TenantCommand};
use formledger_store::EventFilter;
use serde::{Deserialize, Serialize};
use warp::reply::Response;

use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::events::{page, page_limit};
use crate::members::required_members;
use crate::openapi::answers;
use crate::outcome::Outcome;
use crate::query::{QueryCall, answer};

/// The types of events that auditors ask for here: what was audited, and who changed what is.
const AUDITED: [&str; 6] = [
    "formledger.audit.attempt-refused",
    "formledger.audit.data-read",
    "formledger.audit.exported",
    "formledger.tenant.audit-configured",
    "formledger.tenant.api-key-created",
    "formledger.tenant.api-key-revoked",
];

/// What is recorded beside what happens to forms and submissions. All members are needed.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditChoice {
    /// Attempts of somebody known that were refused with 401 (for a good credential that is too old), 403, 404, 409, 412, 413, 415 or 422: who, what and the code, never what they sent.
    refusals: bool,
    /// Queries and feeds that show what was submitted.
    reads: bool,
    /// Exports, and ranges of events as NDJSON.
    exports: bool,
}

#[derive(Serialize)]
struct Configured {
    #[serde(flatten)]
    settings: AuditSettings,
    position: Position,
}

/// Says what is audited from now on: at once on this server, within ten seconds on others.
#[utoipa::path(put, path = "/v1/audit", operation_id = "configureAudit", tag = "audit", security(("bearer" = []), ("api-key" = [])),
    request_body = AuditChoice,
    responses(
        (status = 200, body = answers::AuditConfigured, description = "Recorded; nothing is when it was so before."),
        (status = 403, description = "`not-permitted`: takes the role `admin`."),
    ))]
pub async fn configure(call: Call) -> Result<Response, ApiError> {
    let call = CommandCall::read(call).await?;
    let AuditChoice { refusals, reads, exports } = required_members(&call.body)?;
    let settings = AuditSettings { refusals, reads, exports };
    let context = &call.caller.context;
    let command = TenantCommand::ConfigureAudit { settings };
    let configured =
        call.execute::<Tenant>(&context.tenant, command, None, |_, _| Outcome::ok(&settings)).await?;
    call.api.tenant_states.refresh(&call.ledger, context).await;
    Ok(configured)
}

/// What is audited.
#[utoipa::path(get, path = "/v1/audit", operation_id = "getAuditSettings", tag = "audit", security(("bearer" = []), ("api-key" = [])),
    params(("min_position" = Option<u64>, Query, description = "Wait until the data reach this position.")),
    responses(
        (status = 200, body = answers::AuditSettings, description = "`{refusals, reads, exports, position}`; nothing until an `admin` says otherwise."),
        (status = 403, description = "`not-permitted`: takes the role `admin` or `auditor`."),
    ))]
pub async fn show(call: Call) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let position = query.reach_ledger().await?;
    let context = &query.caller.context;
    query.api.tenant_states.refresh(&query.ledger, context).await;
    let settings = query.api.tenant_states.of(&query.ledger, context).await?.audit_settings();
    answer(position, &Configured { settings, position })
}

/// Refused attempts, reads and exports that were recorded, and changes of what is and of API keys.
#[utoipa::path(get, path = "/v1/audit/entries", operation_id = "listAuditEntries", tag = "audit", security(("bearer" = []), ("api-key" = [])),
    params(
        ("after" = Option<u64>, Query, description = "Start after this position; 0 when missing."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Entries of a page, at most 1000; 100 when missing."),
        ("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position."),
    ),
    responses(
        (status = 200, body = answers::EventPage, description = "`{events[], position, next_after?}`, the same events as in `GET /v1/events` and feeds. A page looks through 20,000 positions at most: go on with `next_after` as long as there is one."),
        (status = 400, description = "`cursor-ahead`: `after` is past the ledger's end."),
        (status = 403, description = "`not-permitted`: takes the role `admin` or `auditor`."),
    ))]
pub async fn entries(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let after = query.params.position("after")?.unwrap_or_default();
    let limit = page_limit(&mut query.params)?;
    query.finish_params()?;
    let head = query.reach_ledger().await?;
    if after > head {
        return Err(ApiError::CursorAhead { after, head });
    }
    let types = AUDITED.map(str::to_owned).to_vec();
    page(&query.ledger, &EventFilter { types, ..EventFilter::default() }, after, head, limit).await
}
