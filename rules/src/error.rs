//! What can go wrong: [`Problem`] while compiling, [`EvalError`] while evaluating.
//!
//! The two never mix: a problem points into the source and is for the author of a rule, an evaluation error is about one
//! submission's values.

use std::fmt;
use std::ops::Range;

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The source is refused.
    Error,
    /// The source compiles, but something about it will surprise.
    Warning,
}

/// Something the compiler says about a source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was wrong and what would be right, literal text in backticks.
    pub message: String,
    /// Where, in bytes of the source.
    pub span: Range<usize>,
    /// Whether it refuses the source.
    pub severity: Severity,
    /// Whether the source works all the same: an earlier checker took it, so what is in use goes on, and only what is new is refused.
    pub tolerated: bool,
    /// Whether it says that evaluation may fail by more than a missing field.
    pub fails: bool,
}

impl Problem {
    /// A problem that refuses the source.
    pub(crate) fn error(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), span, severity: Severity::Error, tolerated: false, fails: false }
    }

    /// A problem that refuses a new source, of what an earlier checker took.
    pub(crate) fn tolerated(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { tolerated: true, ..Problem::error(span, message) }
    }

    /// A remark on a source that compiles.
    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(span, message) }
    }

    /// The same, of what may fail when it is evaluated.
    pub(crate) fn failing(self) -> Problem {
        Problem { fails: true, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}: {}", self.span.start, self.span.end, self.message)
    }
}

/// The kinds of run-time failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A field, or a member of an object of the submission, is absent, or null where a value is needed (CEL's `no_such_field`).
    Missing,
    /// No overload takes these run-time types (CEL's `no_such_overload`); only operations on `dyn` values.
    NoOverload,
    /// A name that nothing declares, or an unknown function; only from [`crate::dynamic`].
    Unresolved,
    /// Division or remainder by zero.
    DivideByZero,
    /// A number, time or duration left its range.
    Overflow,
    /// A list index, a key of a map that a rule made (CEL's `no_such_key`) or a string position outside the value; the least of no
    /// values.
    OutOfRange,
    /// An argument that the function does not admit: an unreadable number, date or regular expression, a duplicate key, an optional
    /// that has no value.
    InvalidArgument,
    /// The submission holds a value of another type than its field.
    Misfit,
    /// The evaluation needed more than its budget, or a result would be larger than a limit.
    Budget,
    /// The slots were bound without a field that the program reads: a mistake of the embedding program.
    Unbound,
}

/// Why an evaluation has no value. Boxed inside, so that the good path moves one word.
#[derive(Clone, PartialEq, Eq)]
pub struct EvalError(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    kind: ErrorKind,
    message: String,
}

impl EvalError {
    /// An error of `kind`, told as `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> EvalError {
        EvalError(Box::new(Detail { kind, message: message.into() }))
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The failure in words, for the people who see the rule's outcome.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.0.kind, self.0.message)
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for EvalError {}
