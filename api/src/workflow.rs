//! What people do with a submission in its workflow: transitions, comments, claims, assignments, delegations, withdrawal.
//! Every command is one act of the `Submission` aggregate, which says who may; here bodies become acts, and effects become answers.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{
    Act, Approvals, SignatureGiven, Submission, SubmissionCommand, SubmissionEvent, WorkflowFact,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use warp::reply::Response;

use crate::auth::Caller;
use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::forms::topic;
use crate::members::{Empty, members};
use crate::openapi::answers;
use crate::outcome::{Outcome, Settled};
use crate::submissions::{Effect, Pinned, pinned};
use crate::times;

/// The body of a transition.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// Why; some transitions need it.
    reason: Option<String>,
    /// A JSON merge patch of the data (RFC 7396), limited to what may be edited; applied before the transition.
    data: Option<Value>,
    /// The person for whom a delegate acts; needed only by delegates of several.
    on_behalf_of: Option<String>,
    /// The caller's signature, where the transition asks for one.
    signature: Option<SignatureBody>,
}

/// A signature on what the transition is about.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureBody {
    /// The signer's printed name; at most 256 bytes.
    name: String,
    /// What the signature means: what the form says, word for word.
    meaning: String,
}

impl SignatureBody {
    /// The signature as `caller` gives it.
    pub fn given(self, caller: &Caller) -> SignatureGiven {
        let Self { name, meaning } = self;
        SignatureGiven { name, meaning, authenticated_at: caller.authenticated_at }
    }
}

/// The body of a comment.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Comment {
    /// What to say; at most 16 KiB.
    #[serde(default)]
    #[schema(required = true)]
    text: String,
}

/// The body of an assignment.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The subject who is asked to take the task on.
    #[serde(default)]
    #[schema(required = true)]
    to: String,
    /// Why.
    reason: Option<String>,
}

/// The body of a delegation.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The subject who may act for the caller on this submission; null ends delegations.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = true)]
    to: Option<Option<String>>,
    /// Whose delegations end; the caller's own when missing. Others' only for an `admin`.
    from: Option<String>,
    /// Since when; at once when missing.
    #[serde(default, deserialize_with = "times::optional")]
    starts_at: Option<DateTime<Utc>>,
    /// Until when, exclusive; until it is ended when missing.
    #[serde(default, deserialize_with = "times::optional")]
    ends_at: Option<DateTime<Utc>>,
    /// Why.
    reason: Option<String>,
}

/// A member that is there, with a value or null.
fn given<'de, D: Deserializer<'de>>(member: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(member).map(Some)
}

/// The body of a withdrawal.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// Why.
    reason: Option<String>,
}

/// Takes a transition, or gives one of the approvals that it needs.
#[utoipa::path(post, path = "/v1/submissions/{id}/transitions/{name}", operation_id = "takeTransition", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = Uuid, Path, description = "The submission."),
        ("name" = String, Path, description = "The transition, as the form's workflow calls it."),
    ),
    request_body = Option<Transition>,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Taken, or approved: then `approvals: {have, need}` and the state stays."),
        (status = 403, description = "`not-permitted`: neither a role nor a candidate nor a delegate, or the submitter where that is excluded."),
        (status = 404, description = "`not-found`: there is no such submission, or not for this caller. `transition-unknown`: no such transition."),
        (status = 409, description = "`not-in-state`, `already-approved`, or `guard-not-met`."),
        (status = 401, description = "`reauthentication-required`: the form wants signers to have shown their credentials lately; `max_age` says how lately, in seconds."),
        (status = 422, description = "`reason-required`, `on-behalf-of-required`, `signature-required` or `signature-invalid` with what would be right in `errors[]`, or `submission-invalid` with `errors[]`."),
    ))]
pub async fn transition(call: Call, id: String, name: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Transition { reason, data, on_behalf_of, signature } = members(&call.body)?;
    let signature = signature.map(|signature| signature.given(&call.caller));
    let act = Act::Take { transition: name, reason, data: data.map(Arc::new), on_behalf_of, signature };
    run(&call, &id, act).await
}

/// Says something about a submission.
#[utoipa::path(post, path = "/v1/submissions/{id}/comments", operation_id = "addComment", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    request_body = Comment,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Said; the timeline shows it."),
        (status = 403, description = "`not-permitted`: it does not concern this caller."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 422, description = "`text-empty` or `text-too-long`."),
    ))]
pub async fn comment(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Comment { text } = members(&call.body)?;
    run(&call, &id, Act::Comment { text }).await
}

/// Takes the open task of a submission on.
#[utoipa::path(post, path = "/v1/submissions/{id}/claim", operation_id = "claimTask", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Claimed; it leaves the lists of others unless it needs several people."),
        (status = 403, description = "`not-permitted`: nothing in this state is open to this caller."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`already-claimed` by somebody else, or `not-in-state`."),
    ))]
