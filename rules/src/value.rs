//! Run-time values: 24 bytes, borrowed from the submission where they can be.
//!
//! Made by binding JSON ([`json`]) and by evaluation; read by the overloads. Comparison lives in [`order`]. A value never
//! refers back to a form or a slot.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use crate::error::EvalError;

mod collection;
mod json;
mod order;
mod recorded;
mod text;

pub use collection::{List, Map};
pub(crate) use json::{decimal as decimal_from_text, from_json, made_json, to_json};
pub(crate) use order::{compare, compare_numbers, equals, key_order};
pub use recorded::{INTEGER_MAX, is_exact_number, is_unsafe_integer};
pub(crate) use recorded::{make_as_recorded, with_numbers};
pub use text::Text;
pub(crate) use text::same as same_text;

/// A value of the language. `'a` is the life of the JSON, the layout and the program that it borrows from.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A double.
    Double(f64),
    /// A text.
    String(Text<'a>),
    /// Octets.
    Bytes(Arc<[u8]>),
    /// A point in time, years 1 to 9999.
    Timestamp(DateTime<Utc>),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// An exact decimal.
    Decimal(Decimal),
    /// A calendar date, years 1 to 9999.
    Date(NaiveDate),
    /// A type as a value.
    Type(Kind),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// An optional: none or some value.
    Optional(Option<Arc<Value<'a>>>),
}

/// The run-time type of a value: what `type(x)` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null_type`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.protobuf.Duration`
    Duration,
    /// `decimal`
    Decimal,
    /// `date`
    Date,
    /// `type`
    Type,
    /// `list`
    List,
    /// `map`
    Map,
    /// `optional_type`
    Optional,
}

impl Kind {
    /// Every kind; the checker resolves type names through it.
    pub(crate) const ALL: [Kind; 15] = [
        Kind::Null,
        Kind::Bool,
        Kind::Int,
        Kind::Uint,
        Kind::Double,
        Kind::String,
        Kind::Bytes,
        Kind::Timestamp,
        Kind::Duration,
        Kind::Decimal,
        Kind::Date,
        Kind::Type,
        Kind::List,
        Kind::Map,
        Kind::Optional,
    ];

    /// The name that denotes this type in the language.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null_type",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Double => "double",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Timestamp => "google.protobuf.Timestamp",
            Kind::Duration => "google.protobuf.Duration",
            Kind::Decimal => "decimal",
            Kind::Date => "date",
            Kind::Type => "type",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::Optional => "optional_type",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> Value<'a> {
    /// A text made by evaluation.
    pub fn text(text: impl Into<String>) -> Value<'a> {
        Value::String(Text::Shared(Arc::new(text.into())))
    }

    /// A list made by evaluation.
    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(Arc::new(items)))
    }

    /// The run-time type.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Uint(_) => Kind::Uint,
            Value::Double(_) => Kind::Double,
            Value::String(_) => Kind::String,
            Value::Bytes(_) => Kind::Bytes,
            Value::Timestamp(_) => Kind::Timestamp,
            Value::Duration(_) => Kind::Duration,
            Value::Decimal(_) => Kind::Decimal,
            Value::Date(_) => Kind::Date,
            Value::Type(_) => Kind::Type,
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
            Value::Optional(_) => Kind::Optional,
        }
    }

    /// The truth value, when it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The value as JSON, for outcomes: numbers as numbers, decimals, dates, timestamps, durations and bytes (base64) as
    /// strings, NaN and infinities as strings, an empty optional as null.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Misfit`] when an element read from the submission does not fit its type.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        to_json(self)
    }

    /// Whether dropping the value frees anything or gives back a share of something.
    #[inline(always)]
    pub(crate) fn owns(&self) -> bool {
        match self {
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(Text::Borrowed(_))
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Decimal(_)
            | Value::Date(_)
            | Value::Type(_)
            | Value::List(List::Json(..))
            | Value::Map(Map::Json(..))
            | Value::Optional(None) => false,
            Value::String(Text::Shared(_))
            | Value::Bytes(_)
            | Value::List(List::Owned(_))
            | Value::Map(Map::Owned(_))
            | Value::Optional(Some(_)) => true,
        }
    }

    /// Whether the value may be a map key.
    fn is_key(&self) -> bool {
        matches!(self, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value::String(Text::Borrowed(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Uint(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Value::Double(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_small_enough_to_move_in_three_registers() {
        assert!(size_of::<Value<'_>>() <= 24, "{} bytes", size_of::<Value<'_>>());
        assert!(size_of::<Result<Value<'_>, EvalError>>() <= 24);
    }
}
