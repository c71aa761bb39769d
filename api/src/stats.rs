//! `GET /v1/stats`: counts by state, day and rule outcome, from the statistics read model.

use formledger_domain::Position;
use formledger_projections::{ReadModel, Statistics};
use serde::Serialize;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::forms::existing_form_id;
use crate::openapi::answers;
use crate::query::{QueryCall, answer};

#[derive(Serialize)]
struct Counts {
    #[serde(flatten)]
    statistics: Statistics,
    position: Position,
}

/// Counts, of one form or of all.
#[utoipa::path(get, path = "/v1/stats", tag = "statistics", security(("bearer" = []), ("api-key" = [])),
    params(
        ("form" = Option<String>, Query, description = "Only this form's."),
        ("min_position" = Option<u64>, Query, description = "Wait until the counts reach this position."),
    ),
    responses((status = 200, body = answers::Counts, description = "`{states[], days[], outcomes[], position}`.")))]
pub async fn counts(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let form = query.params.one("form")?.map(|form| existing_form_id(&form)).transpose()?;
    query.finish_params()?;
    query.reach(ReadModel::Statistics).await?;
    let found = query.reader.statistics(form.as_ref()).await?;
    answer(found.position, &Counts { statistics: found.value, position: found.position })
}
