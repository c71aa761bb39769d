//! Files of submissions: attached, listed, fetched, taken off. Bytes are streamed in both directions and kept by `store` under their hash
//! before the event that names them is appended, and only when that is about to be; the `Submission` aggregate says who may, where and which.

mod disposition;
mod range;
mod spool;
mod store;

use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use formledger_domain::{
    ATTACHMENT_BYTES_MAX, Act, Attachment, ContentHash, MediaType, Position, Submission, SubmissionCommand,
    SubmissionError, SubmissionEvent, SubmissionId, WorkflowFact, is_attachment_name,
};
use formledger_projections::record::{AttachedFile, Record};
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    ETAG, HeaderName, HeaderValue,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warp::reply::Response;

use crate::access::SUBMITTERS;
use crate::body::{self, Body};
use crate::call::{Call, caller_now, media_type};
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::fields::LEDGER_POSITION;
use crate::forms::topic;
use crate::head::Head;
use crate::members::members;
use crate::openapi::answers;
use crate::outcome::Outcome;
use crate::params::{Params, invalid};
use crate::places::Full;
use crate::precondition::has_it;
use crate::query::{QueryCall, answer, unchanged};
use crate::submissions::{Effect, Pinned, ensure_readable, pinned, submission_id};
use spool::Spooled;

/// Which hash the bytes of a body have.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// What a program sends that does not know what a file is (RFC 2046 section 4.5.1): then its bytes say.
const OCTET_STREAM: &str = "application/octet-stream";

pub use store::{AttachmentStore, FOLDER, OpenError};

/// The body of a detachment.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Detachment {
    /// Why.
    reason: Option<String>,
}

/// What a request says of a file before its bytes.
struct Announced {
    /// The name, as a parameter.
    name: Option<String>,
    /// The type, as a header field.
    media_type: String,
    /// The size, where that is said.
    bytes: Option<u64>,
    /// What the bytes hash to, where that is said (RFC 9530).
    sha256: Option<ContentHash>,
    /// Whether the client sends the bytes only after it was told to go on.
    waits: bool,
}

/// What may come in.
struct Admitted {
    pinned: Pinned,
    name: Arc<str>,
    /// `None` where only the bytes will say.
    media_type: Option<MediaType>,
    bytes_max: u64,
}

/// Attaches a file to a submission: its bytes are the body, its name a parameter, its type the `Content-Type`.
#[utoipa::path(post, path = "/v1/submissions/{id}/attachments", operation_id = "attachFile", tag = "attachments", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = Uuid, Path, description = "The submission."),
        ("name" = String, Query, description = "What the file is called: 1 to 255 bytes, no slashes."),
    ),
    request_body(content = inline(answers::Bytes), content_type = "application/octet-stream", description = "The bytes. `Content-Type` says what they are, and is one of the types that the form takes; of `application/octet-stream` the bytes say it, unless they are text."),
    responses(
        (status = 201, body = answers::SubmissionRecorded, description = "Attached; `Location` is where it is fetched. Approvals given in this state are void."),
        (status = 200, body = answers::SubmissionRecorded, description = "The same bytes were attached under this name already; nothing is recorded."),
        (status = 403, description = "`not-permitted`: not by this person."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`attachments-not-taken` by this form, `not-in-state`, `too-many-attachments`, or `already-attached` under another name."),
        (status = 413, description = "`attachment-too-large`: more bytes than the form takes; `limit_bytes` says how many those are."),
        (status = 415, description = "`attachment-type-unsupported`: not a type that the form takes; `types` says which those are."),
        (status = 422, description = "`attachment-type-mismatch`: the bytes are not what they are said to be. `attachment-invalid`: no bytes, or no name."),
        (status = 429, description = "`too-many-uploads` of this tenant arrive."),
        (status = 503, description = "`too-many-uploads` arrive at this server, `attachment-unavailable` or `storage-full`."),
    ))]
