//! Submissions: made, amended and submitted under a pinned form version.
//! Commands go to the `Submission` aggregate with the compiled form; reading them back is in `submission_queries`.

use std::sync::Arc;

use cqrs_es::Aggregate;
use formledger_domain::{
    Approvals, Attachment, CanonicalJson, CompiledForm, FormId, LedgerAggregate, Sequence, Submission,
    SubmissionCommand, SubmissionId, SubmissionState,
};
use formledger_store::{Basis, RecordedEvent, TenantLedger};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;
use warp::reply::Response;

use crate::access::SUBMITTERS;
use crate::app::Api;
use crate::auth::{Caller, role};
use crate::call::Call;
use crate::catalogue::Opened;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::forms::{existing_form_id, topic};
use crate::ids;
use crate::members::{Empty, members, parse, parse_with_data};
use crate::openapi::answers;
use crate::outcome::{Outcome, Settled};

/// How often a form is read for one command while others keep changing it.
const FORM_READS_MAX: usize = 4;

/// The body of a new submission.
#[derive(Debug, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubmission {
    /// What was filled in; the form's schema says what it may be.
    data: Value,
    /// Keep it as a draft, unchecked, until it is submitted.
    #[schema(required = false)]
    draft: bool,
}

/// What a submission's commands answer, besides `position` and `sequence`.
#[derive(Serialize)]
pub struct Effect<'a> {
    submission_id: SubmissionId,
    form: &'a str,
    form_version: u32,
    state: &'a str,
    outcomes: CanonicalJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<Approvals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<&'a Attachment>,
}

/// Makes a submission.
#[utoipa::path(post, path = "/v1/forms/{form}/submissions", operation_id = "createSubmission", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(("form" = String, Path, description = "The form's id.")),
    request_body = NewSubmission,
    responses(
        (status = 201, body = answers::SubmissionRecorded, description = "Recorded: `{submission_id, form, form_version, state, outcomes, sequence, position}`."),
        (status = 404, description = "There is no such form."),
        (status = 409, description = "`form-retired` or `form-not-published`."),
        (status = 422, description = "`submission-invalid` with `errors[{pointer, keyword, message}]`; nothing is recorded."),
    ))]
pub async fn submit(call: Call, form: String) -> Result<Response, ApiError> {
    let call = CommandCall::read(call).await?;
    let new = NewSubmission::read(&call.body)?;
    Ok(make(&call, &form, new, NewSubmission::read).await?.answer())
}

/// Makes a submission of a form; a request of its own and a line of an import come here.
///
/// What was read goes with the command, and is gone before that waits for the disk: kept until the answer, its many small pieces would be given
/// back by another thread, which costs a twentieth of a submission. `read` reads the body again where it has to be decided again.
///
/// # Errors
/// As the route documents them.
pub async fn make(
    call: &CommandCall,
    form: &str,
    new: NewSubmission,
    read: fn(&[u8]) -> Result<NewSubmission, ApiError>,
) -> Result<Settled, ApiError> {
    let form = existing_form_id(form)?;
    let id = SubmissionId(Uuid::now_v7());
    let (mut reads, mut new) = (FormReads::default(), Some(new));
    loop {
        let Opened { form, basis } = match reads.next(call, &form).await {
            Ok(opened) => opened,
            Err(refusal) => return call.settled_or(refusal).await,
        };
        let NewSubmission { data, draft } = new.take().map_or_else(|| read(&call.body), Ok)?;
        let topic = topic(form.id());
        let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
        let command = SubmissionCommand::Submit { form, data: Arc::new(data), draft, by, now };
        let outcome = |state: &Submission, _: &[_]| {
            Outcome::created(format!("/v1/submissions/{id}"), &Effect::of(id, state))
        };
        match call.begin_on(basis, id, command, topic, outcome).await {
            Err(ApiError::Outdated) if reads.may_go_on() => {}
            settled => return settled,
        }
    }
}

/// How often a form was read for a command that rests on what the form is: again where another server published or retired it before the command was
/// recorded.
#[derive(Default)]
struct FormReads {
    count: usize,
    last: Option<Arc<Basis>>,
}

