//! Sizes, indexing and list functions, with sums over lists of any one number type.

use std::cmp::Ordering;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::Param::{
    self, A, B, Bytes, Decimal as Dec, Double, Int, List, Map, Number, Optional, String as Str, Uint,
};
use super::arithmetic::add_exactly;
use super::{Overload, Ran, Run, invalid, limit_size, no_overload, out_of_range, overflow, size_of_int};
use crate::error::{ErrorKind, EvalError};
use crate::limits::{ELEMENTS_MAX, TEXT_BYTES_MAX};
use crate::value::{List as ListValue, Map as MapValue, Value, compare, equals};

/// Why a least or greatest element may not be there.
const EMPTY: &str = "the list may be empty";

pub(super) const OVERLOADS: &[Overload] = &[
    Overload::function("size", &[Str], Int, Run::One(size)),
    Overload::function("size", &[Bytes], Int, Run::One(size)),
    Overload::function("size", &[List(&A)], Int, Run::One(size)),
    Overload::function("size", &[Map(&A, &B)], Int, Run::One(size)),
    Overload::method("size", &[Str], Int, Run::One(size)),
    Overload::method("size", &[Bytes], Int, Run::One(size)),
    Overload::method("size", &[List(&A)], Int, Run::One(size)),
    Overload::method("size", &[Map(&A, &B)], Int, Run::One(size)),
    Overload::op("[]", &[List(&A), Number], A, Run::Two(index))
        .failing("the list may not have that element; `[?…]` gives an optional"),
    Overload::op("[]", &[Map(&A, &B), A], B, Run::Two(index))
        .failing("the map may not have that key; `[?…]` gives an optional"),
    Overload::method("join", &[List(&Str)], Str, Run::One(join_plain)),
    Overload::method("join", &[List(&Str), Str], Str, Run::Two(join)),
    Overload::method("reverse", &[List(&A)], List(&A), Run::One(reverse)),
    Overload::method("distinct", &[List(&A)], List(&A), Run::One(distinct)),
    Overload::method("sort", &[List(&A)], List(&A), Run::One(sort)),
    Overload::method("slice", &[List(&A), Int, Int], List(&A), Run::Many(slice))
        .failing("the list may be shorter"),
    Overload::method("flatten", &[List(&List(&A))], List(&A), Run::One(flatten)),
    Overload::method("flatten", &[List(&A)], List(&Param::Dyn), Run::One(flatten)),
    Overload::method("first", &[List(&A)], Optional(&A), Run::One(first)),
    Overload::method("last", &[List(&A)], Optional(&A), Run::One(last)),
    Overload::method("sum", &[List(&Int)], Int, Run::One(sum_int)),
    Overload::method("sum", &[List(&Uint)], Uint, Run::One(sum_uint)),
    Overload::method("sum", &[List(&Double)], Double, Run::One(sum_double)),
    Overload::method("sum", &[List(&Dec)], Dec, Run::One(sum_decimal)),
    Overload::function("sum", &[List(&Int)], Int, Run::One(sum_int)),
    Overload::function("sum", &[List(&Uint)], Uint, Run::One(sum_uint)),
    Overload::function("sum", &[List(&Double)], Double, Run::One(sum_double)),
    Overload::function("sum", &[List(&Dec)], Dec, Run::One(sum_decimal)),
    Overload::method("min", &[List(&A)], A, Run::One(least)).failing(EMPTY),
    Overload::method("max", &[List(&A)], A, Run::One(greatest)).failing(EMPTY),
    Overload::function("lists.range", &[Int], List(&Int), Run::One(range)),
];

/// The list argument of a method.
fn list_of<'v, 'a>(name: &str, a: &'v Value<'a>) -> Result<&'v ListValue<'a>, EvalError> {
    match a {
        Value::List(list) => Ok(list),
        _ => Err(no_overload(name, std::slice::from_ref(a))),
    }
}

fn size<'a>(a: &Value<'a>) -> Ran<'a> {
    let size = match a {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(no_overload("size", std::slice::from_ref(a))),
    };
    Ok(Value::Int(size as i64))
}

fn index<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match at(a, b)? {
        Some(value) => Ok(value),
        None => Err(match a {
            Value::List(list) => {
                out_of_range(format!("index {} is outside a list of {} elements", key_text(b), list.len()))
            }
            // A member that the submission does not have is a missing field; a map that a rule made is all there.
            Value::Map(MapValue::Json(..)) => {
                EvalError::new(ErrorKind::Missing, format!("the map has no key {}", key_text(b)))
            }
            _ => out_of_range(format!("the map has no key {}", key_text(b))),
        }),
    }
}

fn key_text(key: &Value<'_>) -> String {
    match key {
        Value::String(text) => format!("`{}`", &**text),
        other => other.to_json().map_or_else(|error| error.to_string(), |json| format!("`{json}`")),
    }
}

/// The element of a list or map at an index or key; `None` when there is none.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for an index that is not integral, `NoOverload` for types that have no index.
pub(crate) fn at<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match a {
        Value::List(list) => match position(b)? {
            Some(at) => list.get(at).transpose(),
            None => Ok(None),
        },
        Value::Map(map) => map.get(b).transpose(),
        _ => Err(no_overload("[]", &[a.clone(), b.clone()])),
    }
}

/// A list index as a size; `None` when it is negative or beyond memory.
fn position(index: &Value<'_>) -> Result<Option<usize>, EvalError> {
    match index {
        Value::Int(int) => Ok(usize::try_from(*int).ok()),
        Value::Uint(uint) => Ok(usize::try_from(*uint).ok()),
        Value::Double(double) if double.fract() == 0.0 => Ok((*double >= 0.0).then_some(*double as usize)),
        Value::Decimal(decimal) if decimal.is_integer() => Ok(decimal.to_usize()),
        Value::Double(_) | Value::Decimal(_) => Err(invalid("a list index must be integral")),
        _ => Err(no_overload("[]", std::slice::from_ref(index))),
    }
}

