//! The `math` functions: extremes, rounding, signs, classification and bits; exact rounding of decimals.

use std::cmp::Ordering;

use rust_decimal::{Decimal, RoundingStrategy};

use super::Param::{Bool, Decimal as Dec, Double, Dyn, Int, List, Number, Uint};
use super::{Overload, Param, Ran, Run, invalid, no_overload, out_of_range, overflow};
use crate::value::{List as ListValue, Value, compare_numbers};

/// A one-argument row for each of the types.
macro_rules! rows {
    ($($name:literal($($param:expr),*) -> $result:expr => $run:expr;)*) => {
        &[$(Overload::function($name, &[$($param),*], $result, $run)),*]
    };
}

pub(super) const OVERLOADS: &[Overload] = rows! {
    "math.greatest"(Int) -> Int => Run::Many(greatest);
    "math.greatest"(Uint) -> Uint => Run::Many(greatest);
    "math.greatest"(Double) -> Double => Run::Many(greatest);
    "math.greatest"(Dec) -> Dec => Run::Many(greatest);
    "math.greatest"(List(&Number)) -> Dyn => Run::Many(greatest);
    "math.greatest"(Int, Int) -> Int => Run::Many(greatest);
    "math.greatest"(Uint, Uint) -> Uint => Run::Many(greatest);
    "math.greatest"(Double, Double) -> Double => Run::Many(greatest);
    "math.greatest"(Dec, Dec) -> Dec => Run::Many(greatest);
    "math.greatest"(Number, Number) -> Dyn => Run::Many(greatest);
    "math.least"(Int) -> Int => Run::Many(least);
    "math.least"(Uint) -> Uint => Run::Many(least);
    "math.least"(Double) -> Double => Run::Many(least);
    "math.least"(Dec) -> Dec => Run::Many(least);
    "math.least"(List(&Number)) -> Dyn => Run::Many(least);
    "math.least"(Int, Int) -> Int => Run::Many(least);
    "math.least"(Uint, Uint) -> Uint => Run::Many(least);
    "math.least"(Double, Double) -> Double => Run::Many(least);
    "math.least"(Dec, Dec) -> Dec => Run::Many(least);
    "math.least"(Number, Number) -> Dyn => Run::Many(least);
    "math.ceil"(Double) -> Double => Run::One(ceil);
    "math.ceil"(Dec) -> Dec => Run::One(ceil);
    "math.floor"(Double) -> Double => Run::One(floor);
    "math.floor"(Dec) -> Dec => Run::One(floor);
    "math.round"(Double) -> Double => Run::One(round);
    "math.round"(Dec) -> Dec => Run::One(round);
    "math.round"(Dec, Int) -> Dec => Run::Two(round_places);
    "math.trunc"(Double) -> Double => Run::One(trunc);
    "math.trunc"(Dec) -> Dec => Run::One(trunc);
    "math.sqrt"(Double) -> Double => Run::One(sqrt);
    "math.sqrt"(Int) -> Double => Run::One(sqrt);
    "math.sqrt"(Uint) -> Double => Run::One(sqrt);
    "math.abs"(Int) -> Int => Run::One(abs);
    "math.abs"(Uint) -> Uint => Run::One(abs);
    "math.abs"(Double) -> Double => Run::One(abs);
    "math.abs"(Dec) -> Dec => Run::One(abs);
    "math.sign"(Int) -> Int => Run::One(sign);
    "math.sign"(Uint) -> Uint => Run::One(sign);
    "math.sign"(Double) -> Double => Run::One(sign);
    "math.sign"(Dec) -> Dec => Run::One(sign);
    "math.isNaN"(Double) -> Bool => Run::One(is_nan);
    "math.isInf"(Double) -> Bool => Run::One(is_inf);
    "math.isFinite"(Double) -> Bool => Run::One(is_finite);
    "math.bitAnd"(Int, Int) -> Int => Run::Two(bit_and);
    "math.bitAnd"(Uint, Uint) -> Uint => Run::Two(bit_and);
    "math.bitOr"(Int, Int) -> Int => Run::Two(bit_or);
    "math.bitOr"(Uint, Uint) -> Uint => Run::Two(bit_or);
    "math.bitXor"(Int, Int) -> Int => Run::Two(bit_xor);
    "math.bitXor"(Uint, Uint) -> Uint => Run::Two(bit_xor);
    "math.bitNot"(Int) -> Int => Run::One(bit_not);
    "math.bitNot"(Uint) -> Uint => Run::One(bit_not);
    "math.bitShiftLeft"(Int, Int) -> Int => Run::Two(shift_left);
    "math.bitShiftLeft"(Uint, Int) -> Uint => Run::Two(shift_left);
    "math.bitShiftRight"(Int, Int) -> Int => Run::Two(shift_right);
    "math.bitShiftRight"(Uint, Int) -> Uint => Run::Two(shift_right);
};

