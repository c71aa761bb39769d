//! What computes make, in which order, and which are refused.

use formledger_rules::{Budget, RuleProblem, Severity};
use serde_json::{Value as Json, json};

use super::{compile, data, refused, run};

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
