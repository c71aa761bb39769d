//! The rows of `submissions`, `submission_fields` and `indexed_fields` as they stand in the database.
//! Used by the projection and by queries; what an event does to a row is decided here, in one place.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use formledger_domain::{
    CanonicalJson, FormId, FormVersion, SubmissionEvent, SubmissionId, SubmissionState, TenantId,
    place_computed,
};
use formledger_store::RecordedEvent;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, FromRow, Row, SqliteConnection};

use super::fields::{FieldValue, IndexedFields};
use super::{Key, SubmissionRow};
use crate::columns::{self, micros, place};
use crate::many_rows::ManyRows;

/// The columns of a stored submission, for `SELECT`; the table goes by `s`.
pub(super) const COLUMNS: &str = "s.submission_id, s.form, s.form_version, s.state, s.submitter, s.created_at, s.updated_at, \
     s.created_position, s.position, s.sequence, s.data, s.computed, s.outcomes";

/// A row of `submissions`.
#[derive(Debug, Clone)]
pub(super) struct StoredSubmission {
    pub(super) submission_id: SubmissionId,
    pub(super) form: FormId,
    pub(super) form_version: FormVersion,
    state: Arc<str>,
    submitter: Arc<str>,
    created_at: i64,
    updated_at: i64,
    pub(super) created_position: i64,
    pub(super) position: i64,
    sequence: i64,
    pub(super) data: CanonicalJson,
    /// `None` when no rule computed anything.
    pub(super) computed: Option<CanonicalJson>,
    outcomes: Option<CanonicalJson>,
}

impl StoredSubmission {
    /// The row that a submission's first event makes; `None` when that event makes no submission.
    pub(super) fn created(id: SubmissionId, said: &SubmissionEvent, event: &RecordedEvent) -> Option<Self> {
        let (data, form, form_version, state, submitter) = match said {
            SubmissionEvent::Drafted { data, form, form_version, submitter } => {
                (data, form, form_version, &SubmissionState::DRAFT, submitter)
            }
            SubmissionEvent::Submitted { data, form, form_version, state, submitter } => {
                (data, form, form_version, state, submitter)
            }
            SubmissionEvent::RulesEvaluated { .. }
            | SubmissionEvent::Amended { .. }
            | SubmissionEvent::Worked { .. } => return None,
        };
        Some(Self {
            submission_id: id,
            form: form.clone(),
            form_version: *form_version,
            state: state.as_str().into(),
            submitter: submitter.clone(),
            created_at: micros(event.recorded_at),
            updated_at: micros(event.recorded_at),
            created_position: place(event.position.0),
            position: place(event.position.0),
            sequence: place(event.sequence.0),
            data: data.clone(),
            computed: None,
            outcomes: None,
        })
    }

    /// The row after one more event; says the same as `Submission`'s own fold.
    pub(super) fn fold(&mut self, said: &SubmissionEvent, event: &RecordedEvent) {
        match said {
            SubmissionEvent::Drafted { data, submitter, .. } => {
                self.restart(data, SubmissionState::DRAFT.as_str(), submitter);
            }
            SubmissionEvent::Submitted { data, state, submitter, .. } => {
                self.restart(data, state.as_str(), submitter);
            }
            SubmissionEvent::RulesEvaluated { computed, outcomes, .. } => {
                self.computed = (computed.as_str() != "{}").then(|| computed.clone());
                self.outcomes = Some(outcomes.clone());
            }
            SubmissionEvent::Amended { data, .. } => self.data = data.clone(),
            SubmissionEvent::Worked { fact, .. } => {
                if let Some(state) = fact.state_after() {
                    self.state = state.as_str().into();
                }
            }
        }
        self.updated_at = micros(event.recorded_at);
        self.position = place(event.position.0);
        self.sequence = place(event.sequence.0);
    }

    fn restart(&mut self, data: &CanonicalJson, state: &str, submitter: &Arc<str>) {
        self.data = data.clone();
        self.state = state.into();
        self.submitter = submitter.clone();
        self.computed = None;
        self.outcomes = None;
    }

