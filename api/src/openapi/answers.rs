//! The shapes of answers, for the OpenAPI document only: rows of read models belong to `projections`, which knows nothing of HTTP.
//! Held against real answers by `tests/http/description.rs`.
#![expect(dead_code, reason = "these are read by the derive, never built")]

mod counts;
mod happened;
mod keeping;
mod parts;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::definition::FormDefinition;
use super::problem::ProblemDetails;
pub use counts::*;
pub use happened::*;
pub use keeping::*;
pub use parts::*;

/// What a command on a submission did.
#[derive(ToSchema)]
pub struct SubmissionRecorded {
    submission_id: Uuid,
    form: String,
    form_version: u32,
    /// `draft`, `submitted`, or a state of the form's workflow.
    state: String,
    /// By the rule's id.
    outcomes: BTreeMap<String, RuleOutcome>,
    /// When the command gave one of several approvals.
    #[schema(required = false)]
    approvals: Option<ApprovalsSoFar>,
    /// The file that the command attached or took off.
    #[schema(required = false)]
    attachment: Option<File>,
    /// The submission's place in its stream, as in `ETag`.
    sequence: u64,
    /// The ledger's position, as in `Ledger-Position`.
    position: u64,
}

/// A line of an import; `bulk::import` reads it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// The form.
    form: String,
    /// What was filled in; the form's schema says what it may be.
    data: Value,
    /// Keep it as a draft, unchecked, until it is submitted.
    #[schema(required = false)]
    draft: bool,
    /// This line's own key; without it the request's `Idempotency-Key` and the line's number are one together.
    idempotency_key: Option<String>,
}

/// What became of one line of a request with many: what a request of its own would be answered, or its problem.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum LineResult {
    Recorded(LineRecorded),
    Refused(LineRefused),
}

/// A line that was accepted.
#[derive(ToSchema)]
pub struct LineRecorded {
    #[serde(flatten)]
    recorded: SubmissionRecorded,
    /// The line's number, from 1.
    #[schema(minimum = 1)]
    line: u64,
    /// The HTTP status that a request of its own would get.
    #[schema(minimum = 200, maximum = 299)]
    status: u16,
}

/// A line that was refused.
#[derive(ToSchema)]
pub struct LineRefused {
    #[serde(flatten)]
    problem: ProblemDetails,
    /// The line's number, from 1; of what ends the body early, that of the first line that was not begun.
    #[schema(minimum = 1)]
    line: u64,
}

/// A draft that was saved.
#[derive(ToSchema)]
pub struct DraftSaved {
    form: String,
    /// What stands in the way of publishing it, and warnings.
    problems: Vec<DefinitionProblem>,
    sequence: u64,
    position: u64,
}

/// A version that was published.
#[derive(ToSchema)]
pub struct FormPublished {
    form: String,
    version: u32,
    sequence: u64,
    position: u64,
}

/// A form that was retired.
#[derive(ToSchema)]
pub struct FormRetired {
    form: String,
    retired: bool,
    sequence: u64,
    position: u64,
}

/// A tenant that was made.
#[derive(ToSchema)]
pub struct TenantMade {
    tenant: String,
    sequence: u64,
    position: u64,
}

/// One thing that is wrong with a form definition.
#[derive(ToSchema)]
pub struct DefinitionProblem {
    /// Where in the definition, as a JSON Pointer.
    pointer: String,
    message: String,
    /// Which part of the expression at `pointer`.
    #[schema(required = false)]
    span: Option<Span>,
    severity: Severity,
}

/// A form as lists show it.
#[derive(ToSchema)]
pub struct FormSummary {
    form: String,
    title: String,
    /// The newest published version.
    version: Option<u32>,
    has_draft: bool,
    retired: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    sequence: u64,
    position: u64,
}

/// All forms.
#[derive(ToSchema)]
pub struct FormList {
    items: Vec<FormSummary>,
    position: u64,
}

/// A form with its definitions.
#[derive(ToSchema)]
pub struct Form {
    #[serde(flatten)]
    summary: FormSummary,
    /// The newest published definition.
    definition: Option<FormDefinition>,
    /// The definition last saved and not yet published, which may have problems.
    draft: Option<Value>,
    /// Published versions, oldest first.
    versions: Vec<VersionSummary>,
    problems: Vec<DefinitionProblem>,
}

