//! The expressions of a workflow: guards and candidates, compiled against the form's fields, the rules' outcomes and who acts.
//! Made by `Workflow::compile`; evaluated when a submission moves. Nothing here decides what follows.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use formledger_rules::{
    Budget, EvalError, Layout, Problem, Program, RuleSet, Severity as RuleSeverity, Slot, SlotSet, Slots,
    Type, Value as Term,
};
use serde_json::Value;

use super::super::problem::{DefinitionProblem, Severity, SourceSpan};
use crate::context::{Actor, SUBJECT_BYTES_MAX};
use crate::json::pointer;

/// What one expression of a workflow may spend, in the rules crate's cost units; one that needs more does not hold.
const BUDGET_UNITS: u64 = 200_000;
/// The most people that a candidates expression may name; further ones are left out.
pub const CANDIDATES_MAX: usize = 100;

/// What expressions see.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The data, computed fields in their places.
    pub data: &'a Value,
    /// What the rules said, as `rules-evaluated` records it.
    pub outcomes: &'a Value,
    /// Who made the submission.
    pub submitter: &'a str,
    /// Who acts; `None` when the submission moves by itself.
    pub actor: Option<&'a Actor>,
    /// When.
    pub now: DateTime<Utc>,
}

/// The documents of [`Facts`] as rules saw them before they were recorded. Made once for all guards that are asked of them.
pub(super) struct Documents<'a> {
    data: Cow<'a, Value>,
    /// The data without what is computed inside objects, where something is: rules have such objects as they were filled in.
    filled_in: Option<Value>,
    outcomes: Cow<'a, Value>,
}

impl<'a> Documents<'a> {
    pub fn of(facts: &Facts<'a>, rules: &RuleSet) -> Self {
        let mut filled_in = None;
        let inside = |field: &&str| field.matches('/').count() > 1 && facts.data.pointer(field).is_some();
        for field in rules.computed().filter(inside) {
            pointer::take_with_objects(filled_in.get_or_insert_with(|| facts.data.clone()), field);
        }
        Self {
            data: rules.restore_computed(facts.data),
            filled_in,
            outcomes: rules.restore_outcomes(facts.outcomes),
        }
    }
}

/// Why a guard does not let a submission through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardFailed {
    /// The guard, as written.
    pub guard: String,
    /// Why it could not be evaluated; `None` when it is plainly false.
    pub error: Option<String>,
}

/// The names that an expression may use beside fields and `outcomes`.
#[derive(Debug)]
pub(super) struct Scope {
    layout: Layout,
    submitter: Slot,
    now: Slot,
    /// `actor` and `roles`, where a person acts.
    person: Option<(Slot, Slot)>,
}

impl Scope {
    /// When a submission moves by itself: `submitter`, `now`.
    pub(super) fn alone(rules: &RuleSet) -> Self {
        let layout = rules.layout().clone();
        let layout = layout.with_variable("submitter", Type::String).with_variable("now", Type::Timestamp);
        let slot = |name| layout.variable(&[name]).expect("added above");
        Self { submitter: slot("submitter"), now: slot("now"), person: None, layout }
    }

    /// When a person moves it: `actor` and `roles` too.
    pub(super) fn personal(rules: &RuleSet) -> Self {
        let Self { layout, submitter, now, .. } = Self::alone(rules);
        let layout =
            layout.with_variable("actor", Type::String).with_variable("roles", Type::list(Type::String));
        let slot = |name| layout.variable(&[name]).expect("added above");
        Self { person: Some((slot("actor"), slot("roles"))), submitter, now, layout }
    }

    /// The slots of `actor` and `roles`, where a person acts.
    pub(super) fn person(&self) -> Option<(Slot, Slot)> {
        self.person
    }

    fn bind<'a>(&'a self, rules: &'a RuleSet, facts: &Facts<'a>, documents: &'a Documents<'_>) -> Slots<'a> {
        let mut slots = self.layout.bind(documents.filled_in.as_ref().unwrap_or(&documents.data));
        // The scope's layout is the rules' own with more variables, so their slots are the same.
        rules.bind_computed(&mut slots, &documents.data, &documents.outcomes);
        rules.bind_outcomes(&mut slots, &documents.outcomes);
        slots.set(self.submitter, Term::from(facts.submitter));
        slots.set(self.now, Term::Timestamp(facts.now));
        if let (Some((actor, roles)), Some(person)) = (self.person, facts.actor) {
            slots.set(actor, Term::from(&*person.subject));
            slots.set(roles, Term::list(person.roles.iter().map(|role| Term::from(role.as_str())).collect()));
        }
        slots
    }
}

/// What is found in the expressions of a workflow.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub problems: Vec<DefinitionProblem>,
    /// What is not published any more, but works where it was.
    pub tolerated: Vec<DefinitionProblem>,
}

