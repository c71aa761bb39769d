//! JSON to typed values and back.
//!
//! Called when slots are bound and when list elements and object members are read. Never panics: JSON that does not fit
//! its type is an error value of kind `Misfit`.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::order::too_many_elements;
use super::{Kind, List, Map, Value};
use crate::error::{ErrorKind, EvalError};
use crate::limits::ELEMENTS_MAX;
use crate::time;
use crate::types::Type;

/// The value of `json` read as `ty`.
///
/// An int admits `3.0`, because JSON Schema's `integer` does; a decimal admits a string or a number; `dyn` takes a whole number
/// as int (uint above its range) and any other number as double. `3.0` is whole: canonical JSON writes it as `3`. A
/// zero has no sign, as it has none in canonical JSON.
///
/// # Errors
/// [`ErrorKind::Misfit`] when the JSON is not of that type.
#[inline]
pub(crate) fn from_json<'a>(json: &'a Json, ty: &'a Type) -> Result<Value<'a>, EvalError> {
    match (ty, json) {
        (Type::Double, Json::Number(number)) => number.as_f64().map(|double| Value::Double(double + 0.0)),
        (Type::Int, Json::Number(number)) => number.as_i64().or_else(|| integral(number)).map(Value::Int),
        (Type::String, Json::String(text)) => Some(Value::from(text.as_str())),
        (Type::Bool, Json::Bool(truth)) => Some(Value::Bool(*truth)),
        (Type::Uint, Json::Number(number)) => number.as_u64().map(Value::Uint),
        _ => return from_json_rare(json, ty),
    }
    .ok_or_else(|| misfit(json, ty))
}

/// The types that cost more than a move, apart so that the common ones inline.
fn from_json_rare<'a>(json: &'a Json, ty: &'a Type) -> Result<Value<'a>, EvalError> {
    match (ty, json) {
        (Type::Nullable(_) | Type::Null | Type::Dyn, Json::Null) => Some(Value::Null),
        (Type::Nullable(inner), _) => return from_json(json, inner),
        (Type::Dyn, _) => Some(untyped(json)),
        (Type::Decimal, Json::String(text)) => decimal(text).map(Value::Decimal),
        (Type::Decimal, Json::Number(number)) => decimal(&number.to_string()).map(Value::Decimal),
        (Type::Date, Json::String(text)) => time::parse_date(text).map(Value::Date),
        (Type::Timestamp, Json::String(text)) => time::parse_timestamp(text).map(Value::Timestamp),
        (Type::Duration, Json::String(text)) => time::parse_duration_field(text).map(Value::Duration),
        (Type::Bytes, Json::String(text)) => {
            STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into()))
        }
        (Type::List(element), Json::Array(items)) => Some(Value::List(List::Json(items, element))),
        (Type::Map(key, value), Json::Object(members))
            if matches!(**key, Type::Bool | Type::Int | Type::Uint) =>
        {
            return keyed(members, key, value)?.ok_or_else(|| misfit(json, ty));
        }
        (Type::Object(_) | Type::Map(..), Json::Object(members)) => Some(Value::Map(Map::Json(members, ty))),
        (Type::Optional(_), Json::Null) => Some(Value::Optional(None)),
        (Type::Optional(held), _) => Some(Value::Optional(Some(Arc::new(from_json(json, held)?)))),
        (Type::Type, Json::String(text)) => {
            Kind::ALL.into_iter().find(|kind| kind.name() == text).map(Value::Type)
        }
        _ => None,
    }
    .ok_or_else(|| misfit(json, ty))
}

/// A map whose keys are no texts, from an object whose member names are theirs; `None` where one is not.
fn keyed<'a>(
    members: &'a serde_json::Map<String, Json>,
    key: &Type,
    value: &'a Type,
) -> Result<Option<Value<'a>>, EvalError> {
    let mut entries = Vec::with_capacity(members.len());
    for (name, member) in members {
        let key = match key {
            Type::Bool => name.parse().ok().map(Value::Bool),
            Type::Int => name.parse().ok().map(Value::Int),
            _ => name.parse().ok().map(Value::Uint),
        };
        let Some(key) = key else { return Ok(None) };
        entries.push((key, from_json(member, value)?));
    }
    Map::from_entries(entries).map(|map| Some(Value::Map(map)))
}

/// A JSON value without a schema.
fn untyped(json: &Json) -> Value<'_> {
    static DYN: Type = Type::Dyn;
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::Uint(uint),
            (None, None) => integral(number)
                .map_or_else(|| Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Int),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(List::Json(items, &DYN)),
        Json::Object(members) => Value::Map(Map::Json(members, &DYN)),
    }
}

