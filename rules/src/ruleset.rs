//! Rule sets: the `rules` of one form definition, compiled and evaluated as one.
//!
//! Called by the embedding program at publish (compile) and for every submission (evaluate). Knows rule kinds, not forms.
//!
//! # Order
//! Rules run in the order of the definition, except that a rule runs after every rule whose result it reads: a computed
//! field, or `outcomes.<rule>.<key>`. A circle is refused.
//!
//! # What a missing field does
//! A rule that reads a field which is absent or null has no value. A constraint is then *skipped*: not violated, and
//! recorded as not evaluated. A compute is skipped and its field is absent. A decision does not match, with the reason,
//! and gives `otherwise`. In a table the input matches only `-`. The checker warns where this can happen, unless
//! `has(…)` decides it. Any other run-time error (overflow, division by zero, a value that does not fit its type, a spent
//! budget) violates a constraint and is recorded as the `error` of every other kind.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::budget::Budget;
use crate::layout::{Branch, Layout, Slot};
use crate::program::Program;
use crate::slots::{SlotSet, Slots};
use crate::types::Type;
use crate::value::Value;

mod compile;
mod definition;
mod evaluate;
mod explain;
mod order;
mod outcome;
mod place;
mod restore;
mod shape;
mod table;

pub(crate) use definition::{Definition, Hit, Kind, Problems, read as read_definitions};
pub use outcome::{Computed, Outcome, RuleOutcome, RuleProblem, Skipped, Violation, Why};

pub(crate) use table::{Alternative, cell_ranges, cut};

/// The compiled rules of one form version: immutable, shared by all threads.
#[derive(Debug)]
pub struct RuleSet {
    /// In the order in which they run.
    rules: Vec<Rule>,
    layout: Layout,
    /// The `rules` array, for explanations.
    source: Json,
    /// The form's members that some rule reads.
    plan: Branch,
    /// How many rules keep their result while they run.
    kept: usize,
    /// Every slot that some rule reads, variables among them.
    uses: SlotSet,
    remarks: Vec<RuleProblem>,
}

/// One compiled rule.
#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    /// Its place in the definition.
    place: usize,
    /// Whether another rule of the set reads `outcomes.<rule>`.
    read: bool,
    action: Action,
}

/// What a rule does.
#[derive(Debug)]
enum Action {
    Constraint { assert: Program, at: Arc<str>, message: String },
    Compute { value: Program, into: Arc<str>, slot: Slot, ty: Type },
    Decision { when: Program, then: Arc<Json>, otherwise: Arc<Json> },
    Table(Box<table::Table>),
}

impl RuleSet {
    /// Compiles the `rules` array of a form definition (absent or null: no rules) against the form's layout.
    ///
    /// # Errors
    /// Every problem found, with a pointer such as `/rules/2/when`; at least one keeps the rules from running.
    pub fn compile(rules: &Json, layout: &Layout) -> Result<RuleSet, Vec<RuleProblem>> {
        compile::compile(rules, layout)
    }

    /// The layout that the set was compiled with (slot numbers unchanged) and, in addition, computed fields that the
    /// schema does not name and the variable `outcomes`. Expressions that may read these compile against it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the checker remarked on rules that can run. One of severity error is a reason not to put them into use; rules that are in
    /// use already, because an earlier checker did not find it, go on as they are.
    pub fn remarks(&self) -> &[RuleProblem] {
        &self.remarks
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule reads `slot`, such as a variable whose value the embedding program would have to keep.
    pub fn reads(&self, slot: Slot) -> bool {
        self.uses.contains(slot)
    }

    /// Slots over `data` with the members that some rule reads; all others stay unbound.
    pub fn bind<'a>(&'a self, data: &'a Json) -> Slots<'a> {
        let mut slots = Slots::new(&self.layout);
        slots.fill(&self.plan, data);
        slots
    }

    /// Slots over `data` with the members in `uses` (see [`Program::uses`]), for expressions compiled against
    /// [`RuleSet::layout`] that run outside the set, such as workflow guards.
    pub fn plan(&self, uses: &SlotSet) -> BindPlan {
        BindPlan(self.layout.root().pruned(uses))
    }

    /// As [`RuleSet::bind`], with a plan of [`RuleSet::plan`].
    pub fn bind_with<'a>(&'a self, plan: &'a BindPlan, data: &'a Json) -> Slots<'a> {
        let mut slots = Slots::new(&self.layout);
        slots.fill(&plan.0, data);
        slots
    }

    /// Binds recorded outcomes (the form of [`RuleOutcome::outcomes_json`]) to the variable `outcomes`. Outcomes that are
    /// not recorded are absent.
    pub fn bind_outcomes<'a>(&'a self, slots: &mut Slots<'a>, outcomes: &'a Json) {
        evaluate::bind_outcomes(&self.layout, slots, outcomes);
    }

    /// Explains recorded outcomes (the form of [`RuleOutcome::outcomes_json`]) with what was recorded beside them (the form of
    /// [`RuleOutcome::why_json`], null when nothing was) and the data they were made from, computed fields included:
    /// `{ "<rule id>": … }` with `conditions` of a decision (`text`, `held`, `values`), `inputs` and the matching `rows` of a
    /// table, `text` and `values` of a compute.
    pub fn explain(&self, outcomes: &Json, why: &Json, data: &Json) -> Json {
        explain::explain(self, outcomes, why, data)
    }

    /// Evaluates all rules over one submission. `variables` gives the values of the layout's variables, such as `now`.
    pub fn evaluate<'a>(
        &'a self,
        data: &'a Json,
        variables: &[(Slot, Value<'a>)],
        budget: &mut Budget,
    ) -> RuleOutcome {
        let mut kept = vec![None; self.kept];
        let mut slots = self.bind(data);
        for (slot, value) in variables {
            slots.set(*slot, value.clone());
        }
        evaluate::evaluate(&self.rules, &self.layout, &mut slots, budget, &mut kept)
    }
}

/// Which members to bind; see [`RuleSet::plan`].
#[derive(Clone, Debug)]
pub struct BindPlan(Branch);

/// The name of the variable that holds what decisions and tables said.
const OUTCOMES: &str = "outcomes";
/// The member of a rule's outcome that says whether it matched.
const MATCHED: &str = "matched";
/// The member of a rule's outcome that holds a result which is not an object.
const VALUE: &str = "value";
