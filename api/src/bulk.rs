//! Many commands in one request: a line of NDJSON is a command, and its answer a line of the answer, in the same order.
//! The routes are `import` and `decisions`; each line goes the way that a request of its own would go, and is refused alone.
//!
//! Results are written while lines are still read, with a bounded number of lines in between, so a body may be far larger than memory and many
//! lines share a commit. A result that was sent is durable. When the client goes away, what is begun ends and nothing else begins: a line runs on a
//! task of its own, also so that one which holds others up goes on while results are not taken.

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
use tokio::task::JoinError;
use warp::reply::Response;

pub use decisions::transition;
pub use import::import;

use crate::access::Rule;
use crate::app::Api;
use crate::audit;
use crate::body::stream;
use crate::call::{Call, caller_now, log};
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::head::Head;
use crate::idempotency::{line_idempotency, sent_key};
use crate::limits::{BULK_BODY_BYTES_MAX, BULK_IN_FLIGHT_BYTES_MAX, BULK_LINES_IN_FLIGHT};
use crate::outcome::Settled;
use crate::params::Params;
use crate::places::Place;
use crate::precondition::{IfMatch, Preconditions};
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
    /// Held until the last of its lines has ended, also without a client.
    _place: Place,
}

/// A line on its way, with its share of what may be in memory, which is free again when its result is on its way out.
struct Begun<C> {
    number: u64,
    text: Bytes,
    command: Result<C, ApiError>,
    /// Ready when the command before it on the same submission has ended.
    after: Option<oneshot::Receiver<Infallible>>,
    /// Dropped when this one has ended.
    _ends: oneshot::Sender<Infallible>,
    share: Option<OwnedSemaphorePermit>,
}

/// Answers a request with many commands.
///
/// # Errors
/// What is wrong with the request as a whole, before a line is read: 401, 403, 400 for any parameter, 412 for any `If-Match`, 413 for a length that is over the
/// limit, 415, 429 for too many such requests of the tenant at once, 503 for too many in all.
async fn answer<C: LineCommand>(call: Call) -> Result<Response, ApiError> {
    let caller = call.caller().await?;
    if let Some(given) = IfMatch::read(&call.head)? {
        return Err(given.failed(Sequence::START));
    }
    // Of each line the same holds; what cannot be read is said once.
    Preconditions::read(&call.head)?;
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
    // Where there is no tenant yet, no line finds a form or a submission, so none begins it.
    api.tenants.enter(&api.store, &caller).await?;
    Params::none(&head)?;
    let limits = &api.settings.limits;
    let mut lines = Lines::new(body, limits, C::LINES_MAX, caller.lasts(), api.stopping.clone());
    if head.asks_before_body() {
        lines.wait_for_first().await;
    }
    let shared = Arc::new(Shared { api, head, rule, _place: place });
    let results = results(begun::<C>(lines), move |mut line| {
        let (run, share) = (Arc::clone(&shared), line.share.take());
        let ended = shared.api.begun.spawn(async move { run.result(line).await });
        async move { Ok::<_, JoinError>((ended.await?, share)) }
    });
    Ok(stream("application/x-ndjson", results))
}

/// Runs lines side by side and gives out their results in order, as many at once as are ready. A line's share of memory is held as long as
/// its result waits for those before it. What fails is a defect, and the answer breaks off.
fn results<L, F, S, E>(
    lines: impl Stream<Item = L> + Send + 'static,
    run: impl FnMut(L) -> F + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static
where
    F: Future<Output = Result<(String, S), E>> + Send + 'static,
    L: Send + 'static,
    S: Send + 'static,
    E: Send + 'static,
{
    lines.map(run).buffered(BULK_LINES_IN_FLIGHT).ready_chunks(BULK_LINES_IN_FLIGHT).map(|results| {
        let mut chunk = String::new();
        for result in results {
            let (line, _share) = result?;
            chunk.push_str(&line);
        }
        Ok(Bytes::from(chunk))
    })
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
                    let command = C::read(&text).map_err(ApiError::in_line);
                    (text, command)
                }
                Err(error) => (Bytes::new(), Err(error)),
            };
            let share = u32::try_from(text.len().clamp(1, BULK_IN_FLIGHT_BYTES_MAX)).unwrap_or(u32::MAX);
            let share = Arc::clone(&memory).acquire_many_owned(share).await.ok();
            let (ends, ended) = oneshot::channel();
            let submission = command.as_ref().ok().and_then(C::submission_id);
            let after = submission.and_then(|id| turns.insert(id, ended));
            yield Begun { number, text, command, after, _ends: ends, share };
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
        let Begun { number, text, command, after, _ends, .. } = line;
        let command = command?;
        if let Some(after) = after {
            // Nothing is ever sent: it is dropped when the other one has ended, however it ended.
            let _ = after.await;
        }
        let Self { api, head, rule, .. } = self;
        // Asked again for each line: an import may outlive its credential, and every decision has a time of its own.
        let caller = caller_now(api, head, rule).await?;
        let (subject, own) = (&caller.context.actor.subject, command.idempotency_key());
        let idempotency = line_idempotency(head, subject, number, own, &text)?;
        let preconditions = Preconditions::of_line(head, command.if_match().map(IfMatch::at))?;
        let call = CommandCall::for_line(Arc::clone(api), caller, text, preconditions, idempotency);
        command.run(call).await
    }
}

/// A member of a line that is text, or missing; null is as good as missing.
///
/// # Errors
/// 400 `body-invalid`.
fn text(
    members: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Result<Option<String>, ApiError> {
    match members.remove(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("`{name}` is a text"))),
    }
}

/// A line that says something else than a command.
fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed { code: "body-invalid", detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, stream};

    #[tokio::test]
    async fn a_result_that_waits_for_those_before_it_keeps_its_share_of_memory() {
        let memory = Arc::new(Semaphore::new(3));
        let (slow, is_slow) = oneshot::channel::<()>();
        let mut is_slow = Some(is_slow);
        let of_lines = Arc::clone(&memory);
        let lines = stream::iter(1..=5).then(move |line| {
            let memory = Arc::clone(&of_lines);
            async move { (line, memory.acquire_owned().await.expect("it is open")) }
        });
        let results = results(Box::pin(lines), move |(line, share)| {
            let slow = is_slow.take().filter(|_| line == 1);
            async move {
                if let Some(slow) = slow {
                    slow.await.expect("told");
                }
                Ok::<_, Infallible>((format!("{line}\n"), share))
            }
        });
        let mut results = Box::pin(results);
        assert!(results.next().now_or_never().is_none(), "the first line is slow");
        assert_eq!(memory.available_permits(), 0, "two results wait behind it, and the other lines for them");
        slow.send(()).expect("it waits");
        let mut all = String::new();
        while let Some(Ok(chunk)) = results.next().await {
            all.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        assert_eq!((all.as_str(), memory.available_permits()), ("1\n2\n3\n4\n5\n", 3));
    }
}
