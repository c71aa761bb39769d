//! Writes the statement of one page: which index it walks, which filters it applies, after which row it starts.
//! Used by `query` only. Every order comes out of an index as it is; a test explains the plans.

use formledger_domain::{FormId, TenantId};
use serde::{Deserialize, Serialize};

use super::fields::FieldValue;
use super::key::{FieldPrefix, KeyRange};
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

/// What a page goes along, row by row in its order.
enum Along {
    /// An index of `submissions`.
    Submissions,
    /// The values of a field in their order, from where the page before ended and as far as the conditions on this field go.
    Values(KeyRange),
    /// The submissions that have the value of this key, in the order of their creation.
    Value(Vec<u8>),
}

/// How a page goes, and the conditions that are to be looked at on the way: the others hold for every row that comes along.
fn way<'q>(query: &'q SubmissionQuery, after: Option<&PageKey>) -> (Along, Vec<&'q Condition>) {
    let all = || query.conditions.iter().collect();
    let Some(form) = &query.form else { return (Along::Submissions, all()) };
    match (&query.sort.key, &*query.conditions) {
        (SortKey::Field(pointer), conditions) => {
            let field = FieldPrefix::new(form, pointer);
            let (mut range, mut left) = (field.values(), Vec::new());
            for condition in conditions {
                match values_that(&field, condition) {
                    Some(values) if condition.pointer == *pointer => range = range.and(values),
                    _ => left.push(condition),
                }
            }
            // A bound of its own: of several on one column, SQLite may begin with the one that is farther away.
            let range = match after {
                Some(PageKey::Field(rest, _)) if query.sort.descending => range.up_to(field.with(rest)),
                Some(PageKey::Field(rest, _)) => range.from(field.with(rest)),
                Some(PageKey::Position(_)) | None => range,
            };
            (Along::Values(range), left)
        }
        // Somebody's submissions, or those in a state, may be few among all that have the value: the database knows better then.
        (SortKey::CreatedAt, [condition]) if query.submitter.is_none() && query.state.is_none() => {
            match &condition.operand {
                Operand::Text(text) if condition.comparison == Comparison::Equal => {
                    let field = FieldPrefix::new(form, &condition.pointer);
                    (Along::Value(field.key(&FieldValue::text(text))), Vec::new())
                }
                _ => (Along::Submissions, all()),
            }
        }
        _ => (Along::Submissions, all()),
    }
}

/// The values for which `condition` holds, where they lie together: what equals a number may also be a text.
fn values_that(field: &FieldPrefix, condition: &Condition) -> Option<KeyRange> {
    match &condition.operand {
        Operand::Number { .. } if condition.comparison == Comparison::Equal => None,
        Operand::Number { value, .. } => field.values_that(condition.comparison, &FieldValue::Number(*value)),
        Operand::Text(text) => field.values_that(condition.comparison, &FieldValue::text(text)),
    }
}