pub async fn claim(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Empty {} = members(&call.body)?;
    run(&call, &id, Act::Claim).await
}

/// Asks somebody to take the open task on.
#[utoipa::path(post, path = "/v1/submissions/{id}/assign", operation_id = "assignTask", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    request_body = Assignment,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Assigned. That gives no right: the transition still asks for its roles or candidates."),
        (status = 403, description = "`not-permitted`: neither an `admin` nor somebody who may act on it."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`not-in-state`: nothing waits."),
        (status = 422, description = "`text-empty`: `to` is missing."),
    ))]
pub async fn assign(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Assignment { to, reason } = members(&call.body)?;
    run(&call, &id, Act::Assign { to, reason }).await
}

/// Gives a task back that the caller took on; a delegate gives the delegation back.
#[utoipa::path(post, path = "/v1/submissions/{id}/release", operation_id = "releaseTask", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Released."),
        (status = 403, description = "`not-permitted`: somebody else has it."),
        (status = 404, description = "There is no such submission, or not for this caller."),
    ))]
pub async fn release(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Empty {} = members(&call.body)?;
    run(&call, &id, Act::Release).await
}

/// Lets somebody act for the caller on this submission, for a time.
#[utoipa::path(post, path = "/v1/submissions/{id}/delegate", operation_id = "delegateTask", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    request_body = Delegation,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "Delegated. Owner and delegate count as one person."),
        (status = 403, description = "`not-permitted`: the caller has no right of its own to pass on."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`not-in-state`: nothing waits."),
        (status = 422, description = "`delegation-invalid`: to oneself, or a time that is over."),
    ))]
pub async fn delegate(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Delegation { from, to, starts_at, ends_at, reason } = members(&call.body)?;
    let act = match to {
        None => {
            // Whom it does not concern is told that there is no such submission, whatever they sent.
            pinned(&call, &id).await?;
            let detail = "`to` is missing: say who may act for you, or `null` to end delegations".to_owned();
            return Err(ApiError::Malformed { code: "body-invalid", detail });
        }
        Some(Some(_)) if from.is_some() => {
            let detail = "`from` says whose delegations end; send `\"to\": null` with it".to_owned();
            return Err(ApiError::Malformed { code: "body-invalid", detail });
        }
        Some(Some(to)) => Act::Delegate { to, starts_at, ends_at, reason },
        Some(None) if starts_at.is_some() || ends_at.is_some() => {
            let detail =
                "`starts_at` and `ends_at` are a new delegation's; `\"to\": null` ends delegations at once"
                    .to_owned();
            return Err(ApiError::Malformed { code: "body-invalid", detail });
        }
        Some(None) => Act::EndDelegation { from, reason },
    };
    run(&call, &id, act).await
}

/// Takes a submission back; only its submitter may, until a final state is reached.
#[utoipa::path(post, path = "/v1/submissions/{id}/withdraw", operation_id = "withdrawSubmission", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(("id" = Uuid, Path, description = "The submission.")),
    request_body = Option<Withdrawal>,
    responses(
        (status = 200, body = answers::SubmissionRecorded, description = "The state is `withdrawn` now, which is final."),
        (status = 403, description = "`not-permitted`: not its submitter."),
        (status = 404, description = "There is no such submission, or not for this caller."),
        (status = 409, description = "`not-in-state`: it is final."),
    ))]
pub async fn withdraw(call: Call, id: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Withdrawal { reason } = members(&call.body)?;
    run(&call, &id, Act::Withdraw { reason }).await
}

async fn run(call: &CommandCall, id: &str, act: Act) -> Result<Response, ApiError> {
    Ok(perform(call, id, act).await?.answer())
}

/// Does something with a submission in its workflow; a request of its own and a line of many come here.
///
/// # Errors
/// As the act's route documents them.
pub async fn perform(call: &CommandCall, id: &str, act: Act) -> Result<Settled, ApiError> {
    let Pinned { id, form, .. } = match pinned(call, id).await {
        Ok(pinned) => pinned,
        // Whoever did their part may have none any more when they repeat the request.
        Err(refusal) => return call.settled_or(refusal).await,
    };
    let (by, now) = (call.caller.context.actor.clone(), call.caller.context.now);
    let topic = topic(form.id());
    let command = SubmissionCommand::Act { form, act, by, now };
    call.settle::<Submission>(id, command, topic, |state, events| {
        Outcome::ok(&Effect::of(id, state).with_approvals(approvals(events)))
    })
    .await
}

/// How far a transition has come that several people must take, when the command gave an approval.
fn approvals(events: &[SubmissionEvent]) -> Option<Approvals> {
    events.iter().find_map(|event| match event {
        SubmissionEvent::Worked { fact: WorkflowFact::Approved { have, need, .. }, .. } => {
            Some(Approvals { have: *have, need: *need })
        }
        _ => None,
    })
}
