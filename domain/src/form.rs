//! A form: a draft definition, published versions that never change, and whether it still takes submissions.
//! Called through `store`; `api` also compiles published versions once and keeps them.

mod ast;
mod attachments;
mod candidate;
mod command;
mod compiled;
mod cost;
mod definition;
mod event;
mod mend;
mod problem;
mod references;
mod rules;
mod shape;
mod validator;
mod violation;
mod workflow;

pub use ast::{ANY_ITEM, Constraints, Field, FieldKind};
pub use attachments::{ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, AttachmentRules};
pub(crate) use candidate::Candidate;
pub use candidate::OutcomeDifference;
pub use command::{Form, FormCommand, FormError};
pub use compiled::{CompiledForm, Refusal, TextKind};
pub use definition::FormDefinition;
pub use event::FormEvent;
pub use problem::{DefinitionProblem, Severity, SourceSpan};
pub use rules::Verdict;
pub use violation::{VIOLATIONS_MAX, Violation};
pub use workflow::{Facts, GuardFailed, SUBMITTER_ROLE, SignatureRule, State, Transition, Workflow, moments};

#[cfg(test)]
mod tests;
