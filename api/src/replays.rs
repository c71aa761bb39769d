//! `/v1/replays`: a range of a ledger goes by again, to a feed at a chosen speed, through candidate rules, or into shadow read models.
//! Replays read and never write; they live in the memory of the server that was asked, which forgets them when it stops, because each can be repeated.

mod events;
mod messages;
mod order;
mod pace;
mod registry;
mod replay;
mod rules;
mod run;
mod shadow;

use std::sync::Arc;

use formledger_domain::{Position, TenantContext};
use formledger_store::{EventFilter, TenantLedger};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use warp::Reply;
use warp::reply::Response;

pub use pace::{Pace, Speed};
pub use registry::Replays;

use crate::accept::EVENT_STREAM;
use crate::auth::Caller;
use crate::backtest::{CandidateError, compile};
use crate::call::{Call, Sent};
use crate::error::ApiError;
use crate::events::filter;
use crate::feed::{event_stream, last_event_id, take_place};
use crate::fields::LEDGER_POSITION;
use crate::idempotency::idempotency;
use crate::ids;
use crate::members::{Empty, members};
use crate::openapi::answers;
use crate::params::Params;
use crate::precondition::Preconditions;
use crate::query::{QueryCall, answer};
use messages::ReplayFeed;
use order::{Body, Candidate, Request, What};
use replay::{Kind, KindName, Order, Progress, Replay};

/// The body of `POST /v1/replays`; `replays::order` reads it.
#[derive(utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes what is read by hand, so that everything wrong is told at once")]
pub struct NewReplay {
    /// `feed`: the events again. `rules`: a candidate judges the submissions. `shadow`: read models are built again and compared.
    #[schema(value_type = answers::ReplayKind)]
    kind: KindName,
    /// The first position; 1 when missing.
    from: Option<u64>,
    /// The last position; where the ledger ends now when missing.
    to: Option<u64>,
    /// Of kind `feed`: how many times faster than recorded, 0.001 to 1000000, or `"max"`; 1 when missing.
    speed: Option<Value>,
    /// Of kind `shadow`: one of the read models; all of them when missing.
    projection: Option<answers::ReadModelName>,
    /// Of kind `rules`: the form.
    form: Option<String>,
    /// Of kind `rules`: the candidate, a list of rules, or an object with a list `rules`.
    rules: Option<Value>,
}

/// The replays of a tenant.
#[derive(Serialize)]
struct ReplayList {
    items: Vec<Value>,
    position: Position,
}

/// Begins a replay.
#[utoipa::path(post, path = "/v1/replays", operation_id = "createReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    request_body = NewReplay,
    responses(
        (status = 201, body = answers::Replay, description = "It runs. `Location` is where it is looked at; `Idempotency-Key` finds it again as long as it is remembered."),
        (status = 403, description = "`feed` and `shadow` take `admin` or `auditor`, `rules` also `designer`."),
        (status = 422, description = "`replay-invalid`, or `rules-invalid` for a candidate that fits no version of the form; both with `errors[{pointer, message}]`."),
        (status = 429, description = "`too-many-replays` of this tenant run or are paused."),
        (status = 503, description = "`too-many-replays` run or are paused on this server."),
    ))]
pub async fn create(call: Call) -> Result<Response, ApiError> {
    let Sent { api, head, caller, body } = call.json_body().await?;
    let ledger = api.tenants.require(&api.store, &caller).await?;
    Params::none(&head)?;
    if let Some(refusal) = Preconditions::read(&head)?.refusal_to_begin() {
        return Err(refusal);
    }
    let Caller { context, .. } = &caller;
    let idempotency = idempotency(&head, &context.actor.subject, &body)?;
    let body = Body::read(&body)?;
    caller.require(body.roles())?;
    if let Some(given) = &idempotency
        && let Some(first) = api.replays.begun_by(&context.tenant, given)?
    {
        return created(&first);
    }
    let request = body.request(ledger.head().await?.position)?;
    let order = order(&ledger, context, request).await?;
    let running = api.replays.begin(&context.tenant, order.kind.name())?;
    let subject = Arc::clone(&context.actor.subject);
    let replay = Arc::new(Replay::new(context.tenant.clone(), subject, order, idempotency));
    let kept = api.replays.keep(Arc::clone(&replay))?;
    // Else a request with the same key was faster.
    if Arc::ptr_eq(&kept, &replay) {
        run::start(&api, &replay, context.clone(), running);
    }
    created(&kept)
}

