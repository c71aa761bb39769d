//! Rule sets from the outside: what publishing refuses, and what submissions get. Here constraints, decisions and what all rules have
//! in common, beside it what one kind of thing is about.

mod computes;
mod explanations;
mod numbers;
mod tables;
mod warnings;

use std::sync::Arc;

use formledger_rules::{
    Budget, Field, Layout, ObjectType, Program, RuleOutcome, RuleProblem, RuleSet, Severity, Type, Value,
};
use serde_json::{Value as Json, json};

/// The form of API.md's example, with a few fields more.
fn layout() -> Layout {
    let applicant =
        ObjectType::new([Field::optional("age", Type::Int), Field::required("name", Type::String)], false);
    let line =
        ObjectType::new([Field::required("qty", Type::Int), Field::required("price", Type::Decimal)], false);
    let root = ObjectType::new(
        [
            Field::required("amount", Type::Double),
            Field::required("country", Type::String),
            Field::optional("applicant", Type::Object(Arc::new(applicant))),
            Field::optional("lines", Type::list(Type::Object(Arc::new(line)))),
            Field::optional("born", Type::Date),
            Field::optional("budget", Type::Decimal),
            Field::optional("note", Type::nullable(Type::String)),
            Field::required("level", Type::String).one_of([json!("low"), json!("high")]),
        ],
        false,
    );
    Layout::new(Arc::new(root)).with_variable("now", Type::Timestamp)
}

