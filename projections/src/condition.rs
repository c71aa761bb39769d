//! Conditions on indexed fields, as `where=` writes them: `/amount>=100`, `/country=DE`, `/code="00123"`.
//! Built by `api` from query parameters and turned into SQL by `submissions`; nothing here touches the database.

use std::str::FromStr;

/// How a field's value stands to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a field is compared with; numbers compare with numbers and texts with texts only.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A number, written as a JSON number.
    Number(f64),
    /// A text, written bare or as a JSON string where it would read as a number.
    Text(String),
}

/// One comparison of one indexed field.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// The operator.
    pub comparison: Comparison,
    /// The value.
    pub operand: Operand,
}

/// Why a text is not a condition; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not a condition: write `<field pointer><operator><value>` with one of `=`, `!=`, `<`, `<=`, `>`, `>=`, for example `/amount>=100`"
)]
pub struct InvalidCondition {
    given: String,
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(_text: &str) -> Result<Self, InvalidCondition> {
        todo!()
    }
}
