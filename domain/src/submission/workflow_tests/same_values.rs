//! Guards see what rules saw, whatever of it canonical JSON can hold only as text.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::CanonicalJson;
use crate::form::Facts;

/// A form that computes `value` into `/m`, decides by `when` and goes by itself to `hi` where the same condition holds.
fn form(value: &str, when: &str, m: Option<Value>) -> Arc<CompiledForm> {
    let mut properties = json!({"n": {"type": "integer"}, "x": {"type": "number"}, "k": {"type": "integer"}, "y": {"type": "number"}, "any": {}});
    if let Some(m) = m {
        properties["m"] = m;
    }
    computing_into("/m", properties, value, when)
}

/// A form that computes `value` into `into`, with these fields.
fn computing_into(into: &str, properties: Value, value: &str, when: &str) -> Arc<CompiledForm> {
    compiled(json!({
        "title": "Squares",
        "schema": {"type": "object", "required": ["n"], "properties": properties},
        "rules": [
            {"id": "square", "kind": "compute", "value": value, "into": into},
            {"id": "d", "kind": "decision", "when": when, "then": "hi", "otherwise": "lo"}
        ],
        "workflow": squares(when)
    }))
}

/// Goes to `hi` by itself, or by a person, where a condition holds.
fn squares(when: &str) -> Value {
    json!({
        "initial": "submitted",
        "states": {"submitted": {}, "lo": {}, "hi": {"final": true}},
        "auto": [{"from": "submitted", "to": "hi", "when": when}, {"from": "submitted", "to": "lo"}],
        "transitions": [{"name": "raise", "from": "lo", "to": "hi", "when": when}]
    })
}

/// A submission of `data`.
fn submitted(form: &Arc<CompiledForm>, data: Value) -> Submission {
    let now = "2026-02-26T10:00:00Z".parse().expect("a time");
    let submit =
        SubmissionCommand::Submit { form: form.clone(), data: Arc::new(data), draft: false, by: sam(), now };
    let events = Submission::default().decide(submit).unwrap_or_else(|refused| panic!("{refused:?}"));
    events.into_iter().fold(Submission::default(), |mut submission, event| {
        submission.apply(event);
        submission
    })
}

/// What the rule `d` said, where the submission went, and whether the guard holds of what was recorded.
fn said(form: &Arc<CompiledForm>, submission: &Submission) -> (bool, bool, bool) {
    let outcomes = submission.outcomes().expect("recorded").to_value();
    let data = submission.data().expect("made");
    let facts = Facts {
        data: &data,
        outcomes: &outcomes,
        submitter: "sam",
        actor: Some(&sam()),
        now: "2026-02-27T10:00:00Z".parse().expect("a time"),
    };
    let state = submission.state().expect("made").as_str();
    let guard = form.guard_holds("raise", &facts).expect("it has a guard");
    (outcomes["d"]["matched"] == json!(true), state == "hi", guard)
}

#[test]
fn a_condition_on_a_computed_field_is_true_of_rules_and_guards_alike() {
    let large = json!({"n": 300_000_000_i64, "x": 1e21});
    let integer = json!({"type": "integer"});
    for (value, when, m, data) in [
        ("n * n", "m > 5", None, large.clone()),
        ("n * n", "m > 5", Some(integer), large.clone()),
        ("n * n", "m == 90000000000000000", Some(json!({"type": ["integer", "null"]})), large.clone()),
        ("x / 2.0", "m > 5.0", None, large.clone()),
        ("x / 2.0", "m > 5.0", Some(json!({"type": "number"})), large.clone()),
        ("uint(n) * uint(n)", "m > 5u", None, large.clone()),
        ("[9007199254740993, n]", "m[0] == 9007199254740993 && m[1] == n", None, large.clone()),
        ("[x / 2.0]", "m.all(e, e > 5.0)", None, large.clone()),
        ("{'k': n * n}", "m.k > 5", None, large.clone()),
        ("{'k': n * n}", "m.?k.orValue(0) > 5", None, large.clone()),
        ("optional.of(n * n)", "m.orValue(1) > 5", None, large.clone()),
        ("optional.of(n).or(optional.none())", "m.hasValue()", None, large.clone()),
        ("{1: n}", "m[1] == n", None, large.clone()),
        ("{n: n * n}", "m.all(k, v, k == n && v > 5)", None, large.clone()),
        ("type(n)", "m == int", None, large.clone()),
        ("[duration('90m')]", "m[0] > duration('1h')", None, large.clone()),
        ("[decimal('1.5')]", "m[0] < 2", None, large.clone()),
        ("0.0 * -1.0 * x", "1.0 / m > 0.0", None, large.clone()),
        ("n", "1.0 / x > 0.0", None, json!({"n": 1, "x": -0.0})),
        ("any", "m / 2 == 1", None, json!({"n": 1, "any": 3.0})),
    ] {
        let form = form(value, when, m);
        let submission = submitted(&form, data);
        let outcomes = submission.outcomes().expect("recorded").to_value();
        assert_eq!(said(&form, &submission), (true, true, true), "{value}, {when}: {outcomes}");
    }
}