pub async fn attach(call: Call, id: String) -> Result<Response, ApiError> {
    let (rule, caller) = (call.rule, call.caller().await?);
    let (api, head, mut body) = call.into_parts();
    let announced = Announced::read(&head)?;
    // Where there is no tenant yet, there is no submission to be found either.
    let ledger = api.tenants.enter(&api.store, &caller).await?.ledger;
    let asked = CommandCall::for_ledger(Arc::clone(&api), &head, caller, Bytes::new(), ledger)?;
    let _place = api.uploads.take(&asked.caller.context.tenant).map_err(too_many_uploads)?;
    let admitted = match admit(&asked, &announced, &id, None).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&asked, &head, &announced, &mut body, refusal).await,
    };
    let (limits, media_type) = (&api.settings.limits, admitted.media_type);
    let incoming = api.attachments.incoming();
    let spooled = spool::spool(&mut body, incoming, limits, admitted.bytes_max, media_type).await?;
    if announced.sha256.is_some_and(|sha256| sha256 != spooled.sha256) {
        let detail = format!("the bytes are not those of `Content-Digest`: they hash to {}", spooled.sha256);
        return Err(ApiError::Malformed { code: "header-invalid", detail });
    }
    let media_type = be_what_it_says(&spooled, media_type)?;

    // Minutes may have gone by: the credential, who may and what is attached are those of now.
    let caller = caller_now(&api, &head, rule).await?;
    let named = announced.request(&spooled.sha256);
    let call = CommandCall::for_ledger(Arc::clone(&api), &head, caller, named, asked.ledger)?;
    if let Some(first) = call.first().await? {
        return Ok(first.answer());
    }
    let Admitted { pinned, name, .. } = admit(&call, &announced, &id, Some(media_type)).await?;
    let Pinned { id, form, submission, sequence, .. } = pinned;
    let attachment = Attachment { sha256: spooled.sha256, name, media_type, bytes: spooled.bytes };
    let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
    let topic = topic(form.id());
    let act = Act::Attach { attachment: attachment.clone() };
    let command = SubmissionCommand::Act { form, act, by, now };
    // What is kept is kept for good, so nobody fills the disk with what is refused: only a command that comes in between leaves a file
    // that no event names.
    call.expects(sequence)?;
    submission.decide(command.clone())?;
    api.attachments.keep(&call.caller.context.tenant, spooled).await?;
    call.execute::<Submission>(id, command, topic, |state, events| {
        let effect = Effect::of(id, state).with_attachment(&attachment);
        match events {
            [] => Outcome::ok(&effect),
            _ => Outcome::created(place(id, attachment.sha256), &effect),
        }
    })
    .await
}

/// Takes a file off a submission. Its bytes stay, because what happened stays.
#[utoipa::path(delete, path = "/v1/submissions/{id}/attachments/{sha256}", operation_id = "detachFile", tag = "attachments", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = Uuid, Path, description = "The submission."),
        ("sha256" = String, Path, description = "The file's hash."),
    ),
    request_body = Option<Detachment>,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Taken off; it can still be fetched, and the timeline shows it. Approvals given in this state are void."),
        (status = 403, description = "`not-permitted`: not by this person."),
        (status = 404, description = "There is no such submission, or not for this caller, or it has no such file."),
        (status = 409, description = "`not-in-state`: nothing is attached or taken off in this state."),
    ))]
pub async fn detach(call: Call, id: String, sha256: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Detachment { reason } = members(&call.body)?;
    let Pinned { id, form, is_draft, .. } = match pinned(&call, &id).await {
        Ok(pinned) => pinned,
        Err(refusal) => return call.first_or(refusal).await,
    };
    if is_draft {
        call.caller.require_on(form.id(), SUBMITTERS)?;
    }
    let sha256 = content_hash(&sha256)?;
    let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
    let topic = topic(form.id());
    let command = SubmissionCommand::Act { form, act: Act::Detach { sha256, reason }, by, now };
    call.execute::<Submission>(id, command, topic, |state, events| {
        let effect = Effect::of(id, state);
        match events {
            [SubmissionEvent::Worked { fact: WorkflowFact::Detached { attachment, .. }, .. }] => {
                Outcome::ok(&effect.with_attachment(attachment))
            }
            _ => Outcome::ok(&effect),
        }
    })
    .await
}

