//! Asks for submissions: one by id, or a page by filters, order and cursor. Everything starts with the tenant.
//! Called by [`TenantReader`](crate::TenantReader) inside one read snapshot.

use std::str::FromStr;

use formledger_domain::{FormId, Position, SubmissionId, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::SubmissionRow;
use super::fields::FieldValue;
use super::stored::{COLUMNS, StoredSubmission};
use crate::condition::{Comparison, Condition, Operand};
use crate::cursor::{self, Cursor, Fingerprint};
use crate::reader::QueryError;

/// Items per page when the query does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// The most items per page.
pub const PAGE_ITEMS_MAX: u32 = 500;

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
    /// Only those of which all of these hold; needs `form`. A submission has the fields that its own form version indexes.
    pub conditions: Vec<Condition>,
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
    /// An indexed field, as a JSON Pointer; needs `form`. Without a value first, then numbers, then texts.
    Field(String),
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

/// Where a page ended, in the columns that the order goes by.
#[derive(Debug, Serialize, Deserialize)]
enum PageKey {
    /// `created_position` or `position`.
    Position(i64),
    /// `kind`, the bits of `value_number` (JSON may round a number), `value_text`, `created_position`.
    Field(i64, u64, String, i64),
}

/// One page, read in the snapshot that `position` was read in.
pub(crate) async fn page(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
    query: &SubmissionQuery,
    position: Position,
) -> Result<Page<SubmissionRow>, QueryError> {
    let limit = query.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(QueryError::Limit { given: limit, max: PAGE_ITEMS_MAX });
    }
    check_fields(snapshot, tenant, query).await?;
    let fingerprint = query.fingerprint(tenant);
    let after = query.cursor.as_deref().map(|text| cursor::read(fingerprint, text)).transpose()?;
    // One row more than the page holds tells whether there is a next page.
    let mut sql = select(tenant, query, after, limit + 1)?;
    let mut rows = sql.build().fetch_all(snapshot).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = match rows.last() {
        Some(last) if more => Some(cursor::write(fingerprint, &page_key(&query.sort, last)?)),
        _ => None,
    };
    let items = rows
        .iter()
        .map(|row| StoredSubmission::from_row(row)?.shown())
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Page { items, next_cursor, position })
}

/// One submission.
pub(crate) async fn find(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
    id: SubmissionId,
) -> Result<Option<SubmissionRow>, sqlx::Error> {
    let select =
        format!("SELECT {COLUMNS} FROM submissions AS s WHERE s.tenant_id = ? AND s.submission_id = ?");
    let row: Option<StoredSubmission> = sqlx::query_as(&select)
        .bind(tenant.as_str())
        .bind(id.0.as_bytes().as_slice())
        .fetch_optional(snapshot)
        .await?;
    row.map(StoredSubmission::shown).transpose()
}

impl SubmissionQuery {
    fn fingerprint(&self, tenant: &TenantId) -> Fingerprint {
        let conditions = format!("{:?}", self.conditions);
        let sort = format!("{:?}", self.sort);
        // An absent filter and an empty one are different queries.
        let filter =
            |name: &str, value: Option<&str>| value.map_or(String::new(), |value| format!("{name}{value}"));
        let filters = [
            filter("form=", self.form.as_ref().map(FormId::as_str)),
            filter("state=", self.state.as_deref()),
            filter("submitter=", self.submitter.as_deref()),
            filter("q=", self.q.as_deref()),
        ];
        let parts = [tenant.as_str(), &conditions, &sort];
        Fingerprint::of(parts.into_iter().chain(filters.iter().map(String::as_str)))
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

/// Refuses fields that no version of the form indexes: an empty page would look like an answer.
async fn check_fields(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
    query: &SubmissionQuery,
) -> Result<(), QueryError> {
    for pointer in query.fields() {
        let Some(form) = &query.form else {
            return Err(QueryError::FieldWithoutForm { pointer: pointer.to_owned() });
        };
        let indexed: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM indexed_fields, json_each(indexed_fields.pointers) AS p \
             WHERE tenant_id = ? AND form = ? AND p.value = ?)",
        )
        .bind(tenant.as_str())
        .bind(form.as_str())
        .bind(pointer)
        .fetch_one(&mut *snapshot)
        .await?;
        if !indexed {
            return Err(QueryError::NotIndexed { pointer: pointer.to_owned() });
        }
    }
    Ok(())
}