fn greatest<'a>(args: &[Value<'a>]) -> Ran<'a> {
    extreme("math.greatest", args, Ordering::Greater)
}

fn least<'a>(args: &[Value<'a>]) -> Ran<'a> {
    extreme("math.least", args, Ordering::Less)
}

/// The extreme of the arguments, or of the only argument when that is a list; of equal ones the first.
fn extreme<'a>(name: &str, args: &[Value<'a>], wanted: Ordering) -> Ran<'a> {
    let numbers: Vec<Value<'a>> = match args {
        [Value::List(list)] => ListValue::iter(list).collect::<Result<_, _>>()?,
        numbers => numbers.to_vec(),
    };
    if let Some(other) = numbers.iter().find(|number| !Param::Number.accepts(number)) {
        return Err(no_overload(name, std::slice::from_ref(other)));
    }
    let best = numbers
        .into_iter()
        .reduce(|best, next| if compare_numbers(&next, &best) == Some(wanted) { next } else { best });
    best.ok_or_else(|| invalid(format!("`{name}` needs at least one number")))
}

/// A rounding of doubles and decimals.
fn rounding<'a>(
    name: &str,
    a: &Value<'a>,
    double: fn(f64) -> f64,
    decimal: fn(&Decimal) -> Decimal,
) -> Ran<'a> {
    match a {
        Value::Double(number) => Ok(Value::Double(double(*number))),
        Value::Decimal(number) => Ok(Value::Decimal(unsigned_zero(decimal(number)))),
        _ => Err(no_overload(name, std::slice::from_ref(a))),
    }
}

/// Decimals have no negative zero: it would be written `-0.00`.
pub(super) fn unsigned_zero(decimal: Decimal) -> Decimal {
    if decimal.is_zero() { decimal.abs() } else { decimal }
}

fn ceil<'a>(a: &Value<'a>) -> Ran<'a> {
    rounding("math.ceil", a, f64::ceil, Decimal::ceil)
}

fn floor<'a>(a: &Value<'a>) -> Ran<'a> {
    rounding("math.floor", a, f64::floor, Decimal::floor)
}

fn trunc<'a>(a: &Value<'a>) -> Ran<'a> {
    rounding("math.trunc", a, f64::trunc, Decimal::trunc)
}

/// Half away from zero, for doubles (as CEL defines) and decimals alike.
fn round<'a>(a: &Value<'a>) -> Ran<'a> {
    rounding("math.round", a, f64::round, |decimal| half_up(decimal, 0))
}

/// Rounded to `places` behind the point, half away from zero: the one way in which decimals lose digits, beside `/`.
pub(super) fn half_up(decimal: &Decimal, places: u32) -> Decimal {
    decimal.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero)
}

fn round_places<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    match (a, b) {
        (Value::Decimal(decimal), Value::Int(places @ 0..=28)) => {
            Ok(Value::Decimal(half_up(decimal, *places as u32)))
        }
        (Value::Decimal(_), Value::Int(_)) => Err(out_of_range("`math.round` takes 0 to 28 places")),
        _ => Err(no_overload("math.round", &[a.clone(), b.clone()])),
    }
}