#[derive(Serialize)]
struct Attachments {
    submission_id: SubmissionId,
    items: Vec<AttachedFile>,
    position: Position,
}

/// The files that belong to a submission.
#[utoipa::path(get, path = "/v1/submissions/{id}/attachments", operation_id = "listAttachments", tag = "attachments", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = String, Path, description = "The submission."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::AttachmentList, description = "`{submission_id, items[], position}`, in the order in which they were attached."),
        (status = 404, description = "There is no such submission, or not for this caller."),
    ))]
pub async fn list(call: Call, id: String) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let submission_id = submission_id(&id)?;
    let position = query.reach_ledger().await?;
    let events = query.ledger.load(&query.caller.context.stream::<Submission>(submission_id)).await?;
    let record = Record::fold(&events).map_err(ApiError::internal)?;
    ensure_readable(&query.api, &query.ledger, &query.caller, &record.submission).await?;
    answer(position, &Attachments { submission_id, items: record.attachments, position })
}

/// The bytes of a file that was ever attached to a submission, or a part of them.
#[utoipa::path(get, path = "/v1/submissions/{id}/attachments/{sha256}", operation_id = "getAttachment", tag = "attachments", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = String, Path, description = "The submission."),
        ("sha256" = String, Path, description = "The file's hash, 64 hexadecimal digits."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
        ("Range" = Option<String>, Header, description = "`bytes=<first>-<last>`, `bytes=<first>-` or `bytes=-<count>`: only this part. Several parts at once, and what is no such range, are answered with the whole file."),
        ("If-Range" = Option<String>, Header, description = "An `ETag`: the part only of this very file, else the whole."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer: 304, because a file stays as it is."),
    ),
    responses(
        (status = 200, body = answers::Bytes, content_type = "*/*", description = "The bytes, with their own `Content-Type`, to be saved and not shown; `ETag` is the hash."),
        (status = 206, body = answers::Bytes, content_type = "*/*", description = "The part that `Range` asks for; `Content-Range` says which it is, and of how many bytes."),
        (status = 304, description = "The client has them: `If-None-Match` names the hash."),
        (status = 404, description = "There is no such submission, or not for this caller, or it never had such a file."),
        (status = 416, description = "`range-not-satisfiable`: the part begins behind the end; `Content-Range` and `bytes` say how many bytes there are."),
        (status = 503, description = "`attachment-unavailable`: the place where the bytes are does not answer. `attachment-missing`: it does, and they are not there."),
    ))]
pub async fn download(call: Call, id: String, sha256: String) -> Result<Response, ApiError> {
    let query = QueryCall::served_as_it_is(call).await?;
    query.finish_params()?;
    let id = submission_id(&id)?;
    let position = query.reach_ledger().await?;
    let events = query.ledger.load(&query.caller.context.stream::<Submission>(id)).await?;
    let record = Record::fold(&events).map_err(ApiError::internal)?;
    ensure_readable(&query.api, &query.ledger, &query.caller, &record.submission).await?;
    let sha256 = content_hash(&sha256)?;
    // Also one that was taken off since: whoever may read what was there may read what was attached to it.
    let attachment = record.ever_attached(sha256).ok_or(ApiError::NotFound("attachment"))?.clone();
    let quoted = format!("\"{sha256}\"");
    let tag = HeaderValue::from_str(&quoted).expect("digits and quotes are visible ASCII");
    if has_it(&query.head, &tag)? {
        return Ok(unchanged(position, tag));
    }
    let part = range::asked(&query.head, &quoted, attachment.bytes)?;
    // A part that is all of it can be compared with the hash like the whole.
    let some = part.clone().filter(|part| *part != (0..attachment.bytes));
    let chunks = query.api.attachments.read(&query.caller.context.tenant, sha256, some).await?;
    query.record_export_of(id).await?;
    let chunks = query.lasting().give(None, chunks);
    let mut response = given(&attachment, part, body::stream(attachment.media_type.as_str(), chunks));
    let headers = response.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(LEDGER_POSITION, HeaderValue::from(position.0));
    Ok(response)
}

