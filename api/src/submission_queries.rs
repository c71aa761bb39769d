//! Submissions as they can be read back: the list, one as it is or was, its timeline.
//! Lists and present states come from the read model; the past is folded from the submission's own stream.

use formledger_domain::{
    Audit, AuditEvent, CanonicalJson, FormPin, Position, Submission, SubmissionId, Workflow,
};
use formledger_projections::record::{AttachedFile, GivenSignature, Record};
use formledger_projections::timeline::{self, RulesRan, TimelineEntry};
use formledger_projections::{
    Condition, OpenTask, PAGE_ITEMS_MAX, QueryError, ReadModel, SubmissionQuery, SubmissionRow,
};
use formledger_store::{Part, RecordedEvent};
use serde::Serialize;
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::fields::etag;
use crate::limits::{TIMELINE_REFUSALS_MAX, WHERE_CONDITIONS_MAX};
use crate::openapi::answers;
use crate::params::invalid;
use crate::past::Asked;
use crate::precondition::has_it;
use crate::query::{QueryCall, answer, answer_one, unchanged};
use crate::submissions::{ensure_readable, fold, submission_id};

/// Submissions, filtered, sorted, page by page.
#[utoipa::path(get, path = "/v1/submissions", operation_id = "listSubmissions", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(
        ("form" = Option<String>, Query, description = "Only this form's."),
        ("state" = Option<String>, Query, description = "Only in this state."),
        ("submitter" = Option<String>, Query, description = "Only this person's."),
        ("q" = Option<String>, Query, description = "Only those that hold this text in a value; `a` to `z` are found in either case, other letters as they are written."),
        ("where" = Option<Vec<String>>, Query, description = "`<field pointer><operator><value>` on a field that the form indexes, with `=`, `!=`, `<`, `<=`, `>` or `>=`, such as `/amount>=100`; numbers, decimals and moments are compared by what they say (docs/lists.md). Repeatable, at most 16 times; needs `form`."),
        ("sort" = Option<String>, Query, description = "`created_at`, `updated_at` or an indexed field's pointer; `-` in front for descending."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Items of a page, at most 500; 50 when missing."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("at_position" = Option<u64>, Query, description = "As the list was at this position of the ledger; its cursors stay there."),
        ("at_time" = Option<String>, Query, description = "As the list was at this time (RFC 3339); its cursors stay there."),
        ("min_position" = Option<u64>, Query, description = "Wait until the list reaches this position."),
    ),
    responses(
        (status = 200, body = answers::SubmissionPage, description = "`{items[], next_cursor?, position}`; newest first unless sorted otherwise."),
        (status = 400, description = "`cursor-invalid`, `cursor-ahead`, `field-not-indexed` or `query-invalid`."),
        (status = 422, description = "`moment-too-large`: the rows of that moment take more than is kept."),
        (status = 503, description = "`moment-building`: the rows of that moment are being folded; see `Retry-After`."),
    ))]
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let asked = Asked::take(&mut query.params)?;
    let selection = selection(&mut query)?;
    let (limit, cursor) = (query.params.limit(PAGE_ITEMS_MAX)?, query.params.one("cursor")?);
    query.finish_params()?;
    let (moment, cursor) = query.go_to(asked, ReadModel::Submissions, cursor).await?;
    let selection = SubmissionQuery { limit, cursor, ..selection };
    let page = match query.reader.submissions(&selection).await {
        Err(QueryError::NotIndexed { .. }) if asked == Asked::Now => {
            // The version that indexes it may have been published a moment ago.
            query.reach_head(ReadModel::Submissions).await?;
            query.reader.submissions(&selection).await?
        }
        page => page?,
    };
    answer(page.position, &page.at(moment, asked.time()))
}

/// One submission.
#[utoipa::path(get, path = "/v1/submissions/{id}", operation_id = "getSubmission", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = String, Path, description = "The submission."),
        ("at_position" = Option<u64>, Query, description = "As it was at this position of the ledger."),
        ("at_time" = Option<String>, Query, description = "As it was at this time (RFC 3339)."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer: 304 while it is the same."),
    ),
    responses(
        (status = 200, body = answers::SubmissionWithRecord, description = "`{submission_id, form, form_version, state, data, outcomes, submitter, created_at, updated_at, sequence, position}`; `task` while it waits for people, `attachments[]` where the form takes files, `signatures[]` where it asks for them."),
        (status = 304, description = "The client has it: `If-None-Match` names its `ETag`."),
        (status = 400, description = "`cursor-ahead`: `at_position` is past the ledger's end."),
        (status = 404, description = "There is no such submission, or not for this caller, or not yet then."),
    ))]
