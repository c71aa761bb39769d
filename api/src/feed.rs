//! `GET /v1/feed`: the ledger as server-sent events, history first and then live, without gap or repeat.
//! A subscriber only ever reads pages of the ledger after the last position it was sent; waking is a signal, never data. So a slow client
//! falls back to reading history by itself, and its memory is one page.

mod pages;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formledger_domain::{ApiKeyId, Position, TenantId};
use formledger_store::{EventFilter, StoreError, TenantLedger, causes};
use futures_util::{FutureExt, Stream};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::Instant;
use warp::reply::Response;

pub use pages::{FeedPages, MESSAGE_END, Page, begin_message};

use crate::accept::EVENT_STREAM;
use crate::app::Api;
use crate::body::stream;
use crate::call::Call;
use crate::error::ApiError;
use crate::events::filter;
use crate::fields::LEDGER_POSITION;
use crate::head::Head;
use crate::metrics::Raised;
use crate::numbers;
use crate::openapi::answers;
use crate::places::Place;
use crate::query::QueryCall;
use crate::stopping::stopped;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks a reverse proxy (nginx and those who copied it) to pass events on as they come.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A comment, which clients pass over.
pub const STILL_HERE: &[u8] = b": still here\n\n";

/// The tenant's events as they are recorded.
#[utoipa::path(get, path = "/v1/feed", operation_id = "followEvents", tag = "events", security(("bearer" = []), ("api-key" = [])),
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "Start after this position; wins over `after`."),
        ("after" = Option<u64>, Query, description = "Start after this position; at the ledger's end when missing."),
        ("form" = Option<String>, Query, description = "Only events about this form and its submissions."),
        ("submission" = Option<String>, Query, description = "Only events of this submission."),
        ("types" = Option<String>, Query, description = "Only these types, separated by commas, with or without `.v<n>`."),
        ("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position."),
    ),
    responses(
        (status = 200, description = "Server-sent events: `id` is the position, `event` the type, `data` the event as CloudEvents JSON. The first message is a comment that names the real start (`: start after position N`): who loses the connection before the first event comes back with `after=N`.", body = answers::Event, content_type = "text/event-stream"),
        (status = 400, description = "`cursor-ahead`: the start is past the ledger's end."),
        (status = 429, description = "`too-many-feeds` of this tenant are open."),
        (status = 503, description = "`too-many-feeds` are open on this server."),
    ))]
pub async fn subscribe(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::served_as(call, &[EVENT_STREAM]).await?;
    let in_query = query.params.position("after")?;
    let filter = filter(&mut query.params)?;
    query.finish_params()?;
    let head = query.reach_ledger().await?;
    let after = last_event_id(&query.head)?.or(in_query).unwrap_or(head);
    if after > head {
        return Err(ApiError::CursorAhead { after, head });
    }
    let place = take_place(&query.api, &query.caller.context.tenant)?;
    let followed = query.ledger.follow().await?;
    let valid_for = query.caller.lasts();
    let (tenant, api_key) = (query.caller.context.tenant, query.caller.api_key);
    let subscriber = Subscriber {
        api: query.api,
        tenant,
        api_key,
        ledger: query.ledger,
        filter,
        after,
        followed,
        valid_for,
    };
    Ok(event_stream(head, subscriber.messages(place)))
}

/// A place for one more feed of `tenant`.
///
/// # Errors
/// 429 when the tenant has as many as it may, 503 when all have together.
pub fn take_place(api: &Api, tenant: &TenantId) -> Result<Place, ApiError> {
    api.feeds.take(tenant).map_err(|full| {
        let of_tenant = "as many feeds of this tenant are open as may be at once; close one";
        let of_server = "as many feeds are open on this server as may be at once; try again soon";
        full.refusal("too-many-feeds", of_tenant, of_server)
    })
}

