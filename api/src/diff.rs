//! What changed between two moments: of one submission field by field, and of all of them by counts and by what happened to each.
//! A submission's is folded from its own stream; the others compare two past moments of the read models.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use formledger_domain::{
    CanonicalJson, FieldDifference, FormId, FormVersion, Position, Sequence, Submission, SubmissionId,
    differences,
};
use formledger_projections::timeline::TimelineEntry;
use formledger_projections::{Cursor, PAGE_ITEMS_MAX, ReadModel, Statistics, SubmissionQuery, SubmissionRow};
use serde::Serialize;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::limits::DIFF_CHANGES_MAX;
use crate::openapi::answers;
use crate::params::{Params, invalid};
use crate::past::Asked;
use crate::query::{QueryCall, answer};
use crate::submission_queries::timeline_of;
use crate::submissions::{ensure_readable, fold, submission_id};

/// The two moments of a request.
struct Span {
    from: Asked,
    to: Asked,
}

impl Span {
    fn take(params: &mut Params) -> Result<Self, ApiError> {
        let from = Asked::take_named(params, "from_position", "from_time")?;
        if from == Asked::Now {
            return Err(invalid("say since when: `from_position` or `from_time`"));
        }
        Ok(Self { from, to: Asked::take_named(params, "to_position", "to_time")? })
    }

    /// Their positions; without an end, the ledger's.
    async fn positions(&self, query: &QueryCall) -> Result<(Position, Position), ApiError> {
        let head = query.reach_ledger().await?;
        let from = query.position_then(self.from).await?.unwrap_or(head);
        let to = query.position_then(self.to).await?.unwrap_or(head);
        if from > to {
            return Err(invalid(format!("the span begins at position {from} and ends before, at {to}")));
        }
        Ok((from, to))
    }
}

/// A submission at one end.
#[derive(Serialize)]
struct End {
    position: Position,
    /// When its last event until then was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<DateTime<Utc>>,
    /// Absent where it was not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    sequence: Sequence,
}

/// A rule that said something else.
#[derive(Serialize)]
struct OutcomeChange {
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

#[derive(Serialize)]
struct SubmissionDiff {
    submission_id: SubmissionId,
    from: End,
    to: End,
    changes: Vec<FieldDifference>,
    outcomes: Vec<OutcomeChange>,
    events: Vec<TimelineEntry>,
    position: Position,
}

/// What changed in one submission.
#[utoipa::path(get, path = "/v1/submissions/{id}/diff", operation_id = "getSubmissionDiff", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = String, Path, description = "The submission."),
        ("from_position" = Option<u64>, Query, description = "Since this position of the ledger; this or `from_time` is needed."),
        ("from_time" = Option<String>, Query, description = "Since this time (RFC 3339)."),
        ("to_position" = Option<u64>, Query, description = "Until this position; now when missing."),
        ("to_time" = Option<String>, Query, description = "Until this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::SubmissionDiff, description = "`{submission_id, from, to, changes[], outcomes[], events[], position}`: state at both ends, fields and outcomes that differ, and every event after `from` up to `to` as the timeline tells it."),
        (status = 400, description = "`query-invalid` or `cursor-ahead`."),
        (status = 404, description = "There is no such submission, or not for this caller, or not yet at the end."),
    ))]
pub async fn submission(call: Call, id: String) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let span = Span::take(&mut query.params)?;
    query.finish_params()?;
    let id = submission_id(&id)?;
    let (from, to) = span.positions(&query).await?;
    let events = query.ledger.load(&query.caller.context.stream::<Submission>(id)).await?;
    ensure_readable(&query.api, &query.ledger, &query.caller, &fold(&events)?).await?;
    let until = |position: Position| events.partition_point(|event| event.position <= position);
    let (before, after) = (until(from), until(to));
    if after == 0 {
        return Err(ApiError::NotFound("submission"));
    }
    let (then, later) = (fold(&events[..before])?, fold(&events[..after])?);
    let told = timeline_of(&query, &events[..after], before.min(after), &later).await?;
    let end = |position, submission: &Submission, known: usize| End {
        position,
        updated_at: known.checked_sub(1).map(|last| events[last].recorded_at),
        state: submission.state().map(|state| state.as_str().to_owned()),
        sequence: known.checked_sub(1).map_or(Sequence::START, |last| events[last].sequence),
    };
    let body = SubmissionDiff {
        submission_id: id,
        from: end(from, &then, before),
        to: end(to, &later, after),
        changes: differences(&data(&then), &data(&later)),
        outcomes: outcome_changes(then.outcomes(), later.outcomes()),
        events: told,
        position: to,
    };
    answer(to, &body)
}

/// The data, of a submission that is not there yet without any field.
fn data(submission: &Submission) -> Value {
    submission.data().unwrap_or_else(|| json!({}))
}

fn outcome_changes(before: Option<&CanonicalJson>, after: Option<&CanonicalJson>) -> Vec<OutcomeChange> {
    let read = |outcomes: Option<&CanonicalJson>| match outcomes.map(CanonicalJson::to_value) {
        Some(Value::Object(outcomes)) => outcomes,
        _ => Map::new(),
    };
    let (mut before, after) = (read(before), read(after));
    let mut changes = BTreeMap::new();
    for (rule, to) in after {
        let from = before.remove(&rule);
        if from.as_ref() != Some(&to) {
            changes.insert(rule, (from, Some(to)));
        }
    }
    changes.extend(before.into_iter().map(|(rule, from)| (rule, (Some(from), None))));
    changes.into_iter().map(|(rule, (from, to))| OutcomeChange { rule, from, to }).collect()
}