/// When a version was published, and by whom.
#[derive(ToSchema)]
pub struct VersionSummary {
    version: u32,
    published_at: DateTime<Utc>,
    published_by: String,
    position: u64,
}

/// A published version.
#[derive(ToSchema)]
pub struct FormVersion {
    form: String,
    version: u32,
    published_at: DateTime<Utc>,
    published_by: String,
    position: u64,
    definition: FormDefinition,
    problems: Vec<DefinitionProblem>,
}

/// A submission.
#[derive(ToSchema)]
pub struct Submission {
    submission_id: Uuid,
    form: String,
    form_version: u32,
    state: String,
    /// What was filled in, with computed values in place.
    data: Value,
    /// By the rule's id.
    outcomes: BTreeMap<String, RuleOutcome>,
    submitter: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    sequence: u64,
    /// The position of its last event.
    position: u64,
}

/// A submission with what belongs to it.
#[derive(ToSchema)]
pub struct SubmissionWithRecord {
    submission_id: Uuid,
    form: String,
    form_version: u32,
    state: String,
    /// What was filled in, with computed values in place.
    data: Value,
    /// By the rule's id.
    outcomes: BTreeMap<String, RuleOutcome>,
    submitter: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    sequence: u64,
    /// The position of its last event.
    position: u64,
    /// What it waits for; absent where nobody has to do anything.
    #[schema(required = false)]
    task: Option<OpenTask>,
    /// The files that belong to it; absent where the form takes none.
    #[schema(required = false)]
    attachments: Option<Vec<AttachedFile>>,
    /// The signatures on it; absent where the form asks for none.
    #[schema(required = false)]
    signatures: Option<Vec<GivenSignature>>,
}

/// A file that belongs to a submission.
#[derive(ToSchema)]
pub struct AttachedFile {
    /// SHA-256 of its bytes, 64 hexadecimal digits, by which it is fetched.
    sha256: String,
    name: String,
    media_type: String,
    bytes: u64,
    attached_by: String,
    attached_at: DateTime<Utc>,
    position: u64,
}

/// The bytes of a file, as they are.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Bytes(Vec<u8>);

/// The files of a submission.
#[derive(ToSchema)]
pub struct AttachmentList {
    submission_id: Uuid,
    items: Vec<AttachedFile>,
    position: u64,
}

/// A signature on a submission.
#[derive(ToSchema)]
pub struct GivenSignature {
    /// The transition that was signed for.
    transition: String,
    /// The subject who signed.
    by: String,
    #[schema(required = false)]
    on_behalf_of: Option<String>,
    /// The signer's printed name.
    name: String,
    /// What the signature means.
    meaning: String,
    /// SHA-256 of the data as they were signed, in canonical form (RFC 8785), computed values in place.
    data_sha256: String,
    /// The files that belonged to it, in the order of their hashes.
    #[schema(required = false)]
    attachments: Option<Vec<SignedFile>>,
    /// When the signer had shown their credentials, where the form asks for that.
    #[schema(required = false)]
    authenticated_at: Option<DateTime<Utc>>,
    signed_at: DateTime<Utc>,
    position: u64,
    /// Whether data and files are still what was signed.
    unchanged: bool,
}

/// A page of submissions.
#[derive(ToSchema)]
pub struct SubmissionPage {
    items: Vec<Submission>,
    /// Where to go on; absent on the last page.
    #[schema(required = false)]
    next_cursor: Option<String>,
    /// How far the data reach.
    position: u64,
}

