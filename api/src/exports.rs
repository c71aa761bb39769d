//! Exports: all submissions that a query selects, streamed as CSV or NDJSON with a page of memory.
//! Same filters as the list, from the same read model. A CSV of one form has a column for each of its fields.

mod columns;

use std::fmt::Write;

use bytes::Bytes;
use chrono::SecondsFormat;
use formledger_domain::{FormId, FormPin, Position};
use formledger_projections::{Answer, ExportedRows, QueryError, ReadModel, SubmissionRow};
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use warp::reply::Response;

use crate::accept::{CSV, NDJSON};
use crate::body::stream;
use crate::call::Call;
use crate::error::ApiError;
use crate::fields::LEDGER_POSITION;
use crate::lasting::take_place;
use crate::openapi::answers;
use crate::past::Asked;
use crate::places::Place;
use crate::query::QueryCall;
use crate::submission_queries::selection;
use columns::Columns;

/// Rows that are written as one chunk.
const CHUNK_ROWS: usize = 128;

/// What spreadsheets take for the beginning of a formula, or pass over in front of one; the wide ones as they read them in East Asia.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

const CSV_HEADER: &str =
    "submission_id,form,form_version,state,submitter,created_at,updated_at,sequence,position,data,outcomes";

/// What an export takes, for the description.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "parameters are taken by name, as those of lists are")]
struct Filters {
    /// Only this form's.
    form: Option<String>,
    /// Only in this state.
    state: Option<String>,
    /// Only this person's.
    submitter: Option<String>,
    /// Only those that hold this text in a value.
    q: Option<String>,
    /// Conditions on indexed fields, as of `GET /v1/submissions`.
    r#where: Option<Vec<String>>,
    /// `created_at`, `updated_at` or an indexed field's pointer; `-` in front for descending.
    sort: Option<String>,
    /// As it was at this position of the ledger.
    at_position: Option<u64>,
    /// As it was at this time (RFC 3339).
    at_time: Option<String>,
    /// Wait until the data reach this position.
    min_position: Option<u64>,
}

/// Submissions as CSV.
#[utoipa::path(get, path = "/v1/exports/submissions.csv", operation_id = "exportSubmissionsAsCsv", tag = "exports", security(("bearer" = []), ("api-key" = [])),
    params(Filters),
    responses(
        (status = 200, description = "RFC 4180, one submission a row; `data` and `outcomes` are JSON. With `form`, a further column for each field of its newest version, named by the field's pointer, and for each computed one. Text that a spreadsheet would take for a formula, or that begins like one that was guarded, has `'` in front. Filters, order and moment (`at_position`, `at_time`) as of `GET /v1/submissions`.", body = answers::SubmissionTable, content_type = "text/csv"),
        (status = 422, description = "`export-too-large`: more than 500,000 submissions in an order that moves, by `updated_at` or a field. `moment-too-large`: the rows of that moment take more than is kept."),
        (status = 429, description = "`too-many-exports` of this tenant are under way."),
        (status = 503, description = "`too-many-exports` are under way on this server."),
    ))]
pub async fn csv(call: Call) -> Result<Response, ApiError> {
    let Export { query, asked, form, rows, position, place } = Export::open(call, CSV).await?;
    let columns = columns(&query, asked, form.as_ref()).await?;
    query.record_export().await?;
    let lasting = query.lasting();
    let mut names = CSV_HEADER.to_owned();
    columns.write_names(&mut names);
    names.push_str("\r\n");
    let header = futures_util::stream::once(async { Ok(Bytes::from(names)) });
    let body = header.chain(chunks(rows, move |row, out| write_csv(row, &columns, out)));
    Ok(attachment(
        stream("text/csv; charset=utf-8", lasting.give(Some(place), body)),
        position,
        "attachment; filename=\"submissions.csv\"",
    ))
}

/// Submissions as NDJSON.
#[utoipa::path(get, path = "/v1/exports/submissions.ndjson", operation_id = "exportSubmissionsAsNdjson", tag = "exports", security(("bearer" = []), ("api-key" = [])),
    params(Filters),
    responses(
        (status = 200, description = "One submission a line, as `GET /v1/submissions` lists it. Filters, order and moment (`at_position`, `at_time`) as of `GET /v1/submissions`.", body = answers::Submission, content_type = "application/x-ndjson"),
        (status = 422, description = "`export-too-large`: more than 500,000 submissions in an order that moves, by `updated_at` or a field. `moment-too-large`: the rows of that moment take more than is kept."),
        (status = 429, description = "`too-many-exports` of this tenant are under way."),
        (status = 503, description = "`too-many-exports` are under way on this server."),
    ))]
pub async fn ndjson(call: Call) -> Result<Response, ApiError> {
    let Export { query, rows, position, place, .. } = Export::open(call, NDJSON).await?;
    query.record_export().await?;
    let body = query.lasting().give(Some(place), chunks(rows, write_line));
    Ok(attachment(stream(NDJSON, body), position, "attachment; filename=\"submissions.ndjson\""))
}

