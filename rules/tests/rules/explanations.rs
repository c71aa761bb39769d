//! What is said of how an outcome came about.

use formledger_rules::Budget;
use serde_json::json;

use super::{compile, data};

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
