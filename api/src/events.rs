//! `GET /v1/events`: ranges of the ledger as CloudEvents, as a page of JSON or as a stream of lines.
//! Read from the ledger itself, so it is never behind. The live tail is in `feed`.

use bytes::Bytes;
use formledger_domain::{FormId, Position, Submission};
use formledger_store::{EventFilter, RecordedEvent, StoreError, TenantLedger};
use futures_util::Stream;
use http::header::HeaderValue;
use serde::Serialize;
use warp::reply::Response;

use crate::accept::{Accepted, JSON, NDJSON};
use crate::body::stream;
use crate::call::Call;
use crate::cloudevents::CloudEvent;
use crate::error::ApiError;
use crate::event_types;
use crate::fields::LEDGER_POSITION;
use crate::lasting::{Ended, take_place};
use crate::limits::{
    EVENTS_SCANNED_MAX, PAGE_BYTES_MAX, PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, STREAM_PAGE_BYTES_MAX,
    STREAM_PAGE_EVENTS,
};
use crate::openapi::answers;
use crate::params::{Params, invalid};
use crate::query::{QueryCall, answer};
use crate::submissions::submission_id;

/// A page of events.
#[derive(Serialize)]
struct EventPage<'a> {
    events: Vec<CloudEvent<'a>>,
    /// Where the ledger ended when the page was read.
    position: Position,
    /// The `after` of the next page; absent when this page reaches the ledger's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<Position>,
}

/// Events after a position.
#[utoipa::path(get, path = "/v1/events", operation_id = "listEvents", tag = "events", security(("bearer" = []), ("api-key" = [])),
    params(
        ("after" = Option<u64>, Query, description = "Start after this position; 0 when missing."),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Events of a page, at most 1000; 100 when missing. As lines, as many as are to be sent, without a maximum; all of the range when missing."),
        ("form" = Option<String>, Query, description = "Only events about this form and its submissions."),
        ("submission" = Option<String>, Query, description = "Only events of this submission."),
        ("types" = Option<String>, Query, description = "Only these types, separated by commas, with or without `.v<n>`."),
        ("min_position" = Option<u64>, Query, description = "Wait until the ledger reaches this position."),
    ),
    responses(
        (status = 200, description = "`{events[], position, next_after?}`; with `Accept: application/x-ndjson` one event a line, up to where the ledger ends now or `limit` says.", content((answers::EventPage = "application/json"), (answers::EventLines = "application/x-ndjson"))),
        (status = 400, description = "`cursor-ahead`: `after` is past the ledger's end."),
        (status = 406, description = "`not-acceptable`: `Accept` names neither JSON nor NDJSON."),
        (status = 429, description = "As lines: `too-many-exports` of this tenant are under way."),
        (status = 503, description = "As lines: `too-many-exports` are under way on this server."),
    ))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::served_as(call, &[JSON, NDJSON]).await?;
    let as_lines = Accepted::read(&query.head).prefers(NDJSON, JSON);
    let after = query.params.position("after")?.unwrap_or_default();
    let limit = if as_lines { lines_limit(&mut query.params)? } else { page_limit(&mut query.params)? };
    let filter = filter(&mut query.params)?;
    query.finish_params()?;
    let head = query.reach_ledger().await?;
    if after > head {
        return Err(ApiError::CursorAhead { after, head });
    }
    if as_lines {
        let place = take_place(&query.api, &query.caller.context.tenant)?;
        query.record_export().await?;
        let lasting = query.lasting();
        let chunks = line_chunks(query.ledger, filter, after, head, limit.unwrap_or(usize::MAX));
        return Ok(lines(head, lasting.give(Some(place), chunks)));
    }
    page(&query.ledger, &filter, after, head, limit).await
}

/// A page of the events after a position that `filter` wants.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn page(
    ledger: &TenantLedger,
    filter: &EventFilter,
    after: Position,
    head: Position,
    limit: Option<usize>,
) -> Result<Response, ApiError> {
    let limit = limit.unwrap_or(PAGE_EVENTS_DEFAULT);
    let mut events: Vec<RecordedEvent> = Vec::new();
    let (mut reached, mut scanned, mut bytes) = (after, 0, 0);
    while reached < head && events.len() < limit && scanned < EVENTS_SCANNED_MAX && bytes < PAGE_BYTES_MAX {
        for event in ledger.read_next(reached, limit.max(STREAM_PAGE_EVENTS), STREAM_PAGE_BYTES_MAX).await? {
            if event.position > head || events.len() == limit || bytes >= PAGE_BYTES_MAX {
                break;
            }
            (reached, scanned) = (event.position, scanned + 1);
            if filter.wants(&event) {
                bytes += event.payload.as_str().len();
                events.push(event);
            }
        }
    }
    let events = events.iter().map(CloudEvent::of).collect();
    let next_after = (reached < head).then_some(reached);
    answer(head, &EventPage { events, position: head, next_after })
}

/// How many events a page may have, where the client says so.
///
/// # Errors
/// 400 for a limit out of bounds.
pub fn page_limit(params: &mut Params) -> Result<Option<usize>, ApiError> {
    Ok(params.limit(PAGE_EVENTS_MAX as u32)?.map(|limit| limit as usize))
}

fn lines_limit(params: &mut Params) -> Result<Option<usize>, ApiError> {
    let right = "1 or more; without it the lines go on to the end of the ledger";
    match params.number("limit", right)? {
        Some(0) => Err(invalid(format!("`limit`: use {right}"))),
        limit => Ok(limit),
    }
}

fn lines(head: Position, chunks: impl Stream<Item = Result<Bytes, Ended>> + Send + 'static) -> Response {
    let mut response = stream(NDJSON, chunks);
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(head.0));
    response
}

/// One chunk per page that was read: memory stays at a page, whatever the range.
fn line_chunks(
    ledger: TenantLedger,
    filter: EventFilter,
    mut after: Position,
    head: Position,
    mut remaining: usize,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    async_stream::try_stream! {
        while after < head && remaining > 0 {
            let mut chunk = Vec::new();
            for event in ledger.read_next(after, STREAM_PAGE_EVENTS, STREAM_PAGE_BYTES_MAX).await? {
                after = event.position;
                if after > head || remaining == 0 {
                    break;
                }
                if filter.wants(&event) {
                    CloudEvent::write(&event, &mut chunk);
                    chunk.push(b'\n');
                    remaining -= 1;
                }
            }
            if !chunk.is_empty() {
                yield Bytes::from(chunk);
            }
        }
    }
}

/// Takes the filter parameters that pages, streams and feeds share.
///
/// # Errors
/// 404 for a submission's id that names nothing, 400 for a form that cannot be called so and for a type that no event has.
pub fn filter(params: &mut Params) -> Result<EventFilter, ApiError> {
    let form: Option<FormId> = params.parsed("form")?;
    let submission = params.one("submission")?;
    let types = params.one("types")?;
    let types: Vec<String> =
        types.iter().flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect();
    if types.iter().any(String::is_empty) {
        return Err(invalid("`types` lists event types, separated by commas"));
    }
    types
        .iter()
        .try_for_each(|wanted| event_types::check(wanted))
        .map_err(|what| invalid(format!("`types`: {what}")))?;
    let topic = form.map(String::from);
    let stream = submission
        .map(|id| {
            submission_id(&id).map(|id| (<Submission as cqrs_es::Aggregate>::TYPE.to_owned(), id.to_string()))
        })
        .transpose()?;
    Ok(EventFilter { topic, stream, types })
}
