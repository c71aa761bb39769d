//! Rule sets: the `rules` of one form definition, compiled and evaluated as one.
//!
//! Called by the embedding program at publish (compile) and for every submission (evaluate). Knows rule kinds, not forms.

mod outcome;

pub use outcome::{Computed, Outcome, RuleOutcome, RuleProblem, Skipped, Violation};