/// The page's statement. An order by field walks `submission_fields`, every other order an index of `submissions`.
fn select<'q>(
    tenant: &'q TenantId,
    query: &'q SubmissionQuery,
    after: Option<PageKey>,
    limit: u32,
) -> Result<QueryBuilder<'q, Sqlite>, QueryError> {
    let mut sql = QueryBuilder::new(format!("SELECT {COLUMNS}"));
    match (&query.sort.key, &query.form) {
        (SortKey::Field(pointer), Some(form)) => {
            sql.push(
                ", f.kind, f.value_number, f.value_text FROM submission_fields AS f CROSS JOIN submissions AS s \
                 ON s.tenant_id = f.tenant_id AND s.created_position = f.created_position WHERE f.tenant_id = ",
            );
            sql.push_bind(tenant.as_str());
            sql.push(" AND f.form = ").push_bind(form.as_str());
            sql.push(" AND f.pointer = ").push_bind(pointer);
        }
        _ => {
            sql.push(" FROM submissions AS s WHERE s.tenant_id = ").push_bind(tenant.as_str());
            if let Some(form) = &query.form {
                sql.push(" AND s.form = ").push_bind(form.as_str());
            }
        }
    }
    filter(&mut sql, tenant, query);
    let columns: &[&str] = match query.sort.key {
        SortKey::CreatedAt => &["s.created_position"],
        SortKey::UpdatedAt => &["s.position"],
        SortKey::Field(_) => &["f.kind", "f.value_number", "f.value_text", "f.created_position"],
    };
    if let Some(after) = after {
        let beyond = if query.sort.descending { "<" } else { ">" };
        sql.push(format!(" AND ({}) {beyond} (", columns.join(", ")));
        push_key(&mut sql, &query.sort.key, after)?;
        sql.push(")");
    }
    let direction = if query.sort.descending { " DESC" } else { "" };
    let order = columns.iter().map(|column| format!("{column}{direction}")).collect::<Vec<_>>().join(", ");
    sql.push(format!(" ORDER BY {order} LIMIT ")).push_bind(i64::from(limit));
    Ok(sql)
}

fn filter<'q>(sql: &mut QueryBuilder<'q, Sqlite>, tenant: &'q TenantId, query: &'q SubmissionQuery) {
    if let Some(state) = &query.state {
        sql.push(" AND s.state = ").push_bind(state);
    }
    if let Some(submitter) = &query.submitter {
        sql.push(" AND s.submitter = ").push_bind(submitter);
    }
    if let Some(text) = &query.q {
        push_text_search(sql, text);
    }
    for condition in &query.conditions {
        push_condition(sql, tenant, query.form.as_ref().map_or("", FormId::as_str), condition);
    }
}

/// Looks for a text in the values of a document, not in its member names.
///
/// Walking a document is dear, so those whose JSON does not hold the text at all are passed over first.
fn push_text_search(sql: &mut QueryBuilder<'_, Sqlite>, text: &str) {
    let written = serde_json::Value::from(text).to_string();
    let in_json = like(&written[1..written.len() - 1]);
    let in_value = like(text);
    sql.push(" AND (");
    for (place, column) in ["s.data", "s.computed"].into_iter().enumerate() {
        if place > 0 {
            sql.push(" OR ");
        }
        sql.push(format!("({column} LIKE ")).push_bind(in_json.clone()).push(" ESCAPE '\\'");
        sql.push(format!(" AND EXISTS (SELECT 1 FROM json_tree({column}) AS v WHERE v.atom LIKE "));
        sql.push_bind(in_value.clone()).push(" ESCAPE '\\'))");
    }
    sql.push(")");
}

