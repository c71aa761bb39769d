//! Writes the statement of one page: which index it walks, which filters it applies, after which row it starts.
//! Used by `query` only. Every order comes out of an index as it is; a test explains the plans.

use formledger_domain::{FormId, TenantId};
use serde::{Deserialize, Serialize};

use super::fields::FieldValue;
use super::key::FieldPrefix;
use super::query::{SortKey, SubmissionQuery};
use super::stored::COLUMNS;
use crate::columns::place;
use crate::condition::{Comparison, Condition, Operand};
use crate::cursor::InvalidCursor;
use crate::database::{Dialect, Row, Sql, sql};

/// Where a page ended, in the columns that the order goes by.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PageKey {
    /// `created_position` or `position`.
    Position(i64),
    /// What of `field_key` comes behind the field, and `created_position`.
    Field(Vec<u8>, i64),
}

/// The page's statement. An order by field walks `field_keys`, every other order an index of `submissions`.
pub(super) fn select<'q>(
    tenant: &'q TenantId,
    query: &'q SubmissionQuery,
    after: Option<PageKey>,
    limit: u32,
    dialect: Dialect,
) -> Result<Sql<'q>, InvalidCursor> {
    let mut sql = sql(format!("SELECT {COLUMNS}"));
    match (&query.sort.key, &query.form) {
        (SortKey::Field(pointer), Some(form)) => {
            sql.push(
                ", f.field_key FROM field_keys AS f CROSS JOIN submissions AS s \
                 WHERE s.tenant_id = f.tenant_id AND s.created_position = f.created_position AND f.tenant_id = ",
            );
            sql.push_bind(tenant.as_str());
            let (first, beyond) = FieldPrefix::new(form, pointer).values();
            sql.push(" AND f.field_key >= ").push_bind(first);
            sql.push(" AND f.field_key < ").push_bind(beyond);
        }
        _ => {
            sql.push(" FROM submissions AS s WHERE s.tenant_id = ").push_bind(tenant.as_str());
            if let Some(form) = &query.form {
                sql.push(" AND s.form = ").push_bind(form.as_str());
            }
        }
    }
    filter(&mut sql, tenant, query, dialect);
    let columns: &[&str] = match query.sort.key {
        SortKey::CreatedAt => &["s.created_position"],
        SortKey::UpdatedAt => &["s.position"],
        SortKey::Field(_) => &["f.field_key", "f.created_position"],
    };
    if let Some(after) = after {
        let beyond = if query.sort.descending { "<" } else { ">" };
        sql.push(&format!(" AND ({}) {beyond} (", columns.join(", ")));
        push_key(&mut sql, query, after)?;
        sql.push(")");
    }
    let direction = if query.sort.descending { " DESC" } else { "" };
    let order = columns.iter().map(|column| format!("{column}{direction}")).collect::<Vec<_>>().join(", ");
    sql.push(&format!(" ORDER BY {order} LIMIT ")).push_bind(i64::from(limit));
    Ok(sql)
}

fn filter<'q>(sql: &mut Sql<'q>, tenant: &'q TenantId, query: &'q SubmissionQuery, dialect: Dialect) {
    if let Some(state) = &query.state {
        sql.push(" AND s.state = ").push_bind(state.as_str());
    }
    if let Some(submitter) = &query.submitter {
        sql.push(" AND s.submitter = ").push_bind(submitter.as_str());
    }
    if let Some(position) = query.changed_after {
        sql.push(" AND s.position > ").push_bind(place(position.0));
    }
    if let Some(text) = &query.q {
        push_text_search(sql, text, dialect);
    }
    // Conditions without a form are refused before.
    let form = query.form.iter();
    for (form, condition) in form.flat_map(|form| query.conditions.iter().map(move |one| (form, one))) {
        push_condition(sql, tenant, form, condition);
    }
}

/// Looks for a text in the values of a document, not in its member names.
///
/// Walking a document is dear, so those whose JSON does not hold the text at all are passed over first.
fn push_text_search(sql: &mut Sql<'_>, text: &str, dialect: Dialect) {
    let like = dialect.like();
    let written = serde_json::Value::from(text).to_string();
    let in_json = containing(&written[1..written.len() - 1]);
    let in_value = containing(text);
    sql.push(" AND (");
    for (place, column) in ["s.data", "s.computed"].into_iter().enumerate() {
        if place > 0 {
            sql.push(" OR ");
        }
        sql.push(&format!("({column} {like} ")).push_bind(in_json.clone()).push(" ESCAPE '\\'");
        let leaves = dialect.json_leaves(column);
        sql.push(&format!(" AND EXISTS (SELECT 1 FROM {leaves} WHERE leaf.atom {like} "));
        sql.push_bind(in_value.clone()).push(" ESCAPE '\\'))");
    }
    sql.push(")");
}

