//! The timeline: every fact of a submission in order, with who, when, what changed and what each rule said.

use formledger_tests::Stage;
use formledger_tests::definitions::{expense, expense_claim};
use serde_json::{Value, json};

#[tokio::test]
async fn a_timeline_tells_who_did_what_and_which_rule_said_what() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let answer = sam.submit("expense", &expense(20_000.0, "DE")).await.expect(201);
    let path = format!("{}/timeline", answer.header("location").expect("a Location"));
    let timeline = stage.admin.get_at(&path, answer.position()).await.expect(200);
    assert!(timeline.position() >= answer.position());
    let timeline = timeline.json();
    let entries = timeline["items"].as_array().unwrap_or_else(|| panic!("{timeline}"));

    let sequences: Vec<u64> = entries.iter().filter_map(|entry| entry["sequence"].as_u64()).collect();
    let last = answer.json()["sequence"].as_u64().expect("a sequence");
    assert_eq!(sequences, (1..=last).collect::<Vec<_>>(), "{timeline}");
    assert!(entries.iter().all(|entry| entry["actor"] == "sam" && entry["at"].is_string()), "{timeline}");
    assert_eq!(entries[0]["type"], "formledger.submission.submitted.v1");

    let changes = entries[0]["changes"].as_array().expect("fields changed");
    let change =
        |pointer: &str| changes.iter().find(|change| change["pointer"] == pointer).map(|c| c["to"].clone());
    assert_eq!(change("/amount"), Some(json!(20_000)), "{timeline}");
    assert_eq!(change("/applicant"), Some(json!({ "age": 40 })), "{timeline}");

    let said: Vec<&Value> =
        entries.iter().map(|entry| &entry["outcomes"]).filter(|said| !said.is_null()).collect();
    assert_eq!(said.len(), 1, "the rules ran once: {timeline}");
    assert_eq!(said[0]["route"], json!({ "matched": true, "value": { "route": "committee" } }));
    let explained =
        entries.iter().find_map(|entry| entry.get("explanations")).unwrap_or_else(|| panic!("{timeline}"));
    assert_eq!(
        explained["route"]["conditions"],
        json!([
            { "text": "amount > 10000.0", "held": true, "values": { "amount": 20_000 } },
            { "text": "country in ['DE', 'FR']", "held": true, "values": { "country": "DE" } }
        ])
    );
}

#[tokio::test]
async fn the_timeline_of_nothing_is_404() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let nothing = "/v1/submissions/01890000-0000-7000-8000-000000000000/timeline";
    stage.admin.get(nothing).await.expect_problem(404, "not-found");
}
