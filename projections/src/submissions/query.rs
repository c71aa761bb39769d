//! Asks for submissions: one by id, or a page by filters, order and cursor. Everything starts with the tenant.
//! Called by [`TenantReader`](crate::TenantReader) inside one read snapshot.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use formledger_domain::{FormId, Position, SubmissionId, TenantId, TextKind};
use futures_util::TryStreamExt;
use serde::Serialize;

use super::SubmissionRow;
use super::select::{PageKey, page_key, select, select_only};
use super::stored::{self, COLUMNS, StoredSubmission};
use super::way::{Kinds, Way};
use crate::checkpoint;
use crate::condition::{Condition, Operand};
use crate::cursor::{self, Cursor, Fingerprint};
use crate::database::{Connection, Dialect, sql};
use crate::position::{Behind, ReadModel};
use crate::reader::QueryError;
use crate::tasks::{JOIN, JOINED_COLUMNS, OpenTask};

/// Items per page when the query does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// The most items per page.
pub const PAGE_ITEMS_MAX: u32 = 500;

/// Bytes of documents on a page; the page ends with the row that reaches them, and its cursor says where to go on.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Comes before a statement that gathers matches. 256 MB keep eight million of them (32 bytes each) in a hash table; beyond that, Postgres compares each
/// match with each row. Compiling such a statement costs more than it saves.
const GATHERING: &str = "SELECT set_config('work_mem', '256MB', true), set_config('jit', 'off', true)";

/// One page of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// How far the data reaches.
    pub position: Position,
}

impl<T> Page<T> {
    /// The same page with a cursor that stays at `moment`, of queries for `time` where that was asked for; unchanged where the moment is the present.
    pub fn at(mut self, moment: Option<Position>, time: Option<DateTime<Utc>>) -> Self {
        if let Some(moment) = moment {
            self.next_cursor = self.next_cursor.map(|cursor| cursor.at(moment, time));
        }
        self
    }
}

/// Which submissions, in which order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubmissionQuery {
    /// Only this form's.
    pub form: Option<FormId>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only this person's.
    pub submitter: Option<String>,
    /// Only those that hold this text in a value, ASCII letters in either case.
    pub q: Option<String>,
    /// Only those of which all of these hold; needs `form`, whose newest version says which fields there are.
    pub conditions: Vec<Condition>,
    /// Only those to which something happened after this position; in the order of their last event, which has an index.
    pub changed_after: Option<Position>,
    /// In this order.
    pub sort: Sort,
    /// Items per page, 1 to [`PAGE_ITEMS_MAX`]; [`PAGE_ITEMS_DEFAULT`] when `None`.
    pub limit: Option<u32>,
    /// Where the page before ended, as the client sent it.
    pub cursor: Option<String>,
}

/// An order. Equal values are in order of creation, which turns with `descending`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// Largest or newest first.
    pub descending: bool,
}

/// What submissions can be sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
    /// An indexed field, as a JSON Pointer; needs `form`. Without a value first, then numbers, then texts, then moments.
    Field(String),
}

impl Sort {
    /// Whether no submission ever changes its place: an order by anything else moves under who reads it page by page.
    pub(crate) fn is_settled(&self) -> bool {
        self.key == SortKey::CreatedAt
    }
}

impl Default for Sort {
    /// Newest first.
    fn default() -> Self {
        Self { key: SortKey::CreatedAt, descending: true }
    }
}

/// Why a text is not an order; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an order: use `created_at`, `updated_at` or an indexed field's pointer, with `-` in front for \
     descending, for example `-created_at`"
)]
pub struct InvalidSort {
    given: String,
}

impl FromStr for Sort {
    type Err = InvalidSort;

    fn from_str(text: &str) -> Result<Self, InvalidSort> {
        let (descending, key) = match text.strip_prefix('-') {
            Some(key) => (true, key),
            None => (false, text),
        };
        let key = match key {
            "created_at" => SortKey::CreatedAt,
            "updated_at" => SortKey::UpdatedAt,
            pointer if pointer.starts_with('/') => SortKey::Field(pointer.to_owned()),
            _ => return Err(InvalidSort { given: text.chars().take(200).collect() }),
        };
        Ok(Self { key, descending })
    }
}

/// One page of at most `limit` items, read in the snapshot that `position` was read in.
pub(crate) async fn page(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    query: &SubmissionQuery,
    limit: u32,
    position: Position,
) -> Result<Page<SubmissionRow>, QueryError> {
    let kinds = fields_of(snapshot, tenant, query, position).await?;
    let fingerprint = query.fingerprint(tenant, &kinds);
    let after = query.cursor.as_deref().map(|text| cursor::read(fingerprint, text)).transpose()?;
    let Part { items, ends, .. } = read(snapshot, tenant, (query, &kinds), after, limit, position).await?;
    Ok(Page { items, next_cursor: ends.map(|key| cursor::write(fingerprint, &key)), position })
}

/// A piece of an export.
#[derive(Debug)]
pub(crate) struct Part {
    /// The rows.
    pub(crate) items: Vec<SubmissionRow>,
    /// Where it ended; `None` of the last one.
    pub(crate) ends: Option<PageKey>,
    /// How far the data reaches.
    pub(crate) position: Position,
}

