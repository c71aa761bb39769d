//! Rules over typed form fields: CEL, parsed, type-checked with source spans, compiled to slots, evaluated natively.
//!
//! # Shape
//! The embedding program describes a form's data as an [`ObjectType`] and lays it out once ([`Layout`]). Everything after
//! that refers to slots:
//!
//! - `Program::compile(source: &str, layout: &Layout) -> Result<Program, Vec<Problem>>`
//! - `program.eval(slots: &Slots, budget: &mut Budget) -> Result<Value, EvalError>`, with [`Slots`] from [`Layout::bind`]
//! - `RuleSet::compile(rules: &serde_json::Value, layout: &Layout) -> Result<RuleSet, Vec<RuleProblem>>`, warnings from
//!   `rule_set.warnings()`
//! - `rule_set.layout() -> &Layout`: the given layout (same slot numbers) with computed fields and `outcomes` added;
//!   workflow guards compile against this one
//! - `rule_set.evaluate(data: &serde_json::Value, variables: &[(Slot, Value)], budget: &mut Budget) -> RuleOutcome`; a
//!   variable such as `now` is declared by [`Layout::with_variable`] and found by [`Layout::variable`]
//! - `rule_set.bind_outcomes(slots: &mut Slots, outcomes: &serde_json::Value)`: recorded outcomes for guards
#![forbid(unsafe_code)]

pub mod limits;

mod budget;
mod check;
pub mod dynamic;
mod error;
mod eval;
mod layout;
mod node;
mod number;
mod overload;
mod program;
mod ruleset;
mod slots;
mod syntax;
mod time;
mod types;
mod value;

pub use budget::Budget;
pub use error::{ErrorKind, EvalError, Problem, Severity};
pub use layout::{Layout, Slot};
pub use overload::{FunctionDoc, functions};
pub use program::Program;
pub use ruleset::{BindPlan, Computed, Outcome, RuleOutcome, RuleProblem, RuleSet, Skipped, Violation};
pub use slots::{SlotSet, Slots};
pub use types::{Field, ObjectType, Type};
pub use value::{Kind, List, Map, Text, Value};
