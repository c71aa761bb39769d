//! Properties of the language over generated expressions and over any text at all.

use std::sync::Arc;

use formledger_rules::dynamic::eval_ndjson_case;
use formledger_rules::{Budget, ErrorKind, Field, Layout, ObjectType, Program, RuleSet, Type};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Cases of each property. When the language changes, raise it for one run: a million of each took five minutes.
const CASES: u32 = 500;

fn layout() -> Layout {
    let inner =
        ObjectType::new([Field::optional("age", Type::Int), Field::required("ok", Type::Bool)], false);
    let fields = [
        Field::required("i", Type::Int),
        Field::optional("u", Type::Uint),
        Field::required("d", Type::Double),
        Field::optional("s", Type::nullable(Type::String)),
        Field::required("b", Type::Bool),
        Field::optional("m", Type::Decimal),
        Field::optional("day", Type::Date),
        Field::optional("at", Type::Timestamp),
        Field::required("xs", Type::list(Type::Int)),
        Field::optional("o", Type::Object(Arc::new(inner))),
        Field::optional("os", Type::list(Type::map(Type::String, Type::Int))),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

/// Expressions of every kind, most of them well typed enough for the checker to accept some.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("i".to_owned()),
        Just("u".to_owned()),
        Just("d".to_owned()),
        Just("s".to_owned()),
        Just("b".to_owned()),
        Just("m".to_owned()),
        Just("day".to_owned()),
        Just("at".to_owned()),
        Just("xs".to_owned()),
        Just("o".to_owned()),
        Just("o.age".to_owned()),
        Just("o.ok".to_owned()),
        Just("os".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("'a-b'".to_owned()),
        Just("b'x'".to_owned()),
        Just("[1, 2]".to_owned()),
        Just("{'k': 1}".to_owned()),
        Just("optional.of(1)".to_owned()),
        Just("duration('1h')".to_owned()),
        Just("type(1)".to_owned()),
        Just("v".to_owned()),
        Just("decimal('0.10')".to_owned()),
        any::<i64>().prop_map(|int| int.to_string()),
        any::<u32>().prop_map(|int| format!("{int}u")),
        any::<f32>()
            .prop_filter("a literal", |double| double.is_finite())
            .prop_map(|double| format!("{double:?}")),
    ];
    leaf.prop_recursive(5, 48, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ]);
        let method = prop::sample::select(vec![
            "size",
            "sum",
            "min",
            "max",
            "first",
            "last",
            "reverse",
            "distinct",
            "sort",
            "flatten",
            "trim",
            "lowerAscii",
            "join",
            "hasValue",
            "value",
            "getHours",
            "getFullYear",
            "getMilliseconds",
        ]);
        let method2 = prop::sample::select(vec![
            "contains",
            "startsWith",
            "matches",
            "split",
            "indexOf",
            "charAt",
            "substring",
            "orValue",
            "or",
            "addDays",
            "addMonths",
            "daysUntil",
            "yearsUntil",
            "join",
            "format",
            "getHours",
            "getDate",
        ]);
        let function = prop::sample::select(vec![
            "int",
            "uint",
            "double",
            "string",
            "bool",
            "bytes",
            "decimal",
            "date",
            "timestamp",
            "duration",
            "type",
            "dyn",
            "size",
            "sum",
            "math.abs",
            "math.round",
            "math.sign",
            "math.sqrt",
            "math.greatest",
            "math.isNaN",
            "math.bitNot",
            "optional.of",
            "optional.ofNonZeroValue",
            "base64.encode",
            "base64.decode",
            "strings.quote",
            "-",
            "!",
            "has",
        ]);
        let folding =
            prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter", "sortBy", "optMap"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), method).prop_map(|(a, name)| format!("{a}.{name}()")),
            (inner.clone(), method2, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            (function, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            (inner.clone(), folding, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}(v, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[?{b}]")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

/// Submissions that fit the schema or nearly do.
fn submission() -> impl Strategy<Value = Json> {
    let wild = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "[a-z0-9.-]{0,10}".prop_map(Json::from),
        Just(json!([1, 2, 3])),
        Just(json!({"age": 3, "ok": true})),
        Just(json!("2024-02-29")),
        Just(json!("2024-02-29T01:02:03Z")),
        Just(json!("10.10")),
        Just(json!(2.5)),
    ];
    let names = vec!["i", "u", "d", "s", "b", "m", "day", "at", "xs", "o", "os"];
    (any::<i32>(), prop::collection::vec((prop::sample::select(names), wild), 0..6)).prop_map(|(int, changes)| {
        let mut data = json!({"i": int, "d": 0.5, "s": "a-b", "b": true, "xs": [3, 1, 2], "m": "1.5", "day": "2020-01-31",
                              "at": "2020-01-31T00:00:00Z", "o": {"age": 5, "ok": false}, "os": [{"a": 1}]});
        for (name, value) in changes {
            data[name] = value;
        }
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn a_program_that_the_checker_accepted_without_dyn_never_ends_in_a_type_error(
        source in expression(), data in submission(),
    ) {
        let layout = layout();
        if let Ok(program) = Program::compile(&source, &layout) {
            let result = program.eval(&layout.bind(&data), &mut Budget::new(100_000));
            if let Err(error) = &result && !program.is_dynamic() {
                prop_assert!(
                    !matches!(error.kind(), ErrorKind::NoOverload | ErrorKind::Unresolved | ErrorKind::Unbound),
                    "`{source}` ended in {error:?} over {data}"
                );
            }
            if let Ok(value) = &result && let Ok(json) = value.to_json() {
                prop_assert!(json.to_string().len() < 10_000_000);
            }
        }
    }

    #[test]
    fn compiling_and_evaluating_any_text_never_panics(source in "[ -~]{0,60}|\\PC{0,40}") {
        let layout = layout();
        let _ = Program::compile(&source, &layout).map(|program| program.cost());
        let _ = eval_ndjson_case(&source, &Json::Null);
    }

    #[test]
    fn dynamic_evaluation_of_any_expression_never_panics(source in expression()) {
        let _ = eval_ndjson_case(&source, &json!({"i": {"int64Value": "3"}, "xs": {"listValue": {}}}));
    }

    #[test]
    fn compiling_any_rules_never_panics(when in "[ -~]{0,30}", cell in "[ -~]{0,20}", id in "\\PC{0,8}") {
        let rules = json!([
            {"id": id, "kind": "decision", "when": when, "then": {"a": 1}},
            {"id": "t", "kind": "table", "hit": "first", "inputs": ["i", when], "rows": [{"when": [cell, cell], "then": 1}]},
            {"id": "c", "kind": "compute", "value": when, "into": cell},
        ]);
        let _ = RuleSet::compile(&rules, &layout());
    }
}
