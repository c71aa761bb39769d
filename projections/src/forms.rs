//! The forms read model: what the form list and a form's page show.
//! Applied by the projector, asked by [`TenantReader`](crate::TenantReader).

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{CanonicalJson, Form, FormEvent, FormId, FormVersion, Position, Sequence, TenantId};
use formledger_store::RecordedEvent;
use serde::{Deserialize, Serialize};

use crate::columns::{self, Damaged, micros, place};
use crate::database::Kind::{Flag, Integer, Text};
use crate::database::{Connection, ManyRows, Row, Sql, Values, sql};
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

impl StoredForm {
    fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            form: row.get("form")?,
            title: row.get("title")?,
            version: row.get("version")?,
            draft: row.get("draft")?,
            retired: row.get("retired")?,
            reason: row.get("reason")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            sequence: row.get("sequence")?,
            position: row.get("position")?,
        })
    }

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

impl StoredVersion {
    fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            version: row.get("version")?,
            definition: row.get("definition")?,
            published_at: row.get("published_at")?,
            published_by: row.get("published_by")?,
            position: row.get("position")?,
        })
    }

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
    ManyRows::insert(
        "INSERT INTO forms (tenant_id, form, title, version, draft, retired, reason, created_at, updated_at, \
         sequence, position)",
        &[Text, Text, Text, Integer, Text, Flag, Text, Integer, Integer, Integer, Integer],
        "ON CONFLICT (tenant_id, form) DO UPDATE SET title = excluded.title, version = excluded.version, \
         draft = excluded.draft, retired = excluded.retired, reason = excluded.reason, \
         updated_at = excluded.updated_at, sequence = excluded.sequence, position = excluded.position",
    )
});

static PUT_VERSION: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert(
        "INSERT INTO form_versions (tenant_id, form, version, definition, published_at, published_by, position)",
        &[Text, Text, Integer, Text, Integer, Text, Integer],
        // A ledger that publishes a version twice contradicts itself, and must not fail the batch of all tenants.
        "ON CONFLICT (tenant_id, form, version) DO UPDATE SET definition = excluded.definition, \
         published_at = excluded.published_at, published_by = excluded.published_by, position = excluded.position",
    )
});

const SELECT_FORM: &str = "SELECT form, title, version, draft, retired, reason, created_at, updated_at, sequence, \
                           position FROM forms WHERE tenant_id = $1";

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
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> Result<Vec<Stop>, sqlx::Error> {
        let mut forms: HashMap<(&TenantId, &FormId), StoredForm> = HashMap::new();
        // By version, because a ledger that contradicts itself may publish one twice.
        let mut versions = HashMap::new();
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
                    versions.insert((*tenant, form, *version), (definition, &fact.event));
                }
            }
        }
        let forms = forms.into_iter().map(|((tenant, _), row)| (tenant, row)).collect();
        PUT_FORM.execute(connection, forms, bind_form).await?;
        let versions: Vec<_> = versions.into_iter().collect();
        PUT_VERSION
            .execute(connection, versions, |values, ((tenant, form, version), (definition, event))| {
                values.text(tenant.as_str());
                values.text(form.as_str());
                values.integer(version.0.into());
                values.text(definition.as_str());
                values.integer(micros(event.recorded_at));
                values.text(&event.metadata.actor);
                values.integer(place(event.position.0));
            })
            .await?;
        Ok(Vec::new())
    }

    fn forget(&mut self) {}
}

fn bind_form(values: &mut dyn Values, (tenant, row): &(&TenantId, StoredForm)) {
    values.text(tenant.as_str());
    values.text(&row.form);
    values.text(&row.title);
    values.integer_or_null(row.version);
    values.text_or_null(row.draft.as_deref());
    values.flag(row.retired);
    values.text_or_null(row.reason.as_deref());
    values.integer(row.created_at);
    values.integer(row.updated_at);
    values.integer(row.sequence);
    values.integer(row.position);
}

/// One form, or all of a tenant.
fn select_forms<'q>(and: &str, tenant: &'q TenantId) -> Sql<'q> {
    sql(format!("{SELECT_FORM} {and}")).bind(tenant.as_str())
}

async fn load(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    form: &FormId,
) -> Result<Option<StoredForm>, sqlx::Error> {
    let row = select_forms("AND form = $2", tenant).bind(form.as_str()).optional(connection).await?;
    row.as_ref().map(StoredForm::from_row).transpose()
}

/// All forms of a tenant, by id.
pub(crate) async fn list(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
) -> Result<Vec<FormSummary>, sqlx::Error> {
    let rows = select_forms("ORDER BY form", tenant).rows(snapshot).await?;
    rows.iter().map(|row| Ok(StoredForm::from_row(row)?.summary()?)).collect()
}

/// One form with its versions.
pub(crate) async fn find(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    form: &FormId,
) -> Result<Option<FormRow>, sqlx::Error> {
    let Some(row) = load(snapshot, tenant, form).await? else { return Ok(None) };
    let versions = sql(
        "SELECT version, CASE WHEN version = $3 THEN definition ELSE '' END AS definition, published_at, \
         published_by, position FROM form_versions WHERE tenant_id = $1 AND form = $2 ORDER BY version",
    )
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(row.version)
    .rows(snapshot)
    .await?;
    let versions = versions.iter().map(StoredVersion::from_row).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(FormRow {
        summary: row.summary()?,
        versions: versions.iter().map(StoredVersion::summary).collect::<Result<_, _>>()?,
        definition: versions.last().map(|newest| columns::json(&newest.definition)).transpose()?,
        draft: row.draft.as_deref().map(columns::json).transpose()?,
        reason: row.reason,
    }))
}

/// One published version.
pub(crate) async fn find_version(
    snapshot: &mut Connection<'_>,
    tenant: &TenantId,
    form: &FormId,
    version: FormVersion,
) -> Result<Option<FormVersionRow>, sqlx::Error> {
    let row = sql("SELECT version, definition, published_at, published_by, position FROM form_versions \
         WHERE tenant_id = $1 AND form = $2 AND version = $3")
    .bind(tenant.as_str())
    .bind(form.as_str())
    .bind(i64::from(version.0))
    .optional(snapshot)
    .await?;
    row.map(|row| {
        let row = StoredVersion::from_row(&row)?;
        Ok(FormVersionRow {
            form: form.clone(),
            summary: row.summary()?,
            definition: columns::json(&row.definition)?,
        })
    })
    .transpose()
}