/// A condition.
#[derive(Debug)]
pub(super) struct Guard {
    text: String,
    program: Program,
}

impl Guard {
    /// Compiles a condition that stands at `pointer`; `None` with a problem when it is none.
    pub(super) fn compile(text: &str, scope: &Scope, pointer: &str, found: &mut Found) -> Option<Self> {
        let program = program(text, scope, pointer, found)?;
        if !matches!(program.result_type().non_null(), Type::Bool | Type::Dyn) {
            let message = format!("a guard is a bool; this is {}", program.result_type());
            found.problems.push(DefinitionProblem::error(pointer, message));
            return None;
        }
        Some(Self { text: text.to_owned(), program })
    }

    pub(super) fn holds(
        &self,
        scope: &Scope,
        rules: &RuleSet,
        facts: &Facts<'_>,
        documents: &Documents<'_>,
    ) -> Result<(), GuardFailed> {
        let slots = scope.bind(rules, facts, documents);
        match self.program.eval_bool(&slots, &mut Budget::new(BUDGET_UNITS)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.failed(None)),
            Err(error) => Err(self.failed(Some(&error))),
        }
    }

    /// Whether it reads what a slot holds.
    pub(super) fn reads(&self, slot: Slot) -> bool {
        self.program.uses().contains(slot)
    }

    fn failed(&self, error: Option<&EvalError>) -> GuardFailed {
        GuardFailed { guard: self.text.clone(), error: error.map(ToString::to_string) }
    }
}

/// An expression that names people.
#[derive(Debug)]
pub(super) struct Candidates(Program);

impl Candidates {
    /// Compiles an expression that stands at `pointer`; `None` with a problem when it names no people.
    pub(super) fn compile(text: &str, scope: &Scope, pointer: &str, found: &mut Found) -> Option<Self> {
        let program = program(text, scope, pointer, found)?;
        let names_people = |ty: &Type| matches!(ty.non_null(), Type::String | Type::Dyn);
        let fits = match program.result_type().non_null() {
            Type::List(item) => names_people(item),
            other => names_people(other),
        };
        if !fits {
            let message = format!(
                "candidates are subjects, a string or a list of strings; this is {}",
                program.result_type()
            );
            found.problems.push(DefinitionProblem::error(pointer, message));
            return None;
        }
        Some(Self(program))
    }

    /// The people named where they are the same whatever the submission says.
    pub(super) fn constant(&self, scope: &Scope, rules: &RuleSet) -> Option<Vec<String>> {
        if *self.0.uses() != SlotSet::default() {
            return None;
        }
        let nothing = &Value::Object(serde_json::Map::new());
        let now = DateTime::UNIX_EPOCH;
        let facts = Facts { data: nothing, outcomes: nothing, submitter: "", actor: None, now };
        Some(self.people(scope, rules, &facts))
    }

    /// The people named; none where the expression has no value, for example because a field is missing. A text that no credential has
    /// as its subject, because it is empty or too long, names nobody.
    pub(super) fn people(&self, scope: &Scope, rules: &RuleSet, facts: &Facts<'_>) -> Vec<String> {
        let documents = Documents::of(facts, rules);
        let slots = scope.bind(rules, facts, &documents);
        let mut people: Vec<String> = Vec::new();
        let mut add = |named: &Term<'_>| {
            if let Term::String(person) = named
                && (1..=SUBJECT_BYTES_MAX).contains(&person.len())
                && people.len() < CANDIDATES_MAX
                && !people.iter().any(|known| **known == **person)
            {
                people.push((**person).to_owned());
            }
        };
        match self.0.eval(&slots, &mut Budget::new(BUDGET_UNITS)) {
            Ok(Term::List(named)) => named.iter().flatten().for_each(|named| add(&named)),
            Ok(named) => add(&named),
            Err(_) => {}
        }
        people
    }
}

fn program(text: &str, scope: &Scope, pointer: &str, found: &mut Found) -> Option<Program> {
    let compiled = Program::compile(text, &scope.layout);
    let remarks = match &compiled {
        Ok(program) => program.warnings(),
        Err(errors) => errors,
    };
    for remark in remarks {
        let found = if remark.tolerated { &mut found.tolerated } else { &mut found.problems };
        found.push(told(remark, pointer));
    }
    compiled.ok()
}

fn told(remark: &Problem, pointer: &str) -> DefinitionProblem {
    DefinitionProblem {
        pointer: pointer.to_owned(),
        message: remark.message.clone(),
        span: Some(SourceSpan { start: remark.span.start, end: remark.span.end }),
        severity: match remark.severity {
            RuleSeverity::Error => Severity::Error,
            RuleSeverity::Warning => Severity::Warning,
        },
    }
}
