//! `GET /v1/tasks`: what waits for the caller, most urgent first, from the tasks read model.
//! What may be done with a task is in `workflow`; what happens when its time is over, in `timers`.

use formledger_projections::{ReadModel, TaskQuery};
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::forms::existing_form_id;
use crate::openapi::answers;
use crate::past::Asked;
use crate::query::{QueryCall, answer};

/// What waits for the caller.
#[utoipa::path(get, path = "/v1/tasks", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
    params(
        ("form" = Option<String>, Query, description = "Only of this form."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Tasks of a page, at most 200; 50 when missing."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("at_position" = Option<u64>, Query, description = "What waited for somebody with the caller's name and present roles at this position of the ledger."),
        ("at_time" = Option<String>, Query, description = "The same at this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the list reaches this position."),
    ),
    responses(
        (status = 200, body = answers::TaskPage, description = "`{items[], next_cursor?, position}`: by role, as a candidate, assigned or delegated; by due date, then by how long they have been waiting. A page may be shorter than `limit` and still have a `next_cursor`."),
        (status = 400, description = "`cursor-invalid`, `cursor-ahead` or `query-invalid`."),
        (status = 503, description = "`moment-building`: the rows of that moment are being folded; see `Retry-After`."),
    ))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let actor = query.caller.context.actor.clone();
    let asked = Asked::take(&mut query.params)?;
    let form = query.params.one("form")?.map(|form| existing_form_id(&form)).transpose()?;
    let (limit, cursor) = (query.params.parsed("limit")?, query.params.one("cursor")?);
    query.finish_params()?;
    let (moment, cursor) = query.go_to(asked, ReadModel::Tasks, cursor).await?;
    let now = query.time_then(asked, moment).await?;
    let page = query.reader.tasks(&TaskQuery { actor, now, form, limit, cursor }).await?;
    answer(page.position, &page.at(moment, asked.time()))
}
