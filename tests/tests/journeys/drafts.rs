//! Drafts: kept unchecked, changed by merge patches, submitted once they are complete; every former state can still be asked for.

use formledger_tests::definitions::{expense, expense_claim, number};
use formledger_tests::{Answer, Client, Stage};
use serde_json::{Value, json};

async fn draft(client: &Client, data: Value) -> Answer {
    let body = json!({ "data": data, "draft": true });
    client.post("/v1/forms/expense/submissions").json(&body).await.expect(201)
}

fn path_of(answer: &Answer) -> String {
    answer.header("location").expect("a Location").to_owned()
}

async fn patch(client: &Client, path: &str, data: Value) -> Answer {
    let body = data.to_string();
    client.call(http::Method::PATCH, path).body("application/merge-patch+json", body).await
}

#[tokio::test]
async fn an_incomplete_draft_is_kept_changed_and_submitted_when_complete() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let kept = draft(&stage.admin, json!({ "amount": 20_000, "lines": [{ "qty": 1 }] })).await;
    assert_eq!(kept.json()["state"], "draft");
    let path = path_of(&kept);
    let submit = || stage.admin.post(&format!("{path}/submit"));
    let refused = submit().await.expect_problem(422, "submission-invalid");
    let pointers: Vec<&Value> =
        refused["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
    assert!(pointers.contains(&&json!("/country")) && pointers.contains(&&json!("/applicant")), "{refused}");

    let change = json!({ "country": "DE", "applicant": { "age": 40 }, "lines": null });
    patch(&stage.admin, &path, change).await.expect(200);
    let submitted = submit().await.expect(200);
    assert_eq!(submitted.json()["state"], "submitted");
    let read = stage.admin.get_at(&path, submitted.position()).await.expect(200).json();
    assert_eq!(read["data"], json!({ "amount": 20_000, "country": "DE", "applicant": { "age": 40 } }));
    assert_eq!(read["outcomes"]["route"]["value"], json!({ "route": "committee" }));
    submit().await.expect_any_problem(409);
}

#[tokio::test]
async fn a_change_over_a_newer_one_is_refused_by_if_match() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let kept = draft(&stage.admin, expense(1.0, "DE")).await;
    let (path, etag) = (path_of(&kept), kept.header("etag").expect("an ETag").to_owned());
    let change = |amount: f64| {
        let call = stage.admin.call(http::Method::PATCH, &path).header("If-Match", &etag);
        call.body("application/merge-patch+json", json!({ "amount": amount }).to_string())
    };
    change(2.0).await.expect(200);
    change(3.0).await.expect_any_problem(412);
    let read = stage.admin.get_at(&path, stage.head().await).await.expect(200);
    assert_eq!(read.json()["data"]["amount"], 2);
    assert_ne!(read.header("etag"), Some(etag.as_str()));
}

#[tokio::test]
async fn what_is_submitted_without_a_workflow_is_final() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let submitted = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201);
    let refused = patch(&stage.admin, &path_of(&submitted), json!({ "amount": 2 })).await;
    assert!(refused.status == 409 || refused.status == 403, "{}", refused.text());
    assert_eq!(stage.head().await, submitted.position());
}

#[tokio::test]
async fn the_timeline_of_a_draft_shows_each_changed_field_with_before_and_after() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let path = path_of(&draft(&stage.admin, json!({ "amount": 1, "applicant": { "age": 40 } })).await);
    let change = json!({ "amount": 2, "applicant": { "age": null }, "country": "DE" });
    let patched = patch(&stage.admin, &path, change).await.expect(200);
    let timeline =
        stage.admin.get_at(&format!("{path}/timeline"), patched.position()).await.expect(200).json();
    let changes = timeline["items"][1]["changes"].clone();
    let expected = json!([
        { "pointer": "/amount", "from": 1, "to": 2 },
        { "pointer": "/applicant/age", "from": 40 },
        { "pointer": "/country", "to": "DE" },
    ]);
    assert_eq!(changes, expected, "{timeline}");
}

#[tokio::test]
async fn a_submission_can_be_read_as_of_any_earlier_position_or_time() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let kept = draft(&stage.admin, expense(1.0, "DE")).await;
    let path = path_of(&kept);
    let mut history = vec![(kept.position(), 1.0)];
    for amount in [2.0, 3.0] {
        let patched = patch(&stage.admin, &path, json!({ "amount": amount })).await.expect(200);
        history.push((patched.position(), amount));
    }
    for (position, amount) in &history {
        let then = stage.admin.get(&format!("{path}?at_position={position}")).await.expect(200).json();
        assert_eq!((&then["data"]["amount"], &then["position"]), (&number(*amount), &json!(position)));
    }
    let before = history[0].0 - 1;
    stage.admin.get(&format!("{path}?at_position={before}")).await.expect_problem(404, "not-found");
    let timeline = stage.admin.get_at(&format!("{path}/timeline"), history[2].0).await.expect(200).json();
    for (entry, (_, amount)) in timeline["items"].as_array().expect("items").iter().zip(&history) {
        let at = entry["at"].as_str().expect("a time");
        let then = stage.admin.get(&format!("{path}?at_time={at}")).await.expect(200).json();
        assert_eq!(then["data"]["amount"], number(*amount), "at {at}");
    }
}
