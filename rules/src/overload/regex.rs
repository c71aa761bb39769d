//! `matches`: RE2 syntax, linear time, bounded length and compiled size. Literal patterns are compiled once, with the program; others are paid for
//! from the budget by [`crate::eval`].

use regex::{Regex, RegexBuilder};

use super::Param::{Bool, String as Str};
use super::{Overload, Ran, Run, invalid, no_overload};
use crate::error::EvalError;
use crate::limits::{PATTERN_BYTES_MAX, REGEX_BYTES_MAX};
use crate::value::Value;

mod class;
mod escape;
mod re2;

pub(super) const OVERLOADS: &[Overload] = &[
    Overload::method("matches", &[Str, Str], Bool, Run::Two(matches))
        .failing("the pattern may be no regular expression"),
    Overload::function("matches", &[Str, Str], Bool, Run::Two(matches))
        .failing("the pattern may be no regular expression"),
];

/// A pattern as RE2 reads it, not compiled yet.
pub(crate) struct Pattern {
    translated: String,
    units: u64,
}

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when it is no regular expression.
    pub fn read(pattern: &str) -> Result<Pattern, EvalError> {
        let (translated, units) = re2::translate(pattern).map_err(|reason| unusable(&reason))?;
        Ok(Pattern { translated, units })
    }

    /// What compiling it costs beyond its length, in units of the budget.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Compiles it within [`REGEX_BYTES_MAX`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when it is too large.
    pub fn compile(&self) -> Result<Regex, EvalError> {
        build(&self.translated).map_err(|error| {
            let reason = error.to_string();
            unusable(reason.lines().last().unwrap_or_default().trim_start_matches("error: "))
        })
    }
}

/// Refuses a pattern that is too long to be read.
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`] when it has more than [`PATTERN_BYTES_MAX`].
pub(crate) fn refuse_long(pattern: &str) -> Result<(), EvalError> {
    let length = pattern.len();
    if length <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    Err(unusable(&format!("it has {length} bytes; at most {PATTERN_BYTES_MAX} are allowed")))
}

/// A pattern as RE2 reads it, compiled within [`REGEX_BYTES_MAX`].
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`] when it is not a regular expression or too large.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    refuse_long(pattern)?;
    Pattern::read(pattern)?.compile()
}

#[cold]
fn unusable(reason: &str) -> EvalError {
    invalid(format!("not a regular expression that can be used: {reason}"))
}

/// A pattern as versions that did not go by RE2 read it; `None` where they refused it.
pub(crate) fn compile_as_before(pattern: &str) -> Option<Regex> {
    build(pattern).ok()
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build()
}

fn matches<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::String(text), Value::String(pattern)) => Ok(Value::Bool(compile(pattern)?.is_match(text))),
        _ => Err(no_overload("matches", &[a.clone(), b.clone()])),
    }
}

#[cfg(test)]
mod tests;