async fn order(ledger: &TenantLedger, context: &TenantContext, request: Request) -> Result<Order, ApiError> {
    let Request { what, from, to } = request;
    let kind = match what {
        What::Feed(speed) => Kind::Feed(speed),
        What::Shadow(read_models) => Kind::Shadow(read_models),
        What::Rules(candidate) => {
            let Candidate { form, rules, .. } = &candidate;
            match compile(ledger, context, form, rules).await {
                Ok(backtest) => Kind::Rules(Arc::new(backtest)),
                Err(CandidateError::FormMissing(_)) => return Err(candidate.form_missing()),
                Err(CandidateError::FitsNone(problems)) => return Err(candidate.refused(&problems)),
                Err(CandidateError::History(error)) => return Err(error.into()),
            }
        }
    };
    Ok(Order { kind, from, to })
}

fn created(replay: &Replay) -> Result<Response, ApiError> {
    let mut response = shown(replay)?;
    *response.status_mut() = StatusCode::CREATED;
    let location = HeaderValue::from_str(&format!("/v1/replays/{}", replay.id));
    response.headers_mut().insert(LOCATION, location.map_err(ApiError::internal)?);
    Ok(response)
}

/// The replay, with how far it has come.
fn shown(replay: &Replay) -> Result<Response, ApiError> {
    answer(replay.progress().position, &replay.shown())
}

/// The tenant's replays, newest first.
#[utoipa::path(get, path = "/v1/replays", operation_id = "listReplays", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position.")),
    responses((status = 200, body = answers::ReplayList, description = "Those that run and those that ended lately, on this server.")))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let position = query.reach_ledger().await?;
    let known = query.api.replays.of(&query.caller.context.tenant);
    let items = known.iter().map(|replay| replay.shown()).collect();
    answer(position, &ReplayList { items, position })
}

/// One replay.
#[utoipa::path(get, path = "/v1/replays/{id}", operation_id = "getReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = Uuid, Path, description = "The replay."),
        ("min_position" = Option<u64>, Query, description = "Wait until the replay reaches this position, or has ended."),
    ),
    responses(
        (status = 200, body = answers::Replay, description = "How far it has come, and what it found so far."),
        (status = 404, description = "There is no such replay on this server (any more)."),
    ))]
pub async fn one(call: Call, id: String) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let replay = found(&query.api.replays, &query.caller, &id)?;
    // Of one that has ended no more comes.
    let there = |progress: &Progress, wanted| progress.position >= wanted || progress.status.has_ended();
    query.reach_in(&mut replay.follow(), there, |progress| progress.position).await?;
    shown(&replay)
}

/// Holds a replay where it is.
#[utoipa::path(post, path = "/v1/replays/{id}/pause", operation_id = "pauseReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The replay.")),
    responses(
        (status = 200, body = answers::Replay, description = "It is paused; after an hour it is cancelled."),
        (status = 404, description = "There is no such replay on this server (any more)."),
        (status = 409, description = "`replay-ended`."),
    ))]
pub async fn pause(call: Call, id: String) -> Result<Response, ApiError> {
    direct(call, &id, Replay::pause).await
}

/// Lets a paused replay go on.
#[utoipa::path(post, path = "/v1/replays/{id}/resume", operation_id = "resumeReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The replay.")),
    responses(
        (status = 200, body = answers::Replay, description = "It runs."),
        (status = 404, description = "There is no such replay on this server (any more)."),
        (status = 409, description = "`replay-ended`."),
    ))]
pub async fn resume(call: Call, id: String) -> Result<Response, ApiError> {
    direct(call, &id, Replay::resume).await
}

/// Ends a replay.
#[utoipa::path(post, path = "/v1/replays/{id}/cancel", operation_id = "cancelReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The replay.")),
    responses(
        (status = 200, body = answers::Replay, description = "It is cancelled; what it found until then stays."),
        (status = 404, description = "There is no such replay on this server (any more)."),
        (status = 409, description = "`replay-ended` otherwise."),
    ))]
pub async fn cancel(call: Call, id: String) -> Result<Response, ApiError> {
    direct(call, &id, Replay::cancel).await
}

