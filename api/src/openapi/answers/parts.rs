//! What several answers have in them: outcomes, changes, files, and what is wrong where.

use chrono::{DateTime, Utc};
use serde_json::Value;
use utoipa::ToSchema;

/// What a rule said.
#[derive(ToSchema)]
pub struct RuleOutcome {
    /// Whether its condition held, or a row matched, or a value was computed.
    matched: bool,
    /// What it said: any JSON, null where it said nothing.
    value: Value,
    /// Why it said nothing, where a field was missing.
    #[schema(required = false)]
    reason: Option<String>,
    /// Why it could not be evaluated.
    #[schema(required = false)]
    error: Option<String>,
}

/// How far a transition has come that several people must take.
#[derive(ToSchema)]
pub struct ApprovalsSoFar {
    have: u32,
    need: u32,
}

/// What a submission waits for.
#[derive(ToSchema)]
pub struct OpenTask {
    opened_at: DateTime<Utc>,
    #[schema(required = false)]
    due_at: Option<DateTime<Utc>>,
    /// The state it goes to when it is not done by then.
    #[schema(required = false)]
    escalate_to: Option<String>,
    /// Who took it on, or was asked to, as of the submission's last event.
    #[schema(required = false)]
    assignee: Option<String>,
    /// For whom, where they could take it on as a delegate only.
    #[schema(required = false)]
    on_behalf_of: Option<String>,
    /// The transitions that people can take from here.
    transitions: Vec<PossibleTransition>,
    /// Who may act for whom, as far as nobody ended it.
    delegations: Vec<GivenDelegation>,
}

/// A transition that people can take, and who.
#[derive(ToSchema)]
pub struct PossibleTransition {
    name: String,
    /// Holders of one of these roles.
    roles: Vec<String>,
    /// And these people, whatever their roles.
    candidates: Vec<String>,
    /// Where it takes several people.
    #[schema(required = false)]
    approvals: Option<ApprovalsSoFar>,
    /// The approvals that stand.
    approved_by: Vec<Approver>,
}

/// Who gave an approval.
#[derive(ToSchema)]
pub struct Approver {
    by: String,
    /// For whom, as a delegate.
    #[schema(required = false)]
    on_behalf_of: Option<String>,
}

/// Somebody's right in somebody else's hands.
#[derive(ToSchema)]
pub struct GivenDelegation {
    from: String,
    to: String,
    /// Since when, where not at once.
    #[schema(required = false)]
    starts_at: Option<DateTime<Utc>>,
    /// Until when, exclusive, where it ends by itself.
    #[schema(required = false)]
    ends_at: Option<DateTime<Utc>>,
}

/// A file.
#[derive(ToSchema)]
pub struct File {
    /// SHA-256 of its bytes, 64 hexadecimal digits, by which it is fetched.
    sha256: String,
    name: String,
    media_type: String,
    bytes: u64,
}

/// A file that was signed.
#[derive(ToSchema)]
pub struct SignedFile {
    sha256: String,
    name: String,
}

/// A field that is not what it was.
#[derive(ToSchema)]
pub struct FieldChange {
    /// The field, as a JSON Pointer into the data.
    pointer: String,
    /// What it was; absent where it was not there.
    #[schema(required = false)]
    from: Value,
    /// What it is; absent where it is gone.
    #[schema(required = false)]
    to: Value,
}

/// A rule that says something else.
#[derive(ToSchema)]
pub struct OutcomeChange {
    rule: String,
    #[schema(required = false)]
    from: Value,
    #[schema(required = false)]
    to: Value,
}

/// A part of an expression, in bytes of its text.
#[derive(ToSchema)]
pub struct Span {
    /// The first byte.
    start: u64,
    /// The byte after the last.
    end: u64,
}

/// How much a problem of a definition matters.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It stands in the way of publishing.
    Error,
    /// It probably does not mean what it says.
    Warning,
}

/// A read model.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadModelName {
    Forms,
    Submissions,
    Statistics,
    Tasks,
}

/// What a replay does.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayKind {
    /// The events again.
    Feed,
    /// A candidate judges the submissions.
    Rules,
    /// Read models are built again and compared.
    Shadow,
}
