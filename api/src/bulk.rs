//! Many commands in one request: a line of NDJSON is a command, and its answer a line of the answer, in the same order.
//! The routes are `import` and `decisions`; each line goes the way that a request of its own would go, and is refused alone.
//!
//! Results are written while lines are still read, with a bounded number of lines in between, so a body may be far larger than memory and many
//! lines share a commit. A result that was sent is durable. When the client goes away, what is begun ends and nothing else begins.

pub mod decisions;
pub mod import;
mod lines;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use formledger_domain::{Sequence, SubmissionId};
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_LENGTH;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use warp::reply::Response;

pub use decisions::transition;
pub use import::import;

use crate::access::Rule;
use crate::app::Api;
use crate::audit;
use crate::body::stream;
use crate::call::{Call, log};
use crate::command::{CommandCall, Settled};
use crate::error::ApiError;
use crate::head::Head;
use crate::idempotency::{line_idempotency, sent_key};
use crate::limits::{BULK_BODY_BYTES_MAX, BULK_IN_FLIGHT_BYTES_MAX, BULK_LINES_IN_FLIGHT};
use crate::precondition::IfMatch;
use lines::{Line, Lines};

/// A command as a line says it.
trait LineCommand: Sized + Send + 'static {
    /// Lines of a request; the next one is refused, and the rest not begun.
    const LINES_MAX: u64;

    /// Reads a line.
    ///
    /// # Errors
    /// 400 and 422, as for the body of a request of its own.
    fn read(text: &[u8]) -> Result<Self, ApiError>;

    /// The line's own idempotency key, where it has one.
    fn idempotency_key(&self) -> Option<&str>;

    /// The sequence at which the line expects its submission, where it says so.
    fn if_match(&self) -> Option<Sequence> {
        None
    }

    /// The submission that it is about, where there is one already: commands on the same one run one after another, as they were sent.
    fn submission_id(&self) -> Option<SubmissionId> {
        None
    }

    /// Runs it.
    ///
    /// # Errors
    /// As a request of its own.
    fn run(self, call: CommandCall) -> impl Future<Output = Result<Settled, ApiError>> + Send;
}

/// What all lines of a request share. One head, so all that is recorded has one correlation id.
struct Shared {
    api: Arc<Api>,
    head: Arc<Head>,
    rule: &'static Rule,
}

/// A line on its way, with its share of what may be in memory.
struct Begun<C> {
    number: u64,
    text: Bytes,
    command: Result<C, ApiError>,
    /// Ready when the command before it on the same submission has ended.
    after: Option<oneshot::Receiver<Infallible>>,
    /// Dropped when this one has ended.
    _ends: oneshot::Sender<Infallible>,
    _share: Option<OwnedSemaphorePermit>,
}

/// Answers a request with many commands.
///
/// # Errors
/// What is wrong with the request as a whole, before a line is read: 401, 403, 412 for any `If-Match`, 413 for a length that is over the
/// limit, 415, 429 for too many such requests of the tenant at once, 503 for too many in all.
async fn answer<C: LineCommand>(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller().await?;
    if let Some(given) = IfMatch::read(&call.head)? {
        return Err(given.failed(Sequence::START));
    }
    sent_key(&call.head)?;
    let rule = call.rule;
    let (api, head, body) = call.lines_body()?;
    let stated: Option<u64> = head.text(&CONTENT_LENGTH)?.and_then(|length| length.parse().ok());
    if stated.is_some_and(|bytes| bytes > BULK_BODY_BYTES_MAX) {
        return Err(ApiError::BodyTooLarge { limit_bytes: BULK_BODY_BYTES_MAX as usize });
    }
    let place = api.bulks.take(&caller.context.tenant).map_err(|full| {
        let of_tenant =
            "as many imports and bulk decisions of this tenant run as may at once; wait for one to end";
        let of_server =
            "as many imports and bulk decisions run on this server as may at once; try again soon";
        full.refusal("too-many-bulk-requests", of_tenant, of_server)
    })?;
    api.tenants.enter(&api.store, &caller).await?;
    let mut lines = Lines::new(body, &api.settings.limits, C::LINES_MAX, api.stopping.clone());
    lines.ask();
    let shared = Arc::new(Shared { api, head, rule });
    let results = begun::<C>(lines)
        .map(move |line| {
            let shared = Arc::clone(&shared);
            // On the heap: many of them wait in one list, and a decision's future is large.
            Box::pin(async move { Ok::<_, Infallible>(shared.result(line).await) })
        })
        .buffered(BULK_LINES_IN_FLIGHT);
    let results = results.ready_chunks(BULK_LINES_IN_FLIGHT).map(move |results| {
        let _held_while_it_runs = &place;
        results.into_iter().collect::<Result<Vec<String>, _>>().map(|lines| Bytes::from(lines.concat()))
    });
    Ok(stream("application/x-ndjson", results))
}