/// A field whose type nobody knows is read as its JSON says, by rules too: a text that somebody filled in and a number that is recorded as one
/// look the same there.
#[test]
fn a_computed_field_of_unknown_type_is_what_was_recorded() {
    for (value, when) in [
        ("dyn(n * n)", "m > 5"),
        ("[dyn(n * n)]", "m[0] > 5"),
        ("dyn(decimal('10.10'))", "m > 5"),
        ("dyn(date('2026-04-30'))", "m > date('2020-01-01')"),
    ] {
        let form = form(value, when, None);
        let submission = submitted(&form, json!({"n": 300_000_000_i64}));
        assert_eq!(said(&form, &submission), (false, false, false), "{value}, {when}");
        let outcomes = submission.outcomes().expect("recorded").to_value();
        assert_eq!(outcomes["square"]["matched"], json!(true), "{outcomes}");
        assert!(outcomes["d"]["error"].is_string(), "{outcomes}");
    }
    let form = form("dyn(n * n)", "m == '90000000000000000'", None);
    let submission = submitted(&form, json!({"n": 300_000_000_i64}));
    assert_eq!(said(&form, &submission), (true, true, true));
}

#[test]
fn a_text_that_somebody_filled_in_is_never_a_number() {
    let text = json!({"n": 1, "any": "90000000000000000"});
    for (value, when) in [
        ("any", "m > 5"),
        ("{'k': any}", "m.k > 5"),
        ("[any]", "m[0] > 5"),
        ("n", "any > 5"),
        ("n", "has(any) && any == 90000000000000000"),
    ] {
        let form = form(value, when, None);
        assert_eq!(said(&form, &submitted(&form, text.clone())), (false, false, false), "{value}, {when}");
    }
}

#[test]
fn an_infinity_inside_a_computed_list_is_an_error_as_one_outside_is() {
    let form = form("[x / 0.0]", "m[0] > 5.0", None);
    let submission = submitted(&form, json!({"n": 1, "x": 1.0}));
    let outcomes = submission.outcomes().expect("recorded").to_value();
    assert_eq!(outcomes["square"]["error"], json!("the computed value is infinite or no number"));
    assert_eq!(said(&form, &submission), (false, false, false));
    assert_eq!(submission.data().expect("made").get("m"), None);
}

#[test]
fn a_sum_of_a_table_is_true_of_rules_and_guards_alike() {
    for when in [
        "outcomes.k.k > 5",
        "outcomes.k.?k.orValue(0) > 5",
        "has(outcomes.k.k) && outcomes.k.k == 18014398509481982",
    ] {
        let form = compiled(json!({
            "title": "Sums",
            "schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
            "rules": [
                {"id": "k", "kind": "table", "hit": "collect", "aggregate": "sum", "inputs": ["n"], "rows": [
                    {"when": ["> 0"], "then": {"k": 9_007_199_254_740_991_i64}},
                    {"when": ["> 1"], "then": {"k": 9_007_199_254_740_991_i64}}
                ]},
                {"id": "d", "kind": "decision", "when": when, "then": "hi", "otherwise": "lo"}
            ],
            "workflow": squares(when)
        }));
        let submission = submitted(&form, json!({"n": 2}));
        let outcomes = submission.outcomes().expect("recorded").to_value();
        assert_eq!(outcomes["k"]["value"], json!({"k": "18014398509481982"}));
        assert_eq!(said(&form, &submission), (true, true, true), "{when}: {outcomes}");
    }
}