/// An answer of server-sent events that no proxy keeps back.
pub fn event_stream<S, E>(head: Position, messages: S) -> Response
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let mut response = stream(EVENT_STREAM, messages);
    let headers = response.headers_mut();
    headers.insert(LEDGER_POSITION, HeaderValue::from(head.0));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// One open feed.
struct Subscriber {
    api: Arc<Api>,
    tenant: TenantId,
    /// The key that opened it, where one did.
    api_key: Option<ApiKeyId>,
    ledger: TenantLedger,
    filter: EventFilter,
    /// Everything up to here was sent, or is not wanted.
    after: Position,
    followed: watch::Receiver<Position>,
    /// How long the credential lasts.
    valid_for: Duration,
}

impl Subscriber {
    /// The feed's messages, several events in one chunk where several are there. Ends when the application stops, when the credential
    /// ends, or when the ledger cannot be read or lacks a position; the client comes back with its `Last-Event-ID`.
    fn messages(mut self, place: Place) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
        let open = Raised::new(&self.api.metrics.feeds);
        async_stream::try_stream! {
            let _held_while_open = (place, open);
            let end = end(self.api.stopping.clone(), self.valid_for);
            tokio::pin!(end);
            let heartbeat = self.api.settings.limits.feed_heartbeat;
            let mut sent = Instant::now();
            yield Bytes::from(format!(": start after position {}\n\n", self.after));
            loop {
                // Read while there is more, and only then wait: a signal that came meanwhile is not lost, it is the watched value.
                while *self.followed.borrow_and_update() > self.after {
                    // Long histories and slow clients must not outlive the credential.
                    if (&mut end).now_or_never().is_some() {
                        return;
                    }
                    let page = match self.api.feed_pages.after(&self.tenant, &self.ledger, self.after).await {
                        Ok(page) => page,
                        Err(error) => {
                            let (tenant, after, cause) = (self.tenant.as_str(), self.after.0, causes(&error));
                            tracing::error!(tenant, after, cause, "a feed ends, because the ledger cannot be read");
                            // An end and not an error, with which hyper would throw away what was sent but not written yet.
                            return;
                        }
                    };
                    // The ledger itself says when the credential is over: its revocation is an event like any other.
                    if self.api_key.is_some_and(|key| page.revokes(key)) {
                        return;
                    }
                    self.after = page.last().max(self.after);
                    let (chunk, events) = page.wanted(&self.filter);
                    if events > 0 {
                        self.api.metrics.feed_events.increment(events);
                        yield chunk;
                        sent = Instant::now();
                    } else if sent.elapsed() >= heartbeat {
                        yield Bytes::from_static(STILL_HERE);
                        sent = Instant::now();
                    }
                }
                tokio::select! {
                    () = &mut end => return,
                    moved = self.followed.changed() => {
                        if moved.is_err() {
                            return;
                        }
                    }
                    () = tokio::time::sleep_until(sent + heartbeat) => {
                        yield Bytes::from_static(STILL_HERE);
                        sent = Instant::now();
                    }
                }
            }
        }
    }
}

/// Ready when a feed must end: the application stops, or the credential is not valid any longer.
pub async fn end(mut stopping: watch::Receiver<bool>, valid_for: Duration) {
    tokio::select! {
        () = stopped(&mut stopping) => {}
        () = tokio::time::sleep(valid_for) => {}
    }
}

/// The position that `Last-Event-ID` names; `None` when it is missing.
///
/// # Errors
/// 400 when it is no position.
pub fn last_event_id(head: &Head) -> Result<Option<Position>, ApiError> {
    let Some(text) = head.text(&LAST_EVENT_ID)? else { return Ok(None) };
    numbers::read(text.trim()).map(|position| Some(Position(position))).ok_or_else(|| ApiError::Malformed {
        code: "cursor-invalid",
        detail: "`Last-Event-ID` is a position, a whole number, as the feed sent it in `id`".to_owned(),
    })
}
