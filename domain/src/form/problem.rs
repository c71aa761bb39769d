//! What the checker says about a form definition, in the shape in which designers read it.

use serde::Serialize;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definition can be published, but probably does not mean what it says.
    Warning,
    /// The definition cannot be published.
    Error,
}

/// A part of an expression, in bytes of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceSpan {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// One thing that is wrong with a form definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefinitionProblem {
    /// Where in the definition, as a JSON Pointer.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Where in the expression that stands at `pointer`, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<SourceSpan>,
    /// Whether it stands in the way of publishing.
    pub severity: Severity,
}

impl DefinitionProblem {
    pub(crate) fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), span: None, severity: Severity::Error }
    }
    pub(crate) fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(pointer, message) }
    }

    /// Whether it stands in the way of publishing.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