/// What `response` says of the bytes in it, which are a part of a file or all of it.
fn given(attachment: &Attachment, part: Option<Range<u64>>, mut response: Response) -> Response {
    let bytes = attachment.bytes;
    if let Some(Range { start, end }) = &part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let place = format!("bytes {start}-{}/{bytes}", end - 1);
        let place = HeaderValue::from_str(&place).expect("words and digits are visible ASCII");
        response.headers_mut().insert(CONTENT_RANGE, place);
    }
    let length = part.map_or(bytes, |Range { start, end }| end - start);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DISPOSITION, disposition::attachment(&attachment.name));
    // Should a browser show it all the same, nothing in it may run or load anything.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

fn too_many_uploads(full: Full) -> ApiError {
    let of_tenant = "as many attachments of this tenant arrive as may at once; wait until one has";
    let of_server = "as many attachments arrive at this server as may at once; try again soon";
    full.refusal("too-many-uploads", of_tenant, of_server)
}

impl Announced {
    /// What the request says before its body.
    ///
    /// # Errors
    /// 400 for what cannot be understood.
    fn read(head: &Head) -> Result<Self, ApiError> {
        let mut params = Params::read(head)?;
        let name = params.one("name")?;
        params.finish()?;
        let bytes = head.text(&CONTENT_LENGTH)?.and_then(|text| text.parse().ok());
        let media_type = media_type(head)?.unwrap_or_default().to_ascii_lowercase();
        be_utf_8(head, &media_type)?;
        let sha256 = content_digest(head)?;
        Ok(Self { name, media_type, bytes, sha256, waits: head.asks_before_body() })
    }

    /// What makes two requests the same, beside method and path; the name comes last, because it may hold anything.
    fn request(&self, sha256: &ContentHash) -> Bytes {
        let Self { name, media_type, .. } = self;
        Bytes::from(format!("{sha256} {media_type} {}", name.as_deref().unwrap_or_default()))
    }
}