    /// The row as clients see it, with computed values in their places.
    pub(super) fn shown(self) -> Result<SubmissionRow, sqlx::Error> {
        let data = match &self.computed {
            None => self.data,
            Some(computed) => {
                let mut data = self.data.to_value();
                place_computed(&mut data, computed);
                CanonicalJson::from_value(&data).map_err(|error| sqlx::Error::Decode(Box::new(error)))?
            }
        };
        Ok(SubmissionRow {
            submission_id: self.submission_id,
            form: self.form,
            form_version: self.form_version,
            state: self.state,
            data,
            outcomes: self.outcomes.unwrap_or_else(|| CanonicalJson::from_stored("{}")),
            submitter: self.submitter,
            created_at: columns::time(self.created_at)?,
            updated_at: columns::time(self.updated_at)?,
            sequence: columns::sequence(self.sequence)?,
            position: columns::position(self.position)?,
        })
    }
}

impl<'r> FromRow<'r, SqliteRow> for StoredSubmission {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            submission_id: columns::submission_id(row.try_get("submission_id")?)?,
            form: columns::form(row.try_get("form")?)?,
            form_version: columns::version(row.try_get("form_version")?)?,
            state: row.try_get::<&str, _>("state")?.into(),
            submitter: row.try_get::<&str, _>("submitter")?.into(),
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            created_position: row.try_get("created_position")?,
            position: row.try_get("position")?,
            sequence: row.try_get("sequence")?,
            data: columns::json(row.try_get("data")?),
            computed: row.try_get::<Option<String>, _>("computed")?.map(columns::json),
            outcomes: row.try_get::<Option<String>, _>("outcomes")?.map(columns::json),
        })
    }
}

static PUT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO submissions (tenant_id, submission_id, form, form_version, state, submitter, created_at, \
         updated_at, created_position, position, sequence, data, computed, outcomes) VALUES",
        14,
        "ON CONFLICT (tenant_id, submission_id) DO UPDATE SET state = excluded.state, \
         submitter = excluded.submitter, updated_at = excluded.updated_at, position = excluded.position, \
         sequence = excluded.sequence, data = excluded.data, computed = excluded.computed, \
         outcomes = excluded.outcomes",
    )
});

/// Writes rows, new ones and changed ones.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    rows: Vec<(String, StoredSubmission)>,
) -> Result<(), sqlx::Error> {
    PUT.execute(connection, rows, |arguments: &mut SqliteArguments<'static>, (tenant, row)| {
        arguments.add(tenant)?;
        arguments.add(row.submission_id.0.as_bytes().to_vec())?;
        arguments.add(row.form.to_string())?;
        arguments.add(i64::from(row.form_version.0))?;
        arguments.add(row.state.to_string())?;
        arguments.add(row.submitter.to_string())?;
        arguments.add(row.created_at)?;
        arguments.add(row.updated_at)?;
        arguments.add(row.created_position)?;
        arguments.add(row.position)?;
        arguments.add(row.sequence)?;
        arguments.add(row.data.as_str().to_owned())?;
        arguments.add(row.computed.map(|computed| computed.as_str().to_owned()))?;
        arguments.add(row.outcomes.map(|outcomes| outcomes.as_str().to_owned()))
    })
    .await?;
    Ok(())
}

/// Reads submissions by id; those that are not there are left out.
pub(super) async fn load<'a>(
    connection: &mut SqliteConnection,
    keys: impl Iterator<Item = Key<'a>>,
) -> Result<Vec<(Key<'a>, StoredSubmission)>, sqlx::Error> {
    let mut wanted = HashMap::new();
    let mut listed = Vec::new();
    for (tenant, id) in keys {
        listed.push(serde_json::json!([tenant.as_str(), id.0.as_simple().to_string()]));
        wanted.insert((tenant.as_str(), id), (tenant, id));
    }
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let select = format!(
        "SELECT s.tenant_id, {COLUMNS} FROM json_each(?) AS k CROSS JOIN submissions AS s \
         ON s.tenant_id = k.value ->> 0 AND s.submission_id = unhex(k.value ->> 1)"
    );
    let rows =
        sqlx::query(&select).bind(serde_json::Value::Array(listed).to_string()).fetch_all(connection).await?;
    rows.iter()
        .filter_map(|row| {
            let stored = match StoredSubmission::from_row(row) {
                Ok(stored) => stored,
                Err(error) => return Some(Err(error)),
            };
            let tenant: &str = row.get("tenant_id");
            wanted.get(&(tenant, stored.submission_id)).map(|key| Ok((*key, stored)))
        })
        .collect()
}