/// A `LIKE` pattern for texts that contain `text`.
fn containing(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Keeps the submissions whose field compares; the matches are gathered once, as ranges of `field_keys`' key.
fn push_condition<'q>(sql: &mut Sql<'q>, tenant: &'q TenantId, form: &FormId, condition: &Condition) {
    let operator = match condition.comparison {
        Comparison::Equal | Comparison::NotEqual => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    let negated = if condition.comparison == Comparison::NotEqual { "NOT " } else { "" };
    sql.push(&format!(" AND s.created_position {negated}IN ("));
    let field = FieldPrefix::new(form, &condition.pointer);
    let push_range = |sql: &mut Sql<'q>, value: &FieldValue| {
        sql.push("SELECT c.created_position FROM field_keys AS c WHERE c.tenant_id = ");
        sql.push_bind(tenant.as_str());
        sql.push(&format!(" AND c.field_key {operator} ")).push_bind(field.key(value));
        let (first, beyond) = field.values_like(value);
        match operator {
            "<" | "<=" => sql.push(" AND c.field_key >= ").push_bind(first),
            ">" | ">=" => sql.push(" AND c.field_key < ").push_bind(beyond),
            _ => sql,
        };
    };
    match &condition.operand {
        Operand::Number { value, written } => {
            push_range(sql, &FieldValue::Number(*value));
            if operator == "=" {
                // Two ranges: with `OR` SQLite would walk all values of the field.
                sql.push(" UNION ALL ");
                push_range(sql, &FieldValue::text(written));
            }
        }
        Operand::Text(text) => push_range(sql, &FieldValue::text(text)),
    }
    sql.push(")");
}

fn push_key(sql: &mut Sql<'_>, query: &SubmissionQuery, after: PageKey) -> Result<(), InvalidCursor> {
    match (&query.sort.key, &query.form, after) {
        (SortKey::CreatedAt | SortKey::UpdatedAt, _, PageKey::Position(position)) => {
            sql.push_bind(position);
        }
        (SortKey::Field(pointer), Some(form), PageKey::Field(rest, position)) => {
            sql.push_bind(FieldPrefix::new(form, pointer).with(&rest)).push(", ");
            sql.push_bind(position);
        }
        _ => return Err(InvalidCursor),
    }
    Ok(())
}

/// Where a page that ends with this row ends.
pub(super) fn page_key(query: &SubmissionQuery, row: &Row) -> Result<PageKey, sqlx::Error> {
    Ok(match (&query.sort.key, &query.form) {
        (SortKey::Field(pointer), Some(form)) => {
            let key: &[u8] = row.get("field_key")?;
            let rest = FieldPrefix::new(form, pointer).rest(key).map(<[u8]>::to_vec);
            // The statement asks for keys of this field and for no others.
            PageKey::Field(rest.ok_or(sqlx::Error::RowNotFound)?, row.get("created_position")?)
        }
        (SortKey::UpdatedAt, _) => PageKey::Position(row.get("position")?),
        (SortKey::CreatedAt | SortKey::Field(_), _) => PageKey::Position(row.get("created_position")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use formledger_domain::Position;
    use sqlx::{Connection, Row as _, SqliteConnection};

    /// Filters that were slow once would be slow again unnoticed: every order must come out of an index as it is.
    #[tokio::test]
    async fn no_query_sorts_or_scans_a_table() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        crate::schema::migrate_sqlite(&mut database).await.expect("a schema");
        let tenant: TenantId = "acme".parse().expect("a slug");
        let form = Some("claim".parse().expect("a form id"));
        let conditions = ["/n=1", "/n!=x", "/n>=2", "/n<b"].map(|text| text.parse().expect("a condition"));
        let filters = [
            SubmissionQuery::default(),
            SubmissionQuery { form: form.clone(), ..Default::default() },
            SubmissionQuery { state: Some("review".to_owned()), ..Default::default() },
            SubmissionQuery { submitter: Some("ann".to_owned()), form: form.clone(), ..Default::default() },
            SubmissionQuery { changed_after: Some(Position(7)), form: form.clone(), ..Default::default() },
            SubmissionQuery { conditions: conditions.to_vec(), form: form.clone(), ..Default::default() },
        ];
        for filter in filters {
            for sort in ["created_at", "-created_at", "updated_at", "-updated_at", "/n", "-/n"] {
                // What changed is only ever listed in the order of its last event.
                let listed = filter.changed_after.is_none() || sort.ends_with("updated_at");
                if sort.ends_with("/n") && filter.form.is_none() || !listed {
                    continue;
                }
                let query = SubmissionQuery { sort: sort.parse().expect("an order"), ..filter.clone() };
                for after in [None, Some(())] {
                    let after = after.map(|()| match query.sort.key {
                        SortKey::Field(_) => PageKey::Field(vec![1, 0], 7),
                        _ => PageKey::Position(7),
                    });
                    let sql = select(&tenant, &query, after, 51, Dialect::Sqlite).expect("a statement");
                    let explain = format!("EXPLAIN QUERY PLAN {}", sql.text());
                    let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
                    for step in plan {
                        let step: String = step.get("detail");
                        assert!(
                            !step.contains("TEMP B-TREE") && !step.starts_with("SCAN"),
                            "{step} in the plan of {}: give it an index",
                            sql.text(),
                        );
                    }
                }
            }
        }
    }
}
