//! `GET /v1/stats`: counts by state, day and rule outcome, and time in state, from the statistics read model.

use formledger_domain::Position;
use formledger_projections::{ReadModel, Statistics};
use serde::Serialize;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::openapi::answers;
use crate::past::Asked;
use crate::query::{QueryCall, answer};

#[derive(Serialize)]
struct Counts {
    #[serde(flatten)]
    statistics: Statistics,
    position: Position,
}

/// Counts, of one form or of all.
#[utoipa::path(get, path = "/v1/stats", operation_id = "getStatistics", tag = "statistics", security(("bearer" = []), ("api-key" = [])),
    params(
        ("form" = Option<String>, Query, description = "Only this form's."),
        ("at_position" = Option<u64>, Query, description = "As it was at this position of the ledger."),
        ("at_time" = Option<String>, Query, description = "As it was at this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the counts reach this position."),
    ),
    responses(
        (status = 200, body = answers::Counts, description = "`{states[], days[], outcomes[], times[], position}`."),
        (status = 400, description = "`cursor-ahead`: `at_position` is past the ledger's end."),
        (status = 503, description = "`moment-building`: the rows of that moment are being folded; see `Retry-After`."),
    ))]
pub async fn counts(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let asked = Asked::take(&mut query.params)?;
    let form = query.params.parsed("form")?;
    query.finish_params()?;
    query.go_to(asked, ReadModel::Statistics, None).await?;
    let found = query.reader.statistics(form.as_ref()).await?;
    answer(found.position, &Counts { statistics: found.value, position: found.position })
}
