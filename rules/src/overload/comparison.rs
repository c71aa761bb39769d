//! `== != < <= > >=` and `in`. Numbers compare by value whatever their types.

use std::cmp::Ordering;

use super::Param::{A, Any, B, Bool, Bytes, Date, Duration, List, Map, Number, String as Str, Timestamp};
use super::{Overload, Run, no_overload};
use crate::error::EvalError;
use crate::value::{List as ListValue, Value, compare, equals, same_text};

type Tested = Result<bool, EvalError>;

/// The four order operators for every pair of types that have an order.
macro_rules! ordered {
    ($($name:literal => $run:ident),*) => {
        &[
            Overload::op("==", &[Any, Any], Bool, Run::Test(equal)),
            Overload::op("!=", &[Any, Any], Bool, Run::Test(not_equal)),
            Overload::op("in", &[A, List(&A)], Bool, Run::Test(in_list)),
            Overload::op("in", &[A, Map(&A, &B)], Bool, Run::Test(in_map)),
            $(
                Overload::op($name, &[Number, Number], Bool, Run::Test($run)),
                Overload::op($name, &[Str, Str], Bool, Run::Test($run)),
                Overload::op($name, &[Bool, Bool], Bool, Run::Test($run)),
                Overload::op($name, &[Bytes, Bytes], Bool, Run::Test($run)),
                Overload::op($name, &[Timestamp, Timestamp], Bool, Run::Test($run)),
                Overload::op($name, &[Duration, Duration], Bool, Run::Test($run)),
                Overload::op($name, &[Date, Date], Bool, Run::Test($run)),
            )*
        ]
    };
}

pub(super) const OVERLOADS: &[Overload] =
    ordered!("<" => less, "<=" => less_or_equal, ">" => greater, ">=" => greater_or_equal);

fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    equals(a, b)
}

fn not_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    equals(a, b).map(|equal| !equal)
}

pub(crate) fn less<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Ok(a < b),
        (Value::Int(a), Value::Int(b)) => Ok(a < b),
        _ => order("<", a, b, Ordering::is_lt),
    }
}

pub(crate) fn less_or_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Ok(a <= b),
        (Value::Int(a), Value::Int(b)) => Ok(a <= b),
        _ => order("<=", a, b, Ordering::is_le),
    }
}

pub(crate) fn greater<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Ok(a > b),
        (Value::Int(a), Value::Int(b)) => Ok(a > b),
        _ => order(">", a, b, Ordering::is_gt),
    }
}

pub(crate) fn greater_or_equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Ok(a >= b),
        (Value::Int(a), Value::Int(b)) => Ok(a >= b),
        _ => order(">=", a, b, Ordering::is_ge),
    }
}

fn order<'a>(name: &str, a: &Value<'a>, b: &Value<'a>, holds: fn(Ordering) -> bool) -> Tested {
    match compare(a, b) {
        Some(ordering) => Ok(holds(ordering)),
        // NaN has no order; everything else that has none is not comparable.
        None if is_nan(a) || is_nan(b) => Ok(false),
        None => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn is_nan(value: &Value<'_>) -> bool {
    matches!(value, Value::Double(double) if double.is_nan())
}

fn in_list<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match b {
        Value::List(list) => contains(list, a),
        _ => Err(no_overload("in", &[a.clone(), b.clone()])),
    }
}

/// Whether a list holds a value.
fn contains(list: &ListValue<'_>, value: &Value<'_>) -> Result<bool, EvalError> {
    // Owned elements are compared in place: this is the hot `country in ['DE', 'FR']`.
    if let ListValue::Owned(items) = list {
        if let Value::String(text) = value {
            return Ok(items
                .iter()
                .any(|item| matches!(item, Value::String(other) if same_text(other, text))));
        }
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

fn in_map<'a>(a: &Value<'a>, b: &Value<'a>) -> Tested {
    match b {
        Value::Map(map) => Ok(map.get(a).is_some()),
        _ => Err(no_overload("in", &[a.clone(), b.clone()])),
    }
}
