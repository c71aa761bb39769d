//! Longer ways: a building permit that asks three people and comes back for changes, and a published benefit form in a workflow.

use std::time::Duration;

use formledger_tests::definitions::building_permit;
use formledger_tests::va_forms::all;
use formledger_tests::{Answer, Client, Stage};
use http::Method;
use serde_json::{Value, json};

async fn take(client: &Client, path: &str, transition: &str, body: Value) -> Answer {
    client.post(&format!("{path}/transitions/{transition}")).json(&body).await
}

async fn patch(client: &Client, path: &str, patch: Value) -> Answer {
    client.call(Method::PATCH, path).json(&patch).await
}

#[tokio::test]
async fn a_building_permit_is_completed_endorsed_by_three_and_granted() {
    let stage = Stage::with_form("permit", &building_permit()).await;
    let who = async |subject: &str, roles: &str| stage.somebody("acme", subject, roles).await;
    let (bea, clerk, head) =
        (who("bea", "submitter").await, who("carl", "clerk").await, who("hilda", "head").await);
    let answer = bea.submit("permit", &json!({ "address": "Elm Street 1", "storeys": 5 })).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    assert_eq!(answer.json()["state"], "intake");

    // Not complete: the guard says so, and the clerk asks for the plan.
    clerk.get_at(&path, answer.position()).await.expect(200);
    let refused = take(&clerk, &path, "complete", json!({})).await.expect_problem(409, "guard-not-met");
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("has(plan)")), "{refused}");
    take(&bea, &path, "complete", json!({})).await.expect_problem(403, "not-permitted");
    take(&clerk, &path, "ask", json!({ "reason": "the plan is missing" })).await.expect(200);

    // Only what the state lets be edited, only by whom; then it goes back to intake by itself.
    let outside = patch(&bea, &path, json!({ "address": "Elm Street 2" })).await;
    assert_eq!(outside.expect_problem(403, "not-permitted")["errors"][0]["pointer"], "/address");
    patch(&bea, &path, json!({ "storeys": 0 })).await.expect_problem(422, "submission-invalid");
    let amended = patch(&bea, &path, json!({ "plan": "sha256:abc", "storeys": 4 })).await.expect(200).json();
    assert_eq!(amended["state"], "intake", "complete again, so it went back by itself");
    take(&clerk, &path, "complete", json!({})).await.expect(200);

    // Three people by name, in any order, each once.
    take(&clerk, &path, "endorse", json!({})).await.expect_problem(403, "not-permitted");
    for (n, subject) in ["hanna", "petra", "finn"].into_iter().enumerate() {
        let person = who(subject, "officer").await;
        let endorsed = take(&person, &path, "endorse", json!({ "reason": "fine" })).await.expect(200).json();
        assert_eq!(endorsed["approvals"], json!({ "have": n + 1, "need": 3 }));
    }
    // The head may set conditions, nobody else, and a large one needs the council.
    patch(&bea, &path, json!({ "conditions": "none" })).await.expect_problem(403, "not-permitted");
    patch(&head, &path, json!({ "conditions": "a fire escape" })).await.expect(200);
    take(&head, &path, "grant", json!({})).await.expect_problem(409, "guard-not-met");
    let council = who("hilda", "head,council").await;
    let granted = take(&council, &path, "grant", json!({})).await.expect(200);
    assert_eq!(granted.json()["state"], "granted");

    let timeline = bea.get(&format!("{path}/timeline")).await.expect(200).json();
    let states: Vec<&str> =
        timeline["items"].as_array().expect("items").iter().filter_map(|it| it["state"].as_str()).collect();
    assert_eq!(states, ["intake", "incomplete", "intake", "review", "decision", "granted"]);
    let stats = stage.admin.get_at("/v1/stats?form=permit", granted.position()).await.expect(200).json();
    assert_eq!(stats["states"], json!([{ "form": "permit", "state": "granted", "count": 1 }]));
}

#[tokio::test]
async fn a_benefit_form_comes_back_for_changes_escalates_and_is_decided_by_a_delegate() {
    let stage = Stage::set().await;
    let form = all().into_iter().find(|form| !form.examples.is_empty()).expect("a form with an example");
    let mut definition = form.definition();
    definition["workflow"] = json!({
        "initial": "received",
        "states": {
            "received": {"due": "P10D", "remind": ["P7D"]}, "changes": {"edit": [""]},
            "second-look": {"due": "PT1S", "escalate": {"to": "supervision"}}, "supervision": {},
            "granted": {"final": true}, "denied": {"final": true} },
        "transitions": [
            { "name": "request-changes", "from": ["received"], "to": "changes", "roles": ["rater"], "reason": "required" },
            { "name": "resubmit", "from": ["changes"], "to": "second-look", "roles": ["submitter"] },
            { "name": "grant", "from": ["received", "second-look", "supervision"], "to": "granted", "roles": ["rater"], "exclude_submitter": true },
            { "name": "deny", "from": ["received", "second-look", "supervision"], "to": "denied", "roles": ["rater"], "reason": "required" } ]
    });
    stage.admin.publish(&form.name, &definition).await;
    let vera = stage.somebody("acme", "vera", "submitter").await;
    let rater = stage.somebody("acme", "ralf", "rater").await;
    let stand_in = stage.somebody("acme", "dora", "clerk").await;
    let answer = vera.submit(&form.name, &form.examples[0]).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();

    take(&rater, &path, "request-changes", json!({ "reason": "please check the address" })).await.expect(200);
    let other = stage.somebody("acme", "eve", "submitter").await;
    take(&other, &path, "resubmit", json!({})).await.expect_problem(404, "not-found");
    let corrected = patch(&vera, &path, form.examples[0].clone()).await.expect(200).json();
    assert_eq!(corrected["state"], "changes", "the same data again change nothing");
    assert_eq!(take(&vera, &path, "resubmit", json!({})).await.expect(200).json()["state"], "second-look");

    // Nobody looks in time.
    let mut state = Value::Null;
    for _ in 0..200 {
        state = stage.admin.get(&path).await.expect(200).json()["state"].clone();
        if state == "supervision" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state, "supervision");
    let over = json!({ "to": "dora", "ends_at": "2020-01-01T00:00:00Z" });
    rater.post(&format!("{path}/delegate")).json(&over).await.expect_problem(422, "delegation-invalid");
    let holiday = json!({ "to": "dora", "ends_at": "2999-01-01T00:00:00Z", "reason": "holiday" });
    rater.post(&format!("{path}/delegate")).json(&holiday).await.expect(200);
    stand_in
        .post(&format!("{path}/delegate"))
        .json(&json!({ "to": "dan" }))
        .await
        .expect_problem(403, "not-permitted");
    let granted = take(&stand_in, &path, "grant", json!({})).await.expect(200).json();
    assert_eq!(granted["state"], "granted");
    let timeline = vera.get(&format!("{path}/timeline")).await.expect(200).json();
    let states: Vec<&str> =
        timeline["items"].as_array().expect("items").iter().filter_map(|it| it["state"].as_str()).collect();
    assert_eq!(states, ["received", "changes", "second-look", "supervision", "granted"]);
    let late = |item: &&Value| item["type"] == "formledger.submission.escalated.v1";
    let escalated: Vec<_> = timeline["items"].as_array().expect("items").iter().filter(late).collect();
    assert_eq!((escalated.len(), &escalated[0]["actor"]), (1, &json!("system")));
    let last = timeline["items"].as_array().and_then(|items| items.last()).expect("items").clone();
    assert_eq!((&last["actor"], &last["on_behalf_of"]), (&json!("dora"), &json!("ralf")));
}
