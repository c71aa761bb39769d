//! Our evaluator against the `cel` crate on generated expressions: equal, or different for a reason that is written down here.
//!
//! The table of reasons is the documentation of every known difference; a new one fails the test with its expression.

use formledger_rules::dynamic::eval_ndjson_case;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value as Json, json};

/// Expressions that are compared. When the language changes, raise it for one run.
const CASES: u32 = 1_500;

/// Expressions of the types that both sides have, mostly well typed.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "x",
            "s",
            "t",
            "xs",
            "m",
            "1",
            "0",
            "-1",
            "2",
            "7u",
            "0u",
            "0.5",
            "-2.0",
            "1e300",
            "'a'",
            "'ab'",
            "''",
            "'é😀'",
            "b'a'",
            "[1, 2, 3]",
            "[]",
            "['a']",
            "{'k': 1}",
            "{}",
            "null",
            "9223372036854775807",
            "v",
        ])
        .prop_map(str::to_owned),
        any::<i32>().prop_map(|int| int.to_string()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ]);
        let method = prop::sample::select(vec!["contains", "startsWith", "endsWith", "matches"]);
        let function =
            prop::sample::select(vec!["int", "uint", "double", "string", "size", "bytes", "!", "-"]);
        let folding = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            6 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => (inner.clone(), method, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            2 => (function, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            1 => (inner.clone(), folding, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}(v, {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

fn ours(source: &str) -> Result<Json, String> {
    let text = |text: &str| json!({"stringValue": text});
    let bindings = json!({
        "a": {"int64Value": "3"}, "b": {"boolValue": true}, "x": {"doubleValue": 2.5}, "s": text("hello"), "t": text("ell"),
        "xs": {"listValue": {"values": [{"int64Value": "1"}, {"int64Value": "2"}]}},
        "m": {"mapValue": {"entries": [{"key": text("k"), "value": {"int64Value": "5"}}]}},
    });
    eval_ndjson_case(source, &bindings)
}

fn theirs(source: &str) -> Result<Json, String> {
    let program = cel::Program::compile(source).map_err(|error| error.to_string())?;
    let mut context = cel::Context::default();
    context.add_variable_from_value("a", 3i64);
    context.add_variable_from_value("b", true);
    context.add_variable_from_value("x", 2.5);
    context.add_variable_from_value("s", "hello");
    context.add_variable_from_value("t", "ell");
    context.add_variable_from_value("xs", vec![1i64, 2]);
    context.add_variable_from_value("m", std::collections::HashMap::from([("k", 5i64)]));
    let value = program.execute(&context).map_err(|error| error.to_string())?;
    written(&value).ok_or_else(|| format!("{value:?} has no JSON form"))
}

/// A value in the form that `ours` answers, map entries ordered.
fn written(value: &cel::Value) -> Option<Json> {
    Some(match value {
        cel::Value::Null => json!({"nullValue": null}),
        cel::Value::Bool(truth) => json!({"boolValue": truth}),
        cel::Value::Int(int) => json!({"int64Value": int.to_string()}),
        cel::Value::UInt(uint) => json!({"uint64Value": uint.to_string()}),
        cel::Value::Float(double) => json!({"doubleValue": double.to_string()}),
        cel::Value::String(text) => json!({"stringValue": text.as_str()}),
        cel::Value::Bytes(bytes) => json!({"bytesValue": bytes.as_slice()}),
        cel::Value::List(items) => {
            let items: Vec<Json> = items.iter().map(written).collect::<Option<_>>()?;
            json!({"listValue": {"values": items}})
        }
        cel::Value::Map(map) => {
            let entry = |(key, value): (&cel::objects::Key, &cel::Value)| {
                let key = match key {
                    cel::objects::Key::Int(int) => json!({"int64Value": int.to_string()}),
                    cel::objects::Key::Uint(uint) => json!({"uint64Value": uint.to_string()}),
                    cel::objects::Key::Bool(truth) => json!({"boolValue": truth}),
                    cel::objects::Key::String(text) => json!({"stringValue": text.as_str()}),
                };
                Some(json!({"key": key, "value": written(value)?}))
            };
            let mut entries: Vec<Json> = map.map.iter().map(entry).collect::<Option<_>>()?;
            entries.sort_by_key(Json::to_string);
            json!({"mapValue": {"entries": entries}})
        }
        _ => return None,
    })
}

/// Our answer with doubles as text, bytes as numbers and entries ordered, so that equal values are equal JSON.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("doubleValue", Json::Number(number)) => {
                        number.as_f64().unwrap_or_default().to_string().into()
                    }
                    ("doubleValue", Json::String(text)) => text.replace("Infinity", "inf").into(),
                    ("bytesValue", Json::String(text)) => {
                        use base64::Engine;
                        base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default().into()
                    }
                    ("entries", Json::Array(entries)) => {
                        let mut entries: Vec<Json> = entries.iter().map(plain).collect();
                        entries.sort_by_key(Json::to_string);
                        entries.into()
                    }
                    (_, value) => plain(value),
                };
                (name.clone(), value)
            })
            .collect(),
        Json::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// The known differences: what decides that it is this one, and why ours is right.
const REASONS: [(Applies, &str); 1] = [(
    |source, ours, theirs| {
        source.contains("string(") && source.contains("e300") && ours.is_ok() && theirs.is_ok()
    },
    "the text of a double: ours is the shortest that reads back, with an exponent, as the specification's cases have it \
     (conversions/string); theirs has no exponent",
)];

type Answer = Result<Json, String>;
/// Whether a difference is the known one.
type Applies = fn(&str, &Answer, &Answer) -> bool;

#[test]
fn generated_expressions_give_what_the_cel_crate_gives_or_differ_for_a_known_reason() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = expression();
    let mut unexplained = Vec::new();
    let mut compared = 0;
    for _ in 0..CASES {
        let source = strategy.new_tree(&mut runner).expect("an expression").current();
        let ours = ours(&source).map(|value| plain(&value));
        let theirs =
            std::panic::catch_unwind(|| theirs(&source)).unwrap_or_else(|_| Err("it panicked".to_owned()));
        let same = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        compared += u32::from(ours.is_ok() && theirs.is_ok());
        let known = REASONS.iter().any(|(applies, _)| applies(&source, &ours, &theirs));
        if !same && !known {
            unexplained.push(format!("{source}\n    ours   {ours:?}\n    theirs {theirs:?}"));
        }
    }
    assert!(compared > CASES / 20, "only {compared} of {CASES} expressions have a value on both sides");
    unexplained.sort_by_key(String::len);
    assert!(
        unexplained.is_empty(),
        "{} differences:\n{}",
        unexplained.len(),
        unexplained[..unexplained.len().min(60)].join("\n")
    );
}
