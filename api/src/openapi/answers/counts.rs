//! The shapes of statistics, and of what changed between two moments.

use chrono::{DateTime, NaiveDate, Utc};
use utoipa::ToSchema;
use uuid::Uuid;

use super::TimelineEntry;
use super::parts::{FieldChange, OutcomeChange};

/// Counts; docs/statistics.md tells what each is.
#[derive(ToSchema)]
pub struct Counts {
    /// Submissions by form and state.
    states: Vec<StateCount>,
    /// Submissions by form and day on which they were made.
    days: Vec<DayCount>,
    /// What each rule said, as often as it was asked, which an amendment does again.
    outcomes: Vec<OutcomeCount>,
    /// How long submissions were in a state before they went on, and since which day those are there that wait or are drafts.
    times: Vec<StateTime>,
    position: u64,
}

/// Submissions of a form in a state.
#[derive(ToSchema)]
pub struct StateCount {
    form: String,
    state: String,
    count: u64,
}

/// Submissions of a form on a day.
#[derive(ToSchema)]
pub struct DayCount {
    form: String,
    day: NaiveDate,
    count: u64,
}

/// How often a rule said something.
#[derive(ToSchema)]
pub struct OutcomeCount {
    form: String,
    rule: String,
    matched: bool,
    /// What it said; absent where it said nothing, and of all values behind the first ones together.
    #[schema(required = false)]
    value: serde_json::Value,
    count: u64,
}

/// How long submissions are in a state.
#[derive(ToSchema)]
pub struct StateTime {
    form: String,
    state: String,
    /// Absent where none went on yet.
    #[schema(required = false)]
    ended: EndedStays,
    open: OpenStays,
}

/// Stays that ended.
#[derive(ToSchema)]
pub struct EndedStays {
    count: u64,
    /// Exact to the millisecond.
    mean_seconds: f64,
    /// The end of the class in which half of them have ended, so it may exceed the mean.
    p50_seconds: u64,
    /// The same of nine of ten.
    p90_seconds: u64,
    /// The same of ninety-nine of a hundred.
    p99_seconds: u64,
}

/// Stays that go on.
#[derive(ToSchema)]
pub struct OpenStays {
    count: u64,
    /// By the day on which they began, oldest first.
    since: Vec<SinceDay>,
}

/// Stays that go on since a day.
#[derive(ToSchema)]
pub struct SinceDay {
    day: NaiveDate,
    count: u64,
}

/// A submission at one moment.
#[derive(ToSchema)]
pub struct DiffEnd {
    position: u64,
    /// When its last event until then was recorded; absent where it was not there yet.
    #[schema(required = false)]
    updated_at: Option<DateTime<Utc>>,
    /// Absent where it was not there yet.
    #[schema(required = false)]
    state: Option<String>,
    sequence: u64,
}

/// What changed in a submission.
#[derive(ToSchema)]
pub struct SubmissionDiff {
    submission_id: Uuid,
    from: DiffEnd,
    to: DiffEnd,
    /// Fields that differ.
    changes: Vec<FieldChange>,
    /// Rules that say something else.
    outcomes: Vec<OutcomeChange>,
    events: Vec<TimelineEntry>,
    position: u64,
}

/// How many submissions of a form were in a state at both moments.
#[derive(ToSchema)]
pub struct StateChange {
    form: String,
    state: String,
    from: u64,
    to: u64,
}

/// A state before and after.
#[derive(ToSchema)]
pub struct StateFromTo {
    /// Absent where it was not there yet.
    #[schema(required = false)]
    from: Option<String>,
    to: String,
}

/// A sequence before and after.
#[derive(ToSchema)]
pub struct SequenceFromTo {
    /// Absent where it was not there yet.
    #[schema(required = false)]
    from: Option<u64>,
    to: u64,
}

/// A submission to which something happened.
#[derive(ToSchema)]
pub struct ChangedSubmission {
    submission_id: Uuid,
    form: String,
    form_version: u32,
    submitter: String,
    state: StateFromTo,
    sequence: SequenceFromTo,
    updated_at: DateTime<Utc>,
    position: u64,
    /// At most 20 fields.
    changes: Vec<FieldChange>,
    /// How many further ones there are.
    #[schema(required = false)]
    changes_left_out: Option<u64>,
}

/// What changed among all submissions.
#[derive(ToSchema)]
pub struct Diff {
    from: u64,
    to: u64,
    states: Vec<StateChange>,
    items: Vec<ChangedSubmission>,
    #[schema(required = false)]
    next_cursor: Option<String>,
    position: u64,
}
