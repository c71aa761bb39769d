//! The rows of `tasks` and `task_audience` as they stand in the database, and how a batch changes them.
//! Used by the projection and by queries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use formledger_domain::{FormId, FormVersion, SubmissionId, TenantId, Work};

use super::{Change, Key, Touched};
use crate::columns::{self, KEY_BYTES_MAX, micros};
use crate::database::Kind::{Integer, Text, Uuid};
use crate::database::{Connection, ManyRows, Row, Values};

/// The columns of a stored task, for `SELECT`; the table goes by `t`.
pub(super) const COLUMNS: &str =
    "t.submission_id, t.form, t.form_version, t.work, t.opened_at, t.opened_position";
/// `due_order` of what has no due date.
const NEVER: i64 = i64::MAX;

/// A row of `tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskEntry {
    pub(super) submission_id: SubmissionId,
    pub(super) form: FormId,
    pub(super) form_version: FormVersion,
    pub(super) work: Work,
    pub(super) opened_at: i64,
    pub(super) opened_position: i64,
}

impl TaskEntry {
    pub(super) fn due_at(&self) -> Option<i64> {
        self.work.task()?.due_at.map(micros)
    }

    /// When the timer asks its submission what follows.
    fn next_at(&self) -> Option<i64> {
        self.work.next_at().map(micros)
    }

    /// The keys of its rows in `task_audience`, without the tenant. A name that is too long for a key is nobody's.
    fn audience(&self) -> BTreeSet<(String, i64, i64)> {
        let (audience, due) = (self.work.audience(), self.due_at().unwrap_or(NEVER));
        let roles = audience.roles.iter().map(|role| for_role(role));
        let people = audience.people.iter().map(|person| for_person(person));
        let fitting = roles.chain(people).filter(|audience| audience.len() <= KEY_BYTES_MAX);
        fitting.map(|audience| (audience, due, self.opened_position)).collect()
    }
}

/// The audience of a role's holders.
pub(super) fn for_role(role: &str) -> String {
    format!("role:{role}")
}

/// The audience of one person.
pub(super) fn for_person(subject: &str) -> String {
    format!("person:{subject}")
}

impl TaskEntry {
    pub(super) fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            submission_id: SubmissionId(row.get("submission_id")?),
            form: columns::form(row.get("form")?)?,
            form_version: columns::version(row.get("form_version")?)?,
            work: columns::work(row.get("work")?)?,
            opened_at: row.get("opened_at")?,
            opened_position: row.get("opened_position")?,
        })
    }
}

// A cross join, because SQLite would otherwise be free to walk all tasks and look each up among the keys.
static LOAD: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        &format!(
            "SELECT t.tenant_id, {COLUMNS} FROM {{rows}} CROSS JOIN tasks AS t \
             WHERE t.tenant_id = r.column1 AND t.submission_id = r.column2"
        ),
        &[Text, Uuid],
    )
});

/// Reads rows by submission; those that are not there are left out.
pub(super) async fn load<'a>(
    connection: &mut Connection<'_>,
    keys: &[Key<'a>],
) -> Result<Vec<(Key<'a>, TaskEntry)>, sqlx::Error> {
    let rows = LOAD
        .fetch(connection, keys.to_vec(), |values, (tenant, id): &Key<'_>| {
            values.text(tenant.as_str());
            values.uuid(id.0);
        })
        .await?;
    let wanted: HashMap<_, _> = keys.iter().map(|key| ((key.0.as_str(), key.1), *key)).collect();
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let entry = TaskEntry::from_row(row)?;
        let tenant: &str = row.get("tenant_id")?;
        found.extend(wanted.get(&(tenant, entry.submission_id)).map(|key| (*key, entry)));
    }
    Ok(found)
}

/// A row of `task_audience`.
type AudienceRow<'a> = (&'a TenantId, String, i64, i64, SubmissionId);

