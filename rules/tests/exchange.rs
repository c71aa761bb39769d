//! Decision tables from and for other engines: what is read means the same here, what is written reads back.

use std::sync::Arc;

use formledger_rules::exchange::{Format, export, import};
use formledger_rules::{Budget, Field, Layout, ObjectType, RuleSet, Type};
use serde_json::{Value as Json, json};

/// Written after the standard's XML schema: two decisions, the second reads the first by its name.
const DMN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<dmn:definitions xmlns:dmn="https://www.omg.org/spec/DMN/20191111/MODEL/" id="d" name="Loans" namespace="urn:loans">
  <dmn:decision id="band" name="Risk Band">
    <dmn:decisionTable hitPolicy="UNIQUE">
      <dmn:input id="i1"><dmn:inputExpression typeRef="number"><dmn:text>applicant.age</dmn:text></dmn:inputExpression></dmn:input>
      <dmn:input id="i2"><dmn:inputExpression typeRef="string"><dmn:text>Home Country</dmn:text></dmn:inputExpression></dmn:input>
      <dmn:output id="o1" name="band" typeRef="string"/>
      <dmn:rule id="r1"><dmn:description> the young </dmn:description>
        <dmn:inputEntry><dmn:text>[18..25)</dmn:text></dmn:inputEntry>
        <dmn:inputEntry><dmn:text>-</dmn:text></dmn:inputEntry>
        <dmn:outputEntry><dmn:text>"high"</dmn:text></dmn:outputEntry></dmn:rule>
      <dmn:rule id="r2"><dmn:inputEntry><dmn:text>&gt;= 25</dmn:text></dmn:inputEntry>
        <dmn:inputEntry><dmn:text>"DE","FR"</dmn:text></dmn:inputEntry>
        <dmn:outputEntry><dmn:text>"low"</dmn:text></dmn:outputEntry></dmn:rule>
      <dmn:rule id="r3"><dmn:inputEntry><dmn:text>&gt;= 25</dmn:text></dmn:inputEntry>
        <dmn:inputEntry><dmn:text>not("DE","FR")</dmn:text></dmn:inputEntry>
        <dmn:outputEntry><dmn:text>"mid"</dmn:text></dmn:outputEntry></dmn:rule>
    </dmn:decisionTable>
  </dmn:decision>
  <dmn:decision id="fee-1" name="Fee">
    <dmn:decisionTable hitPolicy="COLLECT" aggregation="SUM">
      <dmn:input><dmn:inputExpression><dmn:text>Risk Band</dmn:text></dmn:inputExpression></dmn:input>
      <dmn:input><dmn:inputExpression><dmn:text>amount</dmn:text></dmn:inputExpression></dmn:input>
      <dmn:output name="fee"/>
      <dmn:rule><dmn:inputEntry><dmn:text>"high"</dmn:text></dmn:inputEntry><dmn:inputEntry><dmn:text></dmn:text></dmn:inputEntry>
        <dmn:outputEntry><dmn:text>100</dmn:text></dmn:outputEntry></dmn:rule>
      <dmn:rule><dmn:inputEntry><dmn:text>-</dmn:text></dmn:inputEntry><dmn:inputEntry><dmn:text>? > 500 and ? &lt; 9000</dmn:text></dmn:inputEntry>
        <dmn:outputEntry><dmn:text>2.5</dmn:text></dmn:outputEntry></dmn:rule>
    </dmn:decisionTable>
  </dmn:decision>
  <dmn:decision id="text" name="Letter"><dmn:literalExpression><dmn:text>"Dear"</dmn:text></dmn:literalExpression></dmn:decision>
</dmn:definitions>"#;

