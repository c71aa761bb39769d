//! Forms as they can be read back: the list, one with its versions and problems, one version.
//! From the forms read model. Every credential of the tenant reads what is published, because submitters must see what to fill in;
//! drafts, and what the checker says of them, are for the roles that read everything.

use std::sync::Arc;

use formledger_domain::{
    CanonicalJson, DefinitionProblem, FormDefinition, FormId, FormVersion, Position, TenantId,
};
use formledger_projections::{FormRow, FormSummary, FormVersionRow, ReadModel};
use serde::Serialize;
use warp::reply::Response;

use crate::bounded::BoundedMap;
use crate::call::Call;
use crate::error::ApiError;
use crate::forms::existing_form_id;
use crate::limits::CHECKED_FORMS_MAX;
use crate::numbers;
use crate::openapi::answers;
use crate::past::Asked;
use crate::query::{QueryCall, answer, answer_one};

#[derive(Serialize)]
struct FormList {
    items: Vec<FormSummary>,
    position: Position,
}

/// A form or a version, and what the checker says about its definition.
#[derive(Serialize)]
struct Checked<'a, T> {
    #[serde(flatten)]
    form: T,
    problems: &'a [DefinitionProblem],
}

/// What the checker says of definitions, remembered: to find it a definition is compiled. A form's definitions change with its events
/// only, so within an era of the ledgers the position of one is enough of a key.
pub struct CheckedForms(BoundedMap<(TenantId, FormId, u64, Position), Arc<[DefinitionProblem]>>);

impl CheckedForms {
    /// Knows none yet.
    pub fn new() -> Self {
        Self(BoundedMap::new(CHECKED_FORMS_MAX))
    }

    /// The problems of the definition that a form of the caller's tenant shows since `position`.
    fn problems(
        &self,
        query: &QueryCall,
        form: &FormId,
        position: Position,
        definition: Option<&CanonicalJson>,
    ) -> Arc<[DefinitionProblem]> {
        let Some(definition) = definition else { return Arc::default() };
        let key = (query.caller.context.tenant.clone(), form.clone(), query.ledger.era(), position);
        if let Some(known) = self.0.get(&key) {
            return known;
        }
        let problems: Arc<[_]> = FormDefinition::problems(&definition.to_value(), form).into();
        self.0.insert(key, Arc::clone(&problems));
        problems
    }
}

/// All forms.
#[utoipa::path(get, path = "/v1/forms", operation_id = "listForms", tag = "forms", security(("bearer" = []), ("api-key" = [])),
    params(
        ("at_position" = Option<u64>, Query, description = "As the list was at this position of the ledger."),
        ("at_time" = Option<String>, Query, description = "As the list was at this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the list reaches this position."),
    ),
    responses((status = 200, body = answers::FormList, description = "`{items[], position}`, by id; forms that were never published only for the roles that read everything.")))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let asked = Asked::take(&mut query.params)?;
    query.finish_params()?;
    query.go_to(asked, ReadModel::Forms, None).await?;
    let mut found = query.reader.forms().await?;
    if !query.reads_all() {
        found.value.retain(|form| form.version.is_some());
        found.value.iter_mut().for_each(|form| form.has_draft = false);
    }
    answer(found.position, &FormList { items: found.value, position: found.position })
}

/// One form.
#[utoipa::path(get, path = "/v1/forms/{form}", operation_id = "getForm", tag = "forms", security(("bearer" = []), ("api-key" = [])),
    params(
        ("form" = String, Path, description = "The form's id."),
        ("at_position" = Option<u64>, Query, description = "As it was at this position of the ledger."),
        ("at_time" = Option<String>, Query, description = "As it was at this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::Form, description = "The newest definition, the draft where there is one, versions, and `problems[]` of the draft or else of the definition; draft and problems only for the roles that read everything."),
        (status = 404, description = "There is no such form."),
    ))]
pub async fn one(call: Call, form: String) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let asked = Asked::take(&mut query.params)?;
    query.finish_params()?;
    let id = existing_form_id(&form)?;
    query.go_to(asked, ReadModel::Forms, None).await?;
    let mut found = query.reader.form(&id).await?;
    if found.value.is_none() && asked == Asked::Now {
        query.reach_head(ReadModel::Forms).await?;
        found = query.reader.form(&id).await?;
    }
    let form = if query.reads_all() { found.value } else { found.value.and_then(published) };
    let form = form.ok_or(ApiError::NotFound("form"))?;
    let problems = if query.reads_all() {
        let definition = form.draft.as_ref().or(form.definition.as_ref());
        query.api.checked_forms.problems(&query, &id, form.summary.position, definition)
    } else {
        Arc::default()
    };
    answer_one(found.position, form.summary.sequence, &Checked { form, problems: &problems })
}

/// One published version.
#[utoipa::path(get, path = "/v1/forms/{form}/versions/{version}", operation_id = "getFormVersion", tag = "forms", security(("bearer" = []), ("api-key" = [])),
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
    let number = numbers::read(&version).map(FormVersion).ok_or(ApiError::NotFound("form version"))?;
    query.reach(ReadModel::Forms).await?;
    let mut found = query.reader.form_version(&id, number).await?;
    if found.value.is_none() {
        query.reach_head(ReadModel::Forms).await?;
        found = query.reader.form_version(&id, number).await?;
    }
    let form: FormVersionRow = found.value.ok_or(ApiError::NotFound("form version"))?;
    let checked = &query.api.checked_forms;
    let problems = checked.problems(&query, &id, form.summary.position, Some(&form.definition));
    answer(found.position, &Checked { form, problems: &problems })
}

/// What of a form those see who may not see its drafts; `None` before its first publication.
fn published(mut form: FormRow) -> Option<FormRow> {
    form.summary.version?;
    form.summary.has_draft = false;
    form.draft = None;
    Some(form)
}
