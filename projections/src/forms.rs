//! The forms read model: what the form list and a form's page show.
//! Applied by the projector, asked by [`TenantReader`](crate::TenantReader).

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{CanonicalJson, Form, FormEvent, FormId, FormVersion, Position, Sequence, TenantId};
use formledger_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, FromRow, Row, SqliteConnection};

use crate::columns::{self, Damaged, micros, place};
use crate::many_rows::ManyRows;
use crate::position::ReadModel;
use crate::projection::{Projection, Said, Slice, Stop};

/// A form as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormSummary {
    /// Its id.
    pub form: FormId,
    /// Title of the newest published version, or of the draft where none is published.
    pub title: String,
    /// The newest published version; `None` before the first publication.
    pub version: Option<FormVersion>,
    /// Whether a draft was saved after the newest publication.
    pub has_draft: bool,
    /// Whether the form takes no new submissions.
    pub retired: bool,
    /// When the form's first event was recorded.
    pub created_at: DateTime<Utc>,
    /// When the form's last event was recorded.
    pub updated_at: DateTime<Utc>,
    /// The form's place in its stream.
    pub sequence: Sequence,
    /// The position of the form's last event.
    pub position: Position,
}

/// A form with its definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormRow {
    /// What lists show.
    #[serde(flatten)]
    pub summary: FormSummary,
    /// The newest published definition.
    pub definition: Option<CanonicalJson>,
    /// The definition last saved and not yet published.
    pub draft: Option<CanonicalJson>,
    /// All published versions, oldest first.
    pub versions: Vec<FormVersionSummary>,
    /// Why it was retired, where someone said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A published version as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormVersionSummary {
    /// 1, 2, 3, …
    pub version: FormVersion,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// Who published it.
    pub published_by: String,
    /// The position of its publication.
    pub position: Position,
}

/// A published version with its definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormVersionRow {
    /// The form.
    pub form: FormId,
    /// What lists show.
    #[serde(flatten)]
    pub summary: FormVersionSummary,
    /// The definition as published.
    pub definition: CanonicalJson,
}

/// A row of `forms`, as it is stored.
#[derive(Debug, Clone)]
struct StoredForm {
    form: String,
    title: String,
    version: Option<i64>,
    draft: Option<String>,
    retired: bool,
    reason: Option<String>,
    created_at: i64,
    updated_at: i64,
    sequence: i64,
    position: i64,
}

impl<'r> FromRow<'r, SqliteRow> for StoredForm {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            form: row.try_get("form")?,
            title: row.try_get("title")?,
            version: row.try_get("version")?,
            draft: row.try_get("draft")?,
            retired: row.try_get("retired")?,
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            sequence: row.try_get("sequence")?,
            position: row.try_get("position")?,
        })
    }
}

impl StoredForm {
    fn new(form: &FormId, event: &RecordedEvent) -> Self {
        Self {
            form: form.to_string(),
            title: form.to_string(),
            version: None,
            draft: None,
            retired: false,
            reason: None,
            created_at: micros(event.recorded_at),
            updated_at: 0,
            sequence: 0,
            position: 0,
        }
    }

    /// The row after one more event.
    fn fold(&mut self, said: &FormEvent, event: &RecordedEvent) {
        match said {
            FormEvent::DraftSaved { definition, .. } => {
                if self.version.is_none() {
                    self.retitle(definition);
                }
                self.draft = Some(definition.as_str().to_owned());
            }
            FormEvent::Published { definition, version, .. } => {
                self.retitle(definition);
                self.version = Some(version.0.into());
                self.draft = None;
                self.retired = false;
                self.reason = None;
            }
            FormEvent::Retired { reason, .. } => {
                self.retired = true;
                self.reason.clone_from(reason);
            }
        }
        self.updated_at = micros(event.recorded_at);
        self.sequence = place(event.sequence.0);
        self.position = place(event.position.0);
    }

    /// A draft may be any JSON; one without a title keeps the title that was there.
    fn retitle(&mut self, definition: &CanonicalJson) {
        #[derive(Deserialize)]
        struct Titled {
            title: String,
        }
        if let Ok(Titled { title }) = serde_json::from_str(definition.as_str()) {
            self.title = title;
        }
    }

    fn summary(&self) -> Result<FormSummary, Damaged> {
        Ok(FormSummary {
            form: columns::form(&self.form)?,
            title: self.title.clone(),
            version: self.version.map(columns::version).transpose()?,
            has_draft: self.draft.is_some(),
            retired: self.retired,
            created_at: columns::time(self.created_at)?,
            updated_at: columns::time(self.updated_at)?,
            sequence: columns::sequence(self.sequence)?,
            position: columns::position(self.position)?,
        })
    }
}

/// A row of `form_versions`, as it is stored.
#[derive(Debug)]
struct StoredVersion {
    version: i64,
    definition: String,
    published_at: i64,
    published_by: String,
    position: i64,
}

impl<'r> FromRow<'r, SqliteRow> for StoredVersion {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            version: row.try_get("version")?,
            definition: row.try_get("definition")?,
            published_at: row.try_get("published_at")?,
            published_by: row.try_get("published_by")?,
            position: row.try_get("position")?,
        })
    }
}

impl StoredVersion {
    fn summary(&self) -> Result<FormVersionSummary, Damaged> {
        Ok(FormVersionSummary {
            version: columns::version(self.version)?,
            published_at: columns::time(self.published_at)?,
            published_by: self.published_by.clone(),
            position: columns::position(self.position)?,
        })
    }
}

static PUT_FORM: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO forms (tenant_id, form, title, version, draft, retired, reason, created_at, updated_at, \
         sequence, position) VALUES",
        11,
        "ON CONFLICT (tenant_id, form) DO UPDATE SET title = excluded.title, version = excluded.version, \
         draft = excluded.draft, retired = excluded.retired, reason = excluded.reason, \
         updated_at = excluded.updated_at, sequence = excluded.sequence, position = excluded.position",
    )
});

