//! Run-time values: 24 bytes, borrowed from the submission where they can be.
//!
//! Made by binding JSON ([`json`]) and by evaluation; read by the overloads. Comparison lives in [`order`]. A value never
//! refers back to a form or a slot.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use crate::error::{ErrorKind, EvalError};
use crate::types::Type;

mod json;
mod order;

pub(crate) use json::{decimal as decimal_from_text, from_json, to_json};
pub(crate) use order::{compare, compare_numbers, equals, key_order};

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

/// A text, borrowed from the submission or shared by a program or a result.
#[derive(Clone)]
pub enum Text<'a> {
    /// Borrowed from the JSON that was bound.
    Borrowed(&'a str),
    /// Made by evaluation or held by a program.
    Shared(Arc<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A list: made by evaluation, or a JSON array whose elements are converted when they are read.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Made by evaluation.
    Owned(Arc<Vec<Value<'a>>>),
    /// A JSON array and the type of its elements.
    Json(&'a Vec<Json>, &'a Type),
}

impl<'a> List<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Owned(items) => items.len(),
            List::Json(items, _) => items.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, `None` past the end.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            List::Owned(items) => items.get(index).cloned().map(Ok),
            List::Json(items, ty) => items.get(index).map(|item| from_json(item, ty)),
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, EvalError>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// A map: made by evaluation, or a JSON object whose members are converted when they are read.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Entries ordered by key ([`key_order`]), so that lookups are binary searches and iteration is deterministic.
    Owned(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// A JSON object and its type: [`Type::Object`], [`Type::Map`] or [`Type::Dyn`].
    Json(&'a serde_json::Map<String, Json>, &'a Type),
}

/// The type of what an object's JSON does not name in its schema.
static DYN: Type = Type::Dyn;

impl<'a> Map<'a> {
    /// A map of these entries.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when a key is neither bool, int, uint nor string, or occurs twice.
    pub fn from_entries(mut entries: Vec<(Value<'a>, Value<'a>)>) -> Result<Map<'a>, EvalError> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| !key.is_key()) {
            let message = format!("a map key must be bool, int, uint or string, not {}", key.kind());
            return Err(EvalError::new(ErrorKind::InvalidArgument, message));
        }
        entries.sort_by(|(a, _), (b, _)| key_order(a, b));
        if let Some(pair) = entries.windows(2).find(|pair| key_order(&pair[0].0, &pair[1].0).is_eq()) {
            let message = format!("the map key `{:?}` occurs twice", pair[0].0);
            return Err(EvalError::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Map::Owned(Arc::new(entries)))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Owned(entries) => entries.len(),
            Map::Json(members, _) => members.len(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `key`, `None` when there is none. A double with an integral value finds the integer key.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Owned(entries) => {
                let at = entries.binary_search_by(|(entry, _)| key_order(entry, key)).ok()?;
                Some(Ok(entries[at].1.clone()))
            }
            Map::Json(..) => match key {
                Value::String(name) => self.member(name),
                _ => None,
            },
        }
    }

    /// The value at the string key `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn member(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Owned(_) => self.get(&Value::String(Text::Borrowed(name))),
            Map::Json(members, ty) => {
                let json = members.get(name)?;
                Some(from_json(json, member_type(ty, name)))
            }
        }
    }

    /// The keys in order.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Owned(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Map::Json(members, _) => members.keys().map(|key| Value::from(key.as_str())).collect(),
        }
    }

    /// The entries in order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Value<'a>, Value<'a>), EvalError>> {
        let map = self.clone();
        self.keys().into_iter().filter_map(move |key| {
            let value = map.get(&key)?;
            Some(value.map(|value| (key, value)))
        })
    }
}

/// The type of the member `name` of a JSON object typed `ty`.
fn member_type<'a>(ty: &'a Type, name: &str) -> &'a Type {
    match ty {
        Type::Object(object) => object.field(name).map_or(&DYN, |field| &field.ty),
        Type::Map(_, value) => value,
        _ => &DYN,
    }
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
    /// [`ErrorKind::Misfit`] when an element read from the submission does not fit its type.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        to_json(self)
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
