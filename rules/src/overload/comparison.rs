//! `== != < <= > >=` and `in`. Numbers compare by value whatever their types.

use std::cmp::Ordering;

use super::Param::{A, Any, B, Bool, Bytes, Date, Duration, List, Map, Number, String as Str, Timestamp};
use super::{Overload, Ran, Run, no_overload};
use crate::error::EvalError;
use crate::value::{List as ListValue, Value, compare, equals};

/// The four order operators for every pair of types that have an order.
macro_rules! ordered {
    ($($name:literal => $run:ident),*) => {
        &[
            Overload::op("==", &[Any, Any], Bool, Run::Two(equal)),
            Overload::op("!=", &[Any, Any], Bool, Run::Two(not_equal)),
            Overload::op("in", &[A, List(&A)], Bool, Run::Two(in_list)),
            Overload::op("in", &[A, Map(&A, &B)], Bool, Run::Two(in_map)),
            $(
                Overload::op($name, &[Number, Number], Bool, Run::Two($run)),
                Overload::op($name, &[Str, Str], Bool, Run::Two($run)),
                Overload::op($name, &[Bool, Bool], Bool, Run::Two($run)),
                Overload::op($name, &[Bytes, Bytes], Bool, Run::Two($run)),
                Overload::op($name, &[Timestamp, Timestamp], Bool, Run::Two($run)),
                Overload::op($name, &[Duration, Duration], Bool, Run::Two($run)),
                Overload::op($name, &[Date, Date], Bool, Run::Two($run)),
            )*
        ]
    };
}

pub(super) const OVERLOADS: &[Overload] =
    ordered!("<" => less, "<=" => less_or_equal, ">" => greater, ">=" => greater_or_equal);

fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    equals(a, b).map(Value::Bool)
}

fn not_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    equals(a, b).map(|equal| Value::Bool(!equal))
}

fn less<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    order("<", a, b, Ordering::is_lt)
}

fn less_or_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    order("<=", a, b, Ordering::is_le)
}

fn greater<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    order(">", a, b, Ordering::is_gt)
}

fn greater_or_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    order(">=", a, b, Ordering::is_ge)
}

#[inline]
fn order<'a>(name: &str, a: &Value<'a>, b: &Value<'a>, holds: fn(Ordering) -> bool) -> Ran<'a> {
    match compare(a, b) {
        Some(ordering) => Ok(Value::Bool(holds(ordering))),
        // NaN has no order; everything else that has none is not comparable.
        None if is_nan(a) || is_nan(b) => Ok(Value::Bool(false)),
        None => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn is_nan(value: &Value<'_>) -> bool {
    matches!(value, Value::Double(double) if double.is_nan())
}

fn in_list<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match b {
        Value::List(list) => contains(list, a).map(Value::Bool),
        _ => Err(no_overload("in", &[a.clone(), b.clone()])),
    }
}

/// Whether a list holds a value.
fn contains(list: &ListValue<'_>, value: &Value<'_>) -> Result<bool, EvalError> {
    // Owned elements are compared in place: this is the hot `country in ['DE', 'FR']`.
    if let ListValue::Owned(items) = list {
        for item in items.iter() {
            if equals(item, value)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    for item in list.iter() {
        if equals(&item?, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn in_map<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match b {
        Value::Map(map) => Ok(Value::Bool(map.get(a).is_some())),
        _ => Err(no_overload("in", &[a.clone(), b.clone()])),
    }
}