static PUT_VERSION: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO form_versions (tenant_id, form, version, definition, published_at, published_by, position) \
         VALUES",
        7,
        // A ledger that publishes a version twice contradicts itself, and must not fail the batch of all tenants.
        "ON CONFLICT (tenant_id, form, version) DO UPDATE SET definition = excluded.definition, \
         published_at = excluded.published_at, published_by = excluded.published_by, position = excluded.position",
    )
});

const SELECT_FORM: &str = "SELECT form, title, version, draft, retired, reason, created_at, updated_at, sequence, \
                           position FROM forms WHERE tenant_id = ?";

/// Keeps `forms` and `form_versions`.
#[derive(Debug, Default)]
pub(crate) struct FormsProjection;

impl Projection for FormsProjection {
    const READ_MODEL: ReadModel = ReadModel::Forms;
    const VERSION: i64 = 1;
    const TABLES: &'static [&'static str] = &["forms", "form_versions"];

    fn follows(aggregate_type: &str) -> bool {
        aggregate_type == Form::TYPE
    }

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        let mut forms: HashMap<(&TenantId, &FormId), StoredForm> = HashMap::new();
        let mut versions = Vec::new();
        for Slice { tenant, facts } in slices {
            for fact in *facts {
                let Said::Form(said) = &fact.said else { continue };
                let form = said.form();
                // Forms change seldom: one read for each that a batch touches is cheap.
                if !forms.contains_key(&(*tenant, form)) {
                    let row = load(connection, tenant, form).await?;
                    forms.insert((tenant, form), row.unwrap_or_else(|| StoredForm::new(form, &fact.event)));
                }
                if let Some(row) = forms.get_mut(&(*tenant, form)) {
                    row.fold(said, &fact.event);
                }
                if let FormEvent::Published { definition, form, version } = said {
                    versions.push((*tenant, form, *version, definition, &fact.event));
                }
            }
        }
        let forms = forms.into_iter().map(|((tenant, _), row)| (tenant.to_string(), row)).collect();
        PUT_FORM.execute(connection, forms, bind_form).await?;
        PUT_VERSION
            .execute(connection, versions, |arguments, (tenant, form, version, definition, event)| {
                arguments.add(tenant.to_string())?;
                arguments.add(form.to_string())?;
                arguments.add(i64::from(version.0))?;
                arguments.add(definition.as_str().to_owned())?;
                arguments.add(micros(event.recorded_at))?;
                arguments.add(event.metadata.actor.to_string())?;
                arguments.add(place(event.position.0))
            })
            .await?;
        Ok(Vec::new())
    }

    fn forget(&mut self) {}
}

fn bind_form(
    arguments: &mut SqliteArguments<'static>,
    (tenant, row): (String, StoredForm),
) -> Result<(), sqlx::error::BoxDynError> {
    arguments.add(tenant)?;
    arguments.add(row.form)?;
    arguments.add(row.title)?;
    arguments.add(row.version)?;
    arguments.add(row.draft)?;
    arguments.add(row.retired)?;
    arguments.add(row.reason)?;
    arguments.add(row.created_at)?;
    arguments.add(row.updated_at)?;
    arguments.add(row.sequence)?;
    arguments.add(row.position)
}

async fn load(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    form: &FormId,
) -> Result<Option<StoredForm>, sqlx::Error> {
    let select = format!("{SELECT_FORM} AND form = ?");
    sqlx::query_as(&select).bind(tenant.as_str()).bind(form.as_str()).fetch_optional(connection).await
}

/// All forms of a tenant, by id.
pub(crate) async fn list(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
) -> Result<Vec<FormSummary>, sqlx::Error> {
    let select = format!("{SELECT_FORM} ORDER BY form");
    let rows: Vec<StoredForm> = sqlx::query_as(&select).bind(tenant.as_str()).fetch_all(snapshot).await?;
    Ok(rows.iter().map(StoredForm::summary).collect::<Result<_, _>>()?)
}

/// One form with its versions.
pub(crate) async fn find(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
    form: &FormId,
) -> Result<Option<FormRow>, sqlx::Error> {
    let Some(row) = load(snapshot, tenant, form).await? else { return Ok(None) };
    let versions: Vec<StoredVersion> = sqlx::query_as(
        "SELECT version, CASE WHEN version = ?3 THEN definition ELSE '' END AS definition, published_at, \
         published_by, position FROM form_versions WHERE tenant_id = ?1 AND form = ?2 ORDER BY version",
    )
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(row.version)
    .fetch_all(snapshot)
    .await?;
    Ok(Some(FormRow {
        summary: row.summary()?,
        versions: versions.iter().map(StoredVersion::summary).collect::<Result<_, _>>()?,
        definition: versions.into_iter().next_back().map(|newest| columns::json(newest.definition)),
        draft: row.draft.map(columns::json),
        reason: row.reason,
    }))
}

/// One published version.
pub(crate) async fn find_version(
    snapshot: &mut SqliteConnection,
    tenant: &TenantId,
    form: &FormId,
    version: FormVersion,
) -> Result<Option<FormVersionRow>, sqlx::Error> {
    let row: Option<StoredVersion> = sqlx::query_as(
        "SELECT version, definition, published_at, published_by, position FROM form_versions \
         WHERE tenant_id = ? AND form = ? AND version = ?",
    )
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(i64::from(version.0))
    .fetch_optional(snapshot)
    .await?;
    row.map(|row| {
        Ok(FormVersionRow {
            form: form.clone(),
            summary: row.summary()?,
            definition: columns::json(row.definition),
        })
    })
    .transpose()
}
