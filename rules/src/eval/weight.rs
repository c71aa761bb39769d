//! What operands cost by their size, so that work on large values is paid for wherever it is done.
//!
//! Part of the evaluator. Lists count with all that lies in them: one list of one list is as much to compare as the inner one.

use serde_json::Value as Json;

use crate::limits::ELEMENTS_MAX;
use crate::types::Type;
use crate::value::{List, Map, Value};

/// Bytes of a text that an operation passes over at the cost of one unit.
const TEXT_BYTES_PER_UNIT: usize = 256;
/// Elements of a list or map that an operation passes over at the cost of one unit.
const ELEMENTS_PER_UNIT: usize = 4;

/// Units of each byte of a regular expression that is compiled while rules run.
const PATTERN_UNITS_PER_BYTE: u64 = 8;

/// Whether an operand costs nothing beyond the operation: a scalar or a short text.
#[inline(always)]
pub(super) fn is_light(value: &Value<'_>) -> bool {
    match value {
        Value::String(text) => text.len() < TEXT_BYTES_PER_UNIT,
        Value::Bytes(bytes) => bytes.len() < TEXT_BYTES_PER_UNIT,
        Value::List(_) | Value::Map(_) | Value::Optional(_) => false,
        _ => true,
    }
}

/// Units of an operation that passes over all of an operand. What an optional holds is handed on, not passed over.
pub(super) fn of_all(operand: &Value<'_>) -> u64 {
    match operand {
        Value::Optional(_) => 0,
        operand => (text_bytes(operand) / TEXT_BYTES_PER_UNIT + elements(operand) / ELEMENTS_PER_UNIT) as u64,
    }
}

/// Units of an operation that looks at one element of an operand, or only at its size. Texts are passed over for their size.
pub(super) fn of_a_look(operand: &Value<'_>, in_loop: bool) -> u64 {
    let elements = match operand {
        Value::List(list) if in_loop => list.len(),
        Value::Map(map) if in_loop => map.len(),
        _ => 0,
    };
    (text_bytes(operand) / TEXT_BYTES_PER_UNIT + elements / ELEMENTS_PER_UNIT) as u64
}

/// Units of a test. Of two values that hold others nothing is passed over that has no partner in the second one: `xs == []`
/// costs nothing. A scalar meets only the outermost elements.
pub(super) fn of_test(left: &Value<'_>, right: &Value<'_>) -> u64 {
    let holds = |value: &Value<'_>| matches!(value, Value::List(_) | Value::Map(_) | Value::Optional(_));
    let elements = match (holds(left), holds(right)) {
        (true, true) => elements(right).saturating_mul(2),
        _ => outermost(left) + outermost(right),
    };
    let bytes = text_bytes(left) / TEXT_BYTES_PER_UNIT + text_bytes(right) / TEXT_BYTES_PER_UNIT;
    (bytes + elements / ELEMENTS_PER_UNIT) as u64
}

/// Units of compiling a regular expression, by its length.
pub(super) fn of_pattern(pattern: &str) -> u64 {
    pattern.len() as u64 * PATTERN_UNITS_PER_BYTE
}

fn text_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

fn outermost(value: &Value<'_>) -> usize {
    match value {
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => 0,
    }
}

/// Elements in a value and in what it holds; counting ends at [`ELEMENTS_MAX`], as every operation does.
fn elements(value: &Value<'_>) -> usize {
    let mut left = ELEMENTS_MAX;
    count(value, &mut left);
    ELEMENTS_MAX - left
}

fn count(value: &Value<'_>, left: &mut usize) {
    *left = left.saturating_sub(outermost(value));
    match value {
        _ if *left == 0 => {}
        Value::List(List::Owned(items)) => items.iter().for_each(|item| count(item, left)),
        Value::List(List::Json(items, ty)) if may_hold(ty) => {
            items.iter().for_each(|item| count_json(item, left));
        }
        Value::Map(Map::Owned(entries)) => entries.iter().for_each(|(_, value)| count(value, left)),
        Value::Map(Map::Json(members, _)) => members.values().for_each(|item| count_json(item, left)),
        Value::Optional(Some(inner)) => count(inner, left),
        _ => {}
    }
}

fn count_json(json: &Json, left: &mut usize) {
    match json {
        _ if *left == 0 => {}
        Json::Array(items) => {
            *left = left.saturating_sub(items.len());
            items.iter().for_each(|item| count_json(item, left));
        }
        Json::Object(members) => {
            *left = left.saturating_sub(members.len());
            members.values().for_each(|item| count_json(item, left));
        }
        _ => {}
    }
}

/// Whether elements of a type may hold others, so that they are worth a walk.
fn may_hold(ty: &Type) -> bool {
    !matches!(
        ty.non_null(),
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Decimal | Type::String | Type::Date
    )
}
