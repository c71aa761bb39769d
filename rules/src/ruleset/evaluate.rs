//! Running a rule set over bound slots; see [`super`] for the order and for what missing fields do.

use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use super::outcome::{Computed, Outcome, RuleOutcome, Skipped, Violation, Why};
use super::table::{Matched, Said, Table};
use super::{Action, MATCHED, OUTCOMES, Rule, VALUE};
use crate::budget::Budget;
use crate::error::{ErrorKind, EvalError};
use crate::layout::{Layout, Member, Slot};
use crate::program::Program;
use crate::slots::Slots;
use crate::time::format_duration_field;
use crate::types::Type;
use crate::value::{Map, Value, from_json, made_json, make_as_recorded};

/// Runs all rules; results that later rules may read go into the slots. `kept` has room for as many as [`Rule::keeps`] says.
pub(super) fn evaluate<'a>(
    rules: &'a [Rule],
    layout: &'a Layout,
    slots: &mut Slots<'a>,
    budget: &mut Budget,
    kept: &'a mut [Option<Arc<Json>>],
) -> RuleOutcome {
    let mut run = Run {
        layout,
        slots,
        budget,
        kept: kept.iter_mut(),
        violations: Vec::new(),
        outcomes: Vec::new(),
        result: RuleOutcome::default(),
    };
    rules.iter().for_each(|rule| run.rule(rule));
    let Run { mut violations, mut outcomes, mut result, .. } = run;
    // Rules ran by dependency; what people read is in the order of the definition.
    violations.sort_by_key(|(place, _)| *place);
    outcomes.sort_by_key(|(place, _)| *place);
    result.violations = violations.into_iter().map(|(_, violation)| violation).collect();
    result.outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    result
}

struct Run<'r, 'a> {
    layout: &'a Layout,
    slots: &'r mut Slots<'a>,
    budget: &'r mut Budget,
    /// Room for results that are read as their JSON says.
    kept: std::slice::IterMut<'a, Option<Arc<Json>>>,
    violations: Vec<(usize, Violation)>,
    outcomes: Vec<(usize, Outcome)>,
    result: RuleOutcome,
}