/// The lines in order, each with its share of memory and its turn.
fn begun<C: LineCommand>(mut lines: Lines) -> impl Stream<Item = Begun<C>> + Send {
    let memory = Arc::new(Semaphore::new(BULK_IN_FLIGHT_BYTES_MAX));
    // No more of them than lines that name a submission, of which there are few.
    let mut turns: HashMap<SubmissionId, oneshot::Receiver<Infallible>> = HashMap::new();
    async_stream::stream! {
        while let Some(Line { number, text }) = lines.next().await {
            let (text, command) = match text {
                Ok(text) => {
                    let command = C::read(&text);
                    (text, command)
                }
                Err(error) => (Bytes::new(), Err(error)),
            };
            let share = u32::try_from(text.len().clamp(1, BULK_IN_FLIGHT_BYTES_MAX)).unwrap_or(u32::MAX);
            let share = Arc::clone(&memory).acquire_many_owned(share).await.ok();
            let (ends, ended) = oneshot::channel();
            let submission = command.as_ref().ok().and_then(C::submission_id);
            let after = submission.and_then(|id| turns.insert(id, ended));
            yield Begun { number, text, command, after, _ends: ends, _share: share };
        }
    }
}

impl Shared {
    /// The line of the answer, with its end.
    async fn result<C: LineCommand>(&self, line: Begun<C>) -> String {
        let number = line.number;
        let submission = line.command.as_ref().ok().and_then(C::submission_id);
        let mut result = match self.run(line).await {
            Ok(settled) => settled.line(number),
            Err(error) => {
                log(&self.head, &error);
                if let Some(kind) = audit::refusal(&error) {
                    audit::note_about(&self.api, &self.head, self.rule, kind, submission).await;
                }
                error.problem().with("line", json!(number)).to_json(&self.head.request_id)
            }
        };
        result.push('\n');
        result
    }

    async fn run<C: LineCommand>(&self, line: Begun<C>) -> Result<Settled, ApiError> {
        let Begun { number, text, command, after, _ends, _share } = line;
        let command = command?;
        if let Some(after) = after {
            // Nothing is ever sent: it is dropped when the other one has ended, however it ended.
            let _ = after.await;
        }
        let Self { api, head, rule } = self;
        // Asked again for each line: an import may outlive its credential, and every decision has a time of its own.
        let caller = rule.admit(api.authenticator.authenticate(api, head).await?, head)?;
        let (subject, own) = (&caller.context.actor.subject, command.idempotency_key());
        let idempotency = line_idempotency(head, subject, number, own, &text)?;
        let if_match = command.if_match().map(IfMatch::at);
        let call = CommandCall::for_line(Arc::clone(api), caller, text, if_match, idempotency);
        command.run(call).await
    }
}

/// A member of a line that is text, or missing.
///
/// # Errors
/// 400 `body-invalid`.
fn text(
    members: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Result<Option<String>, ApiError> {
    match members.remove(name) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("`{name}` is a text"))),
    }
}

/// A line that says something else than a command.
fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed { code: "body-invalid", detail: detail.into() }
}
