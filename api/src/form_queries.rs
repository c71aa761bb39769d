//! Forms as they can be read back: the list, one with its versions and problems, one version.
//! From the forms read model; every credential of the tenant reads forms, because submitters must see what to fill in.

use formledger_domain::{CanonicalJson, DefinitionProblem, FormDefinition, FormId, FormVersion, Position};
use formledger_projections::{FormRow, FormSummary, FormVersionRow, ReadModel};
use serde::Serialize;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::forms::existing_form_id;
use crate::openapi::answers;
use crate::query::{QueryCall, answer, answer_one};

#[derive(Serialize)]
struct FormList {
    items: Vec<FormSummary>,
    position: Position,
}

/// A form or a version, and what the checker says about its definition.
#[derive(Serialize)]
struct Checked<T> {
    #[serde(flatten)]
    form: T,
    problems: Vec<DefinitionProblem>,
}

/// All forms.
#[utoipa::path(get, path = "/v1/forms", tag = "forms", security(("bearer" = [])),
    params(("min_position" = Option<u64>, Query, description = "Wait until the list reaches this position.")),
    responses((status = 200, body = answers::FormList, description = "`{items[], position}`, by id.")))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    query.reach(ReadModel::Forms).await?;
    let found = query.reader.forms().await?;
    answer(found.position, &FormList { items: found.value, position: found.position })
}

/// One form.
#[utoipa::path(get, path = "/v1/forms/{form}", tag = "forms", security(("bearer" = [])),
    params(
        ("form" = String, Path, description = "The form's id."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::Form, description = "The newest definition, the draft where there is one, versions, and `problems[]` of the draft or else of the definition."),
        (status = 404, description = "There is no such form."),
    ))]
pub async fn one(call: Call, form: String) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let id = existing_form_id(&form)?;
    query.reach(ReadModel::Forms).await?;
    let mut found = query.reader.form(&id).await?;
    if found.value.is_none() {
        query.reach_head(ReadModel::Forms).await?;
        found = query.reader.form(&id).await?;
    }
    let form: FormRow = found.value.ok_or(ApiError::NotFound("form"))?;
    let problems = problems(&id, form.draft.as_ref().or(form.definition.as_ref()));
    answer_one(found.position, form.summary.sequence, &Checked { form, problems })
}

/// One published version.
#[utoipa::path(get, path = "/v1/forms/{form}/versions/{version}", tag = "forms", security(("bearer" = [])),
    params(
        ("form" = String, Path, description = "The form's id."),
        ("version" = u32, Path, description = "The version, from 1."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::FormVersion, description = "The definition as published, and the checker's warnings."),
        (status = 404, description = "There is no such form or version."),
    ))]
pub async fn version(call: Call, form: String, version: String) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let id = existing_form_id(&form)?;
    let number = version.parse().map(FormVersion).map_err(|_| ApiError::NotFound("form version"))?;
    query.reach(ReadModel::Forms).await?;
    let mut found = query.reader.form_version(&id, number).await?;
    if found.value.is_none() {
        query.reach_head(ReadModel::Forms).await?;
        found = query.reader.form_version(&id, number).await?;
    }
    let form: FormVersionRow = found.value.ok_or(ApiError::NotFound("form version"))?;
    let problems = problems(&id, Some(&form.definition));
    answer(found.position, &Checked { form, problems })
}

fn problems(form: &FormId, definition: Option<&CanonicalJson>) -> Vec<DefinitionProblem> {
    definition.map_or_else(Vec::new, |definition| FormDefinition::problems(&definition.to_value(), form))
}
