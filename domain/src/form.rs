//! A form: a draft definition, published versions that never change, and whether it still takes submissions.
//! Called through `store`; `api` also compiles published versions once and keeps them.

mod command;
mod compiled;
mod definition;
mod event;
mod problem;
mod schema;
mod violation;

pub use command::{Form, FormCommand, FormError};
pub use compiled::{CompiledForm, Refusal};
pub use definition::FormDefinition;
pub use event::FormEvent;
pub use problem::{DefinitionProblem, Severity, SourceSpan};
pub use violation::{VIOLATIONS_MAX, Violation};

#[cfg(test)]
mod tests;
