//! A form's rules, run over one submission: constraints that refuse it, and outcomes and computed fields that are recorded with it.
//! The language is the `rules` crate's; here its results get the shapes that events and clients know.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_rules::{
    Budget, Layout, Outcome, RuleOutcome, RuleProblem, RuleSet, Severity as RuleSeverity, Slot, Type,
    Value as RuleValue,
};
use serde_json::{Map, Value};

use super::ast::Field;
use super::problem::{DefinitionProblem, Severity, SourceSpan};
use super::violation::{VIOLATIONS_MAX, Violation};
use crate::json::pointer::take;
use crate::json::{CanonicalJson, append, append_string, by_utf16, refuse_inexact};

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
    /// Computed values, by JSON Pointer into the data; `null` where a rule made nothing of its field, and something was filled in there; an empty
    /// object where the data have a null that a computed value lies in.
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
    /// The fields that they compute.
    computed: Vec<Arc<str>>,
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
        let computed = of_kind("compute").filter_map(|rule| rule["into"].as_str()).map(Arc::from).collect();
        let all = rules.as_array().map_or(0, Vec::len);
        let records = of_kind("constraint").count() < all;
        let reads_now = set.reads(now);
        Ok((Self { set, now, reads_now, computes, computed, records }, remarks))
    }

    /// The slots of fields, computed ones among them.
    pub(super) fn layout(&self) -> &Layout {
        self.set.layout()
    }

    /// The fields that they compute.
    pub(super) fn computed(&self) -> &[Arc<str>] {
        &self.computed
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
        let filled_in: Vec<&Arc<str>> =
            self.computed.iter().filter(|field| data.pointer(field).is_some()).collect();
        // A rule may read an object as a whole, with what somebody filled in for a field in it that is computed.
        let without = (!filled_in.is_empty()).then(|| {
            let mut without = data.clone();
            filled_in.iter().for_each(|field| take(&mut without, field));
            without
        });
        let outcome = self.set.evaluate(
            without.as_ref().unwrap_or(data),
            &[(self.now, RuleValue::Timestamp(now))],
            &mut Budget::new(BUDGET_UNITS),
        );
        if !outcome.violations.is_empty() {
            return Err(outcome.violations.into_iter().take(VIOLATIONS_MAX).map(violation).collect());
        }
        Ok(self.records.then(|| self.verdict(outcome, data, &filled_in, now)))
    }

    fn verdict(
        &self,
        mut outcome: RuleOutcome,
        data: &Value,
        filled_in: &[&Arc<str>],
        now: DateTime<Utc>,
    ) -> Verdict {
        let nulls = make_places(&mut outcome, data);
        let skipped = outcome.skipped.iter().filter(|skipped| self.computes.contains(&skipped.rule));
        let skipped = skipped.map(|skipped| Said::nothing(&skipped.rule, None, Some(&skipped.reason)));
        let made = outcome.computed.iter().map(|made| match &made.error {
            Some(error) => Said::nothing(&made.rule, Some(error), None),
            None => Said { matched: true, value: &made.value, ..Said::nothing(&made.rule, None, None) },
        });
        let outcomes =
            said_by_all(outcome.outcomes.iter().map(Said::of).chain(skipped).chain(made).collect());
        let why = outcome.why_json().map(canonical);
        let values = outcome.computed.into_iter().filter(|made| made.error.is_none());
        let mut computed: Map<String, Value> =
            values.map(|made| (made.into.to_string(), Arc::unwrap_or_clone(made.value))).collect();
        // Before what lies in them, as their pointers are shorter.
        computed.extend(nulls.into_iter().map(|object| (object, Value::Object(Map::new()))));
        // What somebody filled in is no value of a computed field: no rule saw it, so nothing else may.
        for field in filled_in {
            computed.entry(field.to_string()).or_insert(Value::Null);
        }
        Verdict {
            computed: canonical(Value::Object(computed)),
            outcomes,
            why,
            now: self.reads_now.then_some(now),
        }
    }
}

