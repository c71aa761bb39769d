//! The forms read model: what the form list and a form's page show.

use chrono::{DateTime, Utc};
use formledger_domain::{CanonicalJson, FormId, Position, Sequence};
use serde::Serialize;

/// A form as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormSummary {
    /// Its id.
    pub form: FormId,
    /// Title of the newest published version, or of the draft where none is published.
    pub title: String,
    /// The newest published version; `None` before the first publication.
    pub version: Option<u32>,
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
    pub version: u32,
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
