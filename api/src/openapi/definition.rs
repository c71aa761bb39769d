//! The form definition, for the OpenAPI document only: `domain` and `rules` read it by hand, so that everything wrong is told at once.
//! Held against what they take by `tests/http/definitions.rs`. What each member means is said in docs/forms.md and the pages that it links.
//! What is inlined is described at its type: a comment at the member would make it an object (utoipa 6).
#![expect(dead_code, reason = "these are read by the derive, never built")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// What a form asks for, what rules say of it, and who decides. Publishing takes this; a draft may be any other object, too, and its `problems` then tell what is amiss.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FormDefinition {
    /// What people call the form.
    #[schema(min_length = 1, max_length = 500)]
    title: String,
    /// JSON Schema of the data, of draft 4, 6, 7, 2019-09 or 2020-12 as its `$schema` says.
    schema: BTreeMap<String, Value>,
    /// For the program that shows the form, a UI schema of JSON Forms say: kept as it is, and read by nothing here.
    #[schema(required = false)]
    ui: BTreeMap<String, Value>,
    /// JSON Pointers of the fields that lists filter and sort by.
    #[schema(max_items = 32, required = false)]
    index: Vec<String>,
    /// What is checked, computed and decided, in this order.
    #[schema(max_items = 2_000, required = false)]
    rules: Vec<Rule>,
    #[schema(required = false)]
    workflow: Workflow,
    #[schema(required = false)]
    attachments: AttachmentRules,
}

/// One rule.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(discriminator(property_name = "kind", mapping(
    ("constraint" = "#/components/schemas/ConstraintRule"),
    ("compute" = "#/components/schemas/ComputeRule"),
    ("decision" = "#/components/schemas/DecisionRule"),
    ("table" = "#/components/schemas/TableRule"),
)))]
pub enum Rule {
    Constraint(ConstraintRule),
    Compute(ComputeRule),
    Decision(DecisionRule),
    Table(TableRule),
}

/// Refuses a submission for which `assert` does not hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConstraintRule {
    /// Its name, unique among the form's rules; the `keyword` of what it refuses.
    #[schema(min_length = 1)]
    id: String,
    #[schema(inline)]
    kind: ConstraintKind,
    #[schema(required = false)]
    description: String,
    /// An expression in CEL that must hold.
    assert: String,
    /// A JSON Pointer to the field that is to be mended; the whole data when missing.
    #[schema(required = false, pattern = "^(/.*)?$")]
    at: String,
    /// What is told to who filled it in.
    #[schema(required = false)]
    message: String,
}

/// Puts a value into a field.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ComputeRule {
    /// Its name, unique among the form's rules.
    #[schema(min_length = 1)]
    id: String,
    #[schema(inline)]
    kind: ComputeKind,
    #[schema(required = false)]
    description: String,
    /// An expression in CEL.
    value: String,
    /// A JSON Pointer to the field.
    #[schema(pattern = "^/")]
    into: String,
}

/// Says one thing or another.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRule {
    /// Its name, unique among the form's rules.
    #[schema(min_length = 1)]
    id: String,
    #[schema(inline)]
    kind: DecisionKind,
    #[schema(required = false)]
    description: String,
    /// An expression in CEL, true or false.
    when: String,
    /// What it says where that holds: any JSON.
    then: Value,
    /// What it says where that does not hold; nothing when missing.
    #[schema(required = false)]
    otherwise: Value,
}

/// A decision table.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRule {
    /// Its name, unique among the form's rules.
    #[schema(min_length = 1)]
    id: String,
    #[schema(inline)]
    kind: TableKind,
    #[schema(required = false)]
    description: String,
    #[schema(inline, required = false)]
    hit: Hit,
    #[schema(inline, required = false)]
    aggregate: Aggregate,
    /// Expressions in CEL, evaluated once.
    inputs: Vec<String>,
    #[schema(max_items = 10_000)]
    rows: Vec<TableRow>,
    /// What it says where no row matches; nothing when missing.
    #[schema(required = false)]
    otherwise: Value,
}

