//! Equality and order of values: CEL's numeric comparison across types, and the order of map keys.
//!
//! Used by the comparison overloads, `in`, map lookup and sorting. Numbers compare by value whatever their types.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::{Kind, List, Map, Value, same_text};
use crate::error::{ErrorKind, EvalError};
use crate::limits::ELEMENTS_MAX;
use crate::number::double_to_decimal;

/// The order of two values of the same or of comparable types; `None` when they have none (NaN, other types).
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        _ => compare_numbers(a, b),
    }
}

/// The order of two numbers of any two number types.
pub(crate) fn compare_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Int(a), Value::Decimal(b)) => Some(Decimal::from(*a).cmp(b)),
        (Value::Uint(a), Value::Decimal(b)) => Some(Decimal::from(*a).cmp(b)),
        // Through a double, as the specification's cases want: 2^63 - 1 equals 9223372036854775808.0.
        (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Uint(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Decimal(a), Value::Double(b)) => decimal_to_double(a, *b),
        (Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Decimal(_))
        | (Value::Decimal(_), Value::Int(_) | Value::Uint(_)) => compare_numbers(b, a).map(Ordering::reverse),
        _ => compare_same(a, b),
    }
}

/// The two number types that [`compare`] takes on its fast path.
fn compare_same(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        _ => None,
    }
}

/// A decimal beside a double: the double's shortest decimal text is what its author wrote.
fn decimal_to_double(decimal: &Decimal, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    match double_to_decimal(double) {
        // A double may be nearer to zero than any decimal is; it lies between zero and all of them, and is none of them.
        Some(rounded) if rounded.is_zero() && double != 0.0 && decimal.is_zero() => 0.0.partial_cmp(&double),
        Some(other) => Some(decimal.cmp(&other)),
        None if double > 0.0 => Some(Ordering::Less),
        None => Some(Ordering::Greater),
    }
}

/// CEL's `==`: numbers by value across types, lists and maps by their elements, different types unequal.
///
/// # Errors
/// [`ErrorKind::Misfit`] when an element read from the submission does not fit its type; [`ErrorKind::Budget`] after
/// [`ELEMENTS_MAX`] elements, because lists that share parts can stand for more than memory holds.
pub(crate) fn equals(a: &Value<'_>, b: &Value<'_>) -> Result<bool, EvalError> {
    match (a, b) {
        (Value::List(_) | Value::Map(_) | Value::Optional(_), _) => {
            equals_inside(a, b, &mut { ELEMENTS_MAX })
        }
        _ => Ok(equals_scalar(a, b)),
    }
}

fn equals_scalar(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => same_text(a, b),
        (Value::Null, Value::Null) => true,
        (Value::Type(a), Value::Type(b)) => a == b,
        _ => compare(a, b) == Some(Ordering::Equal),
    }
}

/// Equality of values whose elements count against `left`.
fn equals_inside(a: &Value<'_>, b: &Value<'_>, left: &mut usize) -> Result<bool, EvalError> {
    *left = left.checked_sub(1).ok_or_else(too_many_elements)?;
    match (a, b) {
        (Value::List(a), Value::List(b)) => lists_equal(a, b, left),
        (Value::Map(a), Value::Map(b)) => maps_equal(a, b, left),
        (Value::Optional(None), Value::Optional(None)) => Ok(true),
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equals_inside(a, b, left),
        _ => Ok(equals_scalar(a, b)),
    }
}

/// The error of a value with more elements than an operation may visit.
#[cold]
pub(super) fn too_many_elements() -> EvalError {
    EvalError::new(ErrorKind::Budget, format!("a value has more than {ELEMENTS_MAX} elements"))
}

fn lists_equal(a: &List<'_>, b: &List<'_>, left: &mut usize) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equals_inside(&a?, &b?, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(a: &Map<'_>, b: &Map<'_>, left: &mut usize) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for entry in a.entries() {
        let (key, value) = entry?;
        let Some(other) = b.get(&key) else { return Ok(false) };
        if !equals_inside(&value, &other?, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A total order of map keys: bools, then numbers by value, then strings, then whatever cannot be a key.
pub(crate) fn key_order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    fn class(value: &Value<'_>) -> u8 {
        match value.kind() {
            Kind::Bool => 0,
            Kind::Int | Kind::Uint | Kind::Double | Kind::Decimal => 1,
            Kind::String => 2,
            _ => 3,
        }
    }
    // Incomparable values (NaN, other types) are never keys; any fixed answer keeps the search going.
    class(a).cmp(&class(b)).then_with(|| compare(a, b).unwrap_or(Ordering::Less))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5_000) })]

        #[test]
        fn a_double_beside_decimals_has_its_sign_and_its_order(
            a in any_double(), b in any_double(), mantissa in any::<i64>(), scale in 0_u32..=28, small in -20_i64..20,
        ) {
            let beside = |decimal: Decimal, double: f64| {
                compare(&Value::Double(double), &Value::Decimal(decimal)).expect("both are numbers")
            };
            prop_assert_eq!(beside(Decimal::ZERO, a), a.partial_cmp(&0.0).expect("no NaN"), "{:e}", a);
            for decimal in [Decimal::new(mantissa, scale), Decimal::new(small, 28), Decimal::new(small, scale)] {
                let (low, high) = if a <= b { (a, b) } else { (b, a) };
                prop_assert!(beside(decimal, low) <= beside(decimal, high), "{low:e} {high:e} {decimal}");
                if a.is_sign_negative() != decimal.is_sign_negative() && a != 0.0 && !decimal.is_zero() {
                    prop_assert_eq!(beside(decimal, a).is_lt(), a.is_sign_negative(), "{:e} {}", a, decimal);
                }
            }
        }
    }

    /// Doubles of all sizes, many of them where decimals end.
    fn any_double() -> impl Strategy<Value = f64> {
        use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
        prop_oneof![
            POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
            (-100_i32..100, -35_i32..-20)
                .prop_map(|(mantissa, exponent)| f64::from(mantissa) * 10_f64.powi(exponent)),
            (-1e6..1e6),
        ]
    }

    #[test]
    fn numbers_of_different_types_compare_by_value() {
        assert_eq!(compare(&Value::Int(2), &Value::Double(2.5)), Some(Ordering::Less));
        assert_eq!(compare(&Value::Double(-2.5), &Value::Int(-2)), Some(Ordering::Less));
        assert_eq!(compare(&Value::Int(-1), &Value::Uint(u64::MAX)), Some(Ordering::Less));
        assert_eq!(compare(&Value::Uint(1), &Value::Double(f64::NAN)), None);
    }

    #[test]
    fn a_decimal_equals_the_double_that_was_written_alike() {
        let tenth = Value::Decimal(Decimal::new(1, 1));
        assert_eq!(compare(&tenth, &Value::Double(0.1)), Some(Ordering::Equal));
        assert_eq!(compare(&Value::Double(1e300), &tenth), Some(Ordering::Greater));
    }
}
