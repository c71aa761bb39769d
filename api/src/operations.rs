//! What operators and machines ask of the process: is it alive, is it ready, what does it count, how is it spoken to.
//! Open to everyone who can reach the port; nothing here names a tenant.

use formledger_projections::{QueryError, ReplicaStatus};
use formledger_store::StoreError;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;
use warp::reply::Response;

use crate::body::whole;
use crate::call::Call;
use crate::error::ApiError;
use crate::limits::READY_LAG_EVENTS_MAX;
use crate::metrics::render;
use crate::openapi;

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// Alive: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "The process answers.")))]
pub async fn healthz(_call: Call) -> Result<Response, ApiError> {
    Ok(whole(JSON, r#"{"status":"alive"}"#))
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "This document.")))]
pub async fn openapi(_call: Call) -> Result<Response, ApiError> {
    let mut response = whole(JSON, openapi::json());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text exposition.", content_type = "text/plain")))]
pub async fn metrics(_call: Call) -> Result<Response, ApiError> {
    Ok(whole(PROMETHEUS, render()))
}

/// Ready: migrated, able to record, and every projector within its lag limit.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "Ready to serve."), (status = 503, description = "`not-ready`: a read model is too far behind, or stopped at an event that it cannot read; `closing`: nothing can be recorded any more.")))]
pub async fn readyz(call: Call) -> Result<Response, ApiError> {
    if !call.api.store.is_writing() {
        return Err(StoreError::Closed.into());
    }
    let heads = call.api.store.heads().await?;
    let replicas = call.api.read_models.status(&heads).await;
    // One that is near enough is enough: queries go there.
    let answering = replicas.iter().filter(|replica| replica.answers);
    let Some(best) = answering.min_by_key(|replica| (replica.parked(), replica.lag_events())) else {
        return Err(QueryError::Busy.into());
    };
    let (lag_events, parked) = (best.lag_events(), best.parked());
    if lag_events > READY_LAG_EVENTS_MAX || parked > 0 {
        return Err(ApiError::NotReady { lag_events, parked });
    }
    let each =
        |replica: &ReplicaStatus| json!({"answers": replica.answers, "lag_events": replica.lag_events()});
    let replicas: Vec<_> = replicas.iter().map(each).collect();
    Ok(whole(JSON, json!({"status": "ready", "lag_events": lag_events, "replicas": replicas}).to_string()))
}

/// What this is, for people.
#[utoipa::path(get, path = "/", tag = "operations",
    responses((status = 200, description = "A page with links.", content_type = "text/html")))]
pub async fn index(_call: Call) -> Result<Response, ApiError> {
    Ok(whole("text/html; charset=utf-8", include_str!("index.html")))
}