/// At most `limit` items behind those of the part that ended at `after`. The query's own cursor does not matter.
///
/// Unlike a page, it goes on where the form compares fields in another way since: only for an order that means the same all the time.
pub(crate) async fn part(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    query: &SubmissionQuery,
    after: Option<PageKey>,
    limit: u32,
    position: Position,
) -> Result<Part, QueryError> {
    let kinds = fields_of(snapshot, tenant, query, position).await?;
    read(snapshot, tenant, (query, &kinds), after, limit, position).await
}

/// The ids of all that a query selects, in its order.
///
/// # Errors
/// [`QueryError::TooMany`] for more than `max`.
pub(crate) async fn ids(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    query: &SubmissionQuery,
    max: u32,
    position: Position,
) -> Result<Vec<SubmissionId>, QueryError> {
    let kinds = fields_of(snapshot, tenant, query, position).await?;
    let way = way(snapshot, tenant, (query, &kinds), None, max + 1, position).await?;
    let sql = select_only("s.submission_id", tenant, query, &way, None, max + 1, snapshot.dialect())?;
    let mut rows = sql.stream(snapshot)?;
    let mut ids = Vec::new();
    while let Some(row) = rows.try_next().await? {
        ids.push(SubmissionId(row.get("submission_id")?));
    }
    if ids.len() > max as usize {
        return Err(QueryError::TooMany { max });
    }
    Ok(ids)
}

async fn way<'q>(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    (query, kinds): (&'q SubmissionQuery, &Kinds),
    after: Option<&PageKey>,
    rows: u32,
    position: Position,
) -> Result<Way<'q>, sqlx::Error> {
    let mut way = Way::of(query, kinds, after);
    way.choose(snapshot, tenant, position, rows).await?;
    if way.gathers() && snapshot.dialect() == Dialect::Postgres {
        sql(GATHERING).execute(snapshot).await?;
    }
    Ok(way)
}

async fn read(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    (query, kinds): (&SubmissionQuery, &Kinds),
    after: Option<PageKey>,
    limit: u32,
    position: Position,
) -> Result<Part, QueryError> {
    // One row more than the page holds tells whether there is a next page.
    let rows = limit + 1;
    let way = way(snapshot, tenant, (query, kinds), after.as_ref(), rows, position).await?;
    let sql = select(tenant, query, &way, after, rows, snapshot.dialect())?;
    let mut rows = sql.stream(snapshot)?;
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.try_next().await? {
        if items.len() == limit as usize || bytes >= PAGE_BYTES_MAX {
            return Ok(Part { items, ends: last, position });
        }
        let item = StoredSubmission::from_row(&row)?.shown()?;
        bytes += item.document_bytes();
        last = Some(page_key(query, &row)?);
        items.push(item);
    }
    Ok(Part { items, ends: None, position })
}

/// One submission, and what it waits for.
pub(crate) async fn find(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    id: SubmissionId,
) -> Result<Option<(SubmissionRow, Option<OpenTask>)>, sqlx::Error> {
    let select = format!(
        "SELECT {COLUMNS}, {JOINED_COLUMNS} FROM submissions AS s {JOIN} WHERE s.tenant_id = $1 AND s.submission_id = $2"
    );
    let Some(row) = sql(select).bind(tenant.as_str()).bind(id.0).optional(snapshot).await? else {
        return Ok(None);
    };
    let submission = StoredSubmission::from_row(&row)?.shown()?;
    let task = OpenTask::from_joined(&row, &submission)?;
    Ok(Some((submission, task)))
}

/// Several submissions, those of `ids` that there are, in no order.
pub(crate) async fn find_all(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    ids: &[SubmissionId],
) -> Result<HashMap<SubmissionId, SubmissionRow>, sqlx::Error> {
    let Some(last) = ids.last() else { return Ok(HashMap::new()) };
    let mut select = sql(format!("SELECT {COLUMNS} FROM submissions AS s WHERE s.tenant_id = $1"));
    select = select.bind(tenant.as_str());
    // As many as the next power of two, so that connections prepare few different statements.
    let asked = ids.iter().chain(iter::repeat(last)).take(ids.len().next_power_of_two());
    for (number, id) in asked.enumerate() {
        select.push(if number == 0 { " AND s.submission_id IN (" } else { ", " }).push_bind(id.0);
    }
    select.push(")");
    let mut rows = select.stream(snapshot)?;
    let mut found = HashMap::with_capacity(ids.len());
    while let Some(row) = rows.try_next().await? {
        let row = StoredSubmission::from_row(&row)?.shown()?;
        found.insert(row.submission_id, row);
    }
    Ok(found)
}

impl SubmissionQuery {
    /// How many items a page of it has.
    ///
    /// # Errors
    /// [`QueryError::Limit`] where the query asks for none or too many.
    pub(crate) fn page_items(&self) -> Result<u32, QueryError> {
        match self.limit.unwrap_or(PAGE_ITEMS_DEFAULT) {
            given @ 1..=PAGE_ITEMS_MAX => Ok(given),
            given => Err(QueryError::Limit { given, max: PAGE_ITEMS_MAX }),
        }
    }

