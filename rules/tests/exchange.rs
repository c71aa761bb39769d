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
    let table = |policy: &str, cell: &str, output: &str| {
        format!(
            r#"<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"><decision id="t" name="T"><decisionTable hitPolicy="{policy}">
            <input><inputExpression><text>amount</text></inputExpression></input><output/>
            <rule><inputEntry><text>{cell}</text></inputEntry><outputEntry><text>{output}</text></outputEntry></rule></decisionTable></decision></definitions>"#
        )
    };
    let refused = |document: &str| import(Format::Dmn, document).expect_err("refused").to_string();
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
