//! What rules made as it is recorded, and the way back. Canonical JSON (RFC 8785) has no numbers but doubles: a number that other readers would
//! round (RFC 7493 section 2.2) is recorded as its text.
//!
//! Part of [`super::Value`]. Where the type says that a number stands there, such a text is that number again; elsewhere it is a text for everybody,
//! because nothing tells it from one that somebody filled in.

use serde_json::{Number, Value as Json};

use super::collection::member_type;
use crate::types::Type;

/// The largest whole number that every I-JSON reader carries exactly, 2^53 - 1 (RFC 7493 section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// From here on canonical JSON writes whole numbers with an exponent (RFC 8785 section 3.2.2.3), so that nobody takes them for exact ones.
const EXPONENT_FROM: f64 = 1e21;

/// Whether canonical JSON holds the number as a number.
#[inline]
pub fn is_exact_number(number: &Number) -> bool {
    match number.as_i64().map(i64::unsigned_abs).or(number.as_u64()) {
        Some(whole) => whole <= INTEGER_MAX,
        None => !number.as_f64().is_some_and(is_unsafe_integer),
    }
}

/// Whether canonical JSON would write `double` as a whole number beyond ±(2^53 − 1), which other readers round.
#[inline]
pub fn is_unsafe_integer(double: f64) -> bool {
    double.fract() == 0.0 && double.abs() > INTEGER_MAX as f64 && double.abs() < EXPONENT_FROM
}

/// Makes `json`, the JSON of a value of type `ty`, what will be read: where the type is not known, numbers that are recorded as text are texts already.
pub(crate) fn make_as_recorded(json: &mut Json, ty: &Type) {
    match (ty.non_null(), &mut *json) {
        (Type::Dyn, Json::Number(number)) if !is_exact_number(number) => {
            *json = Json::String(number.to_string());
        }
        (Type::Optional(held), json) => make_as_recorded(json, held),
        (ty, Json::Array(items)) => {
            let element = element_type(ty);
            items.iter_mut().for_each(|item| make_as_recorded(item, element));
        }
        (ty, Json::Object(members)) => {
            members.iter_mut().for_each(|(name, member)| make_as_recorded(member, member_type(ty, name)));
        }
        _ => {}
    }
}

/// `json` as rules saw it before it was recorded: numbers where the type says so and a text stands in their place. `None` where there is no such text.
pub(crate) fn with_numbers(json: &Json, ty: &Type) -> Option<Json> {
    match (ty.non_null(), json) {
        (Type::Dyn, _) => None,
        (Type::Optional(held), json) => with_numbers(json, held),
        (ty, Json::String(text)) => number(text, ty).map(Json::Number),
        (ty, Json::Array(items)) => {
            let restored = items.iter().map(|item| with_numbers(item, element_type(ty)));
            let restored: Vec<Option<Json>> = restored.collect();
            let changed = restored.iter().any(Option::is_some);
            let or_as_is = |(restored, item): (Option<Json>, &Json)| restored.unwrap_or_else(|| item.clone());
            changed.then(|| restored.into_iter().zip(items).map(or_as_is).collect())
        }
        (ty, Json::Object(members)) => {
            let restored = members.iter().filter_map(|(name, member)| {
                Some((name.clone(), with_numbers(member, member_type(ty, name))?))
            });
            let restored: Vec<(String, Json)> = restored.collect();
            (!restored.is_empty()).then(|| {
                let mut members = members.clone();
                members.extend(restored);
                Json::Object(members)
            })
        }
        _ => None,
    }
}

/// The number of type `ty` that is recorded as `text`.
fn number(text: &str, ty: &Type) -> Option<Number> {
    let number = match ty {
        Type::Int => text.parse::<i64>().ok()?.into(),
        Type::Uint => text.parse::<u64>().ok()?.into(),
        Type::Double => Number::from_f64(text.parse().ok()?)?,
        _ => return None,
    };
    // One that JSON holds was never recorded as text.
    (!is_exact_number(&number)).then_some(number)
}

/// The type of a list's elements.
fn element_type(list: &Type) -> &Type {
    static DYN: Type = Type::Dyn;
    match list {
        Type::List(element) => element,
        _ => &DYN,
    }
}