fn compile(rules: Json) -> RuleSet {
    RuleSet::compile(&rules, &layout()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn refused(rules: Json) -> Vec<RuleProblem> {
    RuleSet::compile(&rules, &layout()).expect_err("the rules are wrong")
}

fn run(rules: Json, data: Json) -> RuleOutcome {
    compile(rules).evaluate(&data, &[], &mut Budget::default())
}

fn data() -> Json {
    json!({"amount": 12000, "country": "DE", "applicant": {"age": 17, "name": "Ada"}, "level": "low",
           "lines": [{"qty": 3, "price": "10.10"}, {"qty": 1, "price": "0.20"}]})
}

#[test]
fn a_constraint_that_does_not_hold_names_its_place_and_message() {
    let rules = json!([{"id": "adult", "kind": "constraint", "assert": "applicant.age >= 18", "at": "/applicant/age",
                        "message": "must be an adult"}]);
    let outcome = run(rules, data());
    assert_eq!(outcome.violations.len(), 1);
    let violation = &outcome.violations[0];
    assert_eq!(
        (&*violation.rule, &*violation.at, &*violation.message),
        ("adult", "/applicant/age", "must be an adult")
    );
}

#[test]
fn a_null_is_a_missing_value_except_in_comparisons_with_null() {
    let rules = |assert: &str| json!([{"id": "n", "kind": "constraint", "assert": assert}]);
    let with = |note: Json| json!({"amount": 1, "country": "DE", "level": "low", "note": note});
    assert_eq!(run(rules("note.size() > 3"), with(json!(null))).skipped.len(), 1);
    assert_eq!(run(rules("note == null"), with(json!(null))), RuleOutcome::default());
    assert_eq!(run(rules("note != null && note.size() > 3"), with(json!(null))).violations.len(), 1);
    assert_eq!(run(rules("!has(note)"), with(json!(null))), RuleOutcome::default());
}

#[test]
fn a_macro_that_is_written_wrongly_is_answered_with_how_it_is_written() {
    let layout = Layout::new(Arc::new(ObjectType::new([], false)));
    let problem = |source: &str| Program::compile(source, &layout).expect_err(source)[0].message.clone();
    assert!(
        problem("[1].map(x.y, 2)").contains(
            "`map` is written `list.map(name, expression)` or `list.map(name, condition, expression)`"
        ),
        "{}",
        problem("[1].map(x.y, 2)")
    );
    assert!(
        problem("[1].exists()").contains("`list.exists(name, condition)`"),
        "{}",
        problem("[1].exists()")
    );
    assert!(problem("has()").contains("`has(path.to.field)`"), "{}", problem("has()"));
}

#[test]
fn an_index_outside_a_list_is_named_as_people_write_it() {
    let rules = json!([{"id": "third", "kind": "constraint", "assert": "[1, 2][int(amount)] > 0"}]);
    let said =
        run(rules, json!({"amount": 2, "country": "DE", "level": "low"})).violations[0].message.clone();
    assert!(said.ends_with("index `2` is outside a list of 2 elements"), "{said}");
}

#[test]
fn any_other_failure_of_a_constraint_is_a_violation_that_says_why() {
    let rules = json!([{"id": "ratio", "kind": "constraint", "assert": "100 / (applicant.age - 17) > 1"}]);
    assert_eq!(run(rules, data()).violations[0].message, "`ratio` could not be evaluated: division by zero");
}

#[test]
fn a_decision_says_then_or_otherwise() {
    let rules = json!([{"id": "route", "kind": "decision", "when": "amount > 10000.0 && country in ['DE','FR']",
                        "then": {"route": "committee"}, "otherwise": {"route": "auto"}}]);
    let says = |amount: f64| {
        let mut data = data();
        data["amount"] = json!(amount);
        run(rules.clone(), data).outcomes_json()
    };
    assert_eq!(says(12000.0), json!({"route": {"matched": true, "value": {"route": "committee"}}}));
    assert_eq!(says(10.0), json!({"route": {"matched": false, "value": {"route": "auto"}}}));
}

#[test]
fn a_decision_that_misses_a_field_does_not_match_and_says_why() {
    let rules = json!([{"id": "old", "kind": "decision", "when": "applicant.age > 60", "then": true}]);
    let outcome = run(rules, json!({"amount": 1, "country": "DE", "level": "low"})).outcomes_json();
    assert_eq!(
        outcome,
        json!({"old": {"matched": false, "value": null, "reason": "`applicant.age` is missing"}})
    );
}

#[test]
fn problems_point_into_the_definition_and_the_text() {
    let problems = refused(json!([
        {"id": "x", "kind": "constraint", "assert": "amuont > 3"},
        {"id": "x", "kind": "decision", "when": "true", "then": 1},
        {"id": "y", "kind": "constraint", "asert": "true"},
        {"id": "z", "kind": "table", "hit": "first", "inputs": ["level"], "rows": [{"when": [" == 'medium'"], "then": 1}]},
        {"id": "w", "kind": "verdict"},
        {"id": "v", "kind": "decision", "when": "country + 1 == 'x'", "then": 1}
    ]));
    let at = |pointer: &str| {
        let found =
            problems.iter().find(|problem| problem.pointer == pointer && problem.severity == Severity::Error);
        found.unwrap_or_else(|| panic!("no problem at {pointer}: {problems:#?}"))
    };
    let spelled = at("/rules/0/assert");
    assert_eq!(
        (spelled.span.clone(), &*spelled.message),
        (Some(0..6), "there is no field `amuont`; did you mean `amount`?")
    );
    assert_eq!(at("/rules/1/id").message, "the id `x` is taken by an earlier rule");
    assert_eq!(at("/rules/2/asert").message, "there is no member `asert`; did you mean `assert`?");
    assert_eq!(at("/rules/2/assert").message, "`assert` is missing");
    let cell = at("/rules/3/rows/0/when/0");
    assert_eq!(cell.message, "`level` is never `\"medium\"`; it is one of `\"low\"`, `\"high\"`");
    assert!(at("/rules/4/kind").message.contains("`table`"));
    assert_eq!(at("/rules/5/when").span, Some(0..11));
}

#[test]
fn guards_read_recorded_outcomes() {
    let rules = compile(
        json!([{"id": "route", "kind": "decision", "when": "amount > 10", "then": {"route": "auto"}}]),
    );
    let guard = Program::compile("outcomes.route.matched && outcomes.route.route == 'auto'", rules.layout());
    let guard = guard.expect("a guard");
    let (plan, data) = (rules.plan(guard.uses()), json!({}));
    let holds = |recorded: &Json| {
        let mut slots = rules.bind_with(&plan, &data);
        rules.bind_outcomes(&mut slots, recorded);
        guard.eval_bool(&slots, &mut Budget::default())
    };
    assert_eq!(holds(&json!({"route": {"matched": true, "value": {"route": "auto"}}})), Ok(true));
    assert_eq!(holds(&json!({"route": {"matched": false, "value": null}})), Ok(false));
    assert!(holds(&json!({})).is_err());
}

#[test]
fn variables_are_inputs() {
    let layout = layout();
    let rules =
        json!([{"id": "minor", "kind": "decision", "when": "born.yearsUntil(date(now)) < 18", "then": 1}]);
    let rules = RuleSet::compile(&rules, &layout).expect("rules");
    let now = rules.layout().variable(&["now"]).expect("declared above");
    let at = "2026-03-01T00:00:00Z".parse().expect("a timestamp");
    let data = json!({"born": "2008-03-02"});
    let outcome = rules.evaluate(&data, &[(now, Value::Timestamp(at))], &mut Budget::default());
    assert!(outcome.outcomes[0].matched);
}

#[test]
fn the_examples_of_the_page_are_rules_that_do_what_it_says() {
    let page = include_str!("../../../docs/rules.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|block| block.split("```").next());
    let rules: Vec<Json> = blocks
        .flat_map(|block| serde_json::Deserializer::from_str(block).into_iter::<Json>())
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert!(rules.len() >= 5, "{rules:#?}");
    let line =
        ObjectType::new([Field::required("qty", Type::Int), Field::required("price", Type::Decimal)], false);
    let applicant = ObjectType::new([Field::optional("age", Type::Int)], false);
    let fields = [
        Field::required("amount", Type::Double),
        Field::required("country", Type::String),
        Field::required("price", Type::Decimal),
        Field::required("applicant", Type::Object(Arc::new(applicant))),
        Field::required("lines", Type::list(Type::Object(Arc::new(line)))),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, true)));
    let rules = RuleSet::compile(&json!(rules), &layout).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let data =
        json!({"amount": 120, "country": "DE", "price": "10.10", "applicant": {"age": 20}, "lines": []});
    let outcome = rules.evaluate(&data, &[], &mut Budget::default());
    let due = outcome.computed.iter().find(|made| &*made.into == "/due").expect("computed");
    assert_eq!(*due.value, json!("22.60"));
}

#[test]
fn a_null_of_the_submission_is_decided_like_an_absent_field_wherever_it_stands() {
    let item = ObjectType::new(
        [Field::optional("x", Type::nullable(Type::Double)), Field::optional("any", Type::Dyn)],
        false,
    );
    let item = Type::Object(Arc::new(item));
    let fields = [
        Field::optional("items", Type::list(item.clone())),
        Field::optional("o", Type::nullable(item)),
        Field::optional("free", Type::Dyn),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let holds = |assert: &str, data: &Json| {
        let rules = json!([{"id": "r", "kind": "constraint", "assert": assert}]);
        let rules =
            RuleSet::compile(&rules, &layout).unwrap_or_else(|problems| panic!("{assert}: {problems:#?}"));
        let outcome = rules.evaluate(data, &[], &mut Budget::default());
        assert!(outcome.skipped.is_empty(), "{assert} of {data}: {outcome:?}");
        outcome.violations.is_empty()
    };
    let inside = |item: Json| json!({"items": [item.clone()], "o": item, "free": item});
    for nothing in [inside(json!({"x": null, "any": null})), inside(json!({}))] {
        for assert in [
            "items.all(i, !has(i.x) && !has(i.any))",
            "items.all(i, i.?x.orValue(7.0) == 7.0)",
            "items.all(i, !i[?'x'].hasValue() && !i.?any.hasValue())",
            "!has(o.x) && o.?x.orValue(7.0) == 7.0",
            "!has(free.x) && !free.?x.hasValue()",
        ] {
            assert!(holds(assert, &nothing), "{assert} of {nothing}");
        }
    }
    for nowhere in [json!({}), json!({"o": null})] {
        assert!(
            holds("!has(o.x) && o.?x.orValue(7.0) == 7.0 && !o.?any.?deep.hasValue()", &nowhere),
            "{nowhere}"
        );
    }
    let there = inside(json!({"x": 1.0}));
    for assert in
        ["items.all(i, has(i.x) && i.?x.orValue(7.0) == 1.0)", "o.?x.orValue(7.0) == 1.0", "has(free.x)"]
    {
        assert!(holds(assert, &there), "{assert}");
    }
    // What a rule makes itself is CEL's.
    assert!(holds("has({'x': null}.x) && {'x': null}.?x.hasValue()", &json!({})));
    // A decided field needs no warning.
    let remarks = |assert: &str| Program::compile(assert, &layout).expect(assert).warnings().len();
    assert_eq!((remarks("o.?x.hasValue()"), remarks("o.x > 1.0")), (0, 1));
}
