//! What people tried in vain, read and took away is in the same ledger as everything else, where its tenant wants that.

use std::collections::BTreeSet;
use std::time::Duration;

use formledger_tests::Stage;
use formledger_tests::definitions::{contract_expense_claim, expense};
use formledger_tests::wait::within;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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

#[tokio::test]
async fn who_closes_right_after_sending_leaves_the_refusal_in_the_record_all_the_same() {
    const ATTEMPTS: usize = 12;
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let on = json!({"refusals": true, "reads": false, "exports": false});
    let after = stage.admin.put("/v1/audit", &on).await.expect(200).position();
    let token = stage.installation.token("acme", "rita", "reviewer").await;
    let mut attempted = BTreeSet::new();
    for n in 0..ATTEMPTS {
        let submitted = stage.admin.submit("expense", &expense(20_000.0, "DE")).await.expect(201).json();
        let id = submitted["submission_id"].as_str().expect("an id").to_owned();
        // Refused by the submission's state, after it was loaded (422), or as one that may not be read (404).
        let (method, path) = match n % 2 {
            0 => ("POST", format!("/v1/submissions/{id}/transitions/reject")),
            _ => ("POST", format!("/v1/submissions/{id}/transitions/promote")),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        );
        let mut stream = TcpStream::connect(stage.server.address()).await.expect("the server listens");
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        drop(stream);
        attempted.insert(id);
    }
    let recorded = async {
        loop {
            let entries =
                stage.admin.get(&format!("/v1/audit/entries?after={after}")).await.expect(200).json();
            let entries = entries["events"].as_array().expect("events").clone();
            let of: BTreeSet<String> = entries
                .iter()
                .filter(|entry| entry["actor"] == "rita")
                .filter_map(|entry| entry["data"]["attempt"]["submission_id"].as_str().map(str::to_owned))
                .collect();
            if of == attempted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("every refusal to be recorded", recorded).await;
}
