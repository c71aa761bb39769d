//! Why a text is not read as JSON, and where in it that shows.
//! Made by `exact`; `api` tells it to whoever sent the text.

use std::fmt;

use super::InexactNumber;
use super::exact::NESTING_MAX;

/// Why a body cannot be read as JSON that means the same to everyone (RFC 7493).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableJson {
    /// It is no JSON text.
    #[error("not JSON: {what} ({at})")]
    Malformed {
        /// What the parser said.
        what: String,
        /// Where it stopped.
        at: TextPlace,
    },
    /// An object names a member twice; readers disagree about which one counts.
    #[error("the member at `{pointer}` is given twice; give it once ({at})")]
    DuplicateMember {
        /// The member's place, as a JSON Pointer.
        pointer: String,
        /// Where the parser stopped: behind it, the second time.
        at: TextPlace,
    },
    /// Arrays and objects are nested too deeply.
    #[error("nested deeper than {NESTING_MAX} levels ({at})")]
    TooDeep {
        /// Where the parser stopped: inside the first one that is too deep.
        at: TextPlace,
    },
    /// A number would be rounded.
    #[error(transparent)]
    Inexact(#[from] InexactNumber),
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPlace {
    /// Line, from 1; `None` of a text that is one line of many, whose number only its sender knows.
    pub line: Option<usize>,
    /// Column, in bytes, from 1.
    pub column: usize,
}

impl fmt::Display for TextPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} column {}", self.column),
            None => write!(f, "column {}", self.column),
        }
    }
}

impl UnreadableJson {
    /// Where, as a JSON Pointer; `None` when the text has no structure to point into.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Malformed { .. } | Self::TooDeep { .. } => None,
            Self::DuplicateMember { pointer, .. } => Some(pointer),
            Self::Inexact(number) => Some(&number.pointer),
        }
    }

    /// Where in the text; `None` of a number, whose place in the data says more.
    pub fn place(&self) -> Option<TextPlace> {
        match self {
            Self::Malformed { at, .. } | Self::DuplicateMember { at, .. } | Self::TooDeep { at } => Some(*at),
            Self::Inexact(_) => None,
        }
    }

    /// The same of one line of many: the parser, which sees that line alone, takes it for the first.
    #[must_use]
    pub fn in_line(mut self) -> Self {
        if let Self::Malformed { at, .. } | Self::DuplicateMember { at, .. } | Self::TooDeep { at } =
            &mut self
        {
            at.line = None;
        }
        self
    }
}