impl<'a> Run<'_, 'a> {
    /// Runs one rule. Most rules of a form are constraints that hold; what other rules do is never inlined, so that these cost
    /// next to nothing beside their condition.
    fn rule(&mut self, rule: &'a Rule) {
        match &rule.action {
            Action::Constraint { assert, at, message } => match assert.eval_bool(self.slots, self.budget) {
                Ok(true) => {}
                other => self.refused(rule, other, at, message),
            },
            Action::Compute { value, into, slot, ty } => self.compute(rule, value, into, *slot, ty),
            Action::Decision { when, then, otherwise } => self.decision(rule, when, then, otherwise),
            Action::Table(table) => self.table(rule, table),
        }
    }

    #[cold]
    fn refused(&mut self, rule: &Rule, asserted: Result<bool, EvalError>, at: &Arc<str>, message: &str) {
        let message = match asserted {
            Ok(true) => return,
            Ok(false) => message.to_owned(),
            Err(error) if error.kind() == ErrorKind::Missing => return self.skip(rule, &error),
            Err(error) => format!("`{}` could not be evaluated: {error}", rule.id),
        };
        self.violations.push((rule.place, Violation { rule: rule.id.clone(), at: at.clone(), message }));
    }

    #[inline(never)]
    fn compute(&mut self, rule: &Rule, value: &'a Program, into: &Arc<str>, slot: Slot, ty: &'a Type) {
        let made =
            value.eval(self.slots, self.budget).and_then(|value| self.as_read(fitting(value, ty)?, ty));
        self.computed(rule, into, slot, made);
    }

    /// The JSON of a computed value, and the value that whoever reads the field has: what is recorded is all that guards know of it.
    fn as_read(&mut self, value: Value<'a>, ty: &'a Type) -> Result<(Arc<Json>, Value<'a>), EvalError> {
        let mut json = match &value {
            // As the format of such a field has it; also where nobody knows its type, because it has always been recorded so.
            Value::Duration(nanos) => Json::String(format_duration_field(*nanos)),
            value => made_json(value)?,
        };
        if is_plain(ty) {
            return Ok((json.into(), value));
        }
        make_as_recorded(&mut json, ty);
        let json = Arc::new(json);
        let value = from_json(self.keep(json.clone()), ty)?;
        Ok((json, value))
    }

    /// Keeps a result for as long as rules read it.
    fn keep(&mut self, json: Arc<Json>) -> &'a Arc<Json> {
        let room = self.kept.next().expect("there is room for each rule that keeps something");
        room.insert(json)
    }

    /// Puts a computed value into its slot and into the result. A field whose value could not be computed is absent.
    fn computed(
        &mut self,
        rule: &Rule,
        into: &Arc<str>,
        slot: Slot,
        made: Result<(Arc<Json>, Value<'a>), EvalError>,
    ) {
        let (value, error) = match made {
            Ok((json, value)) => {
                self.slots.set(slot, value);
                (json, None)
            }
            Err(error) => {
                self.slots.clear(slot);
                if error.kind() == ErrorKind::Missing {
                    return self.skip(rule, &error);
                }
                (Arc::default(), Some(error.to_string()))
            }
        };
        self.result.computed.push(Computed { rule: rule.id.clone(), into: into.clone(), value, error });
    }

    #[inline(never)]
    fn decision(&mut self, rule: &Rule, when: &'a Program, then: &'a Arc<Json>, otherwise: &'a Arc<Json>) {
        let mut trace = String::new();
        let (matched, value, failure) = match when.eval_traced(self.slots, self.budget, &mut trace) {
            Ok(true) => (true, Some(then), None),
            Ok(false) => (false, Some(otherwise), None),
            Err(error) if error.kind() == ErrorKind::Missing => (false, Some(otherwise), Some(error)),
            Err(error) => (false, None, Some(error)),
        };
        self.record(rule, matched, value.map(|value| &**value));
        let why = (!trace.is_empty()).then_some(Why::Conditions(trace));
        self.say(rule, matched, value.cloned().unwrap_or_default(), failure, why);
    }

    fn skip(&mut self, rule: &Rule, error: &EvalError) {
        self.result.skipped.push(Skipped { rule: rule.id.clone(), reason: error.to_string() });
    }

    /// Adds an outcome. A missing field is a reason, anything else an error.
    fn say(
        &mut self,
        rule: &Rule,
        matched: bool,
        value: Arc<Json>,
        failure: Option<EvalError>,
        why: Option<Why>,
    ) {
        let missing = failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::Missing);
        let text = failure.map(|error| error.to_string());
        let (reason, error) = if missing { (text, None) } else { (None, text) };
        self.outcomes
            .push((rule.place, Outcome { rule: rule.id.clone(), matched, value, reason, error, why }));
    }

    #[inline(never)]
    fn table(&mut self, rule: &'a Rule, table: &'a Table) {
        match table.run(self.slots, self.budget) {
            Ok(Matched { said, rows }) => self.said(rule, said, rows),
            Err(error) => {
                self.record(rule, false, None);
                self.say(rule, false, Arc::default(), Some(error), None);
            }
        }
    }

    fn said(&mut self, rule: &'a Rule, said: Said<'a>, rows: Vec<usize>) {
        let why = (!rows.is_empty()).then_some(Why::Rows(rows));
        match said {
            Said::Nothing(otherwise) => {
                self.record(rule, false, Some(otherwise));
                self.say(rule, false, otherwise.clone(), None, why);
            }
            Said::Row(then) => {
                self.record(rule, true, Some(then));
                self.say(rule, true, then.clone(), None, why);
            }
            Said::Keys(keys) => {
                let json =
                    |(key, value): (&str, Value<'a>)| (key.to_owned(), value.to_json().unwrap_or(Json::Null));
                self.collected(rule, Json::Object(keys.into_iter().map(json).collect()).into(), why);
            }
            Said::Scalar(value) => self.collected(rule, value.to_json().unwrap_or(Json::Null).into(), why),
        }
    }

    /// Says what several rows of a table gave, of which no row has the JSON.
    fn collected(&mut self, rule: &Rule, json: Arc<Json>, why: Option<Why>) {
        if rule.keeps() {
            let kept = self.keep(json.clone());
            self.record(rule, true, Some(kept));
        }
        self.say(rule, true, json, None, why);
    }

    /// Puts an outcome where `outcomes.<rule>` is read.
    fn record(&mut self, rule: &Rule, matched: bool, value: Option<&'a Json>) {
        if !rule.read {
            return;
        }
        if let Some(outcome) = outcome_member(self.layout, &rule.id) {
            fill_outcome(outcome, self.slots, matched, value.unwrap_or(&Json::Null));
        }
    }
}

