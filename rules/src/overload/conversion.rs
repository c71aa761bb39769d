//! Conversions between types, and `type(x)`. A conversion that would lose more than a fraction is an error.

use std::sync::Arc;

use chrono::NaiveTime;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::Param::{
    self, Any, Bool, Bytes, Date, Decimal as Dec, Double, Duration, Int, String as Str, Timestamp, Type, Uint,
};
use super::math::unsigned_zero;
use super::{Overload, Ran, Run, ZONE, invalid, no_overload, overflow};
use crate::number::{decimal_to_double, double_to_decimal, double_to_string, parse_double};
use crate::time;
use crate::value::{Value, decimal_from_text};

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// Why reading a text may fail.
const UNREADABLE: &str = "the text may not be one";
/// Why converting a number may fail.
const RANGE: &str = "the number may be outside the type's range";

/// One row a source type.
const fn to(
    name: &'static str,
    from: &'static [Param],
    result: Param,
    run: for<'a> fn(&Value<'a>) -> Ran<'a>,
) -> Overload {
    Overload::function(name, from, result, Run::One(run))
}

pub(super) const OVERLOADS: &[Overload] = &[
    to("type", &[Any], Type, type_of),
    to("bool", &[Bool], Bool, to_bool),
    to("bool", &[Str], Bool, to_bool).failing(UNREADABLE),
    to("int", &[Int], Int, to_int),
    to("int", &[Uint], Int, to_int).failing(RANGE),
    to("int", &[Double], Int, to_int).failing(RANGE),
    to("int", &[Dec], Int, to_int).failing(RANGE),
    to("int", &[Str], Int, to_int).failing(UNREADABLE),
    to("int", &[Timestamp], Int, to_int),
    to("uint", &[Uint], Uint, to_uint),
    to("uint", &[Int], Uint, to_uint).failing(RANGE),
    to("uint", &[Double], Uint, to_uint).failing(RANGE),
    to("uint", &[Dec], Uint, to_uint).failing(RANGE),
    to("uint", &[Str], Uint, to_uint).failing(UNREADABLE),
    to("double", &[Double], Double, to_double),
    to("double", &[Int], Double, to_double),
    to("double", &[Uint], Double, to_double),
    to("double", &[Dec], Double, to_double),
    to("double", &[Str], Double, to_double).failing(UNREADABLE),
    to("decimal", &[Dec], Dec, to_decimal),
    to("decimal", &[Int], Dec, to_decimal),
    to("decimal", &[Uint], Dec, to_decimal),
    to("decimal", &[Double], Dec, to_decimal).failing(RANGE),
    to("decimal", &[Str], Dec, to_decimal).failing(UNREADABLE),
    to("string", &[Str], Str, to_text),
    to("string", &[Bool], Str, to_text),
    to("string", &[Int], Str, to_text),
    to("string", &[Uint], Str, to_text),
    to("string", &[Double], Str, to_text),
    to("string", &[Dec], Str, to_text),
    to("string", &[Bytes], Str, to_text).failing("the bytes may not be UTF-8"),
    to("string", &[Timestamp], Str, to_text),
    to("string", &[Duration], Str, to_text),
    to("string", &[Date], Str, to_text),
    to("bytes", &[Bytes], Bytes, to_bytes),
    to("bytes", &[Str], Bytes, to_bytes),
    to("timestamp", &[Timestamp], Timestamp, to_timestamp),
    to("timestamp", &[Str], Timestamp, to_timestamp).failing(UNREADABLE),
    to("timestamp", &[Int], Timestamp, to_timestamp).failing(RANGE),
    to("timestamp", &[Date], Timestamp, to_timestamp),
    to("duration", &[Duration], Duration, to_duration),
    to("duration", &[Str], Duration, to_duration).failing(UNREADABLE),
    to("date", &[Date], Date, to_date),
    to("date", &[Str], Date, to_date).failing(UNREADABLE),
    to("date", &[Timestamp], Date, to_date),
    Overload::function("date", &[Timestamp, Str], Date, Run::Two(date_in_zone)).failing(ZONE),
];

fn type_of<'a>(a: &Value<'a>) -> Ran<'a> {
    Ok(Value::Type(a.kind()))
}

/// The error of a text that does not denote the wanted type.
#[cold]
fn unreadable<'a>(text: &str, wanted: &str) -> Ran<'a> {
    Err(invalid(format!("`{}` is not {wanted}", text.chars().take(80).collect::<String>())))
}

/// The error of a number that the wanted type does not hold.
#[cold]
fn outside<'a>(wanted: &str) -> Ran<'a> {
    Err(overflow(format!("the number is outside the range of {wanted}")))
}

fn to_bool<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Bool(_) => Ok(a.clone()),
        Value::String(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            other => unreadable(other, "a bool; `true` and `false` are"),
        },
        _ => Err(no_overload("bool", std::slice::from_ref(a))),
    }
}

fn to_int<'a>(a: &Value<'a>) -> Ran<'a> {
    let int = match a {
        Value::Int(_) => return Ok(a.clone()),
        Value::Uint(uint) => i64::try_from(*uint).ok(),
        // Both ends are open: the specification refuses a double that may have been rounded onto the bound.
        Value::Double(double) => (-TWO_63 < *double && *double < TWO_63).then_some(*double as i64),
        Value::Decimal(decimal) => decimal.trunc().to_i64(),
        Value::Timestamp(at) => Some(at.timestamp()),
        Value::String(text) => match text.parse() {
            Ok(int) => Some(int),
            Err(_) => return unreadable(text, "an int"),
        },
        _ => return Err(no_overload("int", std::slice::from_ref(a))),
    };
    int.map_or_else(|| outside("int"), |int| Ok(Value::Int(int)))
}