fn join_plain<'a>(a: &Value<'a>) -> Ran<'a> {
    join(a, &Value::from(""))
}

fn join<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (list, Value::String(separator)) = (list_of("join", a)?, b) else {
        return Err(no_overload("join", &[a.clone(), b.clone()]));
    };
    let mut out = String::new();
    for (place, item) in list.iter().enumerate() {
        let Value::String(text) = item? else { return Err(invalid("`join` takes a list of strings")) };
        limit_size("join", out.len() + separator.len() + text.len(), TEXT_BYTES_MAX)?;
        if place > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
    }
    Ok(Value::text(out))
}

fn collect<'a>(name: &str, a: &Value<'a>) -> Result<Vec<Value<'a>>, EvalError> {
    list_of(name, a)?.iter().collect()
}

fn reverse<'a>(a: &Value<'a>) -> Ran<'a> {
    let mut items = collect("reverse", a)?;
    items.reverse();
    Ok(Value::list(items))
}

/// Quadratic, so only for lists whose square is within the element limit.
fn distinct<'a>(a: &Value<'a>) -> Ran<'a> {
    let items = collect("distinct", a)?;
    limit_size("distinct", items.len().saturating_mul(items.len()), ELEMENTS_MAX)?;
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in items {
        let mut known = false;
        for other in &kept {
            known = known || equals(other, &item)?;
        }
        if !known {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn sort<'a>(a: &Value<'a>) -> Ran<'a> {
    let mut items = collect("sort", a)?;
    if items.windows(2).any(|pair| compare(&pair[0], &pair[1]).is_none()) {
        return Err(invalid("`sort` takes a list of values that can be compared"));
    }
    items.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(items))
}

fn slice<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let [list, Value::Int(from), Value::Int(to)] = args else { return Err(no_overload("slice", args)) };
    let items = collect("slice", list)?;
    let (from, to) = (size_of_int("slice", *from)?, size_of_int("slice", *to)?);
    let part = items.get(from..to);
    part.map(|part| Value::list(part.to_vec()))
        .ok_or_else(|| out_of_range(format!("`slice`: {from}..{to} is outside")))
}

fn flatten<'a>(a: &Value<'a>) -> Ran<'a> {
    let mut out = Vec::new();
    for item in list_of("flatten", a)?.iter() {
        match item? {
            Value::List(inner) => {
                limit_size("flatten", out.len() + inner.len(), ELEMENTS_MAX)?;
                for item in inner.iter() {
                    out.push(item?);
                }
            }
            other => out.push(other),
        }
    }
    Ok(Value::list(out))
}

fn optional<'a>(item: Option<Ran<'a>>) -> Ran<'a> {
    Ok(Value::Optional(item.transpose()?.map(std::sync::Arc::new)))
}

fn first<'a>(a: &Value<'a>) -> Ran<'a> {
    optional(list_of("first", a)?.get(0))
}

fn last<'a>(a: &Value<'a>) -> Ran<'a> {
    let list = list_of("last", a)?;
    optional(list.len().checked_sub(1).and_then(|at| list.get(at)))
}

/// Adds every element to `zero`, which has the type of the result.
fn sum<'a>(a: &Value<'a>, zero: Value<'a>) -> Ran<'a> {
    let mut total = zero;
    for item in list_of("sum", a)?.iter() {
        total = match (&total, &item?) {
            (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(too_large)?,
            (Value::Uint(a), Value::Uint(b)) => a.checked_add(*b).map(Value::Uint).ok_or_else(too_large)?,
            (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
            (Value::Decimal(a), Value::Decimal(b)) => {
                add_exactly(*a, *b).map(Value::Decimal).ok_or_else(too_large)?
            }
            _ => return Err(no_overload("sum", std::slice::from_ref(a))),
        };
    }
    Ok(total)
}

fn sum_int<'a>(a: &Value<'a>) -> Ran<'a> {
    sum(a, Value::Int(0))
}

fn sum_uint<'a>(a: &Value<'a>) -> Ran<'a> {
    sum(a, Value::Uint(0))
}

fn sum_double<'a>(a: &Value<'a>) -> Ran<'a> {
    sum(a, Value::Double(0.0))
}

fn sum_decimal<'a>(a: &Value<'a>) -> Ran<'a> {
    sum(a, Value::Decimal(Decimal::ZERO))
}

#[cold]
fn too_large() -> EvalError {
    overflow("`sum`: the result is out of range")
}

fn extreme<'a>(name: &str, a: &Value<'a>, wanted: Ordering) -> Ran<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in list_of(name, a)?.iter() {
        let item = item?;
        let better = match &best {
            Some(best) => {
                compare(&item, best)
                    .ok_or_else(|| invalid(format!("`{name}`: the values cannot be compared")))?
                    == wanted
            }
            None => true,
        };
        if better {
            best = Some(item);
        }
    }
    best.ok_or_else(|| out_of_range(format!("`{name}` of an empty list")))
}

fn least<'a>(a: &Value<'a>) -> Ran<'a> {
    extreme("min", a, Ordering::Less)
}

fn greatest<'a>(a: &Value<'a>) -> Ran<'a> {
    extreme("max", a, Ordering::Greater)
}

fn range<'a>(a: &Value<'a>) -> Ran<'a> {
    let Value::Int(count) = a else { return Err(no_overload("lists.range", std::slice::from_ref(a))) };
    limit_size("lists.range", usize::try_from((*count).max(0)).unwrap_or(usize::MAX), ELEMENTS_MAX)?;
    Ok(Value::list((0..*count).map(Value::Int).collect()))
}
