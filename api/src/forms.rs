//! Forms: drafts, publication, retirement, and reading them back.
//! Commands go to the `Form` aggregate; reads come from the forms read model.

use std::sync::Arc;

use formledger_domain::{Form, FormCommand, FormDefinition, FormId, FormVersion};
use serde::Deserialize;
use serde_json::json;
use warp::reply::Response;

use crate::call::Call;
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::members::{Empty, members, parse};
use crate::openapi::{answers, definition};
use crate::outcome::Outcome;

/// Saves a draft; its problems are told, and do not stand in its way.
///
/// It makes a form or changes one: with `If-None-Match: *` it only makes one, with `If-Match` it only changes the one that the client saw.
#[utoipa::path(put, path = "/v1/forms/{form}", operation_id = "saveFormDraft", tag = "forms", security(("bearer" = []), ("api-key" = [])),
    params(("form" = String, Path, description = "The form's id.")),
    request_body(content = definition::FormDefinition, description = "The definition."),
    responses(
        (status = 200, body = answers::DraftSaved, description = "The draft is saved; `problems[]` says what stands in the way of publishing it."),
        (status = 412, description = "`precondition-failed`: there is such a form already, which `If-None-Match: *` asks that there is not; or it is elsewhere than `If-Match` says."),
        (status = 422, description = "`form-invalid`: this is no definition at all."),
    ))]
pub async fn save_draft(call: Call, form: String) -> Result<Response, ApiError> {
    let call = CommandCall::read(call).await?;
    let form = form_id(&form)?;
    let definition = Arc::new(parse(&call.body)?);
    let problems = FormDefinition::problems(&definition, &form);
    let command = FormCommand::SaveDraft { form: form.clone(), definition };
    call.execute::<Form>(&form, command, topic(&form), |_, _| {
        Outcome::ok(&json!({"form": form, "problems": problems}))
    })
    .await
}

/// Publishes the draft as the next version; a retired form takes submissions again.
///
/// A retired form needs no new draft: without one, its last definition is the next version.
#[utoipa::path(post, path = "/v1/forms/{form}/publish", operation_id = "publishForm", tag = "forms", security(("bearer" = []), ("api-key" = [])),
    params(("form" = String, Path, description = "The form's id.")),
    responses(
        (status = 201, body = answers::FormPublished, description = "The draft, or the last definition of a retired form, is the newest version now, and takes submissions."),
        (status = 409, description = "`nothing-to-publish`: no draft was saved since the last publication, and the form is not retired."),
        (status = 422, description = "`form-invalid` with `errors[]`."),
    ))]
pub async fn publish(call: Call, form: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let Empty {} = members(&call.body)?;
    let form = existing_form_id(&form)?;
    let command = FormCommand::Publish { form: form.clone() };
    let answer = call
        .execute::<Form>(&form, command, topic(&form), |state, _| {
            let version = state.version().unwrap_or(FormVersion::FIRST);
            Outcome::created(
                format!("/v1/forms/{form}/versions/{version}"),
                &json!({"form": form, "version": version}),
            )
        })
        .await?;
    call.api.catalogue.refresh(&call.ledger, &call.caller.context, &form).await;
    Ok(answer)
}

/// The body of a retirement.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// Why.
    #[serde(default)]
    reason: Option<String>,
}

/// Stops taking submissions, until it is published again.
#[utoipa::path(post, path = "/v1/forms/{form}/retire", operation_id = "retireForm", tag = "forms", security(("bearer" = []), ("api-key" = [])),
    params(("form" = String, Path, description = "The form's id.")),
    request_body(content = Option<Retirement>),
    responses(
        (status = 200, body = answers::FormRetired, description = "The form takes no submissions any more."),
        (status = 409, description = "`form-retired` already, or `form-not-published`."),
    ))]
pub async fn retire(call: Call, form: String) -> Result<Response, ApiError> {
    let call = CommandCall::read_optional(call).await?;
    let form = existing_form_id(&form)?;
    let Retirement { reason } = members(&call.body)?;
    let command = FormCommand::Retire { form: form.clone(), reason };
    let answer = call
        .execute::<Form>(&form, command, topic(&form), |_, _| {
            Outcome::ok(&json!({"form": form, "retired": true}))
        })
        .await?;
    call.api.catalogue.refresh(&call.ledger, &call.caller.context, &form).await;
    Ok(answer)
}

/// What events about a form and its submissions are filed under.
pub fn topic(form: &FormId) -> Option<Arc<str>> {
    Some(form.as_str().into())
}

/// A form id that a client chooses: a bad one is told what would be right.
fn form_id(text: &str) -> Result<FormId, ApiError> {
    text.parse().map_err(|error: formledger_domain::InvalidId| ApiError::Malformed {
        code: "form-id-invalid",
        detail: error.to_string(),
    })
}

/// A form id that must exist already: one that cannot exist is missing like any other.
pub fn existing_form_id(text: &str) -> Result<FormId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound("form"))
}
