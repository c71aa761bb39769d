//! Decision tables from and for other engines: DMN 1.3 and later (XML, OMG) and JDM (JSON, GoRules).
//!
//! Called by `formledger rules import` and `rules export`. What comes in is only text turned into rules as they are written in a
//! form definition; whether they fit a form is for the checker. What cannot be carried over is refused or remarked on, never
//! dropped in silence.

use std::fmt;

use serde_json::{Map, Value as Json};

mod dmn;
mod dmn_text;
mod feel;
mod jdm;
mod meaning;
mod sheet;

/// Longest document that is read, in bytes; a longer one is refused.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A format of decision tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Decision Model and Notation 1.3, 1.4 or 1.5, XML; 1.3 is written.
    Dmn,
    /// JSON Decision Model of GoRules.
    Jdm,
}

/// Rules read from another engine's document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Rules of kind `table`, as a form definition holds them.
    pub rules: Vec<Json>,
    /// What was left out or is not quite the same, and where.
    pub remarks: Vec<String>,
}

/// A document for another engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exported {
    /// The document.
    pub text: String,
    /// What was left out or is not quite the same, and where.
    pub remarks: Vec<String>,
}

/// Why a document cannot be read or written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeError(String);

impl ExchangeError {
    fn new(message: impl Into<String>) -> ExchangeError {
        ExchangeError(message.into())
    }

    /// The same error, inside `place`.
    fn within(self, place: impl fmt::Display) -> ExchangeError {
        ExchangeError(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExchangeError {}

/// Reads the decision tables of a document.
///
/// # Errors
/// The first thing that cannot be read, or that has no counterpart here.
pub fn import(format: Format, document: &str) -> Result<Imported, ExchangeError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(ExchangeError::new(format!("the document is longer than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let mut remarks = Vec::new();
    let sheets = match format {
        Format::Dmn => dmn::read(document, &mut remarks)?,
        Format::Jdm => jdm::read(document, &mut remarks)?,
    };
    if sheets.is_empty() {
        return Err(ExchangeError::new("there is no decision table in it"));
    }
    Ok(Imported { rules: sheets.into_iter().map(sheet::Sheet::into_rule).collect(), remarks })
}

/// Writes the tables among `rules`, a form definition's list of rules; other kinds are left out with a remark.
///
/// # Errors
/// The first rule that is not written as rules are.
pub fn export(format: Format, rules: &Json) -> Result<Exported, ExchangeError> {
    let (sheets, mut remarks) = sheet::of_rules(rules)?;
    if sheets.is_empty() {
        return Err(ExchangeError::new("there is no rule of kind `table` in it"));
    }
    let text = match format {
        Format::Dmn => dmn_text::write(&sheets, &mut remarks),
        Format::Jdm => jdm::write(&sheets, &mut remarks),
    };
    Ok(Exported { text, remarks })
}

/// Puts `value` at a dotted path of an object.
fn put(object: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Json::Object(Map::new()));
            if !inner.is_object() {
                *inner = Json::Object(Map::new());
            }
            if let Json::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
