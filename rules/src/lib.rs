//! Rules over typed form fields: CEL, parsed, type-checked with source spans, compiled to slots, evaluated natively.
//!
//! # Shape
//! The embedding program describes a form's data as an [`ObjectType`] and lays it out once: [`Layout`] gives every fixed
//! member path a slot. A [`Program`] is one expression compiled against a layout; a [`RuleSet`] is all rules of a form.
//! Both are immutable and shared by threads. For each submission [`Slots`] are filled by one walk over its JSON, and
//! programs run over them without looking a name up or allocating on scalar paths.
//!
//! ```
//! use formledger_rules::{Budget, Field, Layout, ObjectType, RuleSet, Type};
//! use serde_json::json;
//!
//! let fields = [Field::required("amount", Type::Double), Field::optional("country", Type::String)];
//! let layout = Layout::new(ObjectType::new(fields, false).into());
//! let rules = json!([{ "id": "route", "kind": "decision", "when": "amount > 1000 && country in ['DE', 'FR']",
//!                      "then": { "route": "committee" }, "otherwise": { "route": "auto" } }]);
//! let rules = RuleSet::compile(&rules, &layout).expect("rules that fit the form");
//! let outcome = rules.evaluate(&json!({ "amount": 1200, "country": "DE" }), &[], &mut Budget::default());
//! assert_eq!(outcome.outcomes_json(), json!({ "route": { "matched": true, "value": { "route": "committee" } } }));
//! ```
//!
//! The passes of one expression: `syntax` (text to tree), `check` (tree to typed nodes, against `overload`, the one table
//! of operators and functions), `eval` (nodes over slots). [`functions`] lists the table.
//!
//! # The language
//! CEL as its definition and its conformance cases have it: operators, macros (two-variable forms included), optionals,
//! timestamps and durations, string, math, list and encoder extensions, error absorption of `&&` and `||`. Beyond it:
//!
//! - **decimals**: `decimal('10.10')`, fields of type [`Type::Decimal`]; `+ - * %` exact or an overflow, `/` rounded at 28
//!   digits, `math.round(d, places)`;
//! - **dates**: `date('2026-04-30')`, `addDays`, `addMonths`, `addYears`, `daysUntil`, `yearsUntil`, and the parts of
//!   timestamps;
//! - **sums**: `sum(list)`, `list.min()`, `list.max()` over numbers of one type;
//! - names that are no identifiers, between backticks, anywhere a name may stand: `` `first-name` ``;
//! - `has(name)` of a top-level field.
//!
//! In form rules (not in [`dynamic`]) a number literal is read as the type of the other side: `amount > 1000` on a double,
//! `price * 2` on a decimal, exactly from its text; a string literal beside a date or timestamp is one. Computed values
//! are never converted silently: an int mixes with a decimal (exactly), and comparisons admit any two number types; for
//! everything else there is a conversion, and the checker names it.
//!
//! # Missing fields
//! An absent optional field, and the null of a nullable one, has no value: [`ErrorKind::Missing`]. The checker warns where
//! that can happen unless `has(…)` or a comparison with null decides it before. What it means for a rule is written at
//! `ruleset.rs`: constraints and computes are skipped, decisions do not match, tables match only `-`.
//!
//! # Bounds
//! Every limit is in [`limits`]. Sources and trees are bounded before they are checked, static cost when they are
//! compiled, loops by a [`Budget`] when they run, texts and lists by size. No clock: `now` is a variable
//! ([`Layout::with_variable`]) that the embedding program sets.
#![forbid(unsafe_code)]

pub mod dynamic;
pub mod exchange;
pub mod limits;

mod budget;
mod check;
mod error;
mod eval;
mod function;
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
pub use function::{Function, FunctionRefused};
pub use layout::{Layout, Slot};
pub use overload::{FunctionDoc, functions};
pub use program::Program;
pub use ruleset::{BindPlan, Computed, Outcome, RuleOutcome, RuleProblem, RuleSet, Skipped, Violation, Why};
pub use slots::{SlotSet, Slots};
pub use types::{Field, ObjectType, Type};
pub use value::{INTEGER_MAX, Kind, List, Map, Text, Value, is_exact_number, is_unsafe_integer};