/// A row of a decision table.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRow {
    /// A condition for each input: `-`, `'DE'`, `< 100`, `[1..10)`, `not('DE')` and others.
    when: Vec<String>,
    /// What it says: any JSON.
    then: Value,
    /// Of `priority`: the highest one of the rows that match wins; 0 when missing.
    #[schema(required = false)]
    priority: f64,
    #[schema(required = false)]
    description: String,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum ConstraintKind {
    Constraint,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum ComputeKind {
    Compute,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum DecisionKind {
    Decision,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum TableKind {
    Table,
}

/// Which of the rows that match count; `unique` when missing.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum Hit {
    Unique,
    First,
    Priority,
    Collect,
}

/// Of `collect`: what becomes of the values of one key; `list` when missing.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum Aggregate {
    List,
    Sum,
    Min,
    Max,
    Count,
}

/// Where a submission goes, and who moves it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// The state of a new submission.
    initial: String,
    /// By name; 1 to 200.
    states: BTreeMap<String, WorkflowState>,
    /// What happens by itself, tried in this order.
    #[schema(max_items = 500, required = false)]
    auto: Vec<AutomaticTransition>,
    /// What people do.
    #[schema(max_items = 500, required = false)]
    transitions: Vec<WorkflowTransition>,
}

/// A state of a workflow.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowState {
    /// For people.
    #[schema(required = false)]
    title: String,
    /// Whether nothing happens after it.
    #[serde(rename = "final")]
    #[schema(required = false)]
    is_final: bool,
    /// JSON Pointers of what may be edited here, with everything below; `""` is all data.
    #[schema(max_items = 200, required = false)]
    edit: Vec<String>,
    /// Roles that may edit; the submitter and whoever may take a transition from here when missing.
    #[schema(max_items = 200, required = false)]
    editors: Vec<String>,
    /// Whether files may be attached and taken off here; where something may be edited when missing.
    #[schema(required = false)]
    attach: bool,
    /// How long a submission may wait here, an ISO 8601 duration.
    #[schema(required = false, example = "P3D")]
    due: String,
    #[schema(inline, required = false)]
    escalate: Escalation,
    /// When it is told that it still waits: ISO 8601 durations, with `-` in front of those before it is due.
    #[schema(max_items = 10, required = false)]
    remind: Vec<String>,
}

/// Where it goes when it waited longer.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct Escalation {
    /// The state.
    to: String,
}

/// A way that a submission takes by itself.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutomaticTransition {
    #[schema(inline)]
    from: OneOrSeveral,
    to: String,
    /// An expression in CEL that must hold; always when missing.
    #[schema(required = false)]
    when: String,
}

/// A way that people take.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowTransition {
    /// Unique among the workflow's transitions.
    name: String,
    /// For people.
    #[schema(required = false)]
    title: String,
    #[schema(inline)]
    from: OneOrSeveral,
    to: String,
    /// Who may; `reviewer` where neither roles nor candidates are named.
    #[schema(max_items = 200, required = false)]
    roles: Vec<String>,
    /// An expression in CEL that gives a person, or a list of people, who may whatever their roles.
    #[schema(required = false)]
    candidates: String,
    /// An expression in CEL that must hold.
    #[schema(required = false)]
    when: String,
    #[schema(inline, required = false)]
    approvals: Approvals,
    #[schema(required = false)]
    exclude_submitter: bool,
    #[schema(inline, required = false)]
    reason: ReasonRule,
    #[schema(inline, required = false)]
    signature: SignatureRule,
    /// JSON Pointers of what may be edited by taking it, beside what its state lets be edited.
    #[schema(max_items = 200, required = false)]
    edit: Vec<String>,
}

/// One state or several.
#[derive(ToSchema)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

/// How many different people it takes; 1 when missing.
#[derive(ToSchema)]
#[serde(untagged)]
enum Approvals {
    Need(u32),
    OfCandidates(ApprovalsOf),
}

#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct ApprovalsOf {
    /// How many.
    #[schema(minimum = 1, maximum = 100)]
    need: u32,
    /// Of the first so many candidates.
    #[schema(minimum = 1, maximum = 100)]
    of: u32,
}

/// Whether a reason must be given; `optional` when missing.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReasonRule {
    Required,
    Optional,
}

/// The signature that must be given.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct SignatureRule {
    /// What it means to sign, word for word.
    #[schema(min_length = 1)]
    meaning: String,
    /// How long ago the signer may have shown their credentials, an ISO 8601 duration.
    #[schema(required = false)]
    max_age: String,
}

/// Which files the form's submissions take.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachmentRules {
    /// Media types; PDF, PNG and JPEG when missing.
    #[schema(min_items = 1, required = false)]
    types: Vec<String>,
    /// The largest file, in bytes; 10 MiB when missing.
    #[schema(minimum = 1, maximum = 104_857_600, required = false)]
    max_bytes: u64,
    /// The most files of one submission; 10 when missing.
    #[schema(minimum = 1, maximum = 100, required = false)]
    max_count: u64,
}
