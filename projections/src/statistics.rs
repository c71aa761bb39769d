//! The statistics read model: how many submissions are in which state, came on which day, and what the rules said.

use chrono::NaiveDate;
use formledger_domain::{CanonicalJson, FormId};
use serde::Serialize;

/// Counts of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// By form and state, of all submissions.
    pub states: Vec<StateCount>,
    /// By form and UTC day of creation, newest first.
    pub days: Vec<DayCount>,
    /// By form, rule and what it said, of all evaluations.
    pub outcomes: Vec<OutcomeCount>,
}

/// Submissions of a form in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateCount {
    /// The form.
    pub form: FormId,
    /// The state.
    pub state: String,
    /// How many.
    pub count: u64,
}

/// Submissions of a form created on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayCount {
    /// The form.
    pub form: FormId,
    /// The UTC day.
    pub day: NaiveDate,
    /// How many.
    pub count: u64,
}

/// How often a rule of a form said something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// The form.
    pub form: FormId,
    /// The rule's id.
    pub rule: String,
    /// Whether its condition held.
    pub matched: bool,
    /// What it said; absent where it said nothing, or where its values are too many to count apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<CanonicalJson>,
    /// How many evaluations.
    pub count: u64,
}