fn layout() -> Layout {
    let applicant = ObjectType::new([Field::required("age", Type::Int)], false);
    let fields = [
        Field::required("amount", Type::Double),
        Field::required("applicant", Type::Object(Arc::new(applicant))),
        Field::required("Home Country", Type::String),
        Field::required("country", Type::String),
        Field::required("born", Type::Date),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

fn run(rules: &[Json], data: &Json) -> Json {
    let rules = Json::from(rules);
    let compiled =
        RuleSet::compile(&rules, &layout()).unwrap_or_else(|problems| panic!("{rules:#}: {problems:#?}"));
    compiled.evaluate(data, &[], &mut Budget::default()).outcomes_json()
}

fn data(age: i64, amount: f64, country: &str) -> Json {
    json!({"amount": amount, "applicant": {"age": age}, "Home Country": country, "country": country, "born": "2001-02-03"})
}

#[test]
fn tables_of_dmn_become_rules_that_say_the_same() {
    let imported = import(Format::Dmn, DMN).expect("readable");
    assert_eq!(imported.remarks, ["the decision `Letter` is no table and was left out"]);
    let [band, fee] = imported.rules.as_slice() else { panic!("{:#?}", imported.rules) };
    assert_eq!(
        (&band["id"], &band["hit"], &band["rows"][0]["description"]),
        (&json!("band"), &json!("unique"), &json!("the young"))
    );
    assert_eq!(band["inputs"], json!(["applicant.age", "`Home Country`"]));
    assert_eq!(fee["inputs"][0], json!("outcomes.band.band"));
    let says = |age, amount, country| {
        let said = run(&imported.rules, &data(age, amount, country));
        (said["band"]["value"]["band"].clone(), said["fee_1"]["value"]["fee"].clone())
    };
    assert_eq!(says(20, 600.0, "US"), (json!("high"), json!(102.5)));
    assert_eq!(says(30, 600.0, "DE"), (json!("low"), json!(2.5)));
    assert_eq!(says(30, 9.0, "US"), (json!("mid"), Json::Null));
}

#[test]
fn priorities_defaults_dates_and_durations_carry_over() {
    let table = |body: &str| {
        format!(
            r#"<definitions xmlns="https://www.omg.org/spec/DMN/20230324/MODEL/"><decision id="t" name="t">{body}</decision></definitions>"#
        )
    };
    let priority = table(
        r#"<decisionTable hitPolicy="PRIORITY"><input><inputExpression><text>born</text></inputExpression></input>
        <output name="o"><outputValues><text>"a","b"</text></outputValues><defaultOutputEntry><text>"none"</text></defaultOutputEntry></output>
        <rule><inputEntry><text>> date("1990-01-01")</text></inputEntry><outputEntry><text>"b"</text></outputEntry></rule>
        <rule><inputEntry><text>> date("2000-01-01")</text></inputEntry><outputEntry><text>"a"</text></outputEntry></rule></decisionTable>"#,
    );
    let rules = import(Format::Dmn, &priority).expect("readable").rules;
    assert_eq!(run(&rules, &data(1, 1.0, "DE"))["t"]["value"], json!({"o": "a"}));
    assert_eq!(rules[0]["otherwise"], json!({"o": "none"}));

    let duration = table(
        r#"<decisionTable hitPolicy="FIRST"><input><inputExpression><text>timestamp(born) - date and time("2001-01-01T00:00:00Z")</text></inputExpression></input>
        <output/><rule><inputEntry><text>> duration("P33D")</text></inputEntry><outputEntry><text>1</text></outputEntry></rule>
        <rule><inputEntry><text>> duration("P1DT2H")</text></inputEntry><outputEntry><text>2</text></outputEntry></rule></decisionTable>"#,
    );
    let rules = import(Format::Dmn, &duration).expect("readable").rules;
    assert_eq!(rules[0]["rows"][1]["when"], json!(["> duration(\"93600s\")"]));
    assert_eq!(run(&rules, &data(1, 1.0, "DE"))["t"]["value"], json!(2));
}

#[test]
fn what_has_no_counterpart_is_refused_with_its_place() {
    let table =
        |policy: &str, cell: &str, output: &str| dmn_row("amount", cell, output).replace("FIRST", policy);
    let refused = |document: &str| refused(Format::Dmn, document);
    assert!(
        refused(&table("OUTPUT ORDER", "-", "1")).contains("the decision `T`: the hit policy `OUTPUT ORDER`")
    );
    let cell = refused(&table("FIRST", "if amount then 1 else 2", "1"));
    assert!(cell.contains("the decision `T`: rule 1") && cell.contains("no counterpart"), "{cell}");
    assert!(refused(&table("FIRST", "-", "amount * 2")).contains("not a literal"));
    assert!(refused("<definitions/>").contains("DMN"));
    assert!(refused("<a").contains("no XML"));
    let bomb = r#"<!DOCTYPE d [<!ENTITY a "aaaa">]><definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/">&a;</definitions>"#;
    assert!(refused(bomb).contains("no XML that can be read"));
    assert!(import(Format::Jdm, "{}").is_err() && import(Format::Jdm, "[").is_err());
}

/// Written after GoRules' published description of the format.
fn jdm() -> Json {
    json!({
        "contentType": "application/vnd.gorules.decision",
        "nodes": [
            {"id": "a", "type": "inputNode", "name": "Request", "position": {"x": 0, "y": 0}},
            {"id": "b", "type": "decisionTableNode", "name": "Shipping fee", "content": {
                "hitPolicy": "first",
                "inputs": [
                    {"id": "c1", "name": "Country", "type": "expression", "field": "country"},
                    {"id": "c2", "name": "Amount", "type": "expression", "field": "amount"},
                    {"id": "c3", "name": "Condition", "type": "expression"}
                ],
                "outputs": [{"id": "o1", "name": "Fee", "field": "fee.total"}, {"id": "o2", "name": "Flag", "field": "flag"}],
                "rules": [
                    {"_id": "r1", "_description": "home", "c1": "\"DE\", \"AT\"", "c2": "$ > 100 and $ < 1000", "c3": "", "o1": "0", "o2": "\"free\""},
                    {"_id": "r2", "c1": "not in [\"US\"]", "c2": "[0..1000]", "c3": "applicant.age > 60 or amount == 5", "o1": "5.5", "o2": ""},
                    {"_id": "r3", "c1": "", "c2": "", "c3": "", "o1": "10", "o2": "true"}
                ]
            }},
            {"id": "f", "type": "functionNode", "name": "Script", "content": "…"}
        ],
        "edges": []
    })
}

#[test]
fn tables_of_jdm_become_rules_that_say_the_same() {
    let imported = import(Format::Jdm, &jdm().to_string()).expect("readable");
    assert_eq!(imported.remarks, ["the node `Script` of type `functionNode` was left out"]);
    let says = |age, amount, country| {
        run(&imported.rules, &data(age, amount, country))["Shipping_fee"]["value"].clone()
    };
    assert_eq!(says(30, 500.0, "DE"), json!({"fee": {"total": 0}, "flag": "free"}));
    assert_eq!(says(61, 50.0, "FR"), json!({"fee": {"total": 5.5}}));
    assert_eq!(says(61, 50.0, "US"), json!({"fee": {"total": 10}, "flag": true}));
}

/// A table of one decision: an input, and one row of a cell and an output.
fn dmn_row(input: &str, cell: &str, output: &str) -> String {
    dmn_table(
        "",
        &format!("<input><inputExpression><text>{input}</text></inputExpression></input>"),
        cell,
        output,
    )
}

fn dmn_table(root: &str, input: &str, cell: &str, output: &str) -> String {
    format!(
        r#"<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" {root}><decision id="t" name="T"><decisionTable hitPolicy="FIRST">
        {input}<output/><rule><inputEntry><text>{cell}</text></inputEntry><outputEntry><text>{output}</text></outputEntry></rule>
        </decisionTable></decision></definitions>"#
    )
}

fn refused(format: Format, document: &str) -> String {
    import(format, document).expect_err(document).to_string()
}

#[test]
fn lists_of_feel_count_from_one_and_ours_from_zero() {
    let rules = import(Format::Dmn, &dmn_row("lines[1].qty", "? + lines[2].qty &gt; 5, 'lines[3]'", "1"));
    let rules = rules.expect("readable").rules;
    assert_eq!(rules[0]["inputs"], json!(["lines[0].qty"]));
    assert_eq!(rules[0]["rows"][0]["when"], json!(["(lines[0].qty) + lines[1].qty > 5, 'lines[3]'"]));
    for brackets in ["lines[-1].qty", "lines[0].qty", "lines[qty]", "lines[qty &gt; 3]"] {
        for document in [dmn_row(brackets, "-", "1"), dmn_row("amount", &format!("&lt; {brackets}"), "1")] {
            let error = refused(Format::Dmn, &document);
            assert!(error.contains("the decision `T`") && error.contains("brackets"), "{error}");
        }
    }
    let mut zen = jdm();
    zen["nodes"][1]["content"]["inputs"][1]["field"] = json!("lines[1].qty");
    assert_eq!(
        import(Format::Jdm, &zen.to_string()).expect("readable").rules[0]["inputs"][1],
        "lines[1].qty"
    );
}

#[test]
fn divisions_and_functions_that_mean_something_else_are_refused() {
    for (input, cell) in [("amount / 2", "-"), ("amount", "&lt; amount / 2"), ("amount", "? / 2 = 1")] {
        let error = refused(Format::Dmn, &dmn_row(input, cell, "1"));
        assert!(error.contains("`/` divides decimals there"), "{error}");
    }
    let exact = import(Format::Dmn, &dmn_row("amount / 2.0", "&gt; 5 / 2.5", "1")).expect("readable").rules;
    assert_eq!(exact[0]["inputs"], json!(["amount / 2.0"]));
    let error = refused(Format::Dmn, &dmn_row("substring(country, 2)", "-", "1"));
    assert!(error.contains("input 1") && error.contains("the function `substring`"), "{error}");
    let mut zen = jdm();
    zen["nodes"][1]["content"]["rules"][1]["c2"] = json!("$ / 2 > 1");
    let error = refused(Format::Jdm, &zen.to_string());
    assert!(error.contains("row 2") && error.contains("`/` divides decimals there"), "{error}");
}

#[test]
fn texts_in_other_languages_than_feel_are_not_read_as_feel() {
    let input = |language: &str| {
        format!(
            r#"<input><inputExpression expressionLanguage="{language}"><text>amount</text></inputExpression></input>"#
        )
    };
    let error = refused(Format::Dmn, &dmn_table("", &input("javascript"), "-", "1"));
    assert!(error.contains("input 1") && error.contains("`javascript`"), "{error}");
    let inherited = r#"expressionLanguage="http://www.jcp.org/en/jsr/detail?id=245""#;
    let error = refused(Format::Dmn, &dmn_table(inherited, &input("feel"), "&gt; 1", "1"));
    assert!(error.contains("rule 1") && error.contains("jsr"), "{error}");
    for feel in
        ["feel", "http://www.omg.org/spec/FEEL/20140401", "https://www.omg.org/spec/DMN/20211108/FEEL/"]
    {
        assert!(import(Format::Dmn, &dmn_table("", &input(feel), "&gt; 1", "1")).is_ok(), "{feel}");
    }
}

#[test]
fn a_row_with_more_entries_than_columns_and_a_priority_without_an_order_are_refused() {
    let row = dmn_row("amount", "-</text></inputEntry><inputEntry><text>&gt; 1", "1");
    assert!(refused(Format::Dmn, &row).contains("one entry an input"));
    let row = dmn_row("amount", "-", "1</text></outputEntry><outputEntry><text>2");
    assert!(refused(Format::Dmn, &row).contains("one entry an output"));
    let priority = dmn_row("amount", "-", "1").replace("FIRST", "PRIORITY");
    assert!(refused(Format::Dmn, &priority).contains("outputValues"));
}

#[test]
fn what_a_table_of_jdm_says_in_another_shape_is_refused_and_never_passed_over() {
    let refused_with = |place: &[&str], value: Json| {
        let mut document = jdm();
        let content = &mut document["nodes"][1]["content"];
        match place {
            [member] => content[*member] = value,
            [list, at, member] => content[*list][at.parse::<usize>().expect("a place")][*member] = value,
            _ => panic!("{place:?}"),
        }
        refused(Format::Jdm, &document.to_string())
    };
    for (place, value, says) in [
        (&["outputs", "0", "field"][..], json!(null), "the column `o1` of `outputs` has no `field`"),
        (&["outputs", "1", "field"], json!(7), "the column `o2` of `outputs`: `field` is `7`, no text"),
        (&["rules", "0", "c2"], json!(5), "row 1: `c2` is `5`, no text"),
        (&["rules", "2", "o1"], json!(10), "row 3: `o1` is `10`, no text"),
        (&["rules", "0", "c3"], json!("$ > 5"), "there is no input that it could test"),
        (&["rules"], json!({}), "`rules` is `{}`, no list"),
        (&["hitPolicy"], json!(1), "`hitPolicy` is `1`, no text"),
        (&["executionMode"], json!("loop"), "the execution mode `loop`"),
        (&["inputField"], json!("lines"), "it reads inside `lines`"),
    ] {
        let error = refused_with(place, value);
        assert!(error.starts_with("the table `Shipping fee`") && error.contains(says), "{error}");
    }
}

#[test]
fn what_a_table_of_jdm_says_by_default_is_read_and_where_its_result_goes_is_remarked_on() {
    let mut document = jdm();
    let content = document["nodes"][1]["content"].as_object_mut().expect("an object");
    let defaults =
        json!({"executionMode": "single", "inputField": null, "outputPath": null, "passThrough": false});
    content.extend(defaults.as_object().expect("an object").clone());
    assert_eq!(import(Format::Jdm, &document.to_string()), import(Format::Jdm, &jdm().to_string()));
    let content = &mut document["nodes"][1]["content"];
    (content["outputPath"], content["passThrough"]) = (json!("fees"), json!(true));
    let remarks = import(Format::Jdm, &document.to_string()).expect("readable").remarks;
    assert!(remarks[0].contains("`outputPath`") && remarks[1].contains("`passThrough`"), "{remarks:?}");
}

/// Tables that both formats can hold.
fn tables() -> Json {
    json!([
        {"id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"], "rows": [
            {"when": ["< 100.5", "'DE'"], "then": {"fee": 0, "why": "small & \"home\" <"}, "description": "first"},
            {"when": ["[100..5000)", "not('US', 'CA')"], "then": {"fee": 5}},
            {"when": ["-", "in ['US', 'CA']"], "then": {"fee": 7}},
            {"when": [">= 5000", "!= 'DE'"], "then": {"fee": 9}},
            {"when": ["amount > 1.0 && country != 'X'", "-"], "then": {"fee": 3}}]},
        {"id": "all", "kind": "table", "hit": "collect", "inputs": ["applicant.age"], "rows": [
            {"when": ["> 10"], "then": {"tag": "a"}}, {"when": ["> 20"], "then": {"tag": "b"}}]},
        {"id": "plain", "kind": "table", "hit": "first", "inputs": ["born"],
         "rows": [{"when": ["< date('2000-01-01')"], "then": "old"}, {"when": ["-"], "then": "new"}]},
    ])
}

#[test]
fn what_is_written_reads_back_and_says_the_same() {
    let rules = tables();
    for format in [Format::Dmn, Format::Jdm] {
        let written = export(format, &rules).expect("can be written");
        let read = import(format, &written.text).unwrap_or_else(|error| panic!("{error}: {}", written.text));
        let before: Vec<Json> = rules.as_array().expect("rules").clone();
        for (age, amount, country) in [
            (5, 50.0, "DE"),
            (15, 200.0, "FR"),
            (25, 99.0, "US"),
            (25, 6000.0, "FR"),
            (30, 6000.0, "DE"),
            (9, 0.5, "FR"),
        ] {
            let data = data(age, amount, country);
            let (was, mut is) = (run(&before, &data), run(&read.rules, &data));
            if format == Format::Jdm {
                // JDM has no results without a name.
                is["plain"]["value"] = is["plain"]["value"]["value"].clone();
            }
            assert_eq!(was, is, "{format:?} {data} {}", written.text);
        }
        let again = export(format, &Json::from(read.rules)).expect("can be written");
        let (first, second) = (import(format, &written.text), import(format, &again.text));
        assert_eq!(first.expect("readable").rules, second.expect("readable").rules, "stable after one round");
    }
}

#[test]
fn what_the_other_format_lacks_is_remarked_on() {
    let rules = json!([
        {"id": "c", "kind": "constraint", "assert": "amount > 0"},
        {"id": "p", "kind": "table", "hit": "priority", "inputs": ["amount"], "rows": [
            {"when": ["> 1"], "then": 1, "priority": 1}, {"when": ["> 2"], "then": 2, "priority": 5}], "otherwise": 0},
    ]);
    let dmn = export(Format::Dmn, &rules).expect("can be written");
    assert!(
        dmn.remarks[0].contains("`c` is no table") && dmn.remarks[1].contains("FIRST"),
        "{:?}",
        dmn.remarks
    );
    let read = import(Format::Dmn, &dmn.text).expect("readable").rules;
    for amount in [0.0, 1.5, 2.5] {
        let data = data(1, amount, "DE");
        assert_eq!(
            run(&read, &data)["p"]["value"],
            run(&rules.as_array().expect("rules")[1..], &data)["p"]["value"]
        );
    }
    let jdm = export(
        Format::Jdm,
        &json!([{"id": "u", "kind": "table", "hit": "collect sum", "inputs": ["amount"],
        "rows": [{"when": ["> qty()"], "then": {"n": 1}}]}]),
    )
    .expect("can be written");
    assert_eq!(jdm.remarks.len(), 2, "{:?}", jdm.remarks);
    assert!(export(Format::Jdm, &json!([])).is_err());
}
