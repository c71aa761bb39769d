//! Rule sets from the outside: what publishing refuses, and what submissions get.

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
fn a_constraint_on_a_missing_optional_field_is_skipped_and_was_warned_of() {
    let rules = compile(json!([{"id": "adult", "kind": "constraint", "assert": "applicant.age >= 18"}]));
    assert!(rules.remarks()[0].message.contains("has(applicant) && …"), "{:?}", rules.remarks());
    let data = json!({"amount": 1, "country": "DE", "level": "low"});
    let outcome = rules.evaluate(&data, &[], &mut Budget::default());
    assert!(outcome.violations.is_empty());
    assert_eq!(outcome.skipped[0].reason, "`applicant.age` is missing");
}

#[test]
fn a_guarded_field_gives_no_warning() {
    let guarded = "!has(applicant.age) || applicant.age >= 18";
    assert!(compile(json!([{"id": "a", "kind": "constraint", "assert": guarded}])).remarks().is_empty());
    let guarded = "has(applicant.age) && applicant.age >= 18 ? has(lines) : true";
    assert!(compile(json!([{"id": "a", "kind": "constraint", "assert": guarded}])).remarks().is_empty());
}

#[test]
fn a_member_of_an_element_that_may_be_missing_is_warned_of_too() {
    let line = ObjectType::new([Field::optional("off", Type::Int)], false);
    let fields = [Field::required("lines", Type::list(Type::Object(Arc::new(line))))];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warnings = |source: &str| Program::compile(source, &layout).expect(source).warnings().len();
    assert_eq!(warnings("lines.all(l, l.off > 0)"), 1);
    assert_eq!(warnings("lines.all(l, !has(l.off) || l.off > 0)"), 0);
    // That there is a first line is another remark.
    assert_eq!(warnings("lines.exists(l, has(l.off) && l.off > 0) || lines[0].off == 3"), 2);
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
fn computes_run_by_dependency_and_later_rules_read_them_exactly() {
    let rules = json!([
        {"id": "big", "kind": "decision", "when": "gross > 36", "then": {"tax": 2}, "otherwise": {"tax": 1}},
        {"id": "gross", "kind": "compute", "value": "net * decimal('1.19')", "into": "/gross"},
        {"id": "net", "kind": "compute", "value": "sum(lines.map(l, l.price * l.qty))", "into": "/net"},
        {"id": "due", "kind": "compute", "value": "net + outcomes.big.tax", "into": "/due"},
        {"id": "cap", "kind": "constraint", "assert": "due < 30", "message": "too much"}
    ]);
    let outcome = run(rules, data());
    let computed: Vec<(&str, &Json)> =
        outcome.computed.iter().map(|made| (&*made.into, &*made.value)).collect();
    assert_eq!(
        computed,
        [("/net", &json!("30.50")), ("/gross", &json!("36.2950")), ("/due", &json!("32.50"))]
    );
    assert_eq!(outcome.violations[0].message, "too much");
}

#[test]
fn rules_that_wait_for_each_other_are_refused() {
    let problems = refused(json!([
        {"id": "a", "kind": "compute", "value": "b + 1", "into": "/a"},
        {"id": "b", "kind": "compute", "value": "a + 1", "into": "/b"}
    ]));
    assert!(
        problems.iter().all(|problem| problem.message.contains("waits for its own result")),
        "{problems:?}"
    );
}

#[test]
fn a_compute_must_make_what_its_field_holds() {
    let problems =
        refused(json!([{"id": "c", "kind": "compute", "value": "applicant.age", "into": "/amount"}]));
    assert!(
        problems.iter().any(|problem| problem.message.contains("`double(…)` converts it")),
        "{problems:?}"
    );
}

#[test]
fn a_compute_never_replaces_an_object_but_may_make_one() {
    let problems =
        refused(json!([{"id": "c", "kind": "compute", "value": "{'age': 3}", "into": "/applicant"}]));
    assert_eq!(problems[0].message, "`/applicant` is an object; compute its members one by one");
    let outcome = run(
        json!([
            {"id": "first", "kind": "compute", "value": "lines[0]", "into": "/first"},
            {"id": "cheap", "kind": "decision", "when": "first.qty == 3 && applicant.age == 21", "then": 1},
            {"id": "age", "kind": "compute", "value": "applicant.name == 'Ada' ? 21 : 20", "into": "/applicant/age"}
        ]),
        data(),
    );
    assert_eq!(outcome.outcomes_json(), json!({"cheap": {"matched": true, "value": 1}}));
}

fn table(hit: Json, rows: Json) -> Json {
    let mut rule = json!({"id": "fee", "kind": "table", "inputs": ["amount", "country"], "rows": rows});
    rule.as_object_mut().expect("an object").extend(hit.as_object().expect("an object").clone());
    json!([rule])
}

fn fee(rules: &Json, amount: f64, country: &str) -> Json {
    let data = json!({"amount": amount, "country": country, "level": "low"});
    run(rules.clone(), data).outcomes_json()["fee"]["value"].clone()
}

#[test]
fn a_table_takes_the_first_matching_row() {
    let rules = table(
        json!({"hit": "first"}),
        json!([
            {"when": ["< 100", "'DE'"], "then": {"fee": 0}},
            {"when": ["[100..1000)", "'DE', 'FR'"], "then": {"fee": 1}},
            {"when": ["amount > 5000 && country != 'US'", "-"], "then": {"fee": 2}},
            {"when": ["-", "not('US', 'CA')"], "then": {"fee": 3}}
        ]),
    );
    assert_eq!(fee(&rules, 99.0, "DE"), json!({"fee": 0}));
    assert_eq!(fee(&rules, 100.0, "FR"), json!({"fee": 1}));
    assert_eq!(fee(&rules, 1000.0, "DE"), json!({"fee": 3}));
    assert_eq!(fee(&rules, 6000.0, "DE"), json!({"fee": 2}));
    assert_eq!(fee(&rules, 6000.0, "US"), Json::Null);
}

#[test]
fn hit_policies_choose_among_matching_rows() {
    let rows = json!([
        {"when": ["> 0", "-"], "then": {"fee": 1}, "priority": 1},
        {"when": ["> 10", "-"], "then": {"fee": 2.5}, "priority": 3},
        {"when": ["> 100", "-"], "then": {"fee": 4}, "priority": 2}
    ]);
    let with = |hit: Json| table(hit, rows.clone());
    assert_eq!(fee(&with(json!({"hit": "priority"})), 500.0, "DE"), json!({"fee": 2.5}));
    assert_eq!(fee(&with(json!({"hit": "collect"})), 50.0, "DE"), json!({"fee": [1, 2.5]}));
    assert_eq!(fee(&with(json!({"hit": "collect", "aggregate": "sum"})), 500.0, "DE"), json!({"fee": 7.5}));
    assert_eq!(fee(&with(json!({"hit": "collect min"})), 500.0, "DE"), json!({"fee": 1}));
    assert_eq!(fee(&with(json!({"hit": "collect max"})), 500.0, "DE"), json!({"fee": 4}));
    assert_eq!(fee(&with(json!({"hit": "collect count"})), 500.0, "DE"), json!({"fee": 3}));
    // What publishing can see to overlap it refuses; this it cannot see.
    let rows = json!([
        {"when": ["> double(country.size())", "-"], "then": {"fee": 1}},
        {"when": ["> 10", "-"], "then": {"fee": 2.5}}
    ]);
    let unique = run(table(json!({"hit": "unique"}), rows), data()).outcomes_json();
    assert_eq!(unique["fee"]["error"], json!("rows 1 and 2 both match, but `hit` is `unique`"));
}

#[test]
fn a_wrong_aggregate_is_told_where_it_stands() {
    let told = |hit: Json| {
        let problems = refused(table(hit, json!([{"when": ["-", "-"], "then": {"fee": 1}}])));
        let [problem] = problems.as_slice() else { panic!("not one problem: {problems:#?}") };
        (problem.pointer.clone(), problem.message.clone())
    };
    let word = "`aggregate` must be one word, for all keys of the result alike: `list`, `sum`, `min`, `max` or `count`";
    let policy = "`hit` must be `first`, `unique`, `priority` or `collect`";
    let alone = |policy: &str| {
        format!("only `collect` puts rows together by an `aggregate`; under `{policy}` one row counts")
    };
    for (hit, member, message) in [
        (json!({"hit": "collect", "aggregate": {"fee": "sum"}}), "aggregate", word),
        (json!({"hit": "collect", "aggregate": "total"}), "aggregate", word),
        (json!({"hit": "collect total"}), "hit", word),
        (json!({"hit": "gather", "aggregate": "sum"}), "hit", policy),
        (json!({"hit": "first", "aggregate": "sum"}), "aggregate", &alone("first")),
        (json!({"aggregate": "sum"}), "aggregate", &alone("unique")),
        (json!({"hit": "priority max"}), "hit", &alone("priority")),
    ] {
        assert_eq!(told(hit), (format!("/rules/0/{member}"), message.to_owned()));
    }
    compile(table(json!({"hit": "first", "aggregate": "list"}), json!([{"when": ["-", "-"], "then": 1}])));
}

#[test]
fn an_input_that_is_missing_matches_only_the_dash() {
    let rules = json!([{"id": "t", "kind": "table", "hit": "first", "inputs": ["applicant.age"], "rows": [
        {"when": ["not(18)"], "then": "known"}, {"when": ["-"], "then": "unknown"}]}]);
    let outcome = run(rules, json!({"amount": 1, "country": "DE", "level": "low"})).outcomes_json();
    assert_eq!(outcome["t"], json!({"matched": true, "value": "unknown"}));
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
fn number_and_date_literals_take_the_type_of_the_other_side() {
    for source in
        ["amount > 1000", "budget * 2 >= 10.10", "born < '2008-01-01'", "budget in [1, 2.5]", "-5 < amount"]
    {
        let program = Program::compile(source, &layout());
        assert!(program.is_ok(), "{source}: {program:?}");
    }
    for source in [
        "amount + applicant.age > 1.0",
        "budget > 1.0 + applicant.age",
        "born < 'soon'",
        "amount == 'x'",
        "country == null",
    ] {
        assert!(Program::compile(source, &layout()).is_err(), "{source}");
    }
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
fn what_may_fail_when_it_runs_is_warned_of_and_what_decides_it_silences_the_warning() {
    let warnings = |source: &str| -> Vec<String> {
        let program = Program::compile(source, &layout()).unwrap_or_else(|problems| panic!("{problems:?}"));
        program.warnings().iter().map(|warning| warning.message.clone()).collect()
    };
    assert_eq!(
        warnings("100 / country.size() > 1"),
        ["`100 / country.size()` may fail: the divisor may be zero"]
    );
    assert_eq!(warnings("int(country) > 3"), ["`int(country)` may fail: the text may not be one"]);
    assert_eq!(warnings("has(lines) && lines[0].qty > 1").len(), 1);
    assert_eq!(warnings("has(budget) && budget != 0.0 && 100 / budget > 1"), Vec::<String>::new());
    assert_eq!(warnings("has(budget) && (budget <= 0.0 || 100 / budget > 1)"), Vec::<String>::new());
    assert_eq!(warnings("amount / 3 > 1 && country.size() / 2 > 1 && int('3') == 3"), Vec::<String>::new());
    let open = Layout::new(Arc::new(ObjectType::new([Field::required("x", Type::Dyn)], false)));
    let program = Program::compile("x + 1 > 2 && x * 2 < 5", &open).expect("compiles");
    assert_eq!(program.warnings().len(), 1, "{:?}", program.warnings());
    assert!(program.warnings()[0].message.contains("does not say what types"));
}

#[test]
fn a_list_that_the_schema_makes_long_enough_is_not_doubted() {
    let fields = [
        Field::required("phq", Type::list(Type::Int)).of_at_least(9),
        Field::optional("maybe", Type::nullable(Type::list(Type::Int))).of_at_least(1),
        Field::required("any", Type::list(Type::Int)),
        Field::required("n", Type::Int),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warned = |source: &str| {
        let program =
            Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        program.warnings().iter().filter(|warning| warning.message.contains("may fail")).count()
    };
    for source in [
        "phq[8] > 0 && phq[0] > 0",
        "phq.min() > 0 && phq.map(x, x * 2).max() > 3 && phq.sortBy(x, -x)[8] > 0",
        "phq.slice(0, 9).sum() > 3 && phq.slice(2, 2).size() == 0",
        "maybe[0] > 0",
    ] {
        assert_eq!(warned(source), 0, "{source}");
    }
    for source in [
        "phq[9] > 0",
        "phq[-1] > 0",
        "phq[n] > 0",
        "any[0] > 0",
        "maybe[1] > 0",
        "any.min() > 0",
        "phq.filter(x, x > 0)[0] > 0",
        "phq.filter(x, x > 0).min() > 0",
        "phq.map(x, x > 0, x)[0] > 0",
        "phq.slice(0, 10).sum() > 3",
        "phq.slice(3, 2).sum() > 3",
    ] {
        assert_eq!(warned(source), 1, "{source}");
    }
}

#[test]
fn a_call_that_always_fails_is_told_once() {
    for source in [
        "date('2026-02-30') > date('2026-01-01')",
        "decimal('1,5') > 1",
        "1 / 0 > 1",
        "int('x') > 1",
        "'a'.matches('(')",
    ] {
        let problems = Program::compile(source, &layout()).expect_err(source);
        assert_eq!(problems.len(), 1, "{source}: {problems:#?}");
        assert!(problems[0].message.starts_with("this always fails: "), "{source}: {problems:#?}");
    }
}

/// As the answer says it, for top-level fields, members and members of list items.
#[test]
fn a_default_for_a_field_that_is_no_optional_is_answered_with_how_it_is_written() {
    let inner = [
        Field::optional("age", Type::Int),
        Field::optional("a b", Type::Int),
        Field::optional("price", Type::Decimal),
        Field::optional("rate", Type::Double),
    ];
    let inner = Type::Object(Arc::new(ObjectType::new(inner, false)));
    let fields = [
        Field::optional("deductible", Type::Decimal),
        Field::optional("a b", Type::Int),
        Field::optional("applicant", inner.clone()),
        Field::required("lines", Type::list(inner)),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    for (source, place, right) in [
        ("deductible.orValue(0) > 1", "decimal", "has(deductible) ? deductible : 0"),
        ("`a b`.orValue(1 + 1) > 1", "int", "has(`a b`) ? `a b` : 1 + 1"),
        ("(applicant.age).orValue(0) > 1", "int", "applicant.?age.orValue(0)"),
        ("applicant.price.orValue(0) > 1", "decimal", "applicant.?price.orValue(decimal('0'))"),
        ("lines.all(l, l.rate.orValue(0) > 1)", "double", "l.?rate.orValue(0.0)"),
        ("applicant.rate.orValue(2.5) > 1", "double", "applicant.?rate.orValue(2.5)"),
        ("applicant.`a b`.orValue(0) > 1", "int", "applicant.?`a b`.orValue(0)"),
        ("lines.all(l, l.age.orValue(0) > 1)", "int", "l.?age.orValue(0)"),
        ("deductible.hasValue()", "decimal", "has(deductible)"),
        ("applicant.age.hasValue()", "int", "has(applicant.age)"),
    ] {
        let problems = Program::compile(source, &layout).expect_err(source);
        let error = problems.iter().find(|problem| problem.severity == Severity::Error).expect("an error");
        let quoted = if right.contains('`') { format!("`` {right} ``") } else { format!("`{right}`") };
        let name = if source.contains("hasValue") { "hasValue" } else { "orValue" };
        let message = format!(
            "`{name}` is a method of optionals, which `.?` and `[?…]` give; this is {place}; write {quoted}"
        );
        assert_eq!(error.message, message, "{source}");
        let right = if name == "hasValue" { right.to_owned() } else { format!("({right}) > 1") };
        let right = if source.starts_with("lines") { format!("lines.all(l, {right})") } else { right };
        let written =
            Program::compile(&right, &layout).unwrap_or_else(|problems| panic!("{right}: {problems:?}"));
        assert!(written.warnings().is_empty(), "{right}: {:?}", written.warnings());
    }
    for (source, ty) in
        [("lines.size().orValue(0) > 1", "int"), ("lines.all(l, l.orValue(l).age > 1)", "object")]
    {
        let problems = Program::compile(source, &layout).expect_err(source);
        let message = format!("`orValue` is a method of optionals, which `.?` and `[?…]` give; this is {ty}");
        assert!(problems.iter().any(|problem| problem.message == message), "{source}: {problems:#?}");
    }
}

#[test]
fn a_time_zone_that_is_written_out_is_looked_up_at_publish() {
    let told = |source: &str| {
        let program =
            Program::compile(source, &layout()).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        let told = program.warnings().iter();
        told.map(|told| (told.severity, told.tolerated, told.message.clone())).collect::<Vec<_>>()
    };
    for source in
        ["date(now, 'Europe/Berlin') > '2026-01-01'", "now.getHours('+01:00') > 8", "now.getDate('UTC') > 1"]
    {
        assert_eq!(told(source), [], "{source}");
    }
    for (source, message) in [
        (
            "date(now, 'Europe/Berlim') > '2026-01-01'",
            "`Europe/Berlim` is not a time zone; did you mean `Europe/Berlin`?",
        ),
        (
            "now.getHours('europe/berlin') > 8",
            "`europe/berlin` is not a time zone; did you mean `Europe/Berlin`?",
        ),
        (
            "now.getDayOfWeek('+1 hour') == 1",
            "`+1 hour` is not a time zone; one is a name such as `Europe/Berlin`, or an offset such as `+01:00`",
        ),
    ] {
        assert_eq!(told(source), [(Severity::Error, true, message.to_owned())], "{source}");
    }
    // Of unknown types there is a warning, too.
    let dynamic = told("date(dyn(now), 'Europe/Berlim') > '2026-01-01'");
    assert!(dynamic.iter().any(|(severity, ..)| *severity == Severity::Error), "{dynamic:?}");
    let unknown = "the zone may not be known";
    for source in ["date(now, country) > '2026-01-01'", "now.getHours(country) > 8"] {
        assert!(
            matches!(&*told(source), [(Severity::Warning, _, message)] if message.ends_with(unknown)),
            "{source}"
        );
    }
    let constant = Program::compile(
        "date(timestamp('2026-01-01T00:00:00Z'), 'Europe/Berlim') == '2026-01-01'",
        &layout(),
    );
    let errors = constant
        .expect_err("always fails")
        .into_iter()
        .filter(|told| told.severity == Severity::Error)
        .count();
    assert_eq!(errors, 1);
}

/// Published forms with such a constant go on as they were.
#[test]
fn a_constant_decimal_that_was_rounded_once_is_refused_of_new_forms_only() {
    for (text, rounded) in [
        ("1.23456789012345678901234567890123e0", "1.2345678901234567890123456789"),
        ("12345678901234567890123456789.5E0", "12345678901234567890123456790"),
        ("-0.00000000000000000000000000004e0", "0.0000000000000000000000000000"),
    ] {
        let source = format!("string(decimal('{text}'))");
        let program = Program::compile(&source, &layout()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let told = program.warnings().iter();
        let told: Vec<_> = told.map(|told| (told.severity, told.tolerated, &*told.message)).collect();
        let message = format!("`{text}` is not a decimal of at most 28 digits");
        assert_eq!(told, [(Severity::Error, true, &*message)], "{text}");
        let rules = json!([{"id": "z", "kind": "compute", "value": source, "into": "/zero"}]);
        assert_eq!(*run(rules, data()).computed[0].value, json!(rounded));
    }
    for text in ["5e-29", "5e", "1e99", "x", "0.00000000000000000000000000005"] {
        let refused = Program::compile(&format!("decimal('{text}') > 1"), &layout()).expect_err(text);
        assert!(refused.iter().any(|told| told.severity == Severity::Error && !told.tolerated), "{text}");
    }
}

#[test]
fn a_comparison_that_the_schema_decides_is_warned_of() {
    let fields = [Field::required("n", Type::Int).within(Some(0.into()), Some(10.into()))];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warned = |source: &str| {
        let program = Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{problems:?}"));
        program.warnings().first().map(|warning| warning.message.clone())
    };
    let message = warned("n < 0 || n == 3").expect("a warning");
    assert_eq!(message, "`n < 0` never holds: the schema admits `n` at least 0 and at most 10");
    assert!(warned("10 >= n").expect("a warning").contains("always holds"));
    for source in ["n > 0", "n <= 9", "n == 10", "n >= 10", "n != 0"] {
        assert_eq!(warned(source), None, "{source}");
    }
    assert!(warned("n == 11").is_some() && warned("n > 10").is_some() && warned("n != 11").is_some());
}

#[test]
fn outcomes_are_explained_by_conditions_rows_and_values() {
    let rules = compile(json!([
        {"id": "route", "kind": "decision", "when": "amount > 10000 && (country == 'FR' || level == 'low') && has(born)",
         "then": 1, "otherwise": 0},
        {"id": "big", "kind": "decision", "when": "amount > 10", "then": 1},
        {"id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"],
         "rows": [{"when": ["< 100", "-"], "then": 1}, {"when": ["-", "'DE'"], "then": 2}, {"when": ["-", "-"], "then": 3}]},
        {"id": "old", "kind": "decision", "when": "born < '2000-01-01' || outcomes.fee.value == 1", "then": 1},
        {"id": "sum", "kind": "compute", "value": "amount * 2", "into": "/twice"},
    ]));
    let outcome = rules.evaluate(&data(), &[], &mut Budget::default());
    let why = outcome.why_json().expect("something to say");
    assert_eq!(why, json!({"route": "tftf", "fee": [1], "old": "?f"}));

    let mut outcomes = outcome.outcomes_json();
    outcomes["sum"] = json!({"matched": true, "value": 24000.0});
    let explained = rules.explain(&outcomes, &why, &data());
    assert_eq!(
        explained["route"]["conditions"][0],
        json!({"text": "amount > 10000", "held": true, "values": {"amount": 12000}})
    );
    assert_eq!(
        explained["route"]["conditions"][3],
        json!({"text": "has(born)", "held": false, "values": {"born": null}})
    );
    assert_eq!(explained["big"]["conditions"].as_array().map(Vec::len), Some(1));
    assert_eq!(explained["big"]["conditions"][0]["held"], json!(true));
    assert_eq!(
        explained["fee"],
        json!({"inputs": [{"text": "amount", "values": {"amount": 12000}}, {"text": "country", "values": {"country": "DE"}}],
               "rows": [{"row": 1, "when": ["-", "'DE'"]}]})
    );
    assert_eq!(
        explained["old"]["conditions"][1],
        json!({"text": "outcomes.fee.value == 1", "held": false, "values": {"outcomes.fee.value": 2}})
    );
    assert_eq!(explained["old"]["conditions"][0]["because"], json!("missing"));
    assert_eq!(explained["sum"], json!({"text": "amount * 2", "values": {"amount": 12000}}));
}

#[test]
fn a_condition_that_was_not_asked_says_so_and_logic_is_the_same_with_a_trace() {
    let rules = |when: &str| compile(json!([{"id": "r", "kind": "decision", "when": when, "then": 1}]));
    let why = |when: &str| {
        let said = rules(when).evaluate(&data(), &[], &mut Budget::default());
        (said.outcomes[0].matched, said.why_json().expect("several conditions")["r"].clone())
    };
    assert_eq!(why("amount < 1 && (country == 'DE' || level == 'low')"), (false, json!("f--")));
    assert_eq!(why("1 / (applicant.age - 17) > 1 || amount > 1"), (true, json!("!t")));
    assert_eq!(why("has(budget) && budget > 1 || amount > 1"), (true, json!("f-t")));
}

/// A field beside a whole number has a short way through the evaluator; operands of unknown type go the long one.
#[test]
fn a_field_beside_a_constant_is_compared_as_any_two_numbers_are() {
    let field = |ty| Layout::new(Arc::new(ObjectType::new([Field::required("n", ty)], false)));
    let whole = [0, 3, -3, (1 << 53) + 1, i64::MAX].map(|n| json!(n));
    let broken = [0.0, -0.0, 2.5, 3.0, -3.5, 9_007_199_254_740_992.0, 1e300].map(|n| json!(n));
    for (ty, values) in [(Type::Int, &whole[..]), (Type::Double, &broken[..])] {
        let layout = field(ty);
        for (order, bound) in ["<", "<=", ">", ">="].iter().flat_map(|order| {
            ["0", "3", "-3", "2.5", "9007199254740993", "9223372036854775807"].map(|bound| (order, bound))
        }) {
            let compile = |source: &str| Program::compile(source, &layout).expect("compiles");
            let (short, long) =
                (compile(&format!("n {order} {bound}")), compile(&format!("dyn(n) {order} dyn({bound})")));
            for value in values {
                let data = json!({ "n": value });
                let eval = |program: &Program| {
                    program.eval_bool(&layout.bind(&data), &mut Budget::default()).expect("evaluates")
                };
                assert_eq!(eval(&short), eval(&long), "{value} {order} {bound}");
            }
        }
    }
}

#[test]
fn a_macro_variable_with_the_name_of_a_computed_field_is_neither_waited_for_nor_shown() {
    let rules = compile(json!([
        {"id": "some", "kind": "decision", "when": "[11, 13].exists(total, double(total) > amount)", "then": 1},
        {"id": "total", "kind": "compute", "into": "/total",
         "value": "lines.map(total, total.price * total.qty).sum()"},
        {"id": "range", "kind": "decision", "when": "[total].exists(total, total > decimal('1'))", "then": 1},
    ]));
    let outcome = rules.evaluate(&data(), &[], &mut Budget::default());
    assert_eq!(*outcome.computed[0].value, json!("30.50"));
    let mut whole = data();
    whole["total"] = json!("30.50");
    let explained = rules.explain(&outcome.outcomes_json(), &Json::Null, &whole);
    assert_eq!(explained["some"]["conditions"][0]["values"], json!({"amount": 12000}));
    assert_eq!(explained["range"]["conditions"][0]["values"], json!({"total": "30.50"}));
}

#[test]
fn an_operation_without_a_result_on_fields_that_are_there_violates_a_constraint() {
    let empty = || json!({"amount": 1, "country": "FR", "level": "low", "lines": []});
    for (assert, why) in [
        ("lines[0].qty > 0", "index `0` is outside a list of 0 elements"),
        ("lines.map(l, l.qty).min() > 0", "`min` of an empty list"),
        ("lines.map(l, l.qty).max() > 0", "`max` of an empty list"),
        ("lines.first().value().qty > 0", "`value()` of an optional that has none"),
        ("{'DE': 100.0}[country] > amount", "the map has no key `FR`"),
    ] {
        let rule = |kind: &str, member: &str| json!([{"id": "r", "kind": kind, member: assert, "then": 1}]);
        let mut constraint = rule("constraint", "assert");
        constraint[0].as_object_mut().expect("a rule").remove("then");
        let outcome = run(constraint, empty());
        assert!(outcome.skipped.is_empty(), "{assert}");
        assert_eq!(outcome.violations[0].message, format!("`r` could not be evaluated: {why}"));
        let decided = run(rule("decision", "when"), empty());
        assert_eq!(decided.outcomes[0].error.as_deref(), Some(why), "{assert}");
    }
    // A member that the submission does not have, and a key that a rule did not give, are missing fields however they are read.
    for assert in ["applicant['age'] > 17", "outcomes.none['key'] == 1"] {
        let outcome = run(
            json!([
                {"id": "none", "kind": "decision", "when": "amount > 0", "then": null, "otherwise": {"key": 1}},
                {"id": "r", "kind": "constraint", "assert": assert},
            ]),
            json!({"amount": 1, "country": "FR", "level": "low", "applicant": {"name": "Ada"}}),
        );
        assert_eq!((outcome.violations.len(), outcome.skipped.len()), (0, 1), "{assert}: {outcome:?}");
    }
}

#[test]
fn a_number_that_is_smaller_than_every_decimal_is_not_zero_to_one() {
    let tiny = |amount: f64| json!({"amount": amount, "country": "DE", "level": "low", "budget": "0.00"});
    for (holds, fails) in
        [("amount > decimal('0')", "amount == decimal('0')"), ("budget < amount", "amount <= budget")]
    {
        let rules = json!([{"id": "holds", "kind": "constraint", "assert": holds},
                           {"id": "fails", "kind": "constraint", "assert": fails}]);
        let outcome = run(rules, tiny(1e-29));
        assert_eq!(
            outcome.violations.iter().map(|broken| &*broken.rule).collect::<Vec<_>>(),
            ["fails"],
            "{holds}"
        );
    }
}

/// As the advice of the checker has it, for every name that the language can write.
#[test]
fn the_advice_about_a_missing_field_can_be_followed_as_it_is_written() {
    let names =
        ["a", "a b", "straße", "first-name", "in", "true", "for", "", "1", "e.mail", "tick`", "line\nbreak"];
    let inner = ObjectType::new(names.map(|name| Field::optional(name, Type::Int)), false);
    let object = Type::Object(Arc::new(inner));
    let lines = Field::required("lines", Type::list(object.clone()));
    let fields = names.map(|name| Field::optional(name, Type::Int));
    let root = ObjectType::new(fields.into_iter().chain([Field::optional("o o", object), lines]), false);
    let layout = Layout::new(Arc::new(root));
    let advice = |source: &str| {
        let program =
            Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{source}: {problems:#?}"));
        let mut messages = program.warnings().iter().map(|warning| warning.message.clone());
        let message = messages.next()?;
        let written =
            message.split_once("is not evaluated; ")?.1.strip_suffix(" decides that case")?.to_owned();
        Some(written.trim_matches(['`', ' ']).replace("&& …", "&& "))
    };
    let quoted = |name: &str| format!("`{name}` > 1");
    for name in names.into_iter().filter(|name| !name.contains(['`', '\n'])) {
        for source in
            [quoted(name), format!("`o o`.{}", quoted(name)), format!("lines.all(l, l.{})", quoted(name))]
        {
            let advised = advice(&source).unwrap_or_else(|| panic!("no advice for {source}"));
            let followed = match source.strip_prefix("lines.all(l, ") {
                Some(condition) => format!("lines.all(l, {advised}{condition}"),
                None => format!("{advised}{source}"),
            };
            assert_eq!(advice(&followed).filter(|again| *again == advised), None, "{source}: {advised}");
        }
    }
}

/// Whatever its name is, unless a backtick or the end of a line is in it.
#[test]
fn a_field_without_a_name_is_written_as_two_backticks() {
    let root = ObjectType::new([Field::required("", Type::Int), Field::required("n", Type::Int)], false);
    let layout = Layout::new(Arc::new(root));
    let rules = json!([
        {"id": "twice", "kind": "compute", "value": "`` * 2", "into": "/n"},
        {"id": "large", "kind": "decision", "when": "n > 5 && has(``)", "then": "large"}
    ]);
    let rules = RuleSet::compile(&rules, &layout).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let data = json!({"": 3, "n": 0});
    let outcome = rules.evaluate(&data, &[], &mut Budget::default());
    assert_eq!(*outcome.computed[0].value, json!(6));
    assert!(outcome.outcomes[0].matched, "{:?}", outcome.outcomes);
    let rules = json!([{"id": "zero", "kind": "compute", "value": "n + 1", "into": "/"},
                       {"id": "one", "kind": "decision", "when": "`` == 1", "then": 1}]);
    let rules = RuleSet::compile(&rules, &layout).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(rules.evaluate(&data, &[], &mut Budget::default()).outcomes[0].matched);
}

/// A decimal has 96 bits for its digits, and at most 28 of them behind the point.
#[test]
fn a_decimal_quotient_is_rounded_where_its_digits_end() {
    for (quotient, text) in [
        ("decimal(1) / 3", "0.3333333333333333333333333333"),
        ("decimal(2) / 3", "0.6666666666666666666666666667"),
        ("decimal(10) / 3", "3.3333333333333333333333333333"),
        ("decimal(100) / 3", "33.333333333333333333333333333"),
        ("decimal('0.0000000000000000000000000005') / 10", "0"),
        ("decimal('0.0000000000000000000000000015') / 10", "0.0000000000000000000000000002"),
        ("decimal('0.0000000000000000000000000025') / 10", "0.0000000000000000000000000002"),
        ("decimal(1) / decimal('79228162514264337593543950335')", "0"),
    ] {
        let rules =
            json!([{"id": "q", "kind": "compute", "value": format!("string({quotient})"), "into": "/q"}]);
        assert_eq!(*run(rules, data()).computed[0].value, json!(text), "{quotient}");
    }
}

#[test]
fn the_examples_of_the_page_are_rules_that_do_what_it_says() {
    let page = include_str!("../../docs/rules.md");
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

/// Half away from zero, for money above all: what is written is what `math.round` makes.
#[test]
fn a_decimal_is_written_with_fewer_digits_rounded_as_math_round_does() {
    let written = |text: String| {
        let rules = json!([{"id": "w", "kind": "compute", "value": text, "into": "/w"}]);
        run(rules, data()).computed[0].value.as_str().expect("a text").to_owned()
    };
    for number in
        ["0.999", "1.019", "2.675", "2.665", "-2.675", "2.5", "-0.96", "-0.001", "0", "1e-28", "9.9999"]
    {
        for places in [0, 1, 2, 28] {
            let formatted = written(format!("'%.{places}f'.format([decimal('{number}')])"));
            let rounded = written(format!("string(math.round(decimal('{number}'), {places}))"));
            let (whole, fraction) = rounded.split_once('.').unwrap_or((&rounded, ""));
            let point = if places > 0 { "." } else { "" };
            assert_eq!(formatted, format!("{whole}{point}{fraction:0<places$}"), "{number} with {places}");
        }
    }
    for (format, number, text) in [
        ("%.2f", "decimal('0.999')", "1.00"),
        ("%f", "decimal('1.0000009')", "1.000001"),
        ("%.30f", "decimal('1.5')", "1.500000000000000000000000000000"),
        ("%.0f", "decimal('7922816251426433759354395033.5')", "7922816251426433759354395034"),
        ("%.2f", "9007199254740993", "9007199254740993.00"),
        ("%.1e", "decimal('0.125')", "1.3e-01"),
        ("%.1e", "decimal('-99.96')", "-1.0e+02"),
        ("%.0e", "decimal('25')", "3e+01"),
        ("%.17e", "decimal('12345678901234567.89')", "1.23456789012345679e+16"),
        ("%e", "decimal('0.00')", "0.000000e+00"),
        ("%d %s", "decimal('1.50'), decimal('1.50')", "1.50 1.50"),
    ] {
        assert_eq!(written(format!("'{format}'.format([{number}])")), text, "{format} of {number}");
    }
}

/// A sum of nothing owed is no debt: `-0.00` is on no bill.
#[test]
fn a_decimal_has_no_negative_zero() {
    for (zero, text) in [
        ("-decimal('0.00')", "0.00"),
        ("-(price - price)", "0.00"),
        ("price - price", "0.00"),
        ("decimal('0.00') - decimal('0.00')", "0.00"),
        ("decimal('0') - 0", "0"),
        ("0 - decimal('0')", "0"),
        ("decimal('-1.50') + decimal('1.50')", "0.00"),
        ("[decimal('-1.50'), decimal('1.50')].sum()", "0.00"),
        ("math.ceil(decimal('-0.5'))", "0"),
        ("math.trunc(decimal('-0.5'))", "0"),
        ("math.round(decimal('-0.4'))", "0"),
        ("decimal('-0.00')", "0.00"),
        ("decimal('-0e2')", "0"),
        ("decimal(-0.0)", "0"),
        ("decimal(-1e-40)", "0"),
        ("decimal('-1e-20') * decimal('0')", "0"),
        ("decimal('-1.5') % decimal('0.5')", "0.0"),
        ("decimal(-1) / decimal('79228162514264337593543950335')", "0"),
    ] {
        let rules = json!([
            {"id": "p", "kind": "compute", "value": "decimal('1.50')", "into": "/price"},
            {"id": "z", "kind": "compute", "value": zero, "into": "/zero"},
            {"id": "w", "kind": "compute", "value": "'%.0f %s'.format([zero, zero])", "into": "/written"}
        ]);
        let computed = run(rules, data()).computed;
        assert_eq!(
            (&*computed[1].value, &*computed[2].value),
            (&json!(text), &json!(format!("0 {text}"))),
            "{zero}"
        );
    }
}

/// Events of published versions go on as they were.
#[test]
fn a_duration_is_recorded_as_it_always_was() {
    for (value, recorded) in [
        ("duration('90m')", json!("PT5400S")),
        ("dyn(duration('90m'))", json!("PT5400S")),
        ("[duration('90m')]", json!(["5400s"])),
        ("optional.of(duration('90m'))", json!("5400s")),
    ] {
        let rules = json!([{"id": "d", "kind": "compute", "value": value, "into": "/d"}]);
        assert_eq!(*run(rules, data()).computed[0].value, recorded, "{value}");
    }
}

#[test]
fn a_second_compute_of_a_field_is_refused_but_rules_in_use_go_on() {
    let compute = |id: &str, value: &str, into: &str| json!({"id": id, "kind": "compute", "value": value, "into": into});
    let places = |remarks: &[RuleProblem]| {
        let errors = remarks.iter().filter(|remark| remark.severity == Severity::Error);
        errors.map(|remark| remark.pointer.clone()).collect::<Vec<_>>()
    };
    for into in ["/b", "/amount", "/applicant/score"] {
        let rules = compile(json!([compute("one", "1.0", into), compute("two", "2.0", into)]));
        assert_eq!(places(rules.remarks()), ["/rules/1/into"], "{into}");
        assert!(rules.remarks()[0].message.contains("the rule `one` computes"), "{:?}", rules.remarks());
        let mut given = data();
        given["applicant"] = json!({"name": "Ada"});
        let made = rules.evaluate(&given, &[], &mut Budget::default()).computed;
        assert_eq!(made.iter().map(|made| &*made.value).collect::<Vec<_>>(), [&json!(1.0), &json!(2.0)]);
    }
    assert!(
        places(compile(json!([compute("one", "1", "/b"), compute("two", "2", "/bb")])).remarks()).is_empty()
    );
    // Inside what another rule computes there is no place at all.
    for (outer, inner) in [("/o", "/o/x"), ("/applicant", "/applicant/age"), ("/lines", "/lines/0/qty")] {
        let list = "lines.filter(l, l.qty > 0)";
        let value = if outer == "/lines" { list } else { "{'x': 1}" };
        for rules in [[("a", value, outer), ("b", "1", inner)], [("b", "1", inner), ("a", value, outer)]] {
            refused(Json::from_iter(rules.map(|(id, value, into)| compute(id, value, into))));
        }
    }
}

#[test]
fn a_place_of_a_constraint_that_no_field_has_is_warned_of() {
    let remarks = |at: &str| {
        let rules = compile(json!([
            {"id": "c", "kind": "constraint", "assert": "amount > 0", "at": at},
            {"id": "net", "kind": "compute", "value": "amount * 2", "into": "/applicant/net"},
            {"id": "any", "kind": "compute", "value": "{'deep': dyn({'x': 1})}", "into": "/made"},
        ]));
        let told = rules.remarks().iter().filter(|remark| remark.pointer == "/rules/0/at");
        told.map(|remark| (remark.message.clone(), remark.severity)).collect::<Vec<_>>()
    };
    for at in [
        "",
        "/amount",
        "/applicant",
        "/applicant/age",
        "/applicant/net",
        "/lines/0/qty",
        "/lines/*/qty",
        "/lines/12",
        "/made/deep/x",
    ] {
        assert_eq!(remarks(at), [], "{at}");
    }
    for (at, missing, near) in [
        ("/amuont", "amuont", Some("amount")),
        ("/applicant/ages", "ages", Some("age")),
        ("/applicants/age", "applicants", Some("applicant")),
        ("/lines/0/quantity", "quantity", None),
        ("/lines/first", "first", None),
        ("/amount/value", "value", None),
    ] {
        let told = remarks(at);
        let advice = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let message = format!("neither the schema nor a compute has a field `{missing}` for `{at}`{advice}");
        assert_eq!(told, [(message, Severity::Warning)], "{at}");
    }
    // Of an object of which the schema says nothing, nothing is known.
    let anything = Type::Object(Arc::new(ObjectType::new([], true)));
    let layout = Layout::new(Arc::new(ObjectType::new([Field::optional("more", anything)], false)));
    let rules = json!([{"id": "c", "kind": "constraint", "assert": "has(more)", "at": "/more/or/less"}]);
    assert!(RuleSet::compile(&rules, &layout).expect("right").remarks().is_empty());
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
