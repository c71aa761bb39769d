//! The rows of `submissions`, `field_keys` and `indexed_fields` as they stand in the database.
//! Used by the projection and by queries; what an event does to a row is decided here, in one place.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use formledger_domain::{
    CanonicalJson, FormId, FormVersion, SubmissionEvent, SubmissionId, SubmissionState, TenantId, TextKind,
    place_computed,
};
use formledger_store::RecordedEvent;
use serde_json::{Map, Value};

use super::fields::{FieldValue, IndexedFields};
use super::key::{FieldPrefix, KeyRange};
use super::{Key, OwnedForm, SubmissionRow};
use crate::columns::{self, KEY_BYTES_MAX, beginning, micros, place};
use crate::database::Kind::{Bytes, Integer, Text, Uuid};
use crate::database::{Connection, Dialect, ManyRows, Row, Values, sql};

/// Submissions whose keys are made again with one statement; their documents are in memory meanwhile, each of 1 MiB at most.
const MADE_AGAIN_AT_ONCE: i64 = 64;

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
            SubmissionEvent::Submitted { data, form, form_version, state, submitter, by: _ } => {
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
            submitter: kept_submitter(submitter),
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
        self.submitter = kept_submitter(submitter);
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

impl StoredSubmission {
    pub(super) fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            submission_id: SubmissionId(row.get("submission_id")?),
            form: columns::form(row.get("form")?)?,
            form_version: columns::version(row.get("form_version")?)?,
            state: row.get::<&str>("state")?.into(),
            submitter: row.get::<&str>("submitter")?.into(),
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            created_position: row.get("created_position")?,
            position: row.get("position")?,
            sequence: row.get("sequence")?,
            data: columns::json(row.get("data")?)?,
            computed: row.get::<Option<&str>>("computed")?.map(columns::json).transpose()?,
            outcomes: row.get::<Option<&str>>("outcomes")?.map(columns::json).transpose()?,
        })
    }
}

/// As much of a submitter as fits into a key; credentials had subjects of any length once.
fn kept_submitter(submitter: &Arc<str>) -> Arc<str> {
    match beginning(submitter, KEY_BYTES_MAX) {
        whole if whole.len() == submitter.len() => submitter.clone(),
        beginning => beginning.into(),
    }
}

static PUT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO submissions (tenant_id, submission_id, form, form_version, state, submitter, created_at, \
         updated_at, created_position, position, sequence, data, computed, outcomes)",
        &[
            Text, Uuid, Text, Integer, Text, Text, Integer, Integer, Integer, Integer, Integer, Text, Text,
            Text,
        ],
        "ON CONFLICT (tenant_id, submission_id) DO UPDATE SET state = excluded.state, \
         submitter = excluded.submitter, updated_at = excluded.updated_at, position = excluded.position, \
         sequence = excluded.sequence, data = excluded.data, computed = excluded.computed, \
         outcomes = excluded.outcomes",
    )
});

/// Writes rows: new ones, and then changed ones.
pub(super) async fn put(
    connection: &mut Connection<'_>,
    new: Vec<(TenantId, StoredSubmission)>,
    changed: Vec<(TenantId, StoredSubmission)>,
) -> Result<(), sqlx::Error> {
    let bind = |values: &mut dyn Values, (tenant, row): &(TenantId, StoredSubmission)| {
        values.text(tenant.as_str());
        values.uuid(row.submission_id.0);
        values.text(row.form.as_str());
        values.integer(row.form_version.0.into());
        values.text(&row.state);
        values.text(&row.submitter);
        values.integer(row.created_at);
        values.integer(row.updated_at);
        values.integer(row.created_position);
        values.integer(row.position);
        values.integer(row.sequence);
        values.text(row.data.as_str());
        values.text_or_null(row.computed.as_ref().map(CanonicalJson::as_str));
        values.text_or_null(row.outcomes.as_ref().map(CanonicalJson::as_str));
    };
    PUT.insert_new(connection, new, bind).await?;
    PUT.execute(connection, changed, bind).await.map(drop)
}

// A cross join, because SQLite would otherwise be free to walk all submissions and look each up among the keys.
static LOAD: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        &format!(
            "SELECT s.tenant_id, {COLUMNS} FROM {{rows}} CROSS JOIN submissions AS s \
             WHERE s.tenant_id = r.column1 AND s.submission_id = r.column2"
        ),
        &[Text, Uuid],
    )
});

