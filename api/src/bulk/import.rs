//! `POST /v1/submissions:import`: a line is a new submission of some form, exactly as `POST /v1/forms/{form}/submissions` would make it.

use serde_json::Value;
use warp::reply::Response;

use super::{LineCommand, answer, invalid, text};
use crate::access::SUBMITTERS;
use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::forms::existing_form_id;
use crate::limits::IMPORT_LINES_MAX;
use crate::members::parse_with_data;
use crate::openapi::answers;
use crate::outcome::Settled;
use crate::submissions::{NewSubmission, make};

/// A line of an import.
struct ImportLine {
    form: String,
    new: NewSubmission,
    idempotency_key: Option<String>,
}

/// Makes many submissions, one a line: `{"form", "data", "draft"?, "idempotency_key"?}`.
///
/// Every line is accepted or refused by itself. The answer holds one line for each, in order, and is sent while the body is still read: a client
/// that sends much must read meanwhile. Blank lines are passed over and counted. All of a request has one correlation id. When a request is
/// repeated with its `Idempotency-Key`, lines that were recorded before get their first result again.
#[utoipa::path(post, path = "/v1/submissions:import", operation_id = "importSubmissions", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    request_body(content = answers::ImportLine, content_type = "application/x-ndjson"),
    responses(
        (status = 200, body = answers::LineResult, content_type = "application/x-ndjson", description = "One result a line: `{line, status: 201, submission_id, form, form_version, state, outcomes, sequence, position}`, or a problem with `line` and the code that a request of its own would get. What ends the body early (413 `too-many-lines` or `body-too-large`, 408, 503 `closing`) is a last line with the number of the first that was not begun."),
        (status = 413, description = "`body-too-large`: the stated length is over the limit."),
        (status = 415, description = "`media-type-unsupported`: send `application/x-ndjson`."),
        (status = 429, description = "`too-many-bulk-requests` of this tenant run."),
        (status = 503, description = "`too-many-bulk-requests` run on this server."),
    ))]
pub async fn import(call: Call) -> Result<Response, ApiError> {
    answer::<ImportLine>(call).await
}

impl LineCommand for ImportLine {
    const LINES_MAX: u64 = IMPORT_LINES_MAX;

    fn read(line: &[u8]) -> Result<Self, ApiError> {
        let Value::Object(mut members) = parse_with_data(line)? else {
            return Err(invalid("a line is an object `{\"form\": …, \"data\": …}`"));
        };
        let form = text(&mut members, "form")?
            .ok_or_else(|| invalid("`form` is missing; it names the form that the data are for"))?;
        let idempotency_key = text(&mut members, "idempotency_key")?;
        let new = NewSubmission::take(&mut members)?;
        match members.keys().next() {
            None => Ok(Self { form, new, idempotency_key }),
            Some(name) => Err(invalid(format!(
                "`{name}` is unknown; a line has `form`, `data`, `draft` and `idempotency_key`"
            ))),
        }
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    async fn run(self, call: CommandCall) -> Result<Settled, ApiError> {
        // A credential for some forms says so for each line; for a request of its own the route did.
        if !call.caller.reaches(&self.form) {
            return Err(call.caller.out_of_reach());
        }
        call.caller.require_on(&existing_form_id(&self.form)?, SUBMITTERS)?;
        make(&call, &self.form, self.new, |line| Ok(Self::read(line)?.new)).await
    }
}
