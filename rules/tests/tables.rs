//! What publishing says about decision tables as a whole: overlaps, gaps, rows that are never used. Each with an example.

use std::sync::Arc;

use formledger_rules::{Field, Layout, ObjectType, RuleProblem, RuleSet, Severity, Type};
use serde_json::{Value as Json, json};

fn layout() -> Layout {
    let fields = [
        Field::required("amount", Type::Double).within(Some(0.into()), None),
        Field::required("qty", Type::Int),
        Field::required("country", Type::String),
        Field::required("level", Type::String).one_of([json!("low"), json!("mid"), json!("high")]),
        Field::required("vip", Type::Bool),
        Field::required("price", Type::Decimal),
        Field::required("born", Type::Date),
        Field::optional("note", Type::String),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

/// A table whose rows say their own number.
fn table(hit: &str, inputs: &[&str], rows: &[&[&str]]) -> Json {
    let rows: Vec<Json> =
        rows.iter().zip(1..).map(|(when, then)| json!({"when": when, "then": then})).collect();
    json!([{"id": "t", "kind": "table", "hit": hit, "inputs": inputs, "rows": rows}])
}

fn problems(rules: &Json) -> Vec<RuleProblem> {
    match RuleSet::compile(rules, &layout()) {
        Ok(rules) => rules.remarks().to_vec(),
        Err(problems) => problems,
    }
}

/// The only problem, as severity, pointer and message.
fn told(rules: &Json) -> (Severity, String, String) {
    let problems = problems(rules);
    let [problem] = problems.as_slice() else { panic!("not one problem: {problems:#?}") };
    (problem.severity, problem.pointer.clone(), problem.message.clone())
}

fn silent(rules: &Json) {
    assert_eq!(problems(rules), []);
}

#[test]
fn rows_that_overlap_under_unique_are_refused_with_an_example() {
    let rules = table(
        "unique",
        &["amount", "country"],
        &[&["< 100", "'DE'"], &["[50..200]", "-"], &["> 200", "-"], &["< 50", "not('DE')"]],
    );
    let (severity, pointer, message) = told(&rules);
    assert_eq!((severity, pointer.as_str()), (Severity::Error, "/rules/0/rows/1"));
    assert!(message.starts_with("rows 1 and 2 both match `amount` = 50, `country` = 'DE'"), "{message}");
}

#[test]
fn a_table_without_overlap_and_gap_is_silent() {
    silent(&table("unique", &["amount"], &[&["< 100"], &["[100..200)"], &[">= 200"]]));
    silent(&table("unique", &["qty"], &[&["<= 3"], &["[4..9]"], &["> 9"]]));
    silent(&table(
        "unique",
        &["level", "vip"],
        &[&["'low'", "-"], &["'mid', 'high'", "true"], &["not('low')", "false"]],
    ));
    silent(&table("first", &["country"], &[&["'DE'"], &["-"]]));
    silent(&table("unique", &["born"], &[&["< '2000-01-01'"], &[">= '2000-01-01'"]]));
    silent(&table("unique", &["vip", "amount"], &[&["true", "-"], &["false", "< 10"], &["false", ">= 10"]]));
}

#[test]
fn a_combination_that_no_row_matches_is_warned_of_with_an_example() {
    let gap = |hit: &str, inputs: &[&str], rows: &[&[&str]]| {
        let (severity, pointer, message) = told(&table(hit, inputs, rows));
        assert_eq!((severity, pointer.as_str()), (Severity::Warning, "/rules/0/rows"), "{message}");
        message.trim_start_matches("no row matches ").split(';').next().unwrap_or_default().to_owned()
    };
    assert_eq!(gap("unique", &["amount"], &[&["< 100"], &["> 100"]]), "`amount` = 100");
    assert_eq!(gap("first", &["qty"], &[&["<= 3"], &[">= 5"]]), "`qty` = 4");
    assert_eq!(gap("unique", &["price"], &[&["<= 0.10"], &[">= 0.20"]]), "`price` = 0.15");
    assert_eq!(
        gap("unique", &["country"], &[&["'DE'"], &["'FR'"]]),
        "`country` = a text other than 'DE', 'FR'"
    );
    assert_eq!(gap("unique", &["level"], &[&["'low'"], &["'high'"]]), "`level` = 'mid'");
    assert_eq!(
        gap("first", &["vip", "amount"], &[&["true", "-"], &["false", ">= 10"]]),
        "`vip` = false, `amount` = 0"
    );
    assert_eq!(
        gap("unique", &["born"], &[&["< '2000-01-01'"], &["> '2000-01-01'"]]),
        "`born` = date('2000-01-01')"
    );
}

#[test]
fn otherwise_closes_every_gap_and_is_never_used_when_there_is_none() {
    let mut rules = table("unique", &["vip"], &[&["true"]]);
    rules[0]["otherwise"] = json!(0);
    silent(&rules);
    let mut rules = table("unique", &["vip"], &[&["true"], &["false"]]);
    rules[0]["otherwise"] = json!(0);
    assert_eq!(told(&rules).1, "/rules/0/otherwise");
}

#[test]
fn a_row_behind_rows_that_match_wherever_it_does_is_never_used() {
    let shadowed = |hit: &str, rows: &[&[&str]]| told(&table(hit, &["amount", "level"], rows)).1;
    assert_eq!(shadowed("first", &[&["-", "-"], &["< 10", "'low'"]]), "/rules/0/rows/1");
    let rows: &[&[&str]] =
        &[&["< 100", "-"], &[">= 100", "'low'"], &["-", "'mid', 'high'"], &["> 50", "'low'"]];
    assert_eq!(shadowed("first", rows), "/rules/0/rows/3", "two rows together");
    let mut rules = table("priority", &["amount"], &[&["< 10"], &["-"]]);
    rules[0]["rows"][1]["priority"] = json!(5);
    assert_eq!(told(&rules).1, "/rules/0/rows/0");
}

#[test]
fn a_row_that_an_optional_input_reaches_only_when_it_is_missing_is_used() {
    let rules = table("first", &["note"], &[&["'a', not('a')"], &["-"]]);
    assert!(problems(&rules).iter().all(|problem| !problem.message.contains("never used")));
}

#[test]
fn a_cell_that_no_value_is_in_is_warned_of() {
    let (severity, pointer, message) = told(&table("first", &["amount"], &[&["[10..5]"], &["-"]]));
    assert_eq!((severity, pointer.as_str()), (Severity::Warning, "/rules/0/rows/0/when/0"));
    assert!(message.contains("row 1 never matches"), "{message}");
    assert_eq!(
        told(&table("first", &["amount"], &[&["< 0"], &["-"]])).1,
        "/rules/0/rows/0/when/0",
        "minimum is 0"
    );
}

#[test]
fn cells_that_only_a_submission_decides_make_no_claim() {
    silent(&table("unique", &["amount"], &[&["< qty"], &[">= qty"]]));
    silent(&table("first", &["amount"], &[&["qty > 3"], &["-"]]));
}

#[test]
fn large_tables_are_analysed_in_bounded_time() {
    let start = std::time::Instant::now();
    let cells: Vec<[String; 4]> = (0..1_000)
        .map(|at| {
            [format!("[{at}..{})", at + 1), format!("{}", at % 7), "-".to_owned(), format!("'c{at}', 'd'")]
        })
        .collect();
    let rows: Vec<Json> = cells.iter().map(|when| json!({"when": when, "then": 1})).collect();
    for hit in ["unique", "first"] {
        let rules = json!([{"id": "t", "kind": "table", "hit": hit, "inputs": ["amount", "qty", "price", "country"], "rows": rows}]);
        assert!(RuleSet::compile(&rules, &layout()).is_ok());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// The schema is asked of what people send, and not of what rules make.
#[test]
fn a_table_on_a_computed_field_does_not_lean_on_what_the_schema_says_of_it() {
    let computed = |value: &str, into: &str, table: Json| json!([{"id": "c", "kind": "compute", "value": value, "into": into}, table[0]]);
    let overlapping =
        computed("double(qty)", "/amount", table("unique", &["amount"], &[&["< -2"], &["< -1"], &[">= -1"]]));
    let problems = problems(&overlapping);
    let found = problems.iter().find(|problem| problem.severity == Severity::Error);
    assert!(found.is_some_and(|problem| problem.message.contains("rows 1 and 2")), "{problems:#?}");
    let level =
        computed("country", "/level", table("first", &["level"], &[&["'low'"], &["'mid'"], &["'high'"]]));
    let found: Vec<_> = self::problems(&level).into_iter().map(|problem| problem.message).collect();
    assert!(found.iter().any(|message| message.contains("no row matches")), "{found:#?}");
}

#[test]
fn a_size_is_never_negative() {
    for size in ["country.size()", "size(country)"] {
        silent(&table("unique", &[size], &[&["0"], &["> 0"]]));
        let (_, place, message) = told(&table("first", &[size], &[&["< 0"], &["-"]]));
        assert_eq!(place, "/rules/0/rows/0/when/0");
        assert_eq!(message, format!("no value of `{size}` is in here, so row 1 never matches"));
    }
}

/// The hit policy, the inputs and the rows of a table.
type Parts<'t> = (&'t str, &'t [&'t str], &'t [&'t [&'t str]]);

/// The warnings of a rule that reads a key which every result of the table has.
fn read_after(mut table: Json, key: &str) -> Vec<String> {
    table
        .as_array_mut()
        .expect("rules")
        .push(json!({"id": "reads", "kind": "decision", "when": format!("outcomes.t.{key} > 0"), "then": 1}));
    let told = problems(&table).into_iter().filter(|problem| problem.pointer == "/rules/1/when");
    told.map(|problem| problem.message).collect()
}

#[test]
fn what_a_table_says_is_there_where_it_always_says_something() {
    let missing = |key: &str| {
        vec![format!(
            "`outcomes.t.{key}` may be missing, and then this is not evaluated; `has(outcomes.t.{key}) && …` decides that case"
        )]
    };
    let complete: &[Parts<'_>] = &[
        ("unique", &["amount"], &[&["< 100"], &[">= 100"]]),
        ("unique", &["level", "vip"], &[&["'low'", "-"], &["not('low')", "true"], &["not('low')", "false"]]),
        ("first", &["country"], &[&["'DE'"], &["-"]]),
        // A missing note is in the last row.
        ("first", &["note"], &[&["'a'"], &["-"]]),
        ("priority", &["qty"], &[&["-"], &["> 3"]]),
        ("collect sum", &["amount"], &[&["< 100"], &[">= 50"]]),
        ("first", &["amount / 3.0"], &[&["< 100"], &["-"]]),
    ];
    for (hit, inputs, rows) in complete {
        assert_eq!(read_after(table(hit, inputs, rows), "value"), Vec::<String>::new(), "{hit} {inputs:?}");
    }
    let open: &[Parts<'_>] = &[
        ("unique", &["amount"], &[&["< 100"], &["> 100"]]),
        ("first", &["note"], &[&["'a'"], &["not('a')"]]),
        ("collect sum", &["amount"], &[&["< 100"], &["> 100"]]),
        // Only a submission decides whether a row matches, or whether two do.
        ("first", &["amount"], &[&["< qty"], &[">= qty"]]),
        ("unique", &["amount"], &[&["< 100"], &[">= 100"], &["> double(qty * 1000)"]]),
        // It may fail, or be no number.
        ("first", &["100 / qty"], &[&["< 100"], &["-"]]),
        ("first", &["qty"], &[&["100 / country.size()"], &["-"]]),
        ("first", &["amount / amount"], &[&["< 100"], &[">= 100"]]),
    ];
    for (hit, inputs, rows) in open {
        assert_eq!(read_after(table(hit, inputs, rows), "value"), missing("value"), "{hit} {inputs:?}");
    }
    let keyed = |hit: &str, rows: &[(&str, Json)], otherwise: Json| {
        let rows: Vec<Json> = rows.iter().map(|(when, then)| json!({"when": [when], "then": then})).collect();
        let mut table = json!([{"id": "t", "kind": "table", "hit": hit, "inputs": ["qty"], "rows": rows}]);
        if !otherwise.is_null() {
            table[0]["otherwise"] = otherwise;
        }
        read_after(table, "fee")
    };
    let fee = |fee: i32| json!({"fee": fee, "of": "qty"});
    for hit in ["first", "collect max"] {
        let covered = [("< 10", fee(1)), (">= 10", fee(2))];
        assert_eq!(keyed(hit, &covered, Json::Null), Vec::<String>::new(), "{hit}");
        let gap = [("< 10", fee(1)), ("> 10", fee(2))];
        assert_eq!(keyed(hit, &gap, Json::Null), missing("fee"), "{hit}");
        assert_eq!(keyed(hit, &gap, fee(0)), Vec::<String>::new(), "{hit}");
        assert_eq!(keyed(hit, &gap, json!({"of": "qty"})), missing("fee"), "{hit}");
        let without = [("< 10", fee(1)), (">= 10", json!({"of": "qty"}))];
        assert_eq!(keyed(hit, &without, Json::Null), missing("fee"), "{hit}");
    }
    let null = [("< 10", fee(1)), (">= 10", json!({"fee": null}))];
    assert_eq!(keyed("first", &null, Json::Null), missing("fee"));
}
