//! Our own figures: one rule, one table, a large form.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use formledger_rules::{Budget, Field, Layout, ObjectType, Program, RuleSet, Type};
use serde_json::{Value as Json, json};

use crate::{Contestant, RULE, Times, race};

/// Fields of the large form, and its rules.
const FIELDS: usize = 740;
const RULES: usize = 390;
/// Runs of the large form whose median is printed.
const RUNS: usize = 5_001;

/// The form that the rule is about.
pub fn layout() -> Layout {
    let applicant =
        ObjectType::new([Field::required("age", Type::Int), Field::required("name", Type::String)], false);
    let fields = [
        Field::required("amount", Type::Double),
        Field::required("country", Type::String),
        Field::required("risk", Type::Double),
        Field::required("applicant", Type::Object(Arc::new(applicant))),
        Field::required("title", Type::String),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

/// A submission for which every operand runs: the country is none of the two.
pub fn data() -> Json {
    json!({"amount": 12000.0, "country": "US", "risk": 0.9, "applicant": {"age": 30, "name": "Ada"}, "title": "Conference"})
}

/// The rule as a form's only constraint.
pub fn constraint(layout: &Layout) -> RuleSet {
    let rules = json!([{"id": "rule", "kind": "constraint", "assert": RULE}]);
    RuleSet::compile(&rules, layout).expect("the rule is right")
}

/// The rule on filled slots, and with the slots filled from parsed JSON first.
pub fn evaluation<'c>(
    program: &'c Program,
    layout: &'c Layout,
    rules: &'c RuleSet,
    data: &'c Json,
) -> Vec<Contestant<'c>> {
    let slots = layout.bind(data);
    let filled = move || {
        let value = program.eval(black_box(&slots), &mut Budget::default()).expect("a value");
        assert!(black_box(value).as_bool() == Some(true));
    };
    let parsed = move || {
        let slots = rules.bind(black_box(data));
        let value = program.eval(&slots, &mut Budget::default()).expect("a value");
        assert!(black_box(value).as_bool() == Some(true));
    };
    vec![
        Contestant::new("formledger, filled slots", filled),
        Contestant::new("formledger, from parsed JSON", parsed),
    ]
}

/// The rule from its text.
pub fn compilation(layout: &Layout) -> Vec<Contestant<'_>> {
    vec![Contestant::new("formledger", || drop(black_box(Program::compile(black_box(RULE), layout))))]
}

/// A table of three rows.
pub fn tables(layout: &Layout, data: &Json) {
    let table = json!([{"id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"], "rows": [
        {"when": ["< 100", "'DE'"], "then": {"fee": 0}},
        {"when": ["[100..5000)", "-"], "then": {"fee": 5}},
        {"when": [">= 5000", "'DE', 'US'"], "then": {"fee": 9}}], "otherwise": {"fee": 1}}]);
    let table = RuleSet::compile(&table, layout).expect("the table is right");
    let run = || drop(black_box(table.evaluate(black_box(data), &[], &mut Budget::default())));
    race("a table of three rows, from parsed JSON to its outcome", vec![Contestant::new("formledger", run)]);
}

/// A form of many fields with many rules.
pub fn large() {
    let name = |at: usize| format!("field_{at:03}");
    let fields = (0..FIELDS)
        .map(|at| Field::required(&name(at), if at.is_multiple_of(2) { Type::Double } else { Type::String }));
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let rule = |at: usize| {
        let assert =
            format!("{} > {at} || {} in ['a', 'b']", name(2 * at % FIELDS), name((2 * at + 1) % FIELDS));
        json!({"id": format!("rule_{at}"), "kind": "constraint", "assert": assert})
    };
    let rules = Json::Array((0..RULES).map(rule).collect());
    let member = |at: usize| (name(at), if at.is_multiple_of(2) { json!(1000.5) } else { json!("a") });
    let data = Json::Object((0..FIELDS).map(member).collect());
    let compiled = RuleSet::compile(&rules, &layout).expect("the rules are right");
    println!("\na form of {FIELDS} fields with {RULES} rules");
    let compile = || drop(black_box(RuleSet::compile(black_box(&rules), &layout)));
    tell("compile", compile, RUNS / 10);
    let evaluate = || {
        let outcome = compiled.evaluate(black_box(&data), &[], &mut Budget::default());
        assert!(black_box(outcome).violations.is_empty());
    };
    tell("evaluate, from parsed JSON", evaluate, RUNS);
    tell("of that: fill the slots", || drop(black_box(compiled.bind(black_box(&data)))), RUNS);
}

/// Prints the median microseconds of one call, and the best tenth.
fn tell(what: &str, mut call: impl FnMut(), runs: usize) {
    let times = (0..runs).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_nanos() as f64 / 1e3
    });
    let Times { median, tenth } = Times::of(times.collect());
    println!("  {what:<44} {median:10.2} µs, best tenth {tenth:8.2} µs");
}