fn sqrt<'a>(a: &Value<'a>) -> Ran<'a> {
    Ok(Value::Double(match a {
        Value::Double(double) => double.sqrt(),
        Value::Int(int) => (*int as f64).sqrt(),
        Value::Uint(uint) => (*uint as f64).sqrt(),
        _ => return Err(no_overload("math.sqrt", std::slice::from_ref(a))),
    }))
}

fn abs<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Int(int) => int
            .checked_abs()
            .map(Value::Int)
            .ok_or_else(|| overflow("`math.abs`: the result does not fit 64 bits")),
        Value::Uint(_) => Ok(a.clone()),
        Value::Double(double) => Ok(Value::Double(double.abs())),
        Value::Decimal(decimal) => Ok(Value::Decimal(decimal.abs())),
        _ => Err(no_overload("math.abs", std::slice::from_ref(a))),
    }
}

fn sign<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Int(int) => Ok(Value::Int(int.signum())),
        Value::Uint(uint) => Ok(Value::Uint(u64::from(*uint > 0))),
        Value::Double(double) if *double == 0.0 || double.is_nan() => Ok(a.clone()),
        Value::Double(double) => Ok(Value::Double(double.signum())),
        Value::Decimal(decimal) if decimal.is_zero() => Ok(Value::Decimal(Decimal::ZERO)),
        Value::Decimal(decimal) => {
            Ok(Value::Decimal(if decimal.is_sign_negative() { -Decimal::ONE } else { Decimal::ONE }))
        }
        _ => Err(no_overload("math.sign", std::slice::from_ref(a))),
    }
}

fn classify<'a>(name: &str, a: &Value<'a>, test: fn(f64) -> bool) -> Ran<'a> {
    match a {
        Value::Double(double) => Ok(Value::Bool(test(*double))),
        _ => Err(no_overload(name, std::slice::from_ref(a))),
    }
}

fn is_nan<'a>(a: &Value<'a>) -> Ran<'a> {
    classify("math.isNaN", a, f64::is_nan)
}

fn is_inf<'a>(a: &Value<'a>) -> Ran<'a> {
    classify("math.isInf", a, f64::is_infinite)
}

fn is_finite<'a>(a: &Value<'a>) -> Ran<'a> {
    classify("math.isFinite", a, f64::is_finite)
}

/// A bitwise operation on two integers of one type.
fn bits<'a>(name: &str, a: &Value<'a>, b: &Value<'a>, run: fn(u64, u64) -> u64) -> Ran<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            Ok(Value::Int(run(a.cast_unsigned(), b.cast_unsigned()).cast_signed()))
        }
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(run(*a, *b))),
        _ => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn bit_and<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    bits("math.bitAnd", a, b, |a, b| a & b)
}

fn bit_or<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    bits("math.bitOr", a, b, |a, b| a | b)
}

fn bit_xor<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    bits("math.bitXor", a, b, |a, b| a ^ b)
}

fn bit_not<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Int(int) => Ok(Value::Int(!int)),
        Value::Uint(uint) => Ok(Value::Uint(!uint)),
        _ => Err(no_overload("math.bitNot", std::slice::from_ref(a))),
    }
}

/// A shift; right shifts of ints fill with zeros, and 64 places or more leave zero.
fn shift<'a>(name: &str, a: &Value<'a>, b: &Value<'a>, run: fn(u64, u32) -> Option<u64>) -> Ran<'a> {
    let Value::Int(places) = b else { return Err(no_overload(name, &[a.clone(), b.clone()])) };
    let places =
        u32::try_from((*places).min(64)).map_err(|_| invalid(format!("`{name}`: {places} is negative")))?;
    match a {
        Value::Int(int) => Ok(Value::Int(run(int.cast_unsigned(), places).unwrap_or(0).cast_signed())),
        Value::Uint(uint) => Ok(Value::Uint(run(*uint, places).unwrap_or(0))),
        _ => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn shift_left<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    shift("math.bitShiftLeft", a, b, u64::checked_shl)
}

fn shift_right<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    shift("math.bitShiftRight", a, b, u64::checked_shr)
}
