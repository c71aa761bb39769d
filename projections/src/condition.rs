//! Conditions on indexed fields, as `where=` writes them: `/amount>=100`, `/country=DE`, `/code="00123"`.
//! Built by `api` from query parameters and turned into SQL by `submissions`; nothing here touches the database.

use std::borrow::Cow;
use std::str::FromStr;

use crate::submissions::{FIELD_TEXT_BYTES_MAX as OPERAND_BYTES_MAX, is_number};

/// How a field's value stands to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`: everything that `=` does not select, submissions without the field too.
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

impl Comparison {
    /// As it is written.
    pub(crate) fn operator(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// The operators as written; the longer ones first, because they begin with shorter ones.
const OPERATORS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// What a field is compared with. Numbers are ordered among numbers and texts among texts, by code point. Texts of a field of `format: decimal` are
/// numbers, and those of `format: date-time` moments: what is compared with them is read alike, however it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A JSON number, as it was written. It equals numbers of its value and texts that are written like it, for example a postal code.
    Number(String),
    /// A text, bare or as a JSON string. `true` and `false` are compared as texts.
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
    "`{given}` is not a condition: write `<field pointer><operator><value>` with one of `=`, `!=`, `<`, `<=`, `>`, \
     `>=`, for example `/amount>=100`; a pointer that holds one of them as a JSON string; at most {OPERAND_BYTES_MAX} bytes of text"
)]
pub struct InvalidCondition {
    given: String,
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        let invalid = || InvalidCondition { given: text.chars().take(200).collect() };
        let (pointer, rest) = pointer(text).ok_or_else(invalid)?;
        let (operator, comparison) =
            OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator)).ok_or_else(invalid)?;
        if !pointer.starts_with('/') {
            return Err(invalid());
        }
        let operand = Operand::parse(&rest[operator.len()..]).ok_or_else(invalid)?;
        Ok(Self { pointer: pointer.into_owned(), comparison: *comparison, operand })
    }
}

/// The pointer that a condition begins with, up to the first operator or as a JSON string, and what follows.
fn pointer(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if !text.starts_with('"') {
        let (pointer, rest) = text.split_at(text.find(['!', '<', '>', '='])?);
        return Some((pointer.into(), rest));
    }
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let pointer = strings.next()?.ok()?;
    Some((pointer.into(), &text[strings.byte_offset()..]))
}

impl Operand {
    /// A JSON string, a JSON number, or else the text as it stands; `None` for a string that does not end and for a text that is too long.
    fn parse(written: &str) -> Option<Self> {
        let operand = match written.starts_with('"') {
            true => Self::Text(serde_json::from_str(written).ok()?),
            false if is_number(written) => Self::Number(written.to_owned()),
            false => Self::Text(written.to_owned()),
        };
        let (Self::Text(text) | Self::Number(text)) = &operand;
        (text.len() <= OPERAND_BYTES_MAX).then_some(operand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(written: &str) -> Operand {
        Operand::Number(written.to_owned())
    }

    #[test]
    fn pointer_operator_and_typed_value_are_told_apart() {
        let cases = [
            ("/amount>=100", "/amount", Comparison::GreaterOrEqual, number("100")),
            ("/amount<-1.5", "/amount", Comparison::Less, number("-1.5")),
            ("/country=DE", "/country", Comparison::Equal, Operand::Text("DE".into())),
            ("/code=\"00123\"", "/code", Comparison::Equal, Operand::Text("00123".into())),
            ("/code=00123", "/code", Comparison::Equal, Operand::Text("00123".into())),
            ("/a/b!=x=y", "/a/b", Comparison::NotEqual, Operand::Text("x=y".into())),
            ("/when>2026-01-31", "/when", Comparison::Greater, Operand::Text("2026-01-31".into())),
            ("/name=", "/name", Comparison::Equal, Operand::Text(String::new())),
            ("/n=1e400", "/n", Comparison::Equal, number("1e400")),
            ("/n=12345678901234567890.01", "/n", Comparison::Equal, number("12345678901234567890.01")),
            ("\"/a>b\">=5", "/a>b", Comparison::GreaterOrEqual, number("5")),
            ("\"/a=\\\"b\"=\"c\"", "/a=\"b", Comparison::Equal, Operand::Text("c".into())),
        ];
        for (text, pointer, comparison, operand) in cases {
            let condition = text.parse::<Condition>().expect(text);
            assert_eq!(condition, Condition { pointer: pointer.into(), comparison, operand }, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_an_example() {
        let too_long = format!("/a={}", "x".repeat(OPERAND_BYTES_MAX + 1));
        for text in
            ["", "/amount", "amount>1", "=1", "/a!1", "/a=\"open", "\"/a", "\"/a\"", "\"a\"=1", &too_long]
        {
            let error = text.parse::<Condition>().expect_err(text);
            assert!(error.to_string().contains("/amount>=100"), "{error}");
        }
    }
}
