//! Which row a decision table takes, and what several rows make together.

use serde_json::{Value as Json, json};

use super::{compile, data, refused, run};

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
