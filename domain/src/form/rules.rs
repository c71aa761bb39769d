//! A form's rules, run over one submission: constraints that refuse it, and outcomes and computed fields that are recorded with it.
//! The language is the `rules` crate's; here its results get the shapes that events and clients know.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_rules::{
    Budget, Layout, RuleOutcome, RuleProblem, RuleSet, Severity as RuleSeverity, Slot, Type,
    Value as RuleValue,
};
use serde_json::{Map, Value, json};

use super::ast::Field;
use super::problem::{DefinitionProblem, Severity, SourceSpan};
use super::violation::{VIOLATIONS_MAX, Violation};
use crate::json::CanonicalJson;

/// What all rules of a form may spend on one submission, in the rules crate's cost units; a rule that finds it spent says so as its
/// error.
const BUDGET_UNITS: u64 = 2_000_000;
/// The variable that holds the time of the submission. It is recorded beside the outcomes of rules that read it, so that a back-test asks
/// at the same moment.
const NOW: &str = "now";

/// What the rules of a form may read: its fields, and `now`.
pub(super) fn layout(fields: &Field) -> Layout {
    Layout::new(Arc::new(fields.object_type())).with_variable(NOW, Type::Timestamp)
}

/// What the rules said about accepted data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Computed values, by JSON Pointer into the data.
    pub computed: CanonicalJson,
    /// `{ "<rule id>": {"matched": bool, "value": …} }` for every rule that is no constraint, with `reason` or `error` where there
    /// is one.
    pub outcomes: CanonicalJson,
    /// What the outcomes rest on, in the short form that [`super::CompiledForm::explain`] reads; `None` where they say it all.
    pub why: Option<CanonicalJson>,
    /// What `now` was; `None` where no rule reads it.
    pub now: Option<DateTime<Utc>>,
}

/// The compiled rules of one form version.
#[derive(Debug)]
pub(super) struct FormRules {
    set: RuleSet,
    now: Slot,
    /// Whether some rule reads it.
    reads_now: bool,
    computes: Vec<Arc<str>>,
    /// Whether there is anything to record: constraints leave nothing behind.
    records: bool,
}

impl FormRules {
    /// Compiles the `rules` of a definition against a [`layout`]; answers the checker's remarks too.
    pub(super) fn compile(
        rules: &Value,
        layout: &Layout,
    ) -> Result<(Self, Vec<DefinitionProblem>), Vec<DefinitionProblem>> {
        let set = RuleSet::compile(rules, layout).map_err(|problems| told(&problems))?;
        let remarks = told(set.remarks());
        let now = set.layout().variable(&[NOW]).expect("`layout` declares it");
        let of_kind = |kind: &'static str| {
            let rules = rules.as_array().into_iter().flatten();
            rules.filter(move |rule| rule["kind"] == kind)
        };
        let computes = of_kind("compute").filter_map(|rule| rule["id"].as_str()).map(Arc::from).collect();
        let all = rules.as_array().map_or(0, Vec::len);
        let records = of_kind("constraint").count() < all;
        let reads_now = set.reads(now);
        Ok((Self { set, now, reads_now, computes, records }, remarks))
    }

    /// The slots of fields, computed ones among them.
    pub(super) fn layout(&self) -> &Layout {
        self.set.layout()
    }

    /// The rules themselves, for expressions that run beside them.
    pub(super) fn set(&self) -> &RuleSet {
        &self.set
    }

    /// Runs the rules over data that fit the schema; `None` when there is nothing to record.
    pub(super) fn run(&self, data: &Value, now: DateTime<Utc>) -> Result<Option<Verdict>, Vec<Violation>> {
        if self.set.is_empty() {
            return Ok(None);
        }
        let outcome =
            self.set.evaluate(data, &[(self.now, RuleValue::Timestamp(now))], &mut Budget::new(BUDGET_UNITS));
        if !outcome.violations.is_empty() {
            return Err(outcome.violations.into_iter().take(VIOLATIONS_MAX).map(violation).collect());
        }
        Ok(self.records.then(|| self.verdict(outcome, now)))
    }

    fn verdict(&self, outcome: RuleOutcome, now: DateTime<Utc>) -> Verdict {
        let why = outcome.why_json().map(canonical);
        let mut outcomes = Map::new();
        for said in &outcome.outcomes {
            outcomes.insert(said.rule.to_string(), said.to_json());
        }
        for skipped in outcome.skipped.iter().filter(|skipped| self.computes.contains(&skipped.rule)) {
            let said = json!({"matched": false, "value": null, "reason": skipped.reason});
            outcomes.insert(skipped.rule.to_string(), said);
        }
        let mut computed = Map::new();
        for made in outcome.computed {
            let said = match made.error {
                Some(error) => json!({"matched": false, "value": null, "error": error}),
                None => {
                    computed.insert(made.into.to_string(), made.value.clone());
                    json!({"matched": true, "value": made.value})
                }
            };
            outcomes.insert(made.rule.to_string(), said);
        }
        Verdict {
            computed: canonical(Value::Object(computed)),
            outcomes: canonical(Value::Object(outcomes)),
            why,
            now: self.reads_now.then_some(now),
        }
    }
}

/// A rule may arrive at a number that JSON cannot carry exactly. It is recorded as a decimal string, as a sender would have to.
fn canonical(said: Value) -> CanonicalJson {
    CanonicalJson::from_value(&said).unwrap_or_else(|_| {
        CanonicalJson::from_value(&with_exact_numbers(said)).expect("no number is left that could be inexact")
    })
}

fn with_exact_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) if CanonicalJson::from_value(&Value::Number(number.clone())).is_err() => {
            Value::String(number.to_string())
        }
        Value::Array(items) => items.into_iter().map(with_exact_numbers).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, with_exact_numbers(member))).collect()
        }
        other => other,
    }
}

fn violation(broken: formledger_rules::Violation) -> Violation {
    Violation { pointer: broken.at.to_string(), keyword: broken.rule.to_string(), message: broken.message }
}

fn told(problems: &[RuleProblem]) -> Vec<DefinitionProblem> {
    let tell = |problem: &RuleProblem| DefinitionProblem {
        pointer: problem.pointer.clone(),
        message: problem.message.clone(),
        span: problem.span.as_ref().map(|span| SourceSpan { start: span.start, end: span.end }),
        severity: match problem.severity {
            RuleSeverity::Error => Severity::Error,
            RuleSeverity::Warning => Severity::Warning,
        },
    };
    problems.iter().map(tell).collect()
}