/// Submissions of a form in a state, then and later.
#[derive(Serialize)]
struct StateChange {
    form: FormId,
    state: String,
    from: u64,
    to: u64,
}

/// A value at both ends; `from` is absent for a submission that was made in between.
#[derive(Serialize)]
struct FromTo<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<T>,
    to: T,
}

/// A submission to which something happened.
#[derive(Serialize)]
struct Changed {
    submission_id: SubmissionId,
    form: FormId,
    form_version: FormVersion,
    submitter: String,
    state: FromTo<String>,
    sequence: FromTo<Sequence>,
    updated_at: DateTime<Utc>,
    position: Position,
    /// At most [`DIFF_CHANGES_MAX`].
    changes: Vec<FieldDifference>,
    /// How many fields more differ, as far as they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes_left_out: Option<usize>,
}

#[derive(Serialize)]
struct Diff {
    from: Position,
    to: Position,
    states: Vec<StateChange>,
    items: Vec<Changed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Cursor>,
    position: Position,
}

/// What changed among all submissions.
#[utoipa::path(get, path = "/v1/diff", operation_id = "getDiff", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(
        ("from_position" = Option<u64>, Query, description = "Since this position of the ledger; this or `from_time` is needed."),
        ("from_time" = Option<String>, Query, description = "Since this time (RFC 3339)."),
        ("to_position" = Option<u64>, Query, description = "Until this position; now when missing, and pages stay there."),
        ("to_time" = Option<String>, Query, description = "Until this time (RFC 3339)."),
        ("form" = Option<String>, Query, description = "Only this form's."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Items of a page, at most 500; 50 when missing."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::Diff, description = "`{from, to, states[], items[], next_cursor?, position}`: submissions by form and state at both positions; and those to which something happened after `from`, in the order of their last event up to `to`, with state and fields before and after."),
        (status = 400, description = "`query-invalid`, `cursor-invalid` or `cursor-ahead`."),
        (status = 503, description = "`moment-building`: the rows of one of the moments are being folded; see `Retry-After`."),
    ))]
pub async fn tenant(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let span = Span::take(&mut query.params)?;
    let form: Option<FormId> = query.params.parsed("form")?;
    let (limit, cursor) = (query.params.limit(PAGE_ITEMS_MAX)?, query.params.one("cursor")?);
    query.finish_params()?;
    let (from, _) = span.positions(&query).await?;
    // The first page pins the end, also where that is the present: whatever is recorded by then.
    let to = match span.to {
        Asked::Now => Asked::Time(DateTime::<Utc>::MAX_UTC),
        to => to,
    };
    // The earlier moment first: the later one is folded on from it.
    let before = query.reader_at(from).await?;
    let time = to.time();
    let (to, cursor) = query.go_to(to, ReadModel::Submissions, cursor).await?;
    let to = to.unwrap_or(from);
    let after = &query.reader;
    let selection = SubmissionQuery {
        form: form.clone(),
        changed_after: Some(from),
        sort: "updated_at".parse().map_err(ApiError::internal)?,
        limit,
        cursor,
        ..SubmissionQuery::default()
    };
    let page = after.submissions(&selection).await?.at(Some(to), time);
    let ids: Vec<SubmissionId> = page.items.iter().map(|row| row.submission_id).collect();
    let earlier = before.submissions_by_id(&ids).await?.value;
    let counted =
        (before.statistics(form.as_ref()).await?.value, after.statistics(form.as_ref()).await?.value);
    let body = Diff {
        from,
        to,
        states: state_changes(counted.0, counted.1),
        items: earlier.into_iter().zip(page.items).map(|(then, row)| changed(then, row)).collect(),
        next_cursor: page.next_cursor,
        position: to,
    };
    answer(to, &body)
}

fn state_changes(before: Statistics, after: Statistics) -> Vec<StateChange> {
    let mut counts: BTreeMap<(String, String), (FormId, u64, u64)> = BTreeMap::new();
    let key = |form: &FormId, state: &str| (form.to_string(), state.to_owned());
    for count in before.states {
        counts.insert(key(&count.form, &count.state), (count.form, count.count, 0));
    }
    for count in after.states {
        counts.entry(key(&count.form, &count.state)).or_insert((count.form, 0, 0)).2 = count.count;
    }
    counts.into_iter().map(|((_, state), (form, from, to))| StateChange { form, state, from, to }).collect()
}

fn changed(then: Option<SubmissionRow>, row: SubmissionRow) -> Changed {
    let before = then.as_ref().map_or_else(|| json!({}), |then| then.data.to_value());
    let mut changes = differences(&before, &row.data.to_value());
    let left_out = changes.len().saturating_sub(DIFF_CHANGES_MAX);
    changes.truncate(DIFF_CHANGES_MAX);
    Changed {
        submission_id: row.submission_id,
        form: row.form,
        form_version: row.form_version,
        submitter: row.submitter.to_string(),
        state: FromTo { from: then.as_ref().map(|then| then.state.to_string()), to: row.state.to_string() },
        sequence: FromTo { from: then.map(|then| then.sequence), to: row.sequence },
        updated_at: row.updated_at,
        position: row.position,
        changes,
        changes_left_out: (left_out > 0).then_some(left_out),
    }
}
