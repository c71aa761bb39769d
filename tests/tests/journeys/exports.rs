//! Exports: all submissions of a filter as CSV or NDJSON, whatever stands in their texts.

use std::collections::BTreeSet;

use formledger_tests::Stage;
use formledger_tests::definitions::{expense, expense_claim};
use serde_json::{Value, json};

#[tokio::test]
async fn ndjson_has_one_line_per_submission_the_same_as_its_own_page() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let mut expected = BTreeSet::new();
    for n in 0..130 {
        let body = stage.admin.submit("expense", &expense(f64::from(n), "DE")).await.expect(201).json();
        expected.insert(body["submission_id"].as_str().expect("an id").to_owned());
    }
    let at = stage.head().await;
    let export = stage.admin.get_at("/v1/exports/submissions.ndjson?form=expense", at).await.expect(200);
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    let lines = export.json_lines();
    let ids: BTreeSet<String> =
        lines.iter().map(|line| line["submission_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((lines.len(), ids), (130, expected));
    let id = lines[0]["submission_id"].as_str().expect("an id");
    let page = stage.admin.get_at(&format!("/v1/submissions/{id}"), at).await.expect(200).json();
    assert_eq!(lines[0], page);
}

#[tokio::test]
async fn exports_take_the_same_filters_as_lists() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for amount in [1.0, 10.0, 100.0] {
        stage.admin.submit("expense", &expense(amount, "DE")).await.expect(201);
    }
    let at = stage.head().await;
    let export = |kind: &str| {
        stage.admin.get_at(&format!("/v1/exports/submissions.{kind}?form=expense&where=/amount%3E5"), at)
    };
    assert_eq!(export("ndjson").await.expect(200).json_lines().len(), 2);
    assert_eq!(records(&export("csv").await.expect(200).text()).len(), 1 + 2);
}

/// The records of a CSV text (RFC 4180).
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field).trim_end_matches('\r').to_owned());
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    assert!(field.is_empty() && record.is_empty(), "the last record ends its line");
    records
}

#[tokio::test]
async fn csv_keeps_commas_quotes_and_line_breaks() {
    let definition = json!({ "title": "Notes", "schema": { "type": "object",
        "properties": { "note": { "type": "string" } }, "required": ["note"] } });
    let stage = Stage::with_form("notes", &definition).await;
    let notes = ["plain", "a, b", "she said \"no\"", "two\nlines", "two\r\nlines", "ünï", "=1+2", ""];
    for note in notes {
        stage.admin.submit("notes", &json!({ "note": note })).await.expect(201);
    }
    let at = stage.head().await;
    let export =
        stage.admin.get_at("/v1/exports/submissions.csv?form=notes&sort=created_at", at).await.expect(200);
    assert!(export.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")));
    let records = records(&export.text());
    assert_eq!(records.len(), 1 + notes.len());
    let column =
        |name: &str| records[0].iter().position(|other| other == name).expect("a column of this name");
    let page = stage
        .admin
        .get_at("/v1/submissions?form=notes&sort=created_at", at)
        .await
        .expect(200)
        .submission_ids();
    for ((record, note), id) in records[1..].iter().zip(notes).zip(page) {
        assert_eq!(record.len(), records[0].len(), "every record has all columns");
        assert_eq!(record[column("submission_id")], id);
        let data: Value = serde_json::from_str(&record[column("data")]).expect("the cell holds JSON");
        assert_eq!(data["note"], note);
        // A spreadsheet runs a cell that begins so.
        assert!(record.iter().all(|cell| !cell.starts_with(['=', '@', '+'])), "{record:?}");
    }
}

#[tokio::test]
async fn a_csv_of_one_form_has_a_column_for_each_field() {
    let definition = json!({
        "title": "Order",
        "schema": {"type": "object", "required": ["amount"], "properties": {
            "amount": {"type": "number"}, "note": {"type": "string"}, "paid": {"type": "boolean"},
            "customer": {"type": "object", "properties": {"name": {"type": "string"}}},
            "lines": {"type": "array", "items": {"type": "object"}}}},
        "rules": [{"id": "twice", "kind": "compute", "value": "amount * 2.0", "into": "/twice"}]
    });
    let stage = Stage::with_form("order", &definition).await;
    let orders = [
        json!({"amount": -1.5, "note": "=1+1", "paid": true, "customer": {"name": "Ann \"A\", B"}, "lines": [{"n": 1}]}),
        json!({"amount": 2, "customer": null}),
    ];
    stage.admin.submit("order", &orders[0]).await.expect(201);
    let before = stage.head().await;
    let mut newer = definition.clone();
    newer["schema"]["properties"]["customer"]["type"] = json!(["object", "null"]);
    newer["schema"]["properties"]["added"] = json!({"type": "string"});
    stage.admin.publish("order", &newer).await;
    stage.admin.submit("order", &orders[1]).await.expect(201);
    let at = stage.head().await;
    let fetch = async |query: &str| {
        let path = format!("/v1/exports/submissions.csv?{query}");
        records(&stage.admin.get_at(&path, at).await.expect(200).text())
    };
    let csv = fetch("form=order&sort=created_at").await;
    let fields = csv[0].iter().skip_while(|name| *name != "outcomes").skip(1).collect::<Vec<_>>();
    assert_eq!(fields, ["/added", "/amount", "/customer/name", "/lines", "/note", "/paid", "/twice"]);
    let cells = |row: usize| csv[row][csv[0].len() - fields.len()..].to_vec();
    assert_eq!(cells(1), ["", "-1.5", "Ann \"A\", B", "[{\"n\":1}]", "'=1+1", "true", "-3"]);
    assert_eq!(cells(2), ["", "2", "", "", "", "", "4"]);
    // As it was then, with the fields of then.
    let past = fetch(&format!("form=order&at_position={before}")).await;
    assert!(past.len() == 2 && !past[0].contains(&"/added".to_owned()), "{past:?}");
    for query in ["", "form=another"] {
        assert_eq!(fetch(query).await[0].last().map(String::as_str), Some("outcomes"), "{query}");
    }
}
