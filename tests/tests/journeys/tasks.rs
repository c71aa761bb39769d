//! What waits for whom, and what happens when it waits for too long: task lists and escalation, over a restart too.

use std::time::Duration;

use formledger_tests::definitions::contract_expense_claim;
use formledger_tests::wait::within;
use formledger_tests::{Client, Stage};
use serde_json::{Value, json};

fn large() -> Value {
    json!({ "amount": 20_000, "country": "DE" })
}

async fn tasks(client: &Client, position: u64) -> Vec<Value> {
    let page = client.get_at("/v1/tasks", position).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn a_task_waits_for_those_who_may_act_until_they_did() {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let (sam, rita, rob) = (
        stage.somebody("acme", "sam", "submitter,reviewer").await,
        stage.somebody("acme", "rita", "reviewer").await,
        stage.somebody("acme", "rob", "reviewer").await,
    );
    let answer = sam.submit("expense", &large()).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    let waiting = tasks(&rita, answer.position()).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((&waiting[0]["state"], &waiting[0]["submitter"]), (&json!("review"), &json!("sam")));
    assert!(waiting[0]["due_at"].is_string(), "{waiting:?}");
    // Their own claim they may reject, for that excludes nobody; approve they may not.
    let own = tasks(&sam, answer.position()).await;
    assert_eq!(own[0]["transitions"], json!([{ "name": "reject" }]));

    let approved = rita.post(&format!("{path}/transitions/approve")).await.expect(200).position();
    assert_eq!(tasks(&rita, approved).await[0]["transitions"], json!([{ "name": "reject" }]));
    let approved = rob.post(&format!("{path}/transitions/approve")).await.expect(200).position();
    for client in [&sam, &rita, &rob] {
        assert_eq!(tasks(client, approved).await, Vec::<Value>::new());
    }
    let other = stage.somebody("globex", "gus", "admin,reviewer").await;
    other.put("/v1/forms/own", &json!({ "title": "Own", "schema": {} })).await.expect(200);
    assert_eq!(other.get("/v1/tasks").await.expect(200).json()["items"], json!([]));
    rita.get("/v1/tasks?limit=1000").await.expect_problem(400, "query-invalid");
    rita.get("/v1/tasks?cursor=x").await.expect_problem(400, "cursor-invalid");
}

#[tokio::test]
async fn a_submission_says_what_it_waits_for_now_and_then() {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let (rita, rob) =
        (stage.somebody("acme", "rita", "reviewer").await, stage.somebody("acme", "rob", "reviewer").await);
    let answer = sam.submit("expense", &large()).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    let shown = async |client: &Client, position: u64| {
        let now = client.get_at(&path, position).await.expect(200).json();
        let then = client.get(&format!("{path}?at_position={position}")).await.expect(200).json();
        assert_eq!(now, then, "the read model and the stream say different things");
        now["task"].clone()
    };
    // The submitter sees it, too: what it waits for is theirs to know.
    let waiting = shown(&sam, answer.position()).await;
    assert!(waiting["opened_at"].is_string() && waiting["due_at"].is_string(), "{waiting}");
    assert_eq!((&waiting["escalate_to"], waiting.get("assignee")), (&json!("overdue"), None));
    let transition = |waiting: &Value, name: &str| {
        let transitions = waiting["transitions"].as_array().expect("transitions");
        transitions.iter().find(|transition| transition["name"] == name).cloned().expect(name)
    };
    assert_eq!(
        transition(&waiting, "approve"),
        json!({ "name": "approve", "roles": ["reviewer"], "candidates": [],
                "approvals": { "have": 0, "need": 2 }, "approved_by": [] })
    );
    assert_eq!(
        transition(&waiting, "reject"),
        json!({ "name": "reject", "roles": ["reviewer"], "candidates": [], "approved_by": [] })
    );

    let delegated = rita.post(&format!("{path}/delegate")).json(&json!({ "to": "dan" })).await.expect(200);
    assert_eq!(
        shown(&sam, delegated.position()).await["delegations"],
        json!([{ "from": "rita", "to": "dan" }])
    );
    // Dan has no role of his own here: what he does is for Rita.
    let dan = stage.somebody("acme", "dan", "submitter").await;
    let claimed = dan.post(&format!("{path}/claim")).await.expect(200).position();
    let waiting = shown(&sam, claimed).await;
    assert_eq!((&waiting["assignee"], &waiting["on_behalf_of"]), (&json!("dan"), &json!("rita")));
    let approved = dan.post(&format!("{path}/transitions/approve")).await.expect(200).position();
    let waiting = shown(&sam, approved).await;
    assert_eq!(transition(&waiting, "approve")["approvals"], json!({ "have": 1, "need": 2 }));
    assert_eq!(
        transition(&waiting, "approve")["approved_by"],
        json!([{ "by": "dan", "on_behalf_of": "rita" }])
    );
    // It ends with the right it was made by.
    let ended = rita.post(&format!("{path}/delegate")).json(&json!({ "to": null })).await;
    assert_eq!(shown(&sam, ended.expect(200).position()).await.get("assignee"), None);
    let done = rob.post(&format!("{path}/transitions/approve")).await.expect(200).position();
    assert_eq!(shown(&sam, done).await, Value::Null);
}

#[tokio::test]
async fn a_task_says_of_a_guarded_transition_whether_it_holds_now() {
    let definition = json!({
        "title": "Order",
        "schema": {"type": "object", "properties": {"amount": {"type": "number"}, "checked": {"type": "boolean"}}},
        "rules": [{"id": "twice", "kind": "compute", "value": "amount * 2.0", "into": "/twice"},
                  {"id": "size", "kind": "decision", "when": "amount > 100.0", "then": {"is": "large"}, "otherwise": {"is": "small"}}],
        "workflow": {
            "initial": "review", "states": {"review": {}, "done": {"final": true}},
            "transitions": [
                {"name": "accept", "from": "review", "to": "done", "when": "twice < 50.0 && outcomes.size.is == 'small'"},
                {"name": "confirm", "from": "review", "to": "done", "when": "checked && actor == 'rita'", "edit": ["/checked"]},
                {"name": "own", "from": "review", "to": "done", "when": "submitter == actor || 'admin' in roles"},
                {"name": "reject", "from": "review", "to": "done"}
            ]
        }
    });
    let stage = Stage::with_form("order", &definition).await;
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    let small = stage.admin.submit("order", &json!({ "amount": 10 })).await.expect(201);
    let large = stage.admin.submit("order", &json!({ "amount": 1000, "checked": true })).await.expect(201);
    let waiting = tasks(&rita, large.position()).await;
    let said = |accept: bool, confirm: bool| {
        json!([{ "name": "accept", "guard_met": accept }, { "name": "confirm", "guard_met": confirm },
               { "name": "own", "guard_met": false }, { "name": "reject" }])
    };
    assert_eq!(waiting[0]["transitions"], said(true, false));
    assert_eq!(waiting[1]["transitions"], said(false, true));
    let then = rita.get(&format!("/v1/tasks?at_position={}", small.position())).await.expect(200).json();
    assert_eq!(then["items"][0]["transitions"], said(true, false));

    let take = |answer: &formledger_tests::client::Answer, name: &str| {
        let path = answer.header("location").expect("a Location").to_owned();
        rita.post(&format!("{path}/transitions/{name}"))
    };
    take(&large, "accept").await.expect_problem(409, "guard-not-met");
    take(&large, "own").await.expect_problem(409, "guard-not-met");
    // What does not hold yet may hold with what is sent.
    take(&small, "confirm").await.expect_problem(409, "guard-not-met");
    take(&small, "confirm").json(&json!({ "data": { "checked": true } })).await.expect(200);
    take(&large, "confirm").await.expect(200);
}

#[tokio::test]
async fn a_delegated_task_is_on_the_delegates_list() {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    let dora = stage.somebody("acme", "dora", "clerk").await;
    let answer = stage.admin.submit("expense", &large()).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    let delegated = rita.post(&format!("{path}/delegate")).json(&json!({ "to": "dora" })).await.expect(200);
    let waiting = tasks(&dora, delegated.position()).await;
    assert_eq!(waiting[0]["why"], json!(["delegated"]));
    assert_eq!(waiting[0]["transitions"][0]["on_behalf_of"], "rita");
}

/// Waits until a submission is overdue.
async fn escalates(client: &Client, path: &str) {
    let escalated = async {
        while client.get(path).await.expect(200).json()["state"] != "overdue" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the escalation", escalated).await;
}

#[tokio::test]
async fn what_is_due_while_nothing_runs_escalates_once_after_the_restart() {
    let mut definition = contract_expense_claim();
    definition["workflow"]["states"]["review"]["due"] = json!("PT1S");
    let Stage { installation, server, admin } = Stage::with_form("expense", &definition).await;
    let answer = admin.submit("expense", &large()).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    server.kill_9().await;
    // Due by the clock, with nobody to look at it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let server = installation.serve_with(&[]).await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    escalates(&admin, &path).await;
    // A look that came later escalated another one, and found nothing to do for this one.
    let another = admin.submit("expense", &large()).await.expect(201);
    escalates(&admin, another.header("location").expect("a Location")).await;
    let timeline = admin.get(&format!("{path}/timeline")).await.expect(200).json();
    let entries = timeline["items"].as_array().expect("items");
    let escalated: Vec<_> =
        entries.iter().filter(|entry| entry["type"] == "formledger.submission.escalated.v1").collect();
    assert_eq!(escalated.len(), 1, "{timeline}");
    assert_eq!(escalated[0]["actor"], "system");
    let reviewer = server.client(&installation.token("acme", "rita", "reviewer").await);
    let position = admin.get("/v1/ledger").await.expect(200).position();
    let waiting = tasks(&reviewer, position).await;
    assert_eq!(waiting[0]["state"], "overdue", "it still waits for reviewers");
}