/// What may come in: everything that can be said before the bytes are there, so that nobody sends them in vain; and once more with what they were `found` to be.
async fn admit(
    call: &CommandCall,
    announced: &Announced,
    id: &str,
    found: Option<MediaType>,
) -> Result<Admitted, ApiError> {
    let pinned = pinned(call, id).await?;
    let form = &pinned.form;
    if pinned.is_draft {
        call.caller.require_on(form.id(), SUBMITTERS)?;
    }
    let name = announced.name.as_deref().ok_or_else(|| invalid("say with `name` what the file is called"))?;
    if !is_attachment_name(name) {
        return Err(refused(
            "attachment-invalid",
            "a file's `name` has 1 to 255 bytes and no slashes, control characters or marks that reverse text",
        ));
    }
    let (actor, now) = (call.caller.context.actor.on(form.id()), call.caller.context.now);
    let rules = match pinned.submission.takes_attachments(form, &actor, now) {
        Ok(rules) => rules,
        // It may be one that is there already: then nothing is added.
        Err(SubmissionError::TooManyAttachments { .. }) => {
            form.attachments().ok_or(ApiError::NotFound("form"))?
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let unsupported =
        |given: &str| SubmissionError::AttachmentType { given: given.to_owned(), types: rules.type_names() };
    let media_type = match &*announced.media_type {
        OCTET_STREAM => found,
        name => Some(MediaType::named(name).ok_or_else(|| unsupported(name))?),
    };
    if let Some(other) = media_type.filter(|known| !rules.takes(*known)) {
        return Err(unsupported(other.as_str()).into());
    }
    if announced.bytes.is_some_and(|bytes| bytes > rules.bytes_max) {
        return Err(ApiError::AttachmentTooLarge { limit_bytes: rules.bytes_max });
    }
    let bytes_max = rules.bytes_max;
    Ok(Admitted { name: name.into(), media_type, bytes_max, pinned })
}

/// Refuses before the bytes are there. A repeated request is told what the first was told, but only the bytes say whether it is one: they
/// are taken in where what was accepted once may be refused by now, and never for who finds nothing.
async fn refuse(
    call: &CommandCall,
    head: &Head,
    announced: &Announced,
    body: &mut Body,
    refusal: ApiError,
) -> Result<Response, ApiError> {
    // The name, the type and the form's version are what they were; who may and where the submission stands may not be.
    let may_be_repeated = matches!(refusal, ApiError::NotPermitted(_) | ApiError::Conflict { .. });
    let fits = announced.bytes.is_none_or(|bytes| bytes <= ATTACHMENT_BYTES_MAX);
    if may_be_repeated && fits && call.has_idempotency_key() {
        let sha256 = spool::digest(body, &call.api.settings.limits, ATTACHMENT_BYTES_MAX).await?;
        let (api, caller, ledger) = (Arc::clone(&call.api), call.caller.clone(), call.ledger.clone());
        let repeated = CommandCall::for_ledger(api, head, caller, announced.request(&sha256), ledger)?;
        return repeated.first_or(refusal).await;
    }
    // Who asked before sending is told at once; who is sending already would not hear it before the end.
    if !announced.waits {
        let patience = call.api.settings.limits.body_read_timeout;
        let _ = tokio::time::timeout(patience, body.discard()).await;
    }
    Err(refusal)
}

/// That bytes are there, and are what they are said to be; of those that are said to be nothing in particular, what they are.
fn be_what_it_says(spooled: &Spooled, declared: Option<MediaType>) -> Result<MediaType, ApiError> {
    if spooled.bytes == 0 {
        return Err(refused("attachment-invalid", "the body is empty; send the bytes of the file"));
    }
    let Some(declared) = declared else {
        let detail = "what these bytes are cannot be told by looking at them; say it in `Content-Type`, `text/plain` of a text";
        return spooled.inspection.found().ok_or_else(|| refused("attachment-type-mismatch", detail));
    };
    if spooled.inspection.fits() {
        return Ok(declared);
    }
    let looks = match spooled.inspection.found() {
        Some(found) => format!("they look like `{found}`"),
        None if is_text(declared.as_str()) => "text is sent in UTF-8, without control characters".to_owned(),
        None => "send the file as what it is".to_owned(),
    };
    Err(refused("attachment-type-mismatch", &format!("these bytes are not `{declared}`; {looks}")))
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
}

/// Names of UTF-8 and of what is part of it, as programs write them.
const UTF_8: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// That text is not said to be in another encoding than the one in which it is read.
fn be_utf_8(head: &Head, media_type: &str) -> Result<(), ApiError> {
    let parameters = head.text(&CONTENT_TYPE)?.unwrap_or_default().split(';').skip(1);
    let charset = parameters.filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        Some(other)
            if is_text(media_type) && !UTF_8.iter().any(|known| other.eq_ignore_ascii_case(known)) =>
        {
            let detail =
                format!("text is taken in UTF-8, not in `{other}`; save the file as UTF-8 and send it anew");
            Err(refused("attachment-type-mismatch", &detail))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 that `Content-Digest` names (RFC 9530 section 2); other algorithms are passed over, as it says.
fn content_digest(head: &Head) -> Result<Option<ContentHash>, ApiError> {
    let members = head.text(&CONTENT_DIGEST)?.unwrap_or_default().split(',').map(str::trim);
    let Some(given) = members.into_iter().find_map(|member| member.strip_prefix("sha-256=")) else {
        return Ok(None);
    };
    let bytes = given.strip_prefix(':').and_then(|given| given.strip_suffix(':'));
    let bytes = bytes.and_then(|given| STANDARD.decode(given).ok()).and_then(|bytes| bytes.try_into().ok());
    let detail = || "`sha-256` of `Content-Digest` is 32 bytes in base64 between colons".to_owned();
    bytes
        .map(ContentHash)
        .map(Some)
        .ok_or_else(|| ApiError::Malformed { code: "header-invalid", detail: detail() })
}

fn refused(code: &'static str, detail: &str) -> ApiError {
    ApiError::Refused { code, detail: detail.to_owned(), errors: Value::Null }
}

fn place(id: SubmissionId, sha256: ContentHash) -> String {
    format!("/v1/submissions/{id}/attachments/{sha256}")
}

/// A hash in a path; text that is none names nothing that exists.
fn content_hash(text: &str) -> Result<ContentHash, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound("attachment"))
}