/// Reads submissions by id; those that are not there are left out.
pub(super) async fn load<'a>(
    connection: &mut Connection<'_>,
    keys: impl Iterator<Item = Key<'a>>,
) -> Result<Vec<(Key<'a>, StoredSubmission)>, sqlx::Error> {
    let wanted: HashMap<_, _> = keys.map(|(tenant, id)| ((tenant.as_str(), id), (tenant, id))).collect();
    let listed = wanted.values().copied().collect();
    let rows = LOAD
        .fetch(connection, listed, |values, (tenant, id): &Key<'_>| {
            values.text(tenant.as_str());
            values.uuid(id.0);
        })
        .await?;
    rows.iter()
        .filter_map(|row| {
            let read = || Ok((row.get::<&str>("tenant_id")?, StoredSubmission::from_row(row)?));
            let (tenant, stored) = match read() {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            wanted.get(&(tenant, stored.submission_id)).map(|key| Ok((*key, stored)))
        })
        .collect()
}

/// A row of `field_keys`, in the order of its columns, which is that of the table's key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FieldEntry {
    tenant: TenantId,
    field_key: Vec<u8>,
    created_position: i64,
}

impl FieldEntry {
    pub(super) fn new(
        tenant: &TenantId,
        form: &FormId,
        pointer: &str,
        value: &FieldValue,
        created_position: i64,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            field_key: FieldPrefix::new(form, pointer).key(value),
            created_position,
        }
    }

    fn bind(&self, values: &mut dyn Values) {
        values.text(self.tenant.as_str());
        values.bytes_or_null(Some(&self.field_key));
        values.integer(self.created_position);
    }
}

static INSERT_FIELDS: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO field_keys (tenant_id, field_key, created_position)",
        &[Text, Bytes, Integer],
        "",
    )
});

pub(super) async fn insert_fields(
    connection: &mut Connection<'_>,
    mut entries: Vec<FieldEntry>,
) -> Result<(), sqlx::Error> {
    // Along the table's key, so that a row goes beside the one before it and not to another page each time.
    entries.sort_unstable();
    INSERT_FIELDS.insert_new(connection, entries, |values, entry| entry.bind(values)).await
}

static DELETE_FIELDS: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "DELETE FROM field_keys WHERE (tenant_id, field_key, created_position) IN \
         (SELECT f.tenant_id, f.field_key, f.created_position FROM {rows} CROSS JOIN field_keys AS f \
          WHERE f.tenant_id = r.column1 AND f.field_key = r.column2 AND f.created_position = r.column3)",
        &[Text, Bytes, Integer],
    )
});

/// Takes out values that no longer hold.
pub(super) async fn delete_fields(
    connection: &mut Connection<'_>,
    entries: Vec<FieldEntry>,
) -> Result<(), sqlx::Error> {
    DELETE_FIELDS.execute(connection, entries, |values, entry| entry.bind(values)).await?;
    Ok(())
}

/// Makes the keys of all submissions of a form again, by other fields.
pub(super) async fn make_fields_again(
    connection: &mut Connection<'_>,
    (tenant, form): &OwnedForm,
    fields: &IndexedFields,
) -> Result<(), sqlx::Error> {
    let KeyRange { first, beyond } = FieldPrefix::of_form(form);
    sql("DELETE FROM field_keys WHERE tenant_id = $1 AND field_key >= $2 AND field_key < $3")
        .bind(tenant.as_str())
        .bind(first)
        .bind(beyond)
        .execute(connection)
        .await?;
    // Along the one key that tables have while they are filled by a rebuild, too. Before it has statistics, Postgres would sort all submissions for each page.
    let sorts = async |connection: &mut Connection<'_>, setting: &str| match connection.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => {
            let set = sql("SELECT set_config('enable_sort', $1, true)").bind(setting);
            set.execute(connection).await.map(drop)
        }
    };
    sorts(connection, "off").await?;
    let mut after = uuid::Uuid::nil();
    loop {
        let page = sql("SELECT submission_id, created_position, data, computed FROM submissions \
                        WHERE tenant_id = $1 AND submission_id > $2 AND form = $3 ORDER BY submission_id LIMIT $4")
        .bind(tenant.as_str())
        .bind(after)
        .bind(form.as_str())
        .bind(MADE_AGAIN_AT_ONCE);
        let rows = page.rows(connection).await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            after = row.get("submission_id")?;
            let data = columns::json(row.get("data")?)?;
            let computed = row.get::<Option<&str>>("computed")?.map(columns::json).transpose()?;
            let created_position = row.get("created_position")?;
            let values = fields.values(&data, computed.as_ref());
            let entry = |(pointer, value)| FieldEntry::new(tenant, form, pointer, &value, created_position);
            entries.extend(fields.pointers().zip(values).map(entry));
        }
        insert_fields(connection, entries).await?;
        if (rows.len() as i64) < MADE_AGAIN_AT_ONCE {
            return sorts(connection, "on").await;
        }
    }
}