/// The page's statement. An order by field walks `field_keys`, and so does the order of creation among those that have one value;
/// every other order walks an index of `submissions`.
pub(super) fn select<'q>(
    tenant: &'q TenantId,
    query: &'q SubmissionQuery,
    after: Option<PageKey>,
    limit: u32,
    dialect: Dialect,
) -> Result<Sql<'q>, InvalidCursor> {
    let mut sql = sql(format!("SELECT {COLUMNS}"));
    let (along, conditions) = way(query, after.as_ref());
    if let Along::Submissions = &along {
        sql.push(" FROM submissions AS s WHERE s.tenant_id = ").push_bind(tenant.as_str());
        if let Some(form) = &query.form {
            sql.push(" AND s.form = ").push_bind(form.as_str());
        }
    } else {
        sql.push(
            ", f.field_key FROM field_keys AS f CROSS JOIN submissions AS s \
             WHERE s.tenant_id = f.tenant_id AND s.created_position = f.created_position AND f.tenant_id = ",
        );
        sql.push_bind(tenant.as_str());
    }
    match &along {
        Along::Submissions => {}
        Along::Values(range) => {
            sql.push(" AND f.field_key >= ").push_bind(range.first.clone());
            sql.push(" AND f.field_key < ").push_bind(range.beyond.clone());
        }
        Along::Value(key) => {
            sql.push(" AND f.field_key = ").push_bind(key.clone());
        }
    }
    filter(&mut sql, query, dialect);
    // Conditions without a form are refused before.
    for (form, condition) in query.form.iter().flat_map(|form| conditions.iter().map(move |one| (form, one)))
    {
        push_condition(&mut sql, tenant, form, condition);
    }
    let columns: &[&str] = match (&query.sort.key, &along) {
        (SortKey::CreatedAt, Along::Value(_)) => &["f.created_position"],
        (SortKey::CreatedAt, _) => &["s.created_position"],
        (SortKey::UpdatedAt, _) => &["s.position"],
        (SortKey::Field(_), _) => &["f.field_key", "f.created_position"],
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

fn filter<'q>(sql: &mut Sql<'q>, query: &'q SubmissionQuery, dialect: Dialect) {
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
    let (comparison, negated) = match condition.comparison {
        Comparison::NotEqual => (Comparison::Equal, "NOT "),
        comparison => (comparison, ""),
    };
    sql.push(&format!(" AND s.created_position {negated}IN ("));
    let field = FieldPrefix::new(form, &condition.pointer);
    let values = match &condition.operand {
        // Two ranges: with `OR` SQLite would walk all values of the field.
        Operand::Number { value, written } if comparison == Comparison::Equal => {
            vec![FieldValue::Number(*value), FieldValue::text(written)]
        }
        Operand::Number { value, .. } => vec![FieldValue::Number(*value)],
        Operand::Text(text) => vec![FieldValue::text(text)],
    };
    let ranges = values.iter().filter_map(|value| field.values_that(comparison, value));
    for (place, range) in ranges.enumerate() {
        if place > 0 {
            sql.push(" UNION ALL ");
        }
        sql.push("SELECT c.created_position FROM field_keys AS c WHERE c.tenant_id = ");
        sql.push_bind(tenant.as_str());
        if comparison == Comparison::Equal {
            // Said as what it is: of a range Postgres would expect a fixed share of all keys.
            sql.push(" AND c.field_key = ").push_bind(range.first);
        } else {
            sql.push(" AND c.field_key >= ").push_bind(range.first);
            sql.push(" AND c.field_key < ").push_bind(range.beyond);
        }
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

    /// A page costs what it shows, however many the conditions let through and however far down the list it is.
    #[tokio::test]
    async fn conditions_bound_what_a_page_goes_along() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        crate::schema::migrate_sqlite(&mut database).await.expect("a schema");
        let tenant: TenantId = "acme".parse().expect("a slug");
        let (within, one) = ("(tenant_id=? AND field_key>? AND field_key<?)", "(tenant_id=? AND field_key=?");
        for (conditions, sort, searched) in [
            (vec!["/n>=2"], "-/n", within),
            (vec!["/n>2", "/n<=7"], "/n", within),
            (vec!["/n=x"], "/n", within),
            (vec!["/c=DE"], "created_at", one),
            (vec!["/c=DE"], "-created_at", one),
        ] {
            let query = SubmissionQuery {
                form: Some("claim".parse().expect("a form id")),
                conditions: conditions.iter().map(|text| text.parse().expect("a condition")).collect(),
                sort: sort.parse().expect("an order"),
                ..Default::default()
            };
            for after in [None, Some(())] {
                let after = after.map(|()| match query.sort.key {
                    SortKey::Field(_) => PageKey::Field(vec![1, 0], 7),
                    _ => PageKey::Position(7),
                });
                let goes_on = after.is_some();
                let sql = select(&tenant, &query, after, 51, Dialect::Sqlite).expect("a statement");
                let explain = format!("EXPLAIN QUERY PLAN {}", sql.text());
                let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
                let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
                assert!(steps[0].starts_with("SEARCH f ") && steps[0].contains(searched), "{steps:?}");
                let from_there = searched != one || !goes_on || steps[0].contains("AND created_position");
                assert!(from_there, "{sort}: {steps:?}");
                assert!(steps.len() == 2 && steps[1].starts_with("SEARCH s "), "{conditions:?}: {steps:?}");
            }
        }
    }

    #[test]
    fn a_page_begins_where_the_one_before_ended() {
        let form: FormId = "claim".parse().expect("a form id");
        let field = FieldPrefix::new(&form, "/n");
        let key = |number| field.key(&FieldValue::Number(number));
        let rest = |number| field.rest(&key(number)).expect("a key of this field").to_vec();
        let range = |text: &str, sort: &str, after: Option<f64>| {
            let query = SubmissionQuery {
                form: Some(form.clone()),
                conditions: vec![text.parse().expect("a condition")],
                sort: sort.parse().expect("an order"),
                ..Default::default()
            };
            match way(&query, after.map(|number| PageKey::Field(rest(number), 7)).as_ref()) {
                (Along::Values(range), left) if left.is_empty() => range,
                _ => panic!("an order by field goes along its values"),
            }
        };
        let all = range("/n>=2", "/n", None);
        assert_eq!(all.first, key(2.0));
        assert_eq!(range("/n>=2", "/n", Some(5.0)), KeyRange { first: key(5.0), ..all.clone() });
        assert_eq!(range("/n>=2", "/n", Some(1.0)), all, "a cursor of before the condition changes nothing");
        let beyond = [key(5.0), vec![0]].concat();
        assert_eq!(range("/n>=2", "-/n", Some(5.0)), KeyRange { beyond, ..all });
    }

    #[test]
    fn only_conditions_that_the_way_keeps_are_not_looked_at() {
        for (conditions, sort, submitter, left) in [
            (vec!["/n>=2", "/c=DE"], "/n", None, vec!["/c"]),
            (vec!["/c=DE", "/n>=2", "/n!=7"], "-/n", None, vec!["/c", "/n"]),
            (vec!["/n=2"], "/n", None, vec!["/n"]),
            (vec!["/c=DE"], "-created_at", None, vec![]),
            (vec!["/c=DE"], "-created_at", Some("ann"), vec!["/c"]),
            (vec!["/c=DE", "/d=x"], "created_at", None, vec!["/c", "/d"]),
            (vec!["/c!=DE"], "created_at", None, vec!["/c"]),
            (vec!["/c=7"], "created_at", None, vec!["/c"]),
            (vec!["/c=DE"], "updated_at", None, vec!["/c"]),
        ] {
            let query = SubmissionQuery {
                form: Some("claim".parse().expect("a form id")),
                conditions: conditions.iter().map(|text| text.parse().expect("a condition")).collect(),
                submitter: submitter.map(str::to_owned),
                sort: sort.parse().expect("an order"),
                ..Default::default()
            };
            let (_, looked_at) = way(&query, None);
            let looked_at: Vec<&str> = looked_at.iter().map(|condition| &*condition.pointer).collect();
            assert_eq!(looked_at, left, "{conditions:?} by {sort}");
        }
    }
}
