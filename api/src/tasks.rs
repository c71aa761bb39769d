//! `GET /v1/tasks`: what waits for the caller, most urgent first, from the tasks read model; of what has a guard, whether that holds now.
//! What may be done with a task is in `workflow`; what happens when its time is over, in `timers`.

use chrono::{DateTime, Utc};
use formledger_domain::{Actor, Facts, FormPin, Position, Workflow};
use formledger_projections::{QueryError, ReadModel, TASKS_PAGE_MAX, TaskQuery, TaskRow};
use tokio::task::yield_now;
use tokio::time::Instant;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::openapi::answers;
use crate::past::Asked;
use crate::query::{QueryCall, answer};

/// What waits for the caller.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "listTasks", tag = "workflow", security(("bearer" = []), ("api-key" = [])),
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
    let form = query.params.parsed("form")?;
    let (limit, cursor) = (query.params.limit(TASKS_PAGE_MAX)?, query.params.one("cursor")?);
    query.finish_params()?;
    let (moment, cursor) = query.go_to(asked, ReadModel::Tasks, cursor).await?;
    let now = query.time_then(asked, moment).await?;
    let mut page = query.reader.tasks(&TaskQuery { actor, now, form, limit, cursor }).await?;
    ask_guards(&query, &mut page.items, page.position, now).await?;
    answer(page.position, &page.at(moment, asked.time()))
}

/// Says of each transition with a guard whether it holds for the data as they are, so that nobody chooses what would be refused. Left in all the
/// same: who takes it may send other data with it. Only for tasks that have such a transition are the data asked for, as new as the tasks at the least.
/// Where they cannot be had just now, tasks are listed without.
async fn ask_guards(
    query: &QueryCall,
    tasks: &mut [TaskRow],
    position: Position,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let mut guarded = Vec::new();
    for task in tasks {
        let pin = FormPin { form: task.form.clone(), version: task.form_version };
        // Of a form that cannot be read or understood, nothing is said.
        let form = query.api.catalogue.pinned(&query.ledger, &query.caller.context, &pin).await.ok();
        let has_guard = |workflow: &Workflow| {
            let mut transitions = task.waiting.transitions.iter();
            transitions.any(|open| workflow.transition(&open.name).is_some_and(|known| known.has_guard()))
        };
        if let Some(form) = form.filter(|form| form.workflow().is_some_and(has_guard)) {
            guarded.push((task, form));
        }
    }
    if guarded.is_empty() {
        return Ok(());
    }
    if query.reader.wait_for(ReadModel::Submissions, position, Instant::now()).await.is_err() {
        return Ok(());
    }
    let ids: Vec<_> = guarded.iter().map(|(task, _)| task.submission_id).collect();
    let rows = match query.reader.submissions_by_id(&ids).await {
        Ok(found) => found.value,
        Err(
            QueryError::Behind(_)
            | QueryError::Busy
            | QueryError::ShareTaken
            | QueryError::Slow
            | QueryError::Unreachable(_),
        ) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for ((task, form), row) in guarded.into_iter().zip(rows) {
        // Where one of the two read models is ahead of the other, its data may be those of another task.
        let Some(row) = row.filter(|row| *row.state == *task.state.as_str()) else { continue };
        let (data, outcomes) = (row.data.to_value(), row.outcomes.to_value());
        let own = query.caller.context.actor.on(&task.form);
        for transition in &mut task.waiting.transitions {
            let lent = transition.lent_roles.clone();
            let lent = lent.map(|roles| Actor { subject: own.subject.clone(), roles: roles.into() });
            let actor = Some(lent.as_ref().unwrap_or(&own));
            let facts = Facts { data: &data, outcomes: &outcomes, submitter: &row.submitter, actor, now };
            transition.guard_met = form.guard_holds(&transition.name, &facts);
        }
        // A guard may cost what a submission's rules may; others have their turn in between.
        yield_now().await;
    }
    Ok(())
}