async fn direct(
    call: Call,
    id: &str,
    change: impl FnOnce(&Replay) -> Result<(), ApiError> + Send,
) -> Result<Response, ApiError> {
    let Sent { api, head, caller, body } = call.optional_json_body().await?;
    let Empty {} = members(&body)?;
    api.tenants.require(&api.store, &caller).await?;
    Params::none(&head)?;
    let replay = found(&api.replays, &caller, id)?;
    caller.require(replay.order.kind.name().roles())?;
    change(&replay)?;
    shown(&replay)
}

/// What a replay tells, as it goes by.
#[utoipa::path(get, path = "/v1/replays/{id}/feed", operation_id = "followReplay", tag = "replays", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = Uuid, Path, description = "The replay."),
        ("Last-Event-ID" = Option<u64>, Header, description = "Start after this `id`; wins over `after`."),
        ("after" = Option<u64>, Query, description = "Start after this `id`; at the range's beginning when missing."),
        ("form" = Option<String>, Query, description = "Of kind `feed`: only events about this form and its submissions."),
        ("submission" = Option<String>, Query, description = "Of kind `feed`: only events of this submission."),
        ("types" = Option<String>, Query, description = "Of kind `feed`: only these types, separated by commas, with or without `.v<n>`."),
        ("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position."),
    ),
    responses(
        (status = 200, description = "Server-sent events as in `/v1/feed`, `id` is the position. Of kind `feed` the events; of kind `rules` one `formledger.replay.outcomes-changed.v1` for each submission that is decided otherwise, with `changes[{rule, before, after}]`. Of kind `shadow` one `formledger.replay.difference.v1` for each difference, numbered. Then `formledger.replay.summary.v1`, and the end.", body = answers::ReplayFeedMessage, content_type = "text/event-stream"),
        (status = 204, description = "The start is the summary's `id`: there is nothing more."),
        (status = 400, description = "`cursor-ahead`: the start is past the range, and the replay has told no such `id`."),
        (status = 404, description = "There is no such replay on this server (any more)."),
        (status = 429, description = "`too-many-feeds` of this tenant are open."),
        (status = 503, description = "`too-many-feeds` are open on this server."),
    ))]
pub async fn feed(call: Call, id: String) -> Result<Response, ApiError> {
    let mut query = QueryCall::served_as(call, &[EVENT_STREAM]).await?;
    let replay = found(&query.api.replays, &query.caller, &id)?;
    let in_query = query.params.position("after")?;
    let filter = match replay.order.kind {
        Kind::Feed(_) => filter(&mut query.params)?,
        Kind::Rules(_) | Kind::Shadow(_) => EventFilter::default(),
    };
    query.finish_params()?;
    query.reach_ledger().await?;
    let before = ReplayFeed::start(&replay);
    let after = last_event_id(&query.head)?.or(in_query).unwrap_or(before).max(before);
    let progress = replay.progress();
    let reached = progress.position;
    let summary = ReplayFeed::summary_id(&replay, &progress);
    if summary == Some(after) {
        return Ok(nothing_more(reached));
    }
    let last = summary.unwrap_or_else(|| ReplayFeed::end(&replay, &progress));
    if after > last {
        return Err(ApiError::ReplayCursorAhead { after, last });
    }
    let place = take_place(&query.api, &query.caller.context.tenant)?;
    let QueryCall { api, caller, .. } = query;
    let ledger = match replay.order.kind {
        Kind::Feed(_) | Kind::Rules(_) => {
            api.standbys.ledger(&api.store, &caller.context, replay.order.to).await?
        }
        // It tells what was found, and reads nothing.
        Kind::Shadow(_) => api.store.ledger(&caller.context).into(),
    };
    let feed = ReplayFeed { api, replay, ledger, filter, after, caller };
    Ok(event_stream(reached, feed.messages(place)))
}

/// The answer to who has the summary, which ends a browser's `EventSource`.
fn nothing_more(reached: Position) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(reached.0));
    response
}

/// A replay of the caller's tenant.
fn found(replays: &Replays, caller: &Caller, id: &str) -> Result<Arc<Replay>, ApiError> {
    let id = ids::read::<Uuid>(id).ok_or(ApiError::NotFound("replay"))?;
    replays.find(&caller.context.tenant, id).ok_or(ApiError::NotFound("replay"))
}
