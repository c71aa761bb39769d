//! Retrying: the first outcome is returned again, whatever happened in between, and nothing is recorded twice.

use formledger_tests::Stage;
use formledger_tests::definitions::{expense, expense_claim};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn submission(amount: f64) -> Value {
    json!({ "data": expense(amount, "DE") })
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_outcome_and_records_nothing() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let send = || {
        let call = stage.admin.post("/v1/forms/expense/submissions").header("Idempotency-Key", "k-1");
        call.json(&submission(1.0))
    };
    let first = send().await.expect(201);
    let head = stage.head().await;
    let again = send().await.expect(201);
    assert_eq!(again.json(), first.json());
    for header in ["location", "etag", "ledger-position"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!(stage.head().await, head);
}

#[tokio::test]
async fn a_key_with_another_body_or_another_path_is_refused() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &expense_claim()).await;
    let send = |form: &str, amount: f64| {
        let path = format!("/v1/forms/{form}/submissions");
        stage.admin.post(&path).header("Idempotency-Key", "k-1").json(&submission(amount))
    };
    send("expense", 1.0).await.expect(201);
    let head = stage.head().await;
    send("expense", 2.0).await.expect_problem(422, "idempotency-key-reused");
    send("other", 1.0).await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(stage.head().await, head);
}

#[tokio::test]
async fn a_key_sent_many_times_at_once_records_once() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let before = stage.head().await;
    let send = || {
        let call = stage.admin.post("/v1/forms/expense/submissions").header("Idempotency-Key", "storm");
        call.json(&submission(7.0))
    };
    let answers = join_all((0..32).map(|_| async { send().await.expect(201).json() })).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let at = answers[0]["position"].as_u64().expect("a position");
    let ids = stage.admin.get_at("/v1/submissions", at).await.expect(200).submission_ids();
    assert_eq!(ids.len(), 1);
    assert!(stage.head().await > before);
}

#[tokio::test]
async fn two_tenants_may_use_the_same_key() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let other = stage.somebody("globex", "gus", "admin").await;
    other.publish("expense", &expense_claim()).await;
    let send = |client: &formledger_tests::Client| {
        let call = client.post("/v1/forms/expense/submissions").header("Idempotency-Key", "same");
        call.json(&submission(3.0))
    };
    let ours = send(&stage.admin).await.expect(201).json();
    let theirs = send(&other).await.expect(201).json();
    assert_ne!(ours["submission_id"], theirs["submission_id"]);
}

#[tokio::test]
async fn drafts_and_publications_can_be_repeated_too() {
    let stage = Stage::set().await;
    let save = || stage.admin.put("/v1/forms/expense", &expense_claim()).header("Idempotency-Key", "save");
    assert_eq!(save().await.expect(200).json(), save().await.expect(200).json());
    let publish = || stage.admin.post("/v1/forms/expense/publish").header("Idempotency-Key", "publish");
    assert_eq!(publish().await.expect(201).json(), publish().await.expect(201).json());
    stage.admin.post("/v1/forms/expense/publish").await.expect_any_problem(409);
}

#[tokio::test]
async fn a_key_is_remembered_over_a_restart() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let send = |client: &formledger_tests::Client| {
        let call = client.post("/v1/forms/expense/submissions").header("Idempotency-Key", "over");
        call.json(&submission(3.0))
    };
    let first = send(&stage.admin).await.expect(201).json();
    stage.server.kill_9().await;
    let server = stage.installation.serve().await;
    assert_eq!(send(&server.client(&token)).await.expect(201).json(), first);
}