pub async fn one(call: Call, id: String) -> Result<Response, ApiError> {
    let mut query = QueryCall::read(call).await?;
    let asked = Asked::take(&mut query.params)?;
    query.finish_params()?;
    let id = submission_id(&id)?;
    let (position, found) = match query.position_then(asked).await? {
        None => now(&query, id).await?,
        Some(position) => (position, as_of(&query, id, position).await?),
    };
    let found = found.filter(|found| query.caller.reaches(found.row.form.as_str()));
    let Found { row, task, record } = found.ok_or(ApiError::NotFound("submission"))?;
    if !query.reads_all_of(&row.form) && *row.submitter != *query.caller.context.actor.subject {
        // Somebody with a part in its workflow: the stream says who that is now, also when it is asked for as it was.
        let events = query.ledger.load(&query.caller.context.stream::<Submission>(id)).await?;
        ensure_readable(&query.api, &query.ledger, &query.caller, &fold(&events)?).await?;
    }
    // All that is shown is made of the submission's own events, of which each is a sequence.
    let tag = etag(row.sequence);
    if has_it(&query.head, &tag)? {
        return Ok(unchanged(position, tag));
    }
    let (attachments, signatures) = beside(&query, &row, record).await?;
    answer_one(position, row.sequence, &Shown { row: &row, task, attachments, signatures })
}

/// A submission as it is, or was.
struct Found {
    row: SubmissionRow,
    task: Option<OpenTask>,
    /// All of it, where that was folded already.
    record: Option<Record>,
}

/// A submission as clients see one alone.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: &'a SubmissionRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<OpenTask>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<Vec<AttachedFile>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<GivenSignature>>,
}

/// The files and signatures of a submission; `None` where its form takes none. The read model does not have them, so that the many
/// submissions without any cost nothing: the stream is read where the form says that there may be some, up to where the row reaches.
async fn beside(
    query: &QueryCall,
    row: &SubmissionRow,
    record: Option<Record>,
) -> Result<(Option<Vec<AttachedFile>>, Option<Vec<GivenSignature>>), ApiError> {
    let pin = FormPin { form: row.form.clone(), version: row.form_version };
    // Of a form that cannot be understood any more, the record is shown all the same.
    let form = query.api.catalogue.pinned(&query.ledger, &query.caller.context, &pin).await.ok();
    let takes = form.as_ref().is_none_or(|form| form.attachments().is_some());
    let asks = form.as_ref().is_none_or(|form| form.workflow().is_some_and(Workflow::asks_for_signatures));
    if !takes && !asks {
        return Ok((None, None));
    }
    let Record { attachments, signatures, .. } = match record {
        Some(record) => record,
        None => {
            let stream = query.caller.context.stream::<Submission>(row.submission_id);
            let events = query.ledger.load(&stream).await?;
            let known = events.iter().take_while(|event| event.sequence <= row.sequence).count();
            Record::fold(&events[..known]).map_err(ApiError::internal)?
        }
    };
    Ok((takes.then_some(attachments), asks.then_some(signatures)))
}

#[derive(Serialize)]
struct Timeline {
    submission_id: SubmissionId,
    items: Vec<TimelineEntry>,
    position: Position,
}

/// Everything that happened to a submission.
#[utoipa::path(get, path = "/v1/submissions/{id}/timeline", operation_id = "getTimeline", tag = "submissions", security(("bearer" = []), ("api-key" = [])),
    params(
        ("id" = String, Path, description = "The submission."),
        ("min_position" = Option<u64>, Query, description = "Wait until the data reach this position."),
    ),
    responses(
        (status = 200, body = answers::Timeline, description = "`{submission_id, items[], position}`: who, when, what changed field by field, which rule said what, on which conditions and values. For the roles that read everything also attempts that were refused, where the tenant has them recorded: the newest 500 of them."),
        (status = 404, description = "There is no such submission, or not for this caller."),
    ))]
pub async fn timeline(call: Call, id: String) -> Result<Response, ApiError> {
    let query = QueryCall::read(call).await?;
    query.finish_params()?;
    let id = submission_id(&id)?;
    let position = query.reach_ledger().await?;
    let events = query.ledger.load(&query.caller.context.stream::<Submission>(id)).await?;
    let submission = fold(&events)?;
    ensure_readable(&query.api, &query.ledger, &query.caller, &submission).await?;
    let mut items = timeline_of(&query, &events, 0, &submission).await?;
    if submission.pin().is_some_and(|pin| query.reads_all_of(&pin.form)) {
        let newest = Part::Newest { event_type: AuditEvent::ATTEMPT_REFUSED, limit: TIMELINE_REFUSALS_MAX };
        let audited = query.ledger.load_part(&query.caller.context.stream::<Audit>(id), newest).await?;
        timeline::add_refusals(&mut items, &audited).map_err(ApiError::internal)?;
    }
    answer(position, &Timeline { submission_id: id, items, position })
}

