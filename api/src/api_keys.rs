//! API keys: credentials for programs, made and revoked by the tenant's `admin`, kept as events on the tenant's own stream.
//! What a key may do is decided where every credential is, in `auth` and `access`; the secret leaves this file once and is kept nowhere.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{
    Actor, ApiKey, ApiKeyId, FormId, LedgerAggregate, Makers, Position, Tenant, TenantCommand, TenantEvent,
};
use formledger_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use warp::reply::Response;

use crate::auth::make_api_key;
use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::ids;
use crate::members::{Empty, members, required_members};
use crate::openapi::answers;
use crate::outcome::Outcome;
use crate::query::{QueryCall, answer};
use crate::times;

/// The body of a new key.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What people call it; at most 200 bytes.
    name: String,
    /// What it may do; 1 to 32 roles, any but `operator`.
    roles: Vec<String>,
    /// The forms it is limited to, at most 100; all of the tenant when missing.
    #[schema(value_type = Option<Vec<String>>)]
    forms: Option<Vec<FormId>>,
    /// When it ends by itself; never when missing.
    #[serde(default, deserialize_with = "times::optional")]
    expires_at: Option<DateTime<Utc>>,
}

/// A key as it is listed; the secret is not known any more.
#[derive(Serialize)]
struct ListedKey {
    id: ApiKeyId,
    name: Arc<str>,
    roles: Arc<[String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forms: Option<Arc<[FormId]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    created_by: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<Arc<str>>,
}

#[derive(Serialize)]
struct KeyList {
    items: Vec<ListedKey>,
    position: Position,
}

/// Makes a key; its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/api-keys", operation_id = "createApiKey", tag = "credentials", security(("bearer" = []), ("api-key" = [])),
    request_body = NewApiKey,
    responses(
        (status = 201, body = answers::ApiKeyMade, description = "Made. `secret` is what goes into `X-Api-Key`, shown this once: a repeated request with the same `Idempotency-Key` gets the answer without it."),
        (status = 403, description = "`not-permitted`: takes the role `admin`."),
        (status = 409, description = "`too-many-api-keys`: 1,000 are good at the same time."),
        (status = 422, description = "`api-key-invalid`: a role, name, scope or time that a key cannot have; a key that a key makes ends no later than that one."),
    ))]
pub async fn create(call: Call) -> Result<Response, ApiError> {
    let call = CommandCall::read(call).await?;
    let NewApiKey { name, roles, forms, expires_at } = required_members(&call.body)?;
    let (caller, context) = (&call.caller, &call.caller.context);
    if caller.api_key.is_some() && expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC) > caller.expires {
        return Err(ApiError::Refused {
            code: "api-key-invalid",
            detail: "a key that a key makes ends no later than that one: give an earlier `expires_at`"
                .to_owned(),
            errors: Value::Null,
        });
    }
    let id = ApiKeyId(Uuid::now_v7());
    let (secret, secret_sha256) = make_api_key(&context.tenant, id)?;
    let mut body = json!({"id": id, "name": name, "roles": roles});
    if let Some(forms) = &forms {
        body["forms"] = json!(forms);
    }
    if let Some(end) = &expires_at {
        body["expires_at"] = json!(end);
    }
    let key = ApiKey {
        name: name.into(),
        roles: roles.into(),
        forms: forms.map(Into::into),
        expires_at,
        secret_sha256,
    };
    let command = TenantCommand::CreateApiKey { id, key, made_by: caller.api_key, now: context.now };
    // What is remembered for repeated requests goes into the database, so it must not hold the secret.
    let kept = Outcome::recorded(&body);
    let settled = call.settle::<Tenant>(&context.tenant, command, None, |_, _| kept.clone()).await?;
    call.api.tenant_states.refresh(&call.ledger, context).await;
    if !settled.is_first {
        return Ok(settled.answer());
    }
    body["secret"] = json!(secret);
    Ok(settled.saying(Outcome::recorded(&body)).answer())
}

/// Ends a key for ever, with those that it made, at once on this server and within half a second on others; their open feeds end as well.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", operation_id = "revokeApiKey", tag = "credentials", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The key.")),
    responses(
        (status = 200, body = answers::ApiKeyRevoked, description = "Revoked, now or before."),
        (status = 403, description = "`not-permitted`: takes the role `admin`."),
        (status = 404, description = "There is no such key."),
    ))]
pub async fn revoke(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Empty {} = members(&call.body)?;
    let id = ids::read::<ApiKeyId>(&id).ok_or(ApiError::NotFound("API key"))?;
    let context = &call.caller.context;
    let events = call.ledger.load(&context.stream::<Tenant>(&context.tenant)).await?;
    let command = TenantCommand::RevokeApiKey { id, makers: makers(&events)?, now: context.now };
    let _changing = call.api.tenant_states.changing(&context.tenant).await;
    let revoked = call
        .execute::<Tenant>(&context.tenant, command, None, |_, _| {
            Outcome::ok(&json!({"id": id, "revoked": true}))
        })
        .await?;
    call.api.tenant_states.refresh(&call.ledger, context).await;
    Ok(revoked)
}

/// All keys that were ever made, without their secrets.
#[utoipa::path(get, path = "/v1/api-keys", operation_id = "listApiKeys", tag = "credentials", security(("bearer" = []), ("api-key" = [])),
    params(("min_position" = Option<u64>, Query, description = "Wait until the data reach this position.")),
    responses(
        (status = 200, body = answers::ApiKeyList, description = "`{items[], position}`, oldest first; revoked ones have `revoked_at` and `revoked_by`."),
        (status = 403, description = "`not-permitted`: takes the role `admin`."),
    ))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let position = query.reach_ledger().await?;
    let context = &query.caller.context;
    let events = query.ledger.load(&context.stream::<Tenant>(&context.tenant)).await?;
    answer(position, &KeyList { items: listed(&events)?, position })
}

/// Which key made which, as the events' metadata say, which is all that events of earlier versions tell.
fn makers(events: &[RecordedEvent]) -> Result<Makers, ApiError> {
    let mut makers = Makers::new();
    for event in events {
        let Some(maker) = Actor::key_of(&event.metadata.actor) else { continue };
        let said = Tenant::decode(&event.event_type, &event.event_version, &event.payload);
        if let TenantEvent::ApiKeyCreated { id, .. } = said.map_err(ApiError::internal)? {
            makers.insert(id, maker);
        }
    }
    Ok(makers)
}

fn listed(events: &[RecordedEvent]) -> Result<Vec<ListedKey>, ApiError> {
    let mut keys: Vec<ListedKey> = Vec::new();
    for event in events {
        let said = Tenant::decode(&event.event_type, &event.event_version, &event.payload);
        let (at, by) = (event.recorded_at, Arc::clone(&event.metadata.actor));
        match said.map_err(ApiError::internal)? {
            TenantEvent::ApiKeyCreated { id, key, made_by: _ } => {
                let ApiKey { name, roles, forms, expires_at, secret_sha256: _ } = key;
                let (revoked_at, revoked_by) = (None, None);
                let (created_at, created_by) = (at, by);
                keys.push(ListedKey {
                    id,
                    name,
                    roles,
                    forms,
                    expires_at,
                    created_at,
                    created_by,
                    revoked_at,
                    revoked_by,
                });
            }
            TenantEvent::ApiKeyRevoked { id } => {
                if let Some(key) = keys.iter_mut().find(|key| key.id == id) {
                    (key.revoked_at, key.revoked_by) = (Some(at), Some(by));
                }
            }
            TenantEvent::Registered { .. } | TenantEvent::AuditConfigured { .. } => {}
        }
    }
    Ok(keys)
}