impl FormReads {
    async fn next(&mut self, call: &CommandCall, form: &FormId) -> Result<Opened, ApiError> {
        let (catalogue, context) = (&call.api.catalogue, &call.caller.context);
        if let Some(outdated) = &self.last {
            catalogue.renew(&call.ledger, context, form, outdated).await;
        }
        let opened = catalogue.open(&call.ledger, context, form).await?;
        self.count += 1;
        self.last = Some(opened.basis.clone());
        Ok(opened)
    }

    fn may_go_on(&self) -> bool {
        self.count < FORM_READS_MAX
    }
}

/// Changes the data with a JSON merge patch (RFC 7396): all of a draft, and what a workflow state lets this person edit.
#[utoipa::path(patch, path = "/v1/submissions/{id}", operation_id = "updateSubmission", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    request_body(content((Value = "application/merge-patch+json"), (Value = "application/json")), description = "A JSON merge patch (RFC 7396) of the data, under either name."),
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Amended. Outside of a draft the rules are asked again, and approvals given in this state are void."),
        (status = 403, description = "`not-permitted`: not by this person, or not these fields; then `errors[{pointer, message}]`."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`not-in-state`: nothing may be edited in this state."),
        (status = 422, description = "`submission-invalid` with `errors[]`; drafts are not checked."),
        (status = 415, description = "`media-type-unsupported`: another kind of patch; `Accept-Patch` says which are read."),
    ))]
pub async fn patch(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_merge_patch(call).await?;
    let patch = Arc::new(parse(&call.body)?);
    let Pinned { id, form, is_draft, .. } = match pinned(&call, &id).await {
        Ok(pinned) => pinned,
        Err(refusal) => return call.first_or(refusal).await,
    };
    if is_draft {
        call.caller.require_on(form.id(), SUBMITTERS)?;
    }
    let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
    let topic = topic(form.id());
    let command = SubmissionCommand::Patch { form, patch, by, now };
    call.execute::<Submission>(id, command, topic, |state, _| Outcome::ok(&Effect::of(id, state))).await
}

/// Turns a draft into a submission.
#[utoipa::path(post, path = "/v1/submissions/{id}/submit", operation_id = "submitDraft", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Submitted."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`not-in-state`, or `form-retired`: drafts of a retired form stay drafts."),
        (status = 422, description = "`submission-invalid` with `errors[]`."),
    ))]
pub async fn submit_draft(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Empty {} = members(&call.body)?;
    let Pinned { id, form, .. } = match pinned(&call, &id).await {
        Ok(pinned) => pinned,
        Err(refusal) => return call.first_or(refusal).await,
    };
    call.caller.require_on(form.id(), SUBMITTERS)?;
    let mut reads = FormReads::default();
    loop {
        let basis = match reads.next(&call, form.id()).await {
            Ok(opened) => opened.basis,
            Err(refusal) => return call.first_or(refusal).await,
        };
        let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
        let topic = topic(form.id());
        let command = SubmissionCommand::SubmitDraft { form: form.clone(), by, now };
        let outcome = |state: &Submission, _: &[_]| Outcome::ok(&Effect::of(id, state));
        match call.settle_on(Some(basis), id, command, topic, outcome).await {
            Err(ApiError::Outdated) if reads.may_go_on() => {}
            settled => return Ok(settled?.answer()),
        }
    }
}

impl NewSubmission {
    /// Takes the members apart by hand: the data of a submission are large, and a derived reader would copy them once more.
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let invalid = |detail: &str| ApiError::Malformed { code: "body-invalid", detail: detail.to_owned() };
        let Value::Object(mut members) = parse_with_data(body)? else {
            return Err(invalid("send an object `{\"data\": …}`"));
        };
        let new = Self::take(&mut members)?;
        match members.keys().next() {
            None => Ok(new),
            Some(name) => Err(invalid(&format!("`{name}` is unknown; a submission has `data` and `draft`"))),
        }
    }

    /// Takes them out of an object that may have more.
    ///
    /// # Errors
    /// 400 `body-invalid`.
    pub fn take(members: &mut Map<String, Value>) -> Result<Self, ApiError> {
        let invalid = |detail: &str| ApiError::Malformed { code: "body-invalid", detail: detail.to_owned() };
        let data = members
            .remove("data")
            .ok_or_else(|| invalid("`data` is missing; it holds what was filled in"))?;
        let draft = match members.remove("draft") {
            None => false,
            Some(Value::Bool(draft)) => draft,
            Some(_) => return Err(invalid("`draft` is `true` or `false`")),
        };
        Ok(Self { data, draft })
    }
}

