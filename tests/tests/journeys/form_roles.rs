//! A role for one form holds on that form's way through people's hands, and nowhere on another's.

use formledger_tests::definitions::contract_expense_claim;
use formledger_tests::{Client, Stage};
use serde_json::{Value, json};

/// Two forms with the same workflow, a submission of each, and where they are.
async fn two_forms() -> (Stage, String, String, u64) {
    let stage = Stage::with_form("claim", &contract_expense_claim()).await;
    stage.admin.publish("permit", &contract_expense_claim()).await;
    let large = json!({ "amount": 20_000, "country": "DE" });
    let mut paths = Vec::new();
    for form in ["claim", "permit"] {
        let answer = stage.admin.submit(form, &large).await.expect(201);
        paths.push(answer.header("location").expect("a Location").to_owned());
    }
    let [claim, permit] = paths.try_into().expect("two");
    let head = stage.head().await;
    (stage, claim, permit, head)
}

async fn items(client: &Client, path: &str, position: u64) -> Vec<Value> {
    client.get_at(path, position).await.expect(200).json()["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn a_reviewer_of_one_form_decides_there_and_sees_nothing_of_another() {
    let (stage, claim, permit, head) = two_forms().await;
    let rita = stage.somebody("acme", "rita", "reviewer@claim").await;
    for path in ["/v1/tasks", "/v1/tasks?form=claim"] {
        let waiting = items(&rita, path, head).await;
        assert_eq!(waiting.len(), 1, "{path}: {waiting:?}");
        assert_eq!((&waiting[0]["form"], &waiting[0]["why"]), (&json!("claim"), &json!(["role"])));
    }
    assert_eq!(items(&rita, "/v1/tasks?form=permit", head).await, Vec::<Value>::new());
    assert_eq!(items(&rita, "/v1/submissions?form=claim", head).await.len(), 1);
    assert_eq!(items(&rita, "/v1/submissions?form=permit", head).await.len(), 0);
    for below in ["", "/timeline"] {
        rita.get(&format!("{claim}{below}")).await.expect(200);
        rita.get(&format!("{permit}{below}")).await.expect_problem(404, "not-found");
    }
    rita.get("/v1/stats?form=claim").await.expect(200);
    for closed in
        ["/v1/stats?form=permit", "/v1/stats", "/v1/events", "/v1/events?form=permit", "/v1/feed?form=permit"]
    {
        rita.get(closed).await.expect_problem(403, "not-permitted");
    }
    let events = rita.get("/v1/events?form=claim&limit=1000").await.expect(200).json();
    assert!(!events["events"].as_array().expect("events").is_empty());
    assert!(!events.to_string().contains("permit"), "{events}");

    for act in ["transitions/approve", "claim", "comments", "withdraw"] {
        let body = json!({ "text": "hello" });
        let body = if act == "comments" { body } else { json!({}) };
        rita.post(&format!("{permit}/{act}")).json(&body).await.expect_problem(404, "not-found");
    }
    let approved = rita.post(&format!("{claim}/transitions/approve")).await.expect(200);
    assert_eq!(approved.json()["approvals"], json!({ "have": 1, "need": 2 }));
    // The same person with the same role for the tenant is the same person.
    let everywhere = stage.somebody("acme", "rita", "reviewer").await;
    everywhere.post(&format!("{claim}/transitions/approve")).await.expect_problem(409, "already-approved");
}

#[tokio::test]
async fn what_a_role_for_one_form_lends_is_the_role_there() {
    let (stage, claim, permit, _) = two_forms().await;
    let rita = stage.somebody("acme", "rita", "reviewer@claim").await;
    let dora = stage.somebody("acme", "dora", "clerk").await;
    let to_dora = json!({ "to": "dora" });
    rita.post(&format!("{permit}/delegate")).json(&to_dora).await.expect_problem(404, "not-found");
    rita.post(&format!("{claim}/delegate")).json(&to_dora).await.expect(200);
    dora.post(&format!("{claim}/transitions/approve")).await.expect(200);
    let timeline = dora.get(&format!("{claim}/timeline")).await.expect(200).json();
    let last = timeline["items"].as_array().and_then(|items| items.last()).expect("an item").clone();
    assert_eq!((&last["actor"], &last["on_behalf_of"]), (&json!("dora"), &json!("rita")));
    dora.post(&format!("{permit}/transitions/approve")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn an_admin_of_one_form_is_no_admin_of_another_or_of_the_tenant() {
    let (stage, claim, permit, _) = two_forms().await;
    let ann = stage.somebody("acme", "ann", "admin@claim").await;
    ann.post(&format!("{claim}/assign")).json(&json!({ "to": "rita" })).await.expect(200);
    ann.post(&format!("{permit}/assign"))
        .json(&json!({ "to": "rita" }))
        .await
        .expect_problem(404, "not-found");
    ann.put("/v1/forms/claim", &contract_expense_claim()).await.expect(200);
    ann.put("/v1/forms/permit", &contract_expense_claim()).await.expect_problem(403, "not-permitted");
    let draft = json!({ "data": {}, "draft": true });
    let drafts = ["claim", "permit"].map(|form| format!("/v1/forms/{form}/submissions"));
    for (path, allowed) in drafts.iter().zip([true, false]) {
        let made =
            stage.admin.post(path).json(&draft).await.expect(201).header("location").map(str::to_owned);
        let made = made.expect("a Location");
        let patched = ann.call(http::Method::PATCH, &made).json(&json!({ "amount": 1 })).await;
        if allowed {
            patched.expect(200);
        } else {
            patched.expect_problem(404, "not-found");
        }
    }
    for path in ["/v1/api-keys", "/v1/audit", "/v1/replays"] {
        ann.get(path).await.expect_problem(403, "not-permitted");
    }
}
