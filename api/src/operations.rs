//! What operators and machines ask of the process: is it alive, is it ready, what does it count, how is it spoken to.
//! Open to everyone who can reach the port; nothing here names a tenant.

use formledger_projections::ReplicaStatus;
use formledger_store::StoreError;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;
use warp::reply::Response;

use crate::body::whole;
use crate::call::Call;
use crate::error::{ApiError, NotReady};
use crate::limits::{READY_AGE_MAX, READY_LAG_EVENTS_MAX};
use crate::metrics::render;
use crate::openapi;
use crate::query::read_models_unreachable;

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// Alive: the process answers, and starting it again would help nothing.
#[utoipa::path(get, path = "/healthz", operation_id = "getHealth", tag = "operations",
    responses((status = 200, body = serde_json::Value, description = "The process answers: `{status}`."), (status = 503, description = "`not-ready`: the ledger's writer failed; the process has to be started again.")))]
pub async fn healthz(call: Call) -> Result<Response, ApiError> {
    if call.api.store.writer_has_failed() {
        return Err(NotReady::WriterFailed.into());
    }
    Ok(whole(JSON, r#"{"status":"alive"}"#))
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getDescription", tag = "operations",
    responses((status = 200, body = serde_json::Value, description = "This document.")))]
pub async fn openapi(_call: Call) -> Result<Response, ApiError> {
    let mut response = whole(JSON, openapi::json());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "operations",
    responses((status = 200, description = "Prometheus text exposition.", content_type = "text/plain")))]
pub async fn metrics(_call: Call) -> Result<Response, ApiError> {
    Ok(whole(PROMETHEUS, render()))
}

/// Ready: migrated, able to record (as the last command was, unless that is ten seconds ago), and a replica whose projector runs and is within
/// its lag limit. Tenants at which a read model stopped are counted and keep no node from serving the others; the log names them.
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "operations",
    responses((status = 200, body = serde_json::Value, description = "Ready to serve: `{status, lag_events, parked, replicas[]}`."), (status = 503, description = "`not-ready`: the read models are too far behind, what keeps them up to date or records commands failed, or the last command could not be recorded or takes more than ten seconds, as `reason` says; `closing`: nothing can be recorded any more; `ledger-unreachable`, `readers-busy`: the ledger cannot be read.")))]
pub async fn readyz(call: Call) -> Result<Response, ApiError> {
    let store = &call.api.store;
    if store.writer_has_failed() {
        return Err(NotReady::WriterFailed.into());
    }
    if !store.is_writing() {
        return Err(StoreError::Closed.into());
    }
    store.check_recording().map_err(|error| NotReady::NothingIsRecorded(error.into()))?;
    let replicas = call.api.read_models.stood(store, READY_AGE_MAX).await?;
    let best = best(&replicas)?;
    let each = |replica: &ReplicaStatus| {
        json!({
            "answers": replica.answers,
            "lag_events": replica.lag_events(),
            "parked": replica.parked(),
            "runner_failed": replica.runner_failed,
        })
    };
    let body = json!({
        "status": "ready",
        "lag_events": best.lag_events(),
        "parked": best.parked(),
        "replicas": replicas.iter().map(each).collect::<Vec<_>>(),
    });
    Ok(whole(JSON, body.to_string()))
}

/// The replica that stands best. One that is near enough is enough: queries go there.
fn best(replicas: &[ReplicaStatus]) -> Result<&ReplicaStatus, ApiError> {
    let answering = replicas.iter().filter(|replica| replica.answers);
    let rank = |replica: &&ReplicaStatus| {
        (
            replica.runner_failed,
            replica.lag_events() > READY_LAG_EVENTS_MAX,
            replica.parked(),
            replica.lag_events(),
        )
    };
    let best = answering.min_by_key(rank).ok_or_else(read_models_unreachable)?;
    if best.runner_failed {
        return Err(NotReady::RunnerFailed.into());
    }
    match best.lag_events() {
        near if near <= READY_LAG_EVENTS_MAX => Ok(best),
        lag_events => Err(NotReady::Behind { lag_events, parked: best.parked() }.into()),
    }
}

/// What this is, for people.
#[utoipa::path(get, path = "/", operation_id = "getIndex", tag = "operations",
    responses((status = 200, description = "A page with links.", content_type = "text/html")))]
pub async fn index(_call: Call) -> Result<Response, ApiError> {
    Ok(whole("text/html; charset=utf-8", include_str!("index.html")))
}

#[cfg(test)]
mod tests {
    use formledger_projections::{ReadModel, ReadModelStatus};

    use super::*;

    #[test]
    fn the_page_is_made_for_phones_and_for_the_dark_and_leads_to_the_description() {
        let page = include_str!("index.html");
        for part in [
            "name=\"viewport\"",
            "content=\"light dark\"",
            "prefers-color-scheme: dark",
            "href=\"/openapi.json\"",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    fn replica(lag_events: u64, parked_count: u64) -> ReplicaStatus {
        let read_model = ReadModelStatus {
            read_model: ReadModel::Submissions,
            lag_events,
            parked_count,
            parked: Vec::new(),
        };
        ReplicaStatus { answers: true, runner_failed: false, read_models: vec![read_model] }
    }

    fn reason(replicas: &[ReplicaStatus]) -> Option<NotReady> {
        match best(replicas) {
            Ok(_) => None,
            Err(ApiError::NotReady(reason)) => Some(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn tenants_that_stand_still_keep_no_node_from_serving_the_others() {
        let replicas = [replica(3, 2), replica(5, 1)];
        let best = best(&replicas).expect("ready");
        assert_eq!((best.lag_events(), best.parked()), (5, 1), "the one with fewer of them stands better");
    }

    #[test]
    fn a_node_whose_read_models_are_far_behind_or_that_nobody_keeps_up_to_date_is_not_ready() {
        let far = READY_LAG_EVENTS_MAX + 1;
        assert_eq!(reason(&[replica(far, 1)]), Some(NotReady::Behind { lag_events: far, parked: 1 }));
        assert_eq!(reason(&[replica(far, 0), replica(0, 7)]), None);
        let failed = || ReplicaStatus { runner_failed: true, ..replica(0, 0) };
        assert_eq!(reason(&[failed()]), Some(NotReady::RunnerFailed));
        assert_eq!(reason(&[failed(), replica(9, 0)]), None);
        let away = ReplicaStatus { answers: false, ..replica(0, 0) };
        assert!(matches!(best(&[away]), Err(ApiError::Overloaded { code: "read-models-unreachable", .. })));
    }
}