fn to_uint<'a>(a: &Value<'a>) -> Ran<'a> {
    let uint = match a {
        Value::Uint(_) => return Ok(a.clone()),
        Value::Int(int) => u64::try_from(*int).ok(),
        Value::Double(double) => (-1.0 < *double && *double < TWO_64).then_some(*double as u64),
        Value::Decimal(decimal) => decimal.trunc().to_u64(),
        Value::String(text) => match text.parse() {
            Ok(uint) => Some(uint),
            Err(_) => return unreadable(text, "a uint"),
        },
        _ => return Err(no_overload("uint", std::slice::from_ref(a))),
    };
    uint.map_or_else(|| outside("uint"), |uint| Ok(Value::Uint(uint)))
}

fn to_double<'a>(a: &Value<'a>) -> Ran<'a> {
    let double = match a {
        Value::Double(double) => Some(*double),
        Value::Int(int) => Some(*int as f64),
        Value::Uint(uint) => Some(*uint as f64),
        Value::Decimal(decimal) => Some(decimal_to_double(decimal)),
        Value::String(text) => match parse_double(text) {
            Some(double) => Some(double),
            None => return unreadable(text, "a double"),
        },
        _ => return Err(no_overload("double", std::slice::from_ref(a))),
    };
    double.map_or_else(|| outside("double"), |double| Ok(Value::Double(double)))
}

/// A double becomes the decimal that its shortest text denotes: `decimal(0.1)` is one tenth.
fn to_decimal<'a>(a: &Value<'a>) -> Ran<'a> {
    let decimal = match a {
        Value::Decimal(_) => return Ok(a.clone()),
        Value::Int(int) => Some(Decimal::from(*int)),
        Value::Uint(uint) => Some(Decimal::from(*uint)),
        Value::Double(double) => double_to_decimal(*double),
        Value::String(text) => match decimal_from_text(text) {
            Some(decimal) => Some(decimal),
            None => return unreadable(text, "a decimal of at most 28 digits"),
        },
        _ => return Err(no_overload("decimal", std::slice::from_ref(a))),
    };
    decimal.map_or_else(|| outside("decimal"), |decimal| Ok(Value::Decimal(decimal)))
}

/// What `decimal('…')` was to an earlier version, of a text with an exponent: it rounded what has too many digits.
pub(crate) fn decimal_as_before(text: &str) -> Option<Value<'static>> {
    let read = text.contains(['e', 'E']).then(|| Decimal::from_scientific(text).ok())?;
    read.map(|rounded| Value::Decimal(unsigned_zero(rounded)))
}

fn to_text<'a>(a: &Value<'a>) -> Ran<'a> {
    Ok(Value::text(match a {
        Value::String(_) => return Ok(a.clone()),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) => double_to_string(*double),
        Value::Decimal(decimal) => decimal.to_string(),
        Value::Timestamp(at) => time::timestamp_text(at),
        Value::Duration(nanos) => time::format_duration(*nanos),
        Value::Date(date) => time::format_date(*date),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(invalid("the bytes are not UTF-8")),
        },
        _ => return Err(no_overload("string", std::slice::from_ref(a))),
    }))
}

fn to_bytes<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Bytes(_) => Ok(a.clone()),
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        _ => Err(no_overload("bytes", std::slice::from_ref(a))),
    }
}

fn to_timestamp<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Timestamp(_) => Ok(a.clone()),
        Value::String(text) => match time::parse_timestamp(text) {
            Some(at) => Ok(Value::Timestamp(at)),
            None => unreadable(text, "an RFC 3339 timestamp of the years 1 to 9999"),
        },
        Value::Int(seconds) => time::from_unix_seconds(*seconds)
            .map_or_else(|| outside("timestamp"), |at| Ok(Value::Timestamp(at))),
        Value::Date(date) => Ok(Value::Timestamp(date.and_time(NaiveTime::MIN).and_utc())),
        _ => Err(no_overload("timestamp", std::slice::from_ref(a))),
    }
}

fn to_duration<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Duration(_) => Ok(a.clone()),
        Value::String(text) => match time::parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => unreadable(text, "a duration such as `1h30m` or `0.5s`, at most 292 years"),
        },
        _ => Err(no_overload("duration", std::slice::from_ref(a))),
    }
}

fn to_date<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Date(_) => Ok(a.clone()),
        Value::Timestamp(at) => Ok(Value::Date(at.date_naive())),
        Value::String(text) => match time::parse_date(text) {
            Some(date) => Ok(Value::Date(date)),
            None => unreadable(text, "a date such as `2026-04-30`"),
        },
        _ => Err(no_overload("date", std::slice::from_ref(a))),
    }
}

fn date_in_zone<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Timestamp(at), Value::String(zone)) => match time::in_zone(*at, zone) {
            Some(local) => Ok(Value::Date(local.date())),
            None => unreadable(zone, "a time zone"),
        },
        _ => Err(no_overload("date", &[a.clone(), b.clone()])),
    }
}
