//! Writes the statement of one page down: which index it walks, which filters it applies, after which row it starts.
//! Used by `query` only; a test explains the plans.

use formledger_domain::TenantId;
use serde::{Deserialize, Serialize};

use super::key::FieldPrefix;
use super::matches::Beyond;
use super::query::{SortKey, SubmissionQuery};
use super::stored::COLUMNS;
use super::way::{Along, Look, Way};
use crate::columns::place;
use crate::cursor::InvalidCursor;
use crate::database::{Dialect, Row, Sql, sql};

/// Where a page ended, in the columns that the order goes by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum PageKey {
    /// `created_position` or `position`.
    Position(i64),
    /// What of `field_key` comes behind the field, and `created_position`.
    Field(Vec<u8>, i64),
}

/// The page's statement.
pub(super) fn select<'q>(
    tenant: &'q TenantId,
    query: &'q SubmissionQuery,
    way: &Way<'q>,
    after: Option<PageKey>,
    limit: u32,
    dialect: Dialect,
) -> Result<Sql<'q>, InvalidCursor> {
    select_only(COLUMNS, tenant, query, way, after, limit, dialect)
}

/// The same of other columns.
pub(super) fn select_only<'q>(
    what: &str,
    tenant: &'q TenantId,
    query: &'q SubmissionQuery,
    way: &Way<'q>,
    after: Option<PageKey>,
    limit: u32,
    dialect: Dialect,
) -> Result<Sql<'q>, InvalidCursor> {
    let mut sql = sql(format!("SELECT {what}"));
    let side = if query.sort.descending { "<" } else { ">" };
    const VALUES: &str = ", f.field_key FROM field_keys AS f CROSS JOIN submissions AS s \
                          WHERE s.tenant_id = f.tenant_id AND s.created_position = f.created_position AND f.tenant_id = ";
    let position = match &way.along {
        Along::Submissions => {
            sql.push(" FROM submissions AS s WHERE s.tenant_id = ").push_bind(tenant.as_str());
            "s.created_position"
        }
        Along::Few(matches) => {
            let beyond = match (&query.sort.key, &after) {
                (SortKey::CreatedAt, Some(PageKey::Position(position))) => {
                    Some(Beyond { side, position: *position })
                }
                _ => None,
            };
            match dialect {
                // In the order of their creation as they come: SQLite sorts the positions, and rows only for another order.
                Dialect::Sqlite => {
                    sql.push(" FROM submissions AS s WHERE s.created_position IN (");
                    matches.push_positions(&mut sql, tenant, beyond);
                    sql.push(") AND s.tenant_id = ").push_bind(tenant.as_str());
                }
                // Left to join them from either side, Postgres has looked at all matches for each submission. `OFFSET` leaves it no choice.
                Dialect::Postgres => {
                    sql.push(" FROM (SELECT * FROM (");
                    matches.push_positions(&mut sql, tenant, beyond);
                    sql.push(
                        ") AS m OFFSET 0) AS m CROSS JOIN LATERAL (SELECT * FROM submissions AS n \
                         WHERE n.created_position = m.created_position AND n.tenant_id = ",
                    );
                    sql.push_bind(tenant.as_str()).push(" OFFSET 0) AS s WHERE s.tenant_id = ");
                    sql.push_bind(tenant.as_str());
                }
            }
            "s.created_position"
        }
        Along::Values(range) => {
            sql.push(VALUES).push_bind(tenant.as_str());
            sql.push(" AND f.field_key >= ").push_bind(range.first.clone());
            sql.push(" AND f.field_key < ").push_bind(range.beyond.clone());
            "f.created_position"
        }
        Along::Value(key) => {
            sql.push(VALUES).push_bind(tenant.as_str());
            sql.push(" AND f.field_key = ").push_bind(key.clone());
            "f.created_position"
        }
    };
    if let (Along::Submissions | Along::Few(_), Some(form)) = (&way.along, &query.form) {
        sql.push(" AND s.form = ").push_bind(form.as_str());
    }
    // With a sign it is no column of an index, which SQLite would go along instead of few.
    let updated = if let Along::Few(_) = way.along { "+s.position" } else { "s.position" };
    if let Some(position) = query.changed_after {
        sql.push(&format!(" AND {updated} > ")).push_bind(place(position.0));
    }
    filter(&mut sql, query, dialect);
    for look in &way.looks {
        push_look(&mut sql, tenant, look, position);
    }
    let columns: &[&str] = match (&query.sort.key, &way.along) {
        (SortKey::CreatedAt, Along::Value(_)) => &["f.created_position"],
        (SortKey::CreatedAt, _) => &["s.created_position"],
        (SortKey::UpdatedAt, _) => &[updated],
        (SortKey::Field(_), _) => &["f.field_key", "f.created_position"],
    };
    if let Some(after) = after {
        sql.push(&format!(" AND ({}) {side} (", columns.join(", ")));
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

/// Keeps the rows whose position, in `column`, is in one of the matches, or in none of them with `!=`.
fn push_look(sql: &mut Sql<'_>, tenant: &TenantId, look: &Look<'_>, column: &str) {
    sql.push(if look.negated { " AND NOT " } else { " AND " });
    if look.gathers() {
        // Asked whether it is true, Postgres puts them into a hash table, and looks rows up in it in their order. Left to join them, it has
        // compared each with each where it took them for a handful.
        sql.push(&format!("({column} IN ("));
        look.matches.push_positions(sql, tenant, None);
        sql.push(")) IS TRUE");
    } else {
        look.matches.push_contain(sql, tenant, column);
    }
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
mod tests;
