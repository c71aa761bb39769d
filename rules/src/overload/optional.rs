//! Optionals: values that may be none, and selection through them.

use std::sync::Arc;

use super::Param::{A, B, Bool, List, Map, Number, Optional};
use super::{Overload, Ran, Run, element_at, no_overload};
use crate::error::{ErrorKind, EvalError};
use crate::value::{Text, Value};

pub(super) const OVERLOADS: &[Overload] = &[
    Overload::function("optional.none", &[], Optional(&A), Run::Many(none)),
    Overload::function("optional.of", &[A], Optional(&A), Run::One(some)),
    Overload::function("optional.ofNonZeroValue", &[A], Optional(&A), Run::One(non_zero)),
    Overload::method("hasValue", &[Optional(&A)], Bool, Run::One(has_value)),
    Overload::method("value", &[Optional(&A)], A, Run::One(value))
        .failing("the optional may be none; `orValue(…)` decides that"),
    Overload::method("or", &[Optional(&A), Optional(&A)], Optional(&A), Run::Two(or)),
    Overload::method("orValue", &[Optional(&A), A], A, Run::Two(or_value)),
    Overload::function("optional.unwrap", &[List(&Optional(&A))], List(&A), Run::One(unwrap_all)),
    Overload::method("unwrapOpt", &[List(&Optional(&A))], List(&A), Run::One(unwrap_all)),
    Overload::op("[]", &[Optional(&List(&A)), Number], Optional(&A), Run::Two(index)),
    Overload::op("[]", &[Optional(&Map(&A, &B)), A], Optional(&B), Run::Two(index)),
    Overload::op("[?]", &[List(&A), Number], Optional(&A), Run::Two(index)),
    Overload::op("[?]", &[Map(&A, &B), A], Optional(&B), Run::Two(index)),
    Overload::op("[?]", &[Optional(&List(&A)), Number], Optional(&A), Run::Two(index)),
    Overload::op("[?]", &[Optional(&Map(&A, &B)), A], Optional(&B), Run::Two(index)),
];

fn none<'a>(_: &[Value<'a>]) -> Ran<'a> {
    Ok(Value::Optional(None))
}

fn some<'a>(a: &Value<'a>) -> Ran<'a> {
    Ok(Value::Optional(Some(Arc::new(a.clone()))))
}

/// None for the zero of a type: `null`, `false`, `0`, `''`, an empty list or map, an optional that is none.
fn non_zero<'a>(a: &Value<'a>) -> Ran<'a> {
    let zero = match a {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(int) | Value::Duration(int) => *int == 0,
        Value::Uint(uint) => *uint == 0,
        Value::Double(double) => *double == 0.0,
        Value::Decimal(decimal) => decimal.is_zero(),
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Optional(inner) => inner.is_none(),
        Value::Timestamp(_) | Value::Date(_) | Value::Type(_) => false,
    };
    if zero { Ok(Value::Optional(None)) } else { some(a) }
}

fn has_value<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
        _ => Err(no_overload("hasValue", std::slice::from_ref(a))),
    }
}

fn value<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => {
            Err(EvalError::new(ErrorKind::InvalidArgument, "`value()` of an optional that has none"))
        }
        _ => Err(no_overload("value", std::slice::from_ref(a))),
    }
}

fn or<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Optional(Some(_)), _) => Ok(a.clone()),
        (Value::Optional(None), Value::Optional(_)) => Ok(b.clone()),
        _ => Err(no_overload("or", &[a.clone(), b.clone()])),
    }
}

fn or_value<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => Ok(b.clone()),
        _ => Err(no_overload("orValue", &[a.clone(), b.clone()])),
    }
}

/// The values of those optionals in a list that have one.
fn unwrap_all<'a>(a: &Value<'a>) -> Ran<'a> {
    let Value::List(list) = a else { return Err(no_overload("unwrapOpt", std::slice::from_ref(a))) };
    let mut values = Vec::with_capacity(list.len());
    for item in list.iter() {
        match item? {
            Value::Optional(inner) => values.extend(inner.map(|inner| (*inner).clone())),
            other => return Err(no_overload("unwrapOpt", &[other])),
        }
    }
    Ok(Value::list(values))
}

/// `a[?b]`, and `a[b]` where `a` is an optional.
fn index<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let found = match a {
        Value::Optional(None) => None,
        Value::Optional(Some(inner)) => element(inner, b)?,
        plain => element(plain, b)?,
    };
    Ok(Value::Optional(found.map(Arc::new)))
}

/// What an optional holds of an element: a null of the submission is as good as none, however it is asked for.
fn element<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match (a, b) {
        (Value::Map(map), Value::String(name)) => map.field(name).transpose(),
        _ => element_at(a, b),
    }
}

/// `a.?name`, and `a.name` where `a` is an optional.
///
/// # Errors
/// [`ErrorKind::NoOverload`] when there is a value that has no fields.
pub(crate) fn select<'a>(a: &Value<'a>, name: &str) -> Ran<'a> {
    let holder = match a {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => inner,
        plain => plain,
    };
    match holder {
        Value::Map(map) => Ok(Value::Optional(map.field(name).transpose()?.map(Arc::new))),
        other => {
            Err(no_overload(".?", &[other.clone(), Value::String(Text::Shared(Arc::new(name.to_owned())))]))
        }
    }
}