/// Writes what became of the touched submissions: rows, and the difference in audiences.
pub(super) async fn write(connection: &mut Connection<'_>, touched: Touched<'_>) -> Result<(), sqlx::Error> {
    // In the order of the keys, so that pages are written along them.
    let touched: BTreeMap<(&TenantId, SubmissionId), Change> = touched.into_iter().collect();
    let (mut rows, mut ended) = (Vec::new(), Vec::new());
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for ((tenant, id), Change { before, after }) in touched {
        if before == after {
            continue;
        }
        let audience =
            |entry: &Option<TaskEntry>| entry.as_ref().map(TaskEntry::audience).unwrap_or_default();
        let (old, now) = (audience(&before), audience(&after));
        let row = |(audience, due, opened): &(String, i64, i64)| -> AudienceRow<'_> {
            (tenant, audience.clone(), *due, *opened, id)
        };
        gone.extend(old.difference(&now).map(row));
        new.extend(now.difference(&old).map(row));
        match after {
            Some(entry) => rows.push((tenant, entry)),
            None => ended.push((tenant, id)),
        }
    }
    DELETE
        .execute(connection, ended, |values, (tenant, id)| {
            values.text(tenant.as_str());
            values.uuid(id.0);
        })
        .await?;
    put(connection, rows).await?;
    DELETE_AUDIENCE.execute(connection, gone, bind_audience).await?;
    INSERT_AUDIENCE.execute(connection, new, bind_audience).await?;
    Ok(())
}

static PUT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO tasks (tenant_id, submission_id, form, form_version, work, opened_at, opened_position, due_at, next_at)",
        &[Text, Uuid, Text, Integer, Text, Integer, Integer, Integer, Integer],
        "ON CONFLICT (tenant_id, submission_id) DO UPDATE SET work = excluded.work, opened_at = excluded.opened_at, \
         opened_position = excluded.opened_position, due_at = excluded.due_at, next_at = excluded.next_at",
    )
});

async fn put(connection: &mut Connection<'_>, rows: Vec<(&TenantId, TaskEntry)>) -> Result<(), sqlx::Error> {
    PUT.execute(connection, rows, |values, (tenant, entry)| {
        values.text(tenant.as_str());
        values.uuid(entry.submission_id.0);
        values.text(entry.form.as_str());
        values.integer(entry.form_version.0.into());
        values.text(&serde_json::to_string(&entry.work).expect("work is texts, small numbers and times"));
        values.integer(entry.opened_at);
        values.integer(entry.opened_position);
        values.integer_or_null(entry.due_at());
        values.integer_or_null(entry.next_at());
    })
    .await?;
    Ok(())
}

// By way of the table's own columns, here and below: SQLite looks along the whole key only for values of the columns' own kinds.
static DELETE: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "DELETE FROM tasks WHERE (tenant_id, submission_id) IN (SELECT t.tenant_id, t.submission_id \
         FROM {rows} CROSS JOIN tasks AS t WHERE t.tenant_id = r.column1 AND t.submission_id = r.column2)",
        &[Text, Uuid],
    )
});

static DELETE_AUDIENCE: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "DELETE FROM task_audience WHERE (tenant_id, audience, due_order, opened_position, submission_id) IN \
         (SELECT a.tenant_id, a.audience, a.due_order, a.opened_position, a.submission_id \
          FROM {rows} CROSS JOIN task_audience AS a WHERE a.tenant_id = r.column1 AND a.audience = r.column2 \
          AND a.due_order = r.column3 AND a.opened_position = r.column4 AND a.submission_id = r.column5)",
        &[Text, Text, Integer, Integer, Uuid],
    )
});

static INSERT_AUDIENCE: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO task_audience (tenant_id, audience, due_order, opened_position, submission_id)",
        &[Text, Text, Integer, Integer, Uuid],
        "",
    )
});

fn bind_audience(values: &mut dyn Values, (tenant, audience, due, opened, id): &AudienceRow<'_>) {
    values.text(tenant.as_str());
    values.text(audience);
    values.integer(*due);
    values.integer(*opened);
    values.uuid(id.0);
}