/// Objects as a whole are what was filled in: what is computed inside them is read by its path.
#[test]
fn an_object_around_a_computed_field_is_the_same_to_rules_and_guards() {
    let properties = json!({
        "n": {"type": "integer"},
        "o": {"type": "object", "properties": {"score": {"type": "integer"}, "name": {"type": "string"}}}
    });
    for (when, data, holds) in [
        ("o.score > 5", json!({"n": 9, "o": {"name": "Ada"}}), true),
        ("o.score > 5", json!({"n": 9}), true),
        ("o.score > 5", json!({"n": 9, "o": {"score": 3}}), true),
        ("o.?score.orValue(0) > 5", json!({"n": 9, "o": {"name": "Ada"}}), false),
        ("o.?score.orValue(0) > 5", json!({"n": 9, "o": {"score": 7}}), false),
        ("has(o.score)", json!({"n": 9, "o": {"name": "Ada"}}), true),
        ("has(o)", json!({"n": 9, "o": {"name": "Ada"}}), true),
        ("has(o)", json!({"n": 9}), false),
        ("o.?name.orValue('Eve') == 'Eve'", json!({"n": 9}), true),
    ] {
        let form = computing_into("/o/score", properties.clone(), "n", when);
        assert_eq!(said(&form, &submitted(&form, data.clone())), (holds, holds, holds), "{when}, {data}");
    }
}

/// What was given cannot be told from what a computed field made around itself: see docs/workflow.md.
#[test]
fn an_object_that_was_sent_with_nothing_but_computed_fields_is_missing_to_guards_alone() {
    let properties = json!({
        "n": {"type": "integer"},
        "o": {"type": "object", "properties": {"score": {"type": "integer"}, "name": {"type": "string"}}}
    });
    for data in [json!({"n": 9, "o": {}}), json!({"n": 9, "o": {"score": 3}})] {
        let form = computing_into("/o/score", properties.clone(), "n", "has(o)");
        assert_eq!(said(&form, &submitted(&form, data.clone())), (true, false, false), "{data}");
    }
}

/// Somebody filled in what a rule could not compute: a null stands there.
#[test]
fn a_computed_field_without_a_value_is_missing_to_rules_and_guards() {
    for (when, holds) in [("!has(m)", true), ("has(m)", false), ("m > 5", false), ("!has(m) || m > 5", true)]
    {
        for m in [json!({"type": "integer"}), json!({"type": ["integer", "null"]}), json!({})] {
            let form = form("n / k", when, Some(m.clone()));
            let submission = submitted(&form, json!({"n": 9, "k": 0, "m": 7}));
            assert_eq!(submission.data().expect("made")["m"], Value::Null);
            assert_eq!(said(&form, &submission), (holds, holds, holds), "{when}, {m}");
        }
    }
}

/// A null that a rule made is one to guards, too.
#[test]
fn a_failed_optional_is_missing_and_one_of_nothing_is_there_to_rules_and_guards() {
    let made = "k > 0 ? optional.of(n) : optional.none()";
    for (value, when, k, holds) in [
        ("optional.of(n / k)", "has(m)", 0, false),
        ("optional.of(n / k)", "!has(m)", 0, true),
        ("optional.of(n / k)", "m.hasValue()", 0, false),
        ("optional.of(n / k)", "m.hasValue()", 3, true),
        (made, "has(m)", 0, true),
        (made, "m.hasValue()", 0, false),
        (made, "m.hasValue()", 3, true),
        ("dyn(n / k)", "has(m)", 0, false),
        ("dyn(n / k)", "has(m)", 3, true),
        ("dyn(null)", "has(m)", 3, false),
    ] {
        let form = form(value, when, None);
        let submission = submitted(&form, json!({"n": 9, "k": k, "m": 7}));
        assert_eq!(said(&form, &submission), (holds, holds, holds), "{value}, {when}, {k}");
    }
}