/// What is asked for, once it is known that it can be given.
struct Export {
    query: QueryCall,
    asked: Asked,
    form: Option<FormId>,
    rows: ExportedRows,
    position: Position,
    place: Place,
}

impl Export {
    async fn open(call: Call, media_type: &str) -> Result<Self, ApiError> {
        let mut query = QueryCall::served_as(call, &[media_type]).await?;
        let asked = Asked::take(&mut query.params)?;
        let selection = selection(&mut query)?;
        query.finish_params()?;
        let place = take_place(&query.api, &query.caller.context.tenant)?;
        query.go_to(asked, ReadModel::Submissions, None).await?;
        let form = selection.form.clone();
        // What is wrong with the filters is said here, before the answer begins.
        let Answer { position, value: rows } = match query.reader.all_submissions(selection.clone()).await {
            Err(QueryError::NotIndexed { .. }) if asked == Asked::Now => {
                // The version that indexes it may have been published a moment ago.
                query.reach_head(ReadModel::Submissions).await?;
                query.reader.all_submissions(selection).await?
            }
            rows => rows?,
        };
        Ok(Self { query, asked, form, rows, position, place })
    }
}

/// The columns of the fields of `form`, of its newest version at the moment; none where it was never published.
async fn columns(query: &QueryCall, asked: Asked, form: Option<&FormId>) -> Result<Columns, ApiError> {
    let Some(form) = form else { return Ok(Columns::default()) };
    if asked == Asked::Now {
        query.reach(ReadModel::Forms).await?;
    }
    let newest = query.reader.form(form).await?.value.and_then(|form| form.summary.version);
    let Some(version) = newest else { return Ok(Columns::default()) };
    let pin = FormPin { form: form.clone(), version };
    // Of a version that cannot be understood any more, `data` says all the same what there is.
    let form = query.api.catalogue.pinned(&query.ledger, &query.caller.context, &pin).await.ok();
    Ok(form.map(|form| Columns::of(&form)).unwrap_or_default())
}

fn chunks(
    rows: ExportedRows,
    write: impl Fn(&SubmissionRow, &mut String) + Send + 'static,
) -> impl Stream<Item = Result<Bytes, QueryError>> + Send + 'static {
    rows.ready_chunks(CHUNK_ROWS).map(move |rows| {
        let mut text = String::new();
        for row in rows {
            write(&row?, &mut text);
        }
        Ok(Bytes::from(text))
    })
}

fn write_line(row: &SubmissionRow, out: &mut String) {
    out.push_str(&serde_json::to_string(row).expect("rows hold string keys and canonical JSON"));
    out.push('\n');
}

fn write_csv(row: &SubmissionRow, columns: &Columns, out: &mut String) {
    let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
    write!(out, "{},{},{},", row.submission_id, row.form, row.form_version).expect("a string takes all text");
    quoted(&row.state, out);
    out.push(',');
    quoted(&row.submitter, out);
    write!(out, ",{},{},{},{},", time(row.created_at), time(row.updated_at), row.sequence, row.position)
        .expect("a string takes all text");
    quoted(row.data.as_str(), out);
    out.push(',');
    quoted(row.outcomes.as_str(), out);
    if !columns.is_empty() {
        columns.write_cells(&row.data.to_value(), out);
    }
    out.push_str("\r\n");
}

/// A field in quotes, with quotes inside doubled (RFC 4180 section 2).
///
/// Text that a spreadsheet would take for a formula gets an apostrophe in front, because people choose it and other people open
/// it (OWASP, "CSV Injection", and ASVS 5.0, 1.2.10). So does text that looks like one that got it: taking it off gives every text back as it was.
/// A NUL, at which some programs end a cell or the file, is U+FFFD; `data` tells it as JSON does, `\\u0000`.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    if text.trim_start_matches('\'').starts_with(FORMULA_STARTS) {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\"").replace('\0', "\u{FFFD}"));
    out.push('"');
}

fn attachment(mut response: Response, position: Position, disposition: &'static str) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    headers.insert(LEDGER_POSITION, HeaderValue::from(position.0));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_breaks_stay_inside_their_field() {
        let mut out = String::new();
        quoted("a \"b\",\r\nc", &mut out);
        assert_eq!(out, "\"a \"\"b\"\",\r\nc\"");
    }

    #[test]
    fn no_cell_begins_like_a_formula() {
        let cell = |text: &str| {
            let mut out = String::new();
            quoted(text, &mut out);
            out
        };
        for start in ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'="] {
            let text = format!("{start}HYPERLINK(1)");
            assert_eq!(cell(&text), format!("\"'{text}\""));
        }
        assert_eq!(cell("a=b"), "\"a=b\"");
        assert_eq!(cell("\0=1\0"), "\"\u{FFFD}=1\u{FFFD}\"");
        assert_eq!(cell(""), "\"\"");
    }
}