/// A `LIKE` pattern for texts that contain `text`.
fn like(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Keeps the submissions whose field compares; the matches are gathered once, as ranges of `submission_fields`' key.
fn push_condition<'q>(
    sql: &mut QueryBuilder<'q, Sqlite>,
    tenant: &'q TenantId,
    form: &'q str,
    condition: &'q Condition,
) {
    let operator = match condition.comparison {
        Comparison::Equal | Comparison::NotEqual => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    let negated = if condition.comparison == Comparison::NotEqual { "NOT " } else { "" };
    sql.push(format!(" AND s.created_position {negated}IN ("));
    let push_range = |sql: &mut QueryBuilder<'q, Sqlite>| {
        sql.push("SELECT c.created_position FROM submission_fields AS c WHERE c.tenant_id = ");
        sql.push_bind(tenant.as_str());
        sql.push(" AND c.form = ").push_bind(form);
        sql.push(" AND c.pointer = ").push_bind(&condition.pointer);
    };
    push_range(sql);
    match &condition.operand {
        Operand::Number { value, written } => {
            sql.push(format!(" AND c.kind = 1 AND c.value_number {operator} ")).push_bind(*value);
            if operator == "=" {
                // Two ranges: with `OR` SQLite would walk all values of the field.
                sql.push(" UNION ALL ");
                push_range(sql);
                sql.push(" AND c.kind = 2 AND c.value_number = 0 AND c.value_text = ").push_bind(written);
            }
        }
        Operand::Text(text) => {
            let (_, _, text) = FieldValue::text(text).into_columns();
            sql.push(format!(" AND c.kind = 2 AND c.value_number = 0 AND c.value_text {operator} "));
            sql.push_bind(text);
        }
    }
    sql.push(")");
}

fn push_key(sql: &mut QueryBuilder<'_, Sqlite>, sort: &SortKey, after: PageKey) -> Result<(), QueryError> {
    match (sort, after) {
        (SortKey::CreatedAt | SortKey::UpdatedAt, PageKey::Position(position)) => {
            sql.push_bind(position);
        }
        (SortKey::Field(_), PageKey::Field(kind, number, text, position)) => {
            sql.push_bind(kind).push(", ");
            sql.push_bind(f64::from_bits(number)).push(", ");
            sql.push_bind(text).push(", ");
            sql.push_bind(position);
        }
        _ => return Err(cursor::InvalidCursor.into()),
    }
    Ok(())
}

fn page_key(sort: &Sort, row: &sqlx::sqlite::SqliteRow) -> Result<PageKey, sqlx::Error> {
    Ok(match sort.key {
        SortKey::CreatedAt => PageKey::Position(row.try_get("created_position")?),
        SortKey::UpdatedAt => PageKey::Position(row.try_get("position")?),
        SortKey::Field(_) => PageKey::Field(
            row.try_get("kind")?,
            row.try_get::<f64, _>("value_number")?.to_bits(),
            row.try_get("value_text")?,
            row.try_get("created_position")?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection;

    /// Filters that were slow once would be slow again unnoticed: every order must come out of an index as it is.
    #[tokio::test]
    async fn no_query_sorts_or_scans_a_table() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        crate::schema::migrate(&mut database).await.expect("a schema");
        let tenant: TenantId = "acme".parse().expect("a slug");
        let form = Some("claim".parse().expect("a form id"));
        let conditions = ["/n=1", "/n!=x", "/n>=2", "/n<b"].map(|text| text.parse().expect("a condition"));
        let filters = [
            SubmissionQuery::default(),
            SubmissionQuery { form: form.clone(), ..Default::default() },
            SubmissionQuery { state: Some("review".to_owned()), ..Default::default() },
            SubmissionQuery { submitter: Some("ann".to_owned()), form: form.clone(), ..Default::default() },
            SubmissionQuery { conditions: conditions.to_vec(), form: form.clone(), ..Default::default() },
        ];
        for filter in filters {
            for sort in ["created_at", "-created_at", "updated_at", "-updated_at", "/n", "-/n"] {
                if sort.ends_with("/n") && filter.form.is_none() {
                    continue;
                }
                let query = SubmissionQuery { sort: sort.parse().expect("an order"), ..filter.clone() };
                for after in [None, Some(())] {
                    let after = after.map(|()| match query.sort.key {
                        SortKey::Field(_) => PageKey::Field(1, 0, String::new(), 7),
                        _ => PageKey::Position(7),
                    });
                    let sql = select(&tenant, &query, after, 51).expect("a statement");
                    let explain = format!("EXPLAIN QUERY PLAN {}", sql.sql());
                    let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
                    for step in plan {
                        let step: String = step.get("detail");
                        assert!(
                            !step.contains("TEMP B-TREE") && !step.starts_with("SCAN"),
                            "{step} in the plan of {}: give it an index",
                            sql.sql(),
                        );
                    }
                }
            }
        }
    }
}