/// A row of `submission_fields`.
#[derive(Debug)]
pub(super) struct FieldEntry {
    tenant: String,
    form: String,
    pointer: String,
    value: FieldValue,
    created_position: i64,
}

impl FieldEntry {
    pub(super) fn new(tenant: &TenantId, row: &StoredSubmission, pointer: &str, value: FieldValue) -> Self {
        Self {
            tenant: tenant.to_string(),
            form: row.form.to_string(),
            pointer: pointer.to_owned(),
            value,
            created_position: row.created_position,
        }
    }

    fn bind(self, arguments: &mut SqliteArguments<'static>) -> Result<(), sqlx::error::BoxDynError> {
        let (kind, number, text) = self.value.into_columns();
        arguments.add(self.tenant)?;
        arguments.add(self.form)?;
        arguments.add(self.pointer)?;
        arguments.add(kind)?;
        arguments.add(number)?;
        arguments.add(text)?;
        arguments.add(self.created_position)
    }
}

static INSERT_FIELDS: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO submission_fields (tenant_id, form, pointer, kind, value_number, value_text, \
         created_position) VALUES",
        7,
        "",
    )
});

pub(super) async fn insert_fields(
    connection: &mut SqliteConnection,
    entries: Vec<FieldEntry>,
) -> Result<(), sqlx::Error> {
    INSERT_FIELDS.execute(connection, entries, |arguments, entry| entry.bind(arguments)).await?;
    Ok(())
}

/// Takes out values that no longer hold, one statement each: amendments are rare beside creations.
pub(super) async fn delete_fields(
    connection: &mut SqliteConnection,
    entries: Vec<FieldEntry>,
) -> Result<(), sqlx::Error> {
    for entry in entries {
        let mut arguments = SqliteArguments::default();
        entry.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        sqlx::query_with(
            "DELETE FROM submission_fields WHERE tenant_id = ? AND form = ? AND pointer = ? AND kind = ? \
             AND value_number = ? AND value_text = ? AND created_position = ?",
            arguments,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Notes what a published version indexes.
pub(super) async fn put_indexed(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    form: &FormId,
    version: FormVersion,
    fields: &IndexedFields,
) -> Result<(), sqlx::Error> {
    let pointers: Vec<&str> = fields.pointers().collect();
    // Earlier binaries wrote versions that lie beyond the event they parked at; those rows meet their event again.
    sqlx::query(
        "INSERT INTO indexed_fields (tenant_id, form, form_version, pointers) VALUES (?, ?, ?, ?) \
         ON CONFLICT (tenant_id, form, form_version) DO UPDATE SET pointers = excluded.pointers",
    )
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(i64::from(version.0))
    .bind(serde_json::json!(pointers).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// What a published version indexes; `None` when it was not published.
pub(super) async fn load_indexed(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    form: &FormId,
    version: FormVersion,
) -> Result<Option<IndexedFields>, sqlx::Error> {
    let pointers: Option<String> = sqlx::query_scalar(
        "SELECT pointers FROM indexed_fields WHERE tenant_id = ? AND form = ? AND form_version = ?",
    )
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(i64::from(version.0))
    .fetch_optional(connection)
    .await?;
    pointers
        .map(|pointers| {
            let pointers: Vec<String> =
                serde_json::from_str(&pointers).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(IndexedFields::new(pointers))
        })
        .transpose()
}