/// One fact of a submission.
#[derive(ToSchema)]
pub struct TimelineEntry {
    position: u64,
    sequence: u64,
    at: DateTime<Utc>,
    actor: String,
    /// The event's type with its version, as docs/feeds.md lists them.
    r#type: String,
    /// The state after it, where it is another one than before.
    #[schema(required = false)]
    state: Option<String>,
    /// Each field that changed.
    changes: Vec<FieldChange>,
    #[schema(required = false)]
    outcomes: Option<BTreeMap<String, RuleOutcome>>,
    /// By rule id: `conditions[{text, held, values}]` of a decision, `inputs` and `rows` of a table, `text` and `values` of a compute.
    #[schema(required = false)]
    explanations: Option<Value>,
    #[schema(required = false)]
    reason: Option<String>,
    #[schema(required = false)]
    transition: Option<String>,
    #[schema(required = false)]
    on_behalf_of: Option<String>,
    #[schema(required = false)]
    approvals: Option<ApprovalsSoFar>,
    /// Who took it on, was asked to, or may act for somebody else now.
    #[schema(required = false)]
    person: Option<String>,
    #[schema(required = false)]
    due_at: Option<DateTime<Utc>>,
    /// Since when and until when (exclusive) somebody may act for somebody else, where a delegation says so.
    #[schema(required = false)]
    starts_at: Option<DateTime<Utc>>,
    #[schema(required = false)]
    ends_at: Option<DateTime<Utc>>,
    #[schema(required = false)]
    comment: Option<String>,
    /// A file that was attached or taken off.
    #[schema(required = false)]
    attachment: Option<File>,
    /// What was signed.
    #[schema(required = false)]
    signature: Option<RecordedSignature>,
    /// An attempt that was refused; of these a timeline has the newest 500.
    #[schema(required = false)]
    refused: Option<RefusedAttempt>,
}

/// A signature as the event records it.
#[derive(ToSchema)]
pub struct RecordedSignature {
    transition: String,
    by: String,
    #[schema(required = false)]
    on_behalf_of: Option<String>,
    name: String,
    meaning: String,
    data_sha256: String,
    #[schema(required = false)]
    attachments: Option<Vec<SignedFile>>,
    #[schema(required = false)]
    authenticated_at: Option<DateTime<Utc>>,
}

/// Something that was tried in vain.
#[derive(ToSchema)]
pub struct RefusedAttempt {
    /// The route.
    action: String,
    /// The problem's code.
    code: String,
    times: u32,
}

/// Everything that happened to a submission.
#[derive(ToSchema)]
pub struct Timeline {
    submission_id: Uuid,
    items: Vec<TimelineEntry>,
    position: u64,
}

/// Submissions as CSV (RFC 4180), with a header.
#[derive(ToSchema)]
#[schema(value_type = String, content_media_type = "text/csv")]
pub struct SubmissionTable(String);

/// The end of a ledger.
#[derive(ToSchema)]
pub struct Ledger {
    tenant: String,
    position: u64,
    /// RFC 6962 root over all events, lower-case hex.
    root_hash: String,
    recorded_at: Option<DateTime<Utc>>,
}

/// What waits for the caller.
#[derive(ToSchema)]
pub struct Task {
    submission_id: Uuid,
    form: String,
    form_version: u32,
    /// The state it waits in.
    state: String,
    submitter: String,
    /// Who took it on, or was asked to.
    #[schema(required = false)]
    assignee: Option<String>,
    opened_at: DateTime<Utc>,
    #[schema(required = false)]
    due_at: Option<DateTime<Utc>>,
    /// The state it goes to when it is not done by then.
    #[schema(required = false)]
    escalate_to: Option<String>,
    why: Vec<WhyMine>,
    /// What the caller may do.
    transitions: Vec<OpenTransition>,
}

/// Why a task waits for somebody.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhyMine {
    Assigned,
    Candidate,
    Role,
    Delegated,
}

/// A transition that somebody may take.
#[derive(ToSchema)]
pub struct OpenTransition {
    name: String,
    /// Where it takes several people.
    #[schema(required = false)]
    approvals: Option<ApprovalsSoFar>,
    /// For whom, where it is a delegate's.
    #[schema(required = false)]
    on_behalf_of: Option<String>,
    /// Of a transition with a guard: whether that holds for the data as they are.
    #[schema(required = false)]
    guard_met: Option<bool>,
}

/// A page of tasks.
#[derive(ToSchema)]
pub struct TaskPage {
    items: Vec<Task>,
    #[schema(required = false)]
    next_cursor: Option<String>,
    position: u64,
}