/// Rules restore what canonical JSON has as text, and nothing else.
#[test]
fn numbers_at_the_edges_of_canonical_json_are_the_same_to_rules_and_guards() {
    for (number, is_text) in [
        ("9007199254740991", false),
        ("-9007199254740991", false),
        ("9007199254740992", true),
        ("-9007199254740992", true),
        ("9007199254740991.0", false),
        ("9007199254740992.0", true),
        ("-9007199254740992.0", true),
        ("1e21", false),
        ("999999999999999900000.0", true),
        ("-999999999999999900000.0", true),
        ("1e-7", false),
    ] {
        let form = form(number, &format!("m == {number}"), None);
        let submission = submitted(&form, json!({"n": 1}));
        assert_eq!(submission.data().expect("made")["m"].is_string(), is_text, "{number}");
        let json: Value = serde_json::from_str(number).expect("a number");
        assert_eq!(CanonicalJson::from_value(&json).is_err(), is_text, "{number}");
        assert_eq!(said(&form, &submission), (true, true, true), "{number}");
    }
}

proptest! {
    /// Also at the edges of what canonical JSON holds.
    #[test]
    fn a_product_is_equal_to_itself_in_rules_and_guards(
        n in -9_007_199_254_740_991_i64..=9_007_199_254_740_991,
        k in -1_024_i64..=1_024,
        x in prop::num::f64::NORMAL.prop_filter("canonical JSON holds it", |x| x.fract() != 0.0),
        y in prop_oneof![Just(0.0), Just(-1.0), Just(2.0), 0.5..1e22],
    ) {
        let data = json!({"n": n, "k": k, "x": x, "y": y});
        prop_assume!(crate::CanonicalJson::from_value(&data).is_ok());
        prop_assume!((x * y).is_finite());
        for (value, when) in [("n * k", "m == n * k"), ("x * y", "m == x * y"), ("[[x * y], [x]]", "m == [[x * y], [x]]")] {
            let form = PRODUCTS.with(|forms| forms.borrow_mut().entry(value).or_insert_with(|| form(value, when, None)).clone());
            prop_assert_eq!(said(&form, &submitted(&form, data.clone())), (true, true, true), "{}", value);
        }
    }
}

thread_local! {
    /// Compiled once for all cases.
    static PRODUCTS: RefCell<HashMap<&'static str, Arc<CompiledForm>>> = RefCell::default();
}

/// What was recorded before keeps its form: lists of durations were in CEL's.
#[test]
fn what_was_recorded_before_is_read_as_rules_saw_it() {
    for (value, when, m) in [
        ("n * n", "m > 5", json!("90000000000000000")),
        ("x / 2.0", "m > 5.0", json!("5e+20")),
        ("x / 2.0", "m > 5.0", json!("500000000000000000000")),
        ("[duration('90m')]", "m[0] > duration('1h')", json!(["5400s"])),
    ] {
        let form = form(value, when, None);
        let (data, outcomes) = (json!({"n": 300_000_000_i64, "m": m}), Value::Object(Map::new()));
        let now = "2026-02-27T10:00:00Z".parse().expect("a time");
        let facts = Facts { data: &data, outcomes: &outcomes, submitter: "sam", actor: Some(&sam()), now };
        assert_eq!(form.guard_holds("raise", &facts), Some(true), "{value}, {m}");
    }
}

#[test]
fn data_as_they_are_shown_can_be_submitted_again() {
    let form = form("n * n", "m > 5", Some(json!({"type": "integer"})));
    let shown = submitted(&form, json!({"n": 300_000_000_i64})).data().expect("made");
    assert_eq!(shown["m"], json!("90000000000000000"));
    let again = submitted(&form, shown.clone());
    assert_eq!(again.data(), Some(shown.clone()));
    assert_eq!(again.given_data().map(CanonicalJson::to_value), Some(shown));
    let now = "2026-02-26T10:00:00Z".parse().expect("a time");
    let refused = |data: Value| {
        let submit = SubmissionCommand::Submit {
            form: form.clone(),
            data: Arc::new(data),
            draft: false,
            by: sam(),
            now,
        };
        Submission::default().decide(submit).is_err()
    };
    assert!(refused(json!({"n": 3, "m": "9"})), "a number that JSON holds is no text");
    assert!(refused(json!({"n": "90000000000000000"})), "no rule computes it");
}
