//! `+ - * / %`, negation and logical not. Integers never wrap, decimals never round except in division.
//!
//! Mixes: an int beside a decimal counts as that decimal. Everything else needs a conversion; the checker reads number
//! *literals* as whatever the other side is.

use rust_decimal::Decimal;

use super::Param::{A, B, Bool, Bytes, Decimal as Dec, Double, Int, List, String as Str, Uint};
use super::math::unsigned_zero;
use super::{Overload, Ran, Run, limit_size, no_overload, overflow};
use crate::error::{ErrorKind, EvalError};
use crate::limits::{ELEMENTS_MAX, TEXT_BYTES_MAX};
use crate::value::Value;

/// Why a division may fail.
const DIVISOR: &str = "the divisor may be zero";

pub(super) const OVERLOADS: &[Overload] = &[
    Overload::op("!", &[Bool], Bool, Run::One(not)),
    Overload::op("-_", &[Int], Int, Run::One(negate)),
    Overload::op("-_", &[Double], Double, Run::One(negate)),
    Overload::op("-_", &[Dec], Dec, Run::One(negate)),
    Overload::op("+", &[Int, Int], Int, Run::Two(add)),
    Overload::op("+", &[Uint, Uint], Uint, Run::Two(add)),
    Overload::op("+", &[Double, Double], Double, Run::Two(add)),
    Overload::op("+", &[Dec, Dec], Dec, Run::Two(decimal_add)),
    Overload::op("+", &[Dec, Int], Dec, Run::Two(decimal_add)),
    Overload::op("+", &[Int, Dec], Dec, Run::Two(decimal_add)),
    Overload::op("+", &[Str, Str], Str, Run::Two(concat_text)),
    Overload::op("+", &[Bytes, Bytes], Bytes, Run::Two(concat_bytes)),
    Overload::op("+", &[List(&A), List(&A)], List(&A), Run::Two(concat_lists)),
    Overload::op("-", &[Int, Int], Int, Run::Two(subtract)),
    Overload::op("-", &[Uint, Uint], Uint, Run::Two(subtract)),
    Overload::op("-", &[Double, Double], Double, Run::Two(subtract)),
    Overload::op("-", &[Dec, Dec], Dec, Run::Two(decimal_subtract)),
    Overload::op("-", &[Dec, Int], Dec, Run::Two(decimal_subtract)),
    Overload::op("-", &[Int, Dec], Dec, Run::Two(decimal_subtract)),
    Overload::op("*", &[Int, Int], Int, Run::Two(multiply)),
    Overload::op("*", &[Uint, Uint], Uint, Run::Two(multiply)),
    Overload::op("*", &[Double, Double], Double, Run::Two(multiply)),
    Overload::op("*", &[Dec, Dec], Dec, Run::Two(decimal_multiply)),
    Overload::op("*", &[Dec, Int], Dec, Run::Two(decimal_multiply)),
    Overload::op("*", &[Int, Dec], Dec, Run::Two(decimal_multiply)),
    Overload::op("/", &[Int, Int], Int, Run::Two(divide)).failing(DIVISOR),
    Overload::op("/", &[Uint, Uint], Uint, Run::Two(divide)).failing(DIVISOR),
    Overload::op("/", &[Double, Double], Double, Run::Two(divide)),
    Overload::op("/", &[Dec, Dec], Dec, Run::Two(decimal_divide)).failing(DIVISOR),
    Overload::op("/", &[Dec, Int], Dec, Run::Two(decimal_divide)).failing(DIVISOR),
    Overload::op("/", &[Int, Dec], Dec, Run::Two(decimal_divide)).failing(DIVISOR),
    Overload::op("%", &[Int, Int], Int, Run::Two(remainder)).failing(DIVISOR),
    Overload::op("%", &[Uint, Uint], Uint, Run::Two(remainder)).failing(DIVISOR),
    Overload::op("%", &[Dec, Dec], Dec, Run::Two(decimal_remainder)).failing(DIVISOR),
    Overload::op("%", &[Dec, Int], Dec, Run::Two(decimal_remainder)).failing(DIVISOR),
    Overload::function("dyn", &[B], Param::Dyn, Run::One(same)),
];

use super::Param;

fn not<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Bool(truth) => Ok(Value::Bool(!truth)),
        _ => Err(no_overload("!", std::slice::from_ref(a))),
    }
}

fn same<'a>(a: &Value<'a>) -> Ran<'a> {
    Ok(a.clone())
}

fn negate<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(|| out_of_int("-")),
        Value::Double(double) => Ok(Value::Double(-double)),
        Value::Decimal(decimal) => Ok(Value::Decimal(unsigned_zero(-decimal))),
        _ => Err(no_overload("-", std::slice::from_ref(a))),
    }
}

fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => a.checked_add(*b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => Some(Value::Double(a + b)),
        _ => return Err(no_overload("+", &[a.clone(), b.clone()])),
    }
    .ok_or_else(|| out_of_int("+"))
}

fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => a.checked_sub(*b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => Some(Value::Double(a - b)),
        _ => return Err(no_overload("-", &[a.clone(), b.clone()])),
    }
    .ok_or_else(|| out_of_int("-"))
}

fn multiply<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => a.checked_mul(*b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => Some(Value::Double(a * b)),
        _ => return Err(no_overload("*", &[a.clone(), b.clone()])),
    }
    .ok_or_else(|| out_of_int("*"))
}

fn divide<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => Some(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Some(Value::Double(a / b)),
        _ => return Err(no_overload("/", &[a.clone(), b.clone()])),
    }
    .ok_or_else(|| out_of_int("/"))
}

fn remainder<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => Some(Value::Uint(a % b)),
        _ => return Err(no_overload("%", &[a.clone(), b.clone()])),
    }
    .ok_or_else(|| out_of_int("%"))
}

/// A decimal operand: a decimal, or an int as one.
fn operand(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Decimal(decimal) => Some(*decimal),
        Value::Int(int) => Some(Decimal::from(*int)),
        _ => None,
    }
}

/// Runs an exact decimal operation.
fn decimal<'a>(
    name: &str,
    a: &Value<'a>,
    b: &Value<'a>,
    run: impl FnOnce(Decimal, Decimal) -> Option<Decimal>,
) -> Ran<'a> {
    let (Some(left), Some(right)) = (operand(a), operand(b)) else {
        return Err(no_overload(name, &[a.clone(), b.clone()]));
    };
    if matches!(name, "/" | "%") && right.is_zero() {
        return Err(by_zero());
    }
    // The difference of two zeros is `0 + -0`, whose sign would stay.
    let exact = run(left, right).map(unsigned_zero).map(Value::Decimal);
    exact.ok_or_else(|| overflow(format!("`{name}`: the result does not fit a decimal of 28 digits exactly")))
}

/// Sum and difference are exact, or an error: rust_decimal would round when scales do not fit together.
fn decimal_add<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    decimal("+", a, b, add_exactly)
}

fn decimal_subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    decimal("-", a, b, |a, b| add_exactly(a, -b))
}

/// The sum when no digit is lost.
pub(super) fn add_exactly(a: Decimal, b: Decimal) -> Option<Decimal> {
    let sum = a.checked_add(b)?;
    (sum.scale() >= a.normalize().scale().max(b.normalize().scale())).then_some(sum)
}

/// The product with all its digits: `10.10 * 2` is `20.20`. Where they do not fit, trailing zeros may go, nothing else.
fn decimal_multiply<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let exact = |a: Decimal, b: Decimal| {
        let product = a.checked_mul(b)?;
        (product.is_zero() || product.scale() == a.scale() + b.scale()).then_some(product)
    };
    decimal("*", a, b, |a, b| exact(a, b).or_else(|| exact(a.normalize(), b.normalize())))
}

/// The quotient, rounded half to even where its digits end: they have 96 bits, and at most 28 of them stand behind the point. So what is too near to
/// zero is zero.
fn decimal_divide<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    decimal("/", a, b, Decimal::checked_div)
}

fn decimal_remainder<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    decimal("%", a, b, Decimal::checked_rem)
}

fn concat_text<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (Value::String(left), Value::String(right)) = (a, b) else {
        return Err(no_overload("+", &[a.clone(), b.clone()]));
    };
    limit_size("+", left.len() + right.len(), TEXT_BYTES_MAX)?;
    Ok(Value::text([&**left, &**right].concat()))
}

fn concat_bytes<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (Value::Bytes(left), Value::Bytes(right)) = (a, b) else {
        return Err(no_overload("+", &[a.clone(), b.clone()]));
    };
    limit_size("+", left.len() + right.len(), TEXT_BYTES_MAX)?;
    Ok(Value::Bytes([&**left, &**right].concat().into()))
}

fn concat_lists<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (Value::List(left), Value::List(right)) = (a, b) else {
        return Err(no_overload("+", &[a.clone(), b.clone()]));
    };
    limit_size("+", left.len() + right.len(), ELEMENTS_MAX)?;
    Ok(Value::list(left.iter().chain(right.iter()).collect::<Result<_, _>>()?))
}

#[cold]
fn by_zero() -> EvalError {
    EvalError::new(ErrorKind::DivideByZero, "division by zero")
}

#[cold]
fn out_of_int(name: &str) -> EvalError {
    overflow(format!("`{name}`: the result does not fit 64 bits"))
}