/// The nulls of `data` that have to become objects, because something is computed into them: rules take a null for an object that is not
/// there. A value for which there is no place, because something else stands in the way, is an error of its rule.
fn make_places(outcome: &mut RuleOutcome, data: &Value) -> BTreeSet<String> {
    let mut nulls = BTreeSet::new();
    for made in outcome.computed.iter_mut().filter(|made| made.error.is_none()) {
        match in_the_way(data, &made.into) {
            None => {}
            Some((object, Value::Null)) => drop(nulls.insert(object.to_owned())),
            Some((other, _)) => {
                made.value = Arc::default();
                made.error = Some(format!("there is no place for it: `{other}` is no object"));
            }
        }
    }
    nulls
}

/// What stands above `pointer` in `data` and is no object, with its own pointer; `None` where nothing does: objects that are missing are made.
fn in_the_way<'d, 'p>(data: &'d Value, pointer: &'p str) -> Option<(&'p str, &'d Value)> {
    let above = pointer.match_indices('/').skip(1).map(|(end, _)| &pointer[..end]);
    above.map_while(|object| Some((object, data.pointer(object)?))).find(|(_, there)| !there.is_object())
}

/// What one rule said, as it is recorded.
struct Said<'a> {
    rule: &'a str,
    error: Option<&'a str>,
    matched: bool,
    reason: Option<&'a str>,
    value: &'a Value,
}

impl<'a> Said<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let (error, reason) = (outcome.error.as_deref(), outcome.reason.as_deref());
        Self { rule: &outcome.rule, error, matched: outcome.matched, reason, value: &outcome.value }
    }

    fn nothing(rule: &'a str, error: Option<&'a str>, reason: Option<&'a str>) -> Self {
        Self { rule, error, matched: false, reason, value: &Value::Null }
    }

    /// Appends it as canonical JSON.
    fn write(&self, text: &mut String) {
        text.push('{');
        if let Some(error) = self.error {
            text.push_str("\"error\":");
            append_string(text, error);
            text.push(',');
        }
        text.push_str(if self.matched { "\"matched\":true," } else { "\"matched\":false," });
        if let Some(reason) = self.reason {
            text.push_str("\"reason\":");
            append_string(text, reason);
            text.push(',');
        }
        text.push_str("\"value\":");
        append_exact(text, self.value);
        text.push('}');
    }
}

/// Room for the outcomes of most forms, in bytes.
const OUTCOMES_BYTES: usize = 256;

/// `{ "<rule id>": … }` in canonical form, without a tree in between: it is made for every submission.
fn said_by_all(mut said: Vec<Said<'_>>) -> CanonicalJson {
    said.sort_by(|a, b| by_utf16(a.rule, b.rule));
    let mut text = String::with_capacity(OUTCOMES_BYTES);
    text.push('{');
    for (place, one) in said.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        append_string(&mut text, one.rule);
        text.push(':');
        one.write(&mut text);
    }
    text.push('}');
    CanonicalJson::from_stored(text)
}

/// Appends a value as canonical JSON, its inexact numbers as [`canonical`] has them.
fn append_exact(text: &mut String, value: &Value) {
    match value {
        exact if refuse_inexact(exact).is_ok() => append(text, exact),
        _ => text.push_str(canonical(value.clone()).as_str()),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::num::f64::ANY.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..3).prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_rules_said_is_written_as_a_tree_of_it_would_be(
            rules in prop::collection::btree_map(
                any::<String>(),
                (prop::option::of(any::<String>()), any::<bool>(), prop::option::of(any::<String>()), value()),
                0..5,
            ),
        ) {
            let said = rules.iter().map(|(rule, (error, matched, reason, value))| Said {
                rule, error: error.as_deref(), matched: *matched, reason: reason.as_deref(), value,
            });
            let tree = rules.iter().map(|(rule, (error, matched, reason, value))| {
                let mut one = json!({"matched": matched, "value": value});
                for (name, text) in [("error", error), ("reason", reason)] {
                    if let Some(text) = text {
                        one[name] = json!(text);
                    }
                }
                (rule.clone(), one)
            });
            let tree = Value::Object(tree.collect());
            prop_assert_eq!(said_by_all(said.rev().collect()), canonical(tree));
        }
    }
}
