//! What a rule set says: problems at publish, and the outcome of one submission.
//!
//! Plain data; the embedding program stores and shows it.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::error::Severity;

/// Something the compiler says about one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// Where, as a JSON Pointer into the form definition, such as `/rules/2/when`.
    pub pointer: String,
    /// The rule's id, when it could be read.
    pub rule: Option<Arc<str>>,
    /// What was wrong and what would be right, literal text in backticks.
    pub message: String,
    /// Which bytes of the expression at `pointer`, when the problem is inside an expression.
    pub span: Option<Range<usize>>,
    /// Whether it speaks against the rule set or only of it.
    pub severity: Severity,
}

/// The outcome of evaluating a rule set over one submission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleOutcome {
    /// Constraints that the submission breaks, in rule order. Empty means acceptable.
    pub violations: Vec<Violation>,
    /// Constraints and computes that were not evaluated, because a field they read is missing.
    pub skipped: Vec<Skipped>,
    /// What the computes made, in the order in which they ran.
    pub computed: Vec<Computed>,
    /// What the decisions and tables said, in rule order.
    pub outcomes: Vec<Outcome>,
}

impl RuleOutcome {
    /// What the outcomes rest on, `{ "<rule id>": "tf-" }` or `{ "<rule id>": [2] }`; `None` when no rule has more to say than
    /// its outcome.
    pub fn why_json(&self) -> Option<Json> {
        let why = |outcome: &Outcome| {
            let said = match outcome.why.as_ref()? {
                Why::Conditions(marks) => Json::from(marks.as_str()),
                Why::Rows(rows) => Json::from(rows.as_slice()),
            };
            Some((outcome.rule.to_string(), said))
        };
        let members: serde_json::Map<String, Json> = self.outcomes.iter().filter_map(why).collect();
        (!members.is_empty()).then_some(Json::Object(members))
    }

    /// The outcomes as `{ "<rule id>": {"matched": bool, "value": …} }`, with `reason` or `error` where there is one.
    pub fn outcomes_json(&self) -> Json {
        let members = self.outcomes.iter().map(|outcome| (outcome.rule.to_string(), outcome.to_json()));
        Json::Object(members.collect())
    }
}

/// A constraint that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Arc<str>,
    /// JSON Pointer into the submission's data: the rule's `at`, else the empty pointer.
    pub at: Arc<str>,
    /// The rule's `message`, or why it could not be evaluated.
    pub message: String,
}

/// A rule that was not evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The rule.
    pub rule: Arc<str>,
    /// Which field is missing.
    pub reason: String,
}

/// A computed field.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The rule.
    pub rule: Arc<str>,
    /// JSON Pointer into the submission's data: where the value belongs.
    pub into: Arc<str>,
    /// The value; decimals, dates and timestamps as strings. Null when the computation failed.
    pub value: Arc<Json>,
    /// Why there is no value, when the computation failed.
    pub error: Option<String>,
}

/// What one decision or table said.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The rule.
    pub rule: Arc<str>,
    /// Whether the condition held, or a row of the table matched.
    pub matched: bool,
    /// `then`, `otherwise` or the table's result, shared with the rule where it is the rule's own; null when there is none.
    pub value: Arc<Json>,
    /// Why it did not match, when a field it reads is missing.
    pub reason: Option<String>,
    /// Why it could not be evaluated (division by zero, overflow, …).
    pub error: Option<String>,
    /// What it rests on, when the outcome itself does not say it.
    pub why: Option<Why>,
}

/// What an outcome rests on, as short as it can be recorded; [`crate::RuleSet::explain`] makes it readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// One mark for each atomic condition of a decision that has several, in the order of the source: `t` held, `f` did not,
    /// `-` was not asked, `?` misses a field, `!` failed. At most [`crate::limits::CONDITIONS_RECORDED`].
    Conditions(String),
    /// The rows of a table that matched, from 0. Under `first` it is the one that counted.
    Rows(Vec<usize>),
}

impl Outcome {
    /// `{"matched": bool, "value": …}`, with `reason` or `error` where there is one.
    pub fn to_json(&self) -> Json {
        let mut json = json!({"matched": self.matched, "value": *self.value});
        for (name, text) in [("reason", &self.reason), ("error", &self.error)] {
            if let Some(text) = text {
                json[name] = Json::from(text.as_str());
            }
        }
        json
    }
}
