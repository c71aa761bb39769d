//! Prints what a rule costs: `cargo run --release -p formledger-rules --example speed`.
//!
//! Medians over many short rounds, because the machine is shared; no framework, so that what is timed is all on this page.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use formledger_rules::{Budget, Field, Layout, ObjectType, Program, RuleSet, Type};
use serde_json::{Value as Json, json};

/// Rounds whose median is printed.
const ROUNDS: usize = 401;
/// Calls in one round.
const CALLS: usize = 500;

const RULE: &str = "amount > 10000 && (country in ['DE','FR'] || risk >= 0.8) && applicant.age >= 18";

fn layout() -> Layout {
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

/// Median nanoseconds of one call.
fn median(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / CALLS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let layout = layout();
    let program = Program::compile(RULE, &layout).expect("the rule is right");
    // The third operand of the disjunction runs too: the country is in neither.
    let data = json!({"amount": 12000.0, "country": "US", "risk": 0.9, "applicant": {"age": 30, "name": "Ada"},
                      "title": "Conference"});
    let slots = layout.bind(&data);
    println!("rule: {RULE}");
    let filled = median(|| {
        let value = program.eval(black_box(&slots), &mut Budget::default()).expect("a value");
        assert!(black_box(value).as_bool() == Some(true));
    });
    println!("on filled slots              {filled:8.1} ns");

    let rules = json!([{"id": "rule", "kind": "constraint", "assert": RULE}]);
    let rules = RuleSet::compile(&rules, &layout).expect("the rules are right");
    let from_json = median(|| {
        let slots = rules.bind(black_box(&data));
        let value = program.eval(&slots, &mut Budget::default()).expect("a value");
        assert!(black_box(value).as_bool() == Some(true));
    });
    println!("from parsed JSON             {from_json:8.1} ns");
    let compile = median(|| drop(black_box(Program::compile(black_box(RULE), &layout))));
    println!("parse + check + compile      {compile:8.1} ns");

    let table = json!([{"id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"], "rows": [
        {"when": ["< 100", "'DE'"], "then": {"fee": 0}},
        {"when": ["[100..5000)", "-"], "then": {"fee": 5}},
        {"when": [">= 5000", "'DE', 'US'"], "then": {"fee": 9}}]}]);
    let table = RuleSet::compile(&table, &layout).expect("the table is right");
    let three_rows =
        median(|| drop(black_box(table.evaluate(black_box(&data), &[], &mut Budget::default()))));
    println!("three-row table, from JSON   {three_rows:8.1} ns");
    large();
}

/// A form of 740 fields with 390 rules.
fn large() {
    let name = |at: usize| format!("field_{at:03}");
    let fields = (0..740)
        .map(|at| Field::required(&name(at), if at.is_multiple_of(2) { Type::Double } else { Type::String }));
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let rule = |at: usize| {
        let assert = format!("{} > {at} || {} in ['a', 'b']", name(2 * at % 740), name((2 * at + 1) % 740));
        json!({"id": format!("rule_{at}"), "kind": "constraint", "assert": assert})
    };
    let rules = Json::Array((0..390).map(rule).collect());
    let start = Instant::now();
    let compiled = RuleSet::compile(&rules, &layout).expect("the rules are right");
    println!("740 fields, 390 rules: compile {:6.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let member = |at: usize| (name(at), if at.is_multiple_of(2) { json!(1000.5) } else { json!("a") });
    let data = Json::Object((0..740).map(member).collect());
    let mut times: Vec<f64> = (0..301)
        .map(|_| {
            let start = Instant::now();
            let outcome = compiled.evaluate(black_box(&data), &[], &mut Budget::default());
            assert!(black_box(outcome).violations.is_empty());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let bind = median(|| drop(black_box(compiled.bind(black_box(&data)))));
    println!("740 fields, 390 rules: bind     {:5.1} µs of that", bind / 1e3);
    times.sort_by(f64::total_cmp);
    println!("740 fields, 390 rules: evaluate {:5.1} µs", times[150]);
}