    /// Where values are compared in another way, where the page before ended says nothing any more.
    fn fingerprint(&self, tenant: &TenantId, kinds: &Kinds) -> Fingerprint {
        let parts = self.parts(tenant, kinds);
        Fingerprint::of(parts.iter().map(|part| &**part))
    }

    /// What makes a query what it is, in words that stay when code is renamed: nodes of several versions answer pages of one list during an upgrade.
    fn parts<'a>(&'a self, tenant: &'a TenantId, kinds: &Kinds) -> Vec<Cow<'a, str>> {
        // An absent filter and an empty one are different queries.
        let filter = |name: &str, value: Option<&str>| {
            Cow::from(value.map_or(String::new(), |value| format!("{name}{value}")))
        };
        let changed_after = self.changed_after.map(|position| position.to_string());
        let mut parts = vec![tenant.as_str().into(), self.conditions.len().to_string().into()];
        for Condition { pointer, comparison, operand } in &self.conditions {
            let (kind, operand) = match operand {
                Operand::Number(written) => ("number", written),
                Operand::Text(text) => ("text", text),
            };
            parts.extend([pointer, comparison.operator(), kind, operand].map(Cow::from));
        }
        let (key, pointer) = match &self.sort.key {
            SortKey::CreatedAt => ("created-at", ""),
            SortKey::UpdatedAt => ("updated-at", ""),
            SortKey::Field(pointer) => ("field", pointer.as_str()),
        };
        let direction = if self.sort.descending { "descending" } else { "ascending" };
        parts.extend([key, pointer, direction].map(Cow::from));
        parts.extend([
            filter("changed_after=", changed_after.as_deref()),
            filter("form=", self.form.as_ref().map(FormId::as_str)),
            filter("state=", self.state.as_deref()),
            filter("submitter=", self.submitter.as_deref()),
            filter("q=", self.q.as_deref()),
        ]);
        let compared = |pointer| {
            let kind = match kinds.get(pointer) {
                None => "unknown",
                Some(TextKind::Plain) => "plain",
                Some(TextKind::Decimal) => "decimal",
                Some(TextKind::Timestamp) => "timestamp",
            };
            Cow::from(format!("{}{kind}", ReadModel::Submissions.version()))
        };
        parts.extend(self.fields().map(compared));
        parts
    }

    /// The fields that conditions and order name.
    fn fields(&self) -> impl Iterator<Item = &str> {
        let sorted = match &self.sort.key {
            SortKey::Field(pointer) => Some(pointer.as_str()),
            SortKey::CreatedAt | SortKey::UpdatedAt => None,
        };
        self.conditions.iter().map(|condition| condition.pointer.as_str()).chain(sorted)
    }
}

/// What the texts of the fields say that the form's newest version indexes. Refuses conditions and orders by others: an empty page would look like an
/// answer. While the rows are made again, the version that indexes them may be still to come.
async fn fields_of(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    query: &SubmissionQuery,
    position: Position,
) -> Result<Kinds, QueryError> {
    let Some(first) = query.fields().next() else { return Ok(Kinds::new()) };
    let Some(form) = &query.form else {
        return Err(QueryError::FieldWithoutForm { pointer: first.to_owned() });
    };
    let indexed = stored::indexed_by_newest(snapshot, tenant, form).await?;
    let kinds: Kinds = indexed.fields().map(|(pointer, kind)| (pointer.to_owned(), kind)).collect();
    if let Some(pointer) = query.fields().find(|pointer| !kinds.contains_key(*pointer)) {
        if checkpoint::is_behind_others(snapshot, tenant, position).await? {
            return Err(Behind { position }.into());
        }
        return Err(QueryError::NotIndexed { pointer: pointer.to_owned() });
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_told_apart_by_words_that_no_renaming_changes() {
        let query = SubmissionQuery {
            form: Some("claim".parse().expect("a form id")),
            conditions: ["/amount>=100", "/code=\"00123\""]
                .map(|text| text.parse().expect("a condition"))
                .into(),
            sort: Sort { key: SortKey::Field("/due".to_owned()), descending: false },
            ..SubmissionQuery::default()
        };
        let kinds =
            [("/amount", TextKind::Decimal), ("/code", TextKind::Plain), ("/due", TextKind::Timestamp)];
        let kinds: Kinds = kinds.into_iter().map(|(pointer, kind)| (pointer.to_owned(), kind)).collect();
        let tenant: TenantId = "acme".parse().expect("a slug");
        let version = ReadModel::Submissions.version();
        let compared = ["decimal", "plain", "timestamp"].map(|kind| format!("{version}{kind}"));
        let expected = [
            &["acme", "2", "/amount", ">=", "number", "100", "/code", "=", "text", "00123"][..],
            &["field", "/due", "ascending", "", "form=claim", "", "", ""],
            &compared.each_ref().map(|kind| &**kind),
        ];
        assert_eq!(
            query.parts(&tenant, &kinds),
            expected.concat(),
            "cursors of other versions are refused for it"
        );
    }
}