/// Notes what a published version indexes.
pub(super) async fn put_indexed(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    form: &FormId,
    version: FormVersion,
    fields: &IndexedFields,
) -> Result<(), sqlx::Error> {
    let pointers: Vec<&str> = fields.pointers().collect();
    let kinds: Map<String, Value> = fields
        .fields()
        .filter_map(|(pointer, kind)| Some((pointer.to_owned(), written(kind)?.into())))
        .collect();
    let kinds = (!kinds.is_empty()).then(|| Value::from(kinds).to_string());
    // Earlier binaries wrote versions that lie beyond the event they parked at; those rows meet their event again.
    sql("INSERT INTO indexed_fields (tenant_id, form, form_version, pointers, text_kinds) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (tenant_id, form, form_version) DO UPDATE SET pointers = excluded.pointers, text_kinds = excluded.text_kinds")
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(i64::from(version.0))
    .bind(serde_json::json!(pointers).to_string())
    .bind(kinds.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

static LOAD_INDEXED: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "SELECT i.tenant_id, i.form, i.form_version, i.pointers, i.text_kinds FROM {rows} CROSS JOIN indexed_fields AS i \
         WHERE i.tenant_id = r.column1 AND i.form = r.column2 AND i.form_version = \
         (SELECT max(n.form_version) FROM indexed_fields AS n WHERE n.tenant_id = r.column1 AND n.form = r.column2)",
        &[Text, Text],
    )
});

/// What the newest versions of forms index; forms of which none was published are left out.
pub(super) async fn load_indexed(
    connection: &mut Connection<'_>,
    forms: Vec<OwnedForm>,
) -> Result<Vec<(OwnedForm, FormVersion, IndexedFields)>, sqlx::Error> {
    let rows = LOAD_INDEXED
        .fetch(connection, forms, |values, (tenant, form): &OwnedForm| {
            values.text(tenant.as_str());
            values.text(form.as_str());
        })
        .await?;
    let read = |row: &Row| {
        let (tenant, form) = (columns::tenant(row.get("tenant_id")?)?, columns::form(row.get("form")?)?);
        let version = columns::version(row.get("form_version")?)?;
        Ok(((tenant, form), version, indexed(row)?))
    };
    rows.iter().map(read).collect()
}

/// What the newest version of a form indexes; nothing where none was published.
pub(super) async fn indexed_by_newest(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    form: &FormId,
) -> Result<IndexedFields, sqlx::Error> {
    let row = sql("SELECT pointers, text_kinds FROM indexed_fields WHERE tenant_id = $1 AND form = $2 \
                   ORDER BY form_version DESC LIMIT 1")
    .bind(tenant.as_str())
    .bind(form.as_str())
    .optional(connection)
    .await?;
    row.as_ref().map_or_else(|| Ok(IndexedFields::default()), indexed)
}

fn indexed(row: &Row) -> Result<IndexedFields, sqlx::Error> {
    let damaged = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    let pointers: Vec<String> = serde_json::from_str(row.get("pointers")?).map_err(damaged)?;
    let kinds: Option<&str> = row.get("text_kinds")?;
    let kinds: HashMap<String, String> =
        kinds.map(serde_json::from_str).transpose().map_err(damaged)?.unwrap_or_default();
    let kind = |pointer: &str| kinds.get(pointer).map_or(TextKind::Plain, |name| read(name));
    Ok(IndexedFields::new(pointers, kind))
}

/// The name of a kind in `text_kinds`; `None` for what is not written there.
fn written(kind: TextKind) -> Option<&'static str> {
    match kind {
        TextKind::Plain => None,
        TextKind::Decimal => Some("decimal"),
        TextKind::Timestamp => Some("timestamp"),
    }
}

fn read(name: &str) -> TextKind {
    let named = |kind: &TextKind| written(*kind) == Some(name);
    [TextKind::Decimal, TextKind::Timestamp].into_iter().find(named).unwrap_or(TextKind::Plain)
}