/// The integer that a double like `3.0` stands for.
fn integral(number: &serde_json::Number) -> Option<i64> {
    let double = number.as_f64()?;
    // Both bounds are exact doubles; i64::MAX itself is not representable.
    let fits = double.fract() == 0.0
        && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&double);
    fits.then_some(double as i64)
}

/// A decimal from its text, exactly, with or without exponent; `None` when it does not fit 28 digits.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E']) {
        return decimal(&moved(mantissa, exponent.parse().ok()?)?);
    }
    // `from_str` rounds what has too many digits; exactness is the point, so `from_str_exact`.
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.'));
    if !plain {
        return None;
    }
    Decimal::from_str_exact(text).ok().or_else(|| trimmed(text))
}

/// The largest exponent that is read, with either sign: beyond it no digit of a number of ordinary length is inside a decimal.
const EXPONENT_MAX: usize = 1_000;

/// A number with its point moved as the exponent says. The library's own reader of exponents rounds what has too many digits.
fn moved(mantissa: &str, exponent: i32) -> Option<String> {
    let (sign, number) = match mantissa.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    let moves = usize::try_from(exponent.unsigned_abs()).ok().filter(|moves| *moves <= EXPONENT_MAX)?;
    if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    Some(if exponent < 0 {
        let whole = format!("{whole:0>width$}", width = moves + 1);
        let (whole, behind) = whole.split_at(whole.len() - moves);
        format!("{sign}{whole}.{behind}{fraction}")
    } else {
        let fraction = format!("{fraction:0<moves$}");
        let (before, behind) = fraction.split_at(moves);
        let point = if behind.is_empty() { "" } else { "." };
        format!("{sign}{whole}{before}{point}{behind}")
    })
}

/// A text with more fraction digits than a decimal holds, when the surplus digits are zeros.
fn trimmed(text: &str) -> Option<Decimal> {
    let short = text.contains('.').then(|| text.trim_end_matches('0'))?;
    Decimal::from_str(short).ok().filter(|_| Decimal::from_str_exact(short).is_ok())
}

/// The error of a JSON value that is not of its type.
#[cold]
fn misfit(json: &Json, ty: &Type) -> EvalError {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    EvalError::new(ErrorKind::Misfit, format!("the submitted value is {found} that does not fit {ty}"))
}

/// See [`Value::to_json`].
pub(crate) fn to_json(value: &Value<'_>) -> Result<Json, EvalError> {
    write(value, &mut { ELEMENTS_MAX }, false)
}

/// As [`to_json`], of what a rule makes of a field.
///
/// # Errors
/// [`ErrorKind::Overflow`] beside those of [`to_json`] when it is or holds one of the doubles that JSON has no number for: a text in its place
/// would be another value to whoever reads the field.
pub(crate) fn made_json(value: &Value<'_>) -> Result<Json, EvalError> {
    write(value, &mut { ELEMENTS_MAX }, true)
}

/// A value as JSON; its elements count against `left`, because lists that share parts can stand for more than memory
/// holds. `finite`: infinity and NaN are refused.
fn write(value: &Value<'_>, left: &mut usize, finite: bool) -> Result<Json, EvalError> {
    *left = left.checked_sub(1).ok_or_else(too_many_elements)?;
    Ok(match value {
        Value::Null | Value::Optional(None) => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(int) => Json::from(*int),
        Value::Uint(uint) => Json::from(*uint),
        Value::Double(double) if finite && !double.is_finite() => {
            return Err(EvalError::new(ErrorKind::Overflow, "the computed value is infinite or no number"));
        }
        Value::Double(double) => serde_json::Number::from_f64(*double)
            .map_or_else(|| Json::String(crate::number::double_to_string(*double)), Json::Number),
        Value::String(text) => Json::String(text.to_string()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Timestamp(at) => Json::String(time::format_timestamp(at)),
        Value::Duration(nanos) => Json::String(time::format_duration(*nanos)),
        Value::Decimal(decimal) => Json::String(decimal.to_string()),
        Value::Date(date) => Json::String(time::format_date(*date)),
        Value::Type(kind) => Json::String(kind.name().to_owned()),
        Value::List(list) => {
            Json::Array(list.iter().map(|item| write(&item?, left, finite)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let mut members = serde_json::Map::new();
            for entry in map.entries() {
                let (key, value) = entry?;
                members.insert(key_text(&key), write(&value, left, finite)?);
            }
            Json::Object(members)
        }
        Value::Optional(Some(inner)) => write(inner, left, finite)?,
    })
}

/// A map key as a JSON member name.
fn key_text(key: &Value<'_>) -> String {
    match key {
        Value::String(text) => text.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        other => format!("{other:?}"),
    }
}
