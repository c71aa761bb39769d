//! `POST /v1/submissions:transition`: a line takes a transition of some submission, exactly as its own route would.

use std::sync::Arc;

use formledger_domain::{Act, Sequence, SubmissionId};
use serde::Deserialize;
use serde_json::Value;
use warp::reply::Response;

use super::{LineCommand, answer};
use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::ids;
use crate::limits::DECISIONS_MAX;
use crate::members::required_members;
use crate::openapi::answers;
use crate::outcome::Settled;
use crate::workflow::{SignatureBody, perform};

/// A line of a request that decides about many submissions.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionLine {
    /// The submission.
    submission_id: String,
    /// The transition, as the form's workflow calls it.
    transition: String,
    /// Why; some transitions need it.
    reason: Option<String>,
    /// A JSON merge patch of the data (RFC 7396), limited to what may be edited; applied before the transition.
    data: Option<Value>,
    /// The person for whom a delegate acts; needed only by delegates of several.
    on_behalf_of: Option<String>,
    /// The caller's signature, where the transition asks for one.
    signature: Option<SignatureBody>,
    /// The submission's `sequence` that the client saw; 412 when it is elsewhere by now.
    if_match: Option<u64>,
    /// This line's own key; without it the request's `Idempotency-Key` and the line's number are one together.
    idempotency_key: Option<String>,
}

/// Decides about many submissions, one a line: `{"submission_id", "transition", "reason"?, "data"?, "on_behalf_of"?, "signature"?, "if_match"?, "idempotency_key"?}`.
///
/// Every line is decided by itself, under the same rules as `POST /v1/submissions/{id}/transitions/{name}`; lines about the same submission
/// in their order. Limits, answer, correlation and repeating are those of `POST /v1/submissions:import`, with at most 1,000 lines.
#[utoipa::path(post, path = "/v1/submissions:transition", operation_id = "transitionSubmissions", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    request_body(content = DecisionLine, content_type = "application/x-ndjson"),
    responses(
        (status = 200, body = answers::LineResult, content_type = "application/x-ndjson", description = "One result a line: `{line, status: 200, submission_id, state, approvals?, …}`, or a problem with `line` and the code that a request of its own would get."),
        (status = 413, description = "`body-too-large`: the stated length is over the limit."),
        (status = 415, description = "`media-type-unsupported`: send `application/x-ndjson`."),
        (status = 429, description = "`too-many-bulk-requests` of this tenant run."),
        (status = 503, description = "`too-many-bulk-requests` run on this server."),
    ))]
pub async fn transition(call: Call) -> Result<Response, ApiError> {
    answer::<DecisionLine>(call).await
}

impl LineCommand for DecisionLine {
    const LINES_MAX: u64 = DECISIONS_MAX;

    fn read(line: &[u8]) -> Result<Self, ApiError> {
        required_members(line)
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    fn if_match(&self) -> Option<Sequence> {
        self.if_match.map(Sequence)
    }

    fn submission_id(&self) -> Option<SubmissionId> {
        ids::read(&self.submission_id)
    }

    async fn run(self, call: CommandCall) -> Result<Settled, ApiError> {
        let Self { submission_id, transition, reason, data, on_behalf_of, signature, .. } = self;
        let signature = signature.map(|signature| signature.given(&call.caller));
        let act = Act::Take { transition, reason, data: data.map(Arc::new), on_behalf_of, signature };
        perform(&call, &submission_id, act).await
    }
}