/// What happened to a submission after its first `known` events, and what all of `events` make of it.
///
/// # Errors
/// When this binary cannot read one of them.
pub async fn timeline_of(
    query: &QueryCall,
    events: &[RecordedEvent],
    known: usize,
    submission: &Submission,
) -> Result<Vec<TimelineEntry>, ApiError> {
    let form = match submission.pin() {
        // A version that cannot be read any more explains nothing; what happened is told all the same.
        Some(pin) => query.api.catalogue.pinned(&query.ledger, &query.caller.context, pin).await.ok(),
        None => None,
    };
    let explain = |RulesRan { outcomes, why, data }: RulesRan<'_>| {
        form.as_ref().map(|form| form.explain(outcomes, why, data))
    };
    timeline::fold(events, known, explain).map_err(ApiError::internal)
}

/// Takes the parameters that say which submissions, for lists and exports.
///
/// # Errors
/// 400 for what cannot be understood, 403 when somebody who reads only their own asks for another person's.
pub fn selection(query: &mut QueryCall) -> Result<SubmissionQuery, ApiError> {
    let own = (!query.reads_all()).then(|| query.caller.context.actor.subject.to_string());
    let params = &mut query.params;
    let conditions = params.all("where");
    if conditions.len() > WHERE_CONDITIONS_MAX {
        return Err(invalid(format!("give `where` at most {WHERE_CONDITIONS_MAX} times")));
    }
    let conditions = conditions.iter().map(|text| text.parse::<Condition>()).collect::<Result<_, _>>();
    let submitter = params.one("submitter")?;
    if own.is_some() && submitter.is_some() && submitter != own {
        return Err(ApiError::NotPermitted(
            "without a reading role, only your own submissions are listed".to_owned(),
        ));
    }
    Ok(SubmissionQuery {
        form: params.parsed("form")?,
        state: params.one("state")?,
        submitter: own.or(submitter),
        q: params.one("q")?,
        conditions: conditions.map_err(|error| invalid(error.to_string()))?,
        sort: params.parsed("sort")?.unwrap_or_default(),
        ..SubmissionQuery::default()
    })
}

/// The submission in the read model; only when that has caught up is a submission that it does not have missing.
async fn now(query: &QueryCall, id: SubmissionId) -> Result<(Position, Option<Found>), ApiError> {
    query.reach(ReadModel::Submissions).await?;
    let mut found = query.reader.submission(id).await?;
    if found.value.is_none() {
        query.reach_head(ReadModel::Submissions).await?;
        found = query.reader.submission(id).await?;
    }
    let value = found.value.map(|(row, task)| Found { row, task, record: None });
    Ok((found.position, value))
}

/// The submission folded from those of its events that had happened by a position.
async fn as_of(query: &QueryCall, id: SubmissionId, position: Position) -> Result<Option<Found>, ApiError> {
    let events = query.ledger.load(&query.caller.context.stream::<Submission>(id)).await?;
    let events = &events[..events.partition_point(|event| event.position <= position)];
    let record = Record::fold(events).map_err(ApiError::internal)?;
    let submission = &record.submission;
    let (Some(first), Some(last), Some(pin), Some(state), Some(data), Some(submitter)) = (
        events.first(),
        events.last(),
        submission.pin(),
        submission.state(),
        submission.data(),
        submission.submitter(),
    ) else {
        return Ok(None);
    };
    let row = SubmissionRow {
        submission_id: id,
        form: pin.form.clone(),
        form_version: pin.version,
        state: state.as_str().into(),
        data: CanonicalJson::from_value(&data).map_err(ApiError::internal)?,
        outcomes: submission.outcomes().cloned().unwrap_or_else(no_outcomes),
        submitter: submitter.clone(),
        created_at: first.recorded_at,
        updated_at: last.recorded_at,
        sequence: last.sequence,
        position: last.position,
    };
    let task = record.task(row.updated_at);
    Ok(Some(Found { row, task, record: Some(record) }))
}

fn no_outcomes() -> CanonicalJson {
    CanonicalJson::from_stored("{}")
}