impl<'a> Effect<'a> {
    /// Of a command that left the submission in this state.
    pub fn of(submission_id: SubmissionId, state: &'a Submission) -> Self {
        let pin = state.pin();
        Self {
            submission_id,
            form: pin.map_or("", |pin| pin.form.as_str()),
            form_version: pin.map_or(0, |pin| pin.version.0),
            state: state.state().map_or("", |state| state.as_str()),
            outcomes: state.outcomes().cloned().unwrap_or_else(|| CanonicalJson::from_stored("{}")),
            approvals: None,
            attachment: None,
        }
    }

    /// With how far the transition has come that the command took.
    pub fn with_approvals(self, approvals: Option<Approvals>) -> Self {
        Self { approvals, ..self }
    }

    /// With the file that the command is about.
    pub fn with_attachment(self, attachment: &'a Attachment) -> Self {
        Self { attachment: Some(attachment), ..self }
    }
}

/// A submission's id; text that is none names nothing that exists.
pub fn submission_id(text: &str) -> Result<SubmissionId, ApiError> {
    ids::read(text).ok_or(ApiError::NotFound("submission"))
}

/// The submission after these events of its stream, from the first on.
pub fn fold(events: &[RecordedEvent]) -> Result<Submission, ApiError> {
    let mut submission = Submission::default();
    for event in events {
        let decoded = Submission::decode(&event.event_type, &event.event_version, &event.payload);
        submission.apply(decoded.map_err(ApiError::internal)?);
    }
    Ok(submission)
}

/// A submission that a command is about, and the form version it is pinned to.
pub struct Pinned {
    /// The submission.
    pub id: SubmissionId,
    /// The form version.
    pub form: Arc<CompiledForm>,
    /// As it was then.
    pub submission: Submission,
    /// The sequence that it was at.
    pub sequence: Sequence,
    /// Whether it is not submitted yet, as far as could be seen before the command.
    pub is_draft: bool,
}

/// Looks up the submission of a command.
///
/// Comes before everything else that is said about it: to somebody who may not read a submission it is missing, whatever its sequence
/// and state are.
///
/// # Errors
/// 404 when it is missing, also to this caller alone; [`CommandCall::first_or`] says whether that was so when the request came first.
pub async fn pinned(call: &CommandCall, id: &str) -> Result<Pinned, ApiError> {
    let id = submission_id(id)?;
    let events = call.ledger.load(&call.caller.context.stream::<Submission>(id)).await?;
    let submission = fold(&events)?;
    ensure_readable(&call.api, &call.ledger, &call.caller, &submission).await?;
    let pin = submission.pin().ok_or(ApiError::NotFound("submission"))?;
    let form = call.api.catalogue.pinned(&call.ledger, &call.caller.context, pin).await?;
    let is_draft = submission.state() == Some(&SubmissionState::DRAFT);
    let sequence = events.last().map_or(Sequence::START, |event| event.sequence);
    Ok(Pinned { id, form, submission, sequence, is_draft })
}

/// Refuses those who may not read a submission: who made it, who reads everything, and whom its workflow concerns may; of those,
/// whoever's credential reaches the form.
///
/// # Errors
/// 404.
pub async fn ensure_readable(
    api: &Api,
    ledger: &TenantLedger,
    caller: &Caller,
    submission: &Submission,
) -> Result<(), ApiError> {
    let pin = submission.pin().filter(|pin| caller.reaches(pin.form.as_str()));
    let pin = pin.ok_or(ApiError::NotFound("submission"))?;
    let actor = &caller.context.actor;
    // Without its form where that is possible: the record can be read even if its form cannot be understood any more.
    if caller.has_any_on(&pin.form, role::READERS) || submission.submitter() == Some(&actor.subject) {
        return Ok(());
    }
    let form = api.catalogue.pinned(ledger, &caller.context, pin).await?;
    if submission.concerns(&form, actor, caller.context.now) {
        Ok(())
    } else {
        Err(ApiError::NotFound("submission"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<T>(_handler: impl FnOnce(Call, String) -> T) -> usize {
        size_of::<T>()
    }

    /// As many of them wait for the disk as there are busy connections.
    #[test]
    fn a_submission_that_waits_takes_little_room() {
        let bytes = future_bytes(submit);
        assert!(bytes <= 4 * 1024, "{bytes} bytes");
    }
}