/// The value when it is what its field holds; checked here because a `dyn` expression may make anything.
fn fitting<'a>(value: Value<'a>, ty: &Type) -> Result<Value<'a>, EvalError> {
    let fits = ty.kind().is_none_or(|kind| kind == value.kind());
    if fits {
        // Canonical JSON has no negative zero.
        return Ok(if let Value::Double(double) = value { Value::Double(double + 0.0) } else { value });
    }
    if matches!(value, Value::Null) {
        return Err(EvalError::new(ErrorKind::Missing, "the computed value is null"));
    }
    let message = format!("the computed value is {}, but its field holds {ty}", value.kind());
    Err(EvalError::new(ErrorKind::Misfit, message))
}

/// Whether values of this type are the same when they are read from their JSON. Others may hold what JSON has no form of its own for.
fn is_plain(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Timestamp
            | Type::Duration
            | Type::Decimal
            | Type::Date
    )
}

impl Rule {
    /// Whether its result is kept as JSON while the rules run, because other rules read it so.
    pub(super) fn keeps(&self) -> bool {
        match &self.action {
            Action::Compute { ty, .. } => !is_plain(ty),
            Action::Table(table) => self.read && table.collects(),
            Action::Constraint { .. } | Action::Decision { .. } => false,
        }
    }
}

/// The member `outcomes.<rule>`.
fn outcome_member<'a>(layout: &'a Layout, rule: &str) -> Option<&'a Member> {
    layout.variables().member(OUTCOMES)?.branch.as_ref()?.member(rule)
}

/// The keys of a result that is no object. JSON, because a key that a rule did not give is a missing value like a member of the data.
static NO_KEYS: LazyLock<serde_json::Map<String, Json>> = LazyLock::new(serde_json::Map::new);

/// Fills the slots of one outcome: its keys, then `matched` and `value` where no key has that name.
fn fill_outcome<'a>(outcome: &'a Member, slots: &mut Slots<'a>, matched: bool, value: &'a Json) {
    slots.bind_member(outcome, value);
    if !value.is_object() {
        // The rule ran, so `has(outcomes.<rule>)` holds although there are no keys.
        slots.set(outcome.slot, Value::Map(Map::Json(&NO_KEYS, &outcome.ty)));
    }
    let Some(branch) = &outcome.branch else { return };
    let keyed = |name: &str| value.get(name).is_some();
    if let Some(member) = branch.member(MATCHED).filter(|_| !keyed(MATCHED)) {
        slots.set(member.slot, Value::Bool(matched));
    }
    if let Some(member) = branch.member(VALUE).filter(|_| !value.is_object() && !value.is_null()) {
        slots.bind_member(member, value);
    }
}

/// Fills the slots of all outcomes from their recorded form; what is not recorded is absent.
pub(super) fn bind_outcomes<'a>(layout: &'a Layout, slots: &mut Slots<'a>, outcomes: &'a Json) {
    let Some(rules) = layout.variables().member(OUTCOMES).and_then(|member| member.branch.as_ref()) else {
        return;
    };
    for rule in &rules.members {
        match outcomes.get(&*rule.name) {
            Some(recorded) => {
                let matched = recorded.get("matched").and_then(Json::as_bool).unwrap_or(false);
                fill_outcome(rule, slots, matched, recorded.get("value").unwrap_or(&Json::Null));
            }
            None => slots.absent(rule),
        }
    }
}
