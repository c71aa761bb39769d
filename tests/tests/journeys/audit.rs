//! What people tried in vain, read and took away is in the same ledger as everything else, where its tenant wants that.

use formledger_tests::Stage;
use formledger_tests::definitions::{contract_expense_claim, expense};
use serde_json::json;

#[tokio::test]
async fn an_auditor_follows_who_tried_and_who_exported_and_the_ledger_still_proves_itself() {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let on = json!({"refusals": true, "reads": false, "exports": true});
    let after = stage.admin.put("/v1/audit", &on).await.expect(200).position();
    let mut feed = stage.admin.feed("/v1/feed?types=formledger.audit.attempt-refused", Some(after)).await;
    let submitted = stage.admin.submit("expense", &expense(20_000.0, "DE")).await.expect(201);
    let id = submitted.json()["submission_id"].as_str().expect("an id").to_owned();
    let eve = stage.somebody("acme", "eve", "auditor").await;
    let approve = format!("/v1/submissions/{id}/transitions/approve");
    eve.post(&approve).await.expect_problem(403, "not-permitted");
    eve.get("/v1/exports/submissions.csv").await.expect(200);
    let entries = eve.get(&format!("/v1/audit/entries?after={after}")).await.expect(200).json();
    let types: Vec<_> =
        entries["events"].as_array().expect("events").iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["formledger.audit.attempt-refused.v1", "formledger.audit.exported.v1"]);
    let refused = &entries["events"][0];
    assert_eq!(refused["actor"], "eve");
    assert_eq!(refused["data"]["attempt"]["submission_id"], id);
    let position = refused["position"].as_str().and_then(|text| text.parse().ok()).expect("a position");
    let fed = feed.up_to(position).await;
    assert_eq!(fed.len(), 1, "{fed:?}");
    let timeline = eve.get(&format!("/v1/submissions/{id}/timeline")).await.expect(200).json();
    let last = timeline["items"].as_array().expect("items").last().expect("an item");
    assert_eq!(last["refused"]["code"], "not-permitted");
    stage.installation.run(&["verify", "--tenant", "acme"]).await.expect(0);
}
