//! Plain CEL over values in the protobuf JSON form of `cel.expr.Value`, without a form: `formledger rules eval`.
//!
//! Called by the command line and by the conformance test. Uses the same parser, checker and evaluator as form rules, in
//! the mode in which refusals happen at run time, because the specification's cases are written for that.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::budget::Budget;
use crate::error::{ErrorKind, EvalError};
use crate::layout::Layout;
use crate::limits::ELEMENTS_MAX;
use crate::number::{double_to_string, parse_double};
use crate::program::Program;
use crate::slots::Slots;
use crate::time;
use crate::types::Type;
use crate::value::{Kind, Map, Value, decimal_from_text};

/// Deepest nesting of a binding's value, in lists and maps.
const DEPTH_MAX: usize = 100;

/// Evaluates `expr` with `bindings`, an object of `cel.expr.Value`s by variable name (null for none). A variable's name
/// may contain dots.
///
/// # Errors
/// In words, why there is no value: a syntax error, a binding that is not a `cel.expr.Value`, or the run-time error.
pub fn eval_ndjson_case(expr: &str, bindings: &Json) -> Result<Json, String> {
    let empty = serde_json::Map::new();
    let bindings = match bindings {
        Json::Null => &empty,
        Json::Object(bindings) => bindings,
        _ => return Err("`bindings` must be an object of variables by name".to_owned()),
    };
    let layout = Layout::new(Default::default());
    let layout = bindings.keys().fold(layout, |layout, name| layout.with_variable(name, Type::Dyn));
    let program = Program::compile_dynamic(expr, &layout).map_err(|problem| problem.to_string())?;
    let mut slots = Slots::new(&layout);
    for (name, json) in bindings {
        let value = read(json, 0).ok_or_else(|| format!("the binding `{name}` is not a `cel.expr.Value`"))?;
        let slot = layout.variable(&[name]).expect("every binding was declared above");
        slots.set(slot, value);
    }
    let value = program.eval(&slots, &mut Budget::default());
    value.and_then(|value| write(&value, &mut { ELEMENTS_MAX })).map_err(|error| error.to_string())
}

/// The value that a `cel.expr.Value` denotes.
fn read(json: &Json, depth: usize) -> Option<Value<'static>> {
    let (form, content) = json.as_object()?.iter().next()?;
    if depth > DEPTH_MAX {
        return None;
    }
    match (form.as_str(), content) {
        ("nullValue", _) => Some(Value::Null),
        ("boolValue", Json::Bool(truth)) => Some(Value::Bool(*truth)),
        ("int64Value", _) => integer_text(content)?.parse().ok().map(Value::Int),
        ("uint64Value", _) => integer_text(content)?.parse().ok().map(Value::Uint),
        ("doubleValue", Json::Number(number)) => number.as_f64().map(Value::Double),
        ("doubleValue", Json::String(text)) => parse_double(text).map(Value::Double),
        ("stringValue", Json::String(text)) => Some(Value::text(text.as_str())),
        ("bytesValue", Json::String(text)) => Some(Value::Bytes(STANDARD.decode(text).ok()?.into())),
        ("typeValue", Json::String(name)) => {
            Kind::ALL.into_iter().find(|kind| kind.name() == name).map(Value::Type)
        }
        ("listValue", list) => {
            let items =
                list.get("values").map_or(Some(&[][..]), |values| values.as_array().map(Vec::as_slice))?;
            Some(Value::list(items.iter().map(|item| read(item, depth + 1)).collect::<Option<_>>()?))
        }
        ("mapValue", map) => {
            let entries =
                map.get("entries").map_or(Some(&[][..]), |entries| entries.as_array().map(Vec::as_slice))?;
            let pair = |entry: &Json| {
                Some((read(entry.get("key")?, depth + 1)?, read(entry.get("value")?, depth + 1)?))
            };
            Map::from_entries(entries.iter().map(pair).collect::<Option<_>>()?).ok().map(Value::Map)
        }
        ("objectValue", object) => read_object(object),
        _ => None,
    }
}

/// A 64-bit integer's text: protobuf JSON writes a string and also reads a number.
fn integer_text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The well-known messages that are values of the language, and the objects as which [`write`] shows what CEL lacks.
fn read_object(object: &Json) -> Option<Value<'static>> {
    let name = object.get("@type")?.as_str()?.rsplit('/').next()?;
    let text = object.get("value")?.as_str()?;
    match name {
        "google.protobuf.Timestamp" => time::parse_timestamp(text).map(Value::Timestamp),
        "google.protobuf.Duration" => time::parse_duration(text).map(Value::Duration),
        "formledger.Decimal" => decimal_from_text(text).map(Value::Decimal),
        "formledger.Date" => time::parse_date(text).map(Value::Date),
        _ => None,
    }
}

/// The `cel.expr.Value` that denotes a value, its elements counting against `left`. Values that CEL lacks (decimal, date)
/// are objects of a `formledger` type.
fn write(value: &Value<'_>, left: &mut usize) -> Result<Json, EvalError> {
    let message =
        || EvalError::new(ErrorKind::Budget, format!("the result has more than {ELEMENTS_MAX} elements"));
    *left = left.checked_sub(1).ok_or_else(message)?;
    let object = |name: &str, text: String| json!({"objectValue": {"@type": name, "value": text}});
    Ok(match value {
        Value::Null => json!({"nullValue": null}),
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Int(int) => json!({"int64Value": int.to_string()}),
        Value::Uint(uint) => json!({"uint64Value": uint.to_string()}),
        Value::Double(double) if double.is_finite() => json!({"doubleValue": double}),
        Value::Double(double) => json!({"doubleValue": double_to_string(*double)}),
        Value::String(text) => json!({"stringValue": &**text}),
        Value::Bytes(bytes) => json!({"bytesValue": STANDARD.encode(bytes)}),
        Value::Timestamp(at) => {
            object("type.googleapis.com/google.protobuf.Timestamp", time::format_timestamp(at))
        }
        Value::Duration(nanos) => {
            object("type.googleapis.com/google.protobuf.Duration", time::duration_json(*nanos))
        }
        Value::Decimal(decimal) => object("formledger.Decimal", decimal.to_string()),
        Value::Date(date) => object("formledger.Date", time::format_date(*date)),
        Value::Type(kind) => json!({"typeValue": kind.name()}),
        Value::List(list) => {
            let items = list.iter().map(|item| write(&item?, left)).collect::<Result<Vec<_>, _>>()?;
            member("listValue", member("values", Json::Array(items)))
        }
        Value::Map(map) => {
            let mut pair = |entry: Result<(Value<'_>, Value<'_>), EvalError>| {
                let (key, value) = entry?;
                let members = [("key", write(&key, left)?), ("value", write(&value, left)?)];
                Ok(Json::Object(members.map(|(name, json)| (name.to_owned(), json)).into_iter().collect()))
            };
            let entries = map.entries().map(&mut pair).collect::<Result<Vec<_>, EvalError>>()?;
            member("mapValue", member("entries", Json::Array(entries)))
        }
        Value::Optional(_) => {
            return Err(EvalError::new(
                ErrorKind::InvalidArgument,
                "an optional is not a result; `orValue` makes one",
            ));
        }
    })
}

/// An object of one member. Unlike `json!` it moves its content, which matters at every level of a nested list.
fn member(name: &str, content: Json) -> Json {
    Json::Object([(name.to_owned(), content)].into_iter().collect())
}
