//! What waits is told of when its workflow says so: once among many nodes and over restarts, and never in the place of an escalation.

use std::time::Duration;

use formledger_tests::definitions::anything;
use formledger_tests::{Client, Stage};
use serde_json::{Value, json};

fn claim(review: Value) -> Value {
    let mut definition = anything("Claim");
    definition["workflow"] = json!({
        "initial": "review",
        "states": { "review": review, "late": {}, "closed": { "final": true } },
        "transitions": [
            { "name": "close", "from": ["review", "late"], "to": "closed", "roles": ["reviewer"] },
            { "name": "leave", "from": ["review"], "to": "late", "roles": ["reviewer"] }
        ]
    });
    definition
}

/// The timeline's entries of this type, once there are so many.
async fn entries(client: &Client, path: &str, event: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for _ in 0..200 {
        let timeline = client.get(&format!("{path}/timeline")).await.expect(200).json();
        let items = timeline["items"].as_array().expect("items").clone();
        let named = format!("formledger.submission.{event}.v1");
        found = items.into_iter().filter(|item| item["type"] == named.as_str()).collect();
        if found.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found
}

#[tokio::test]
async fn reminders_come_before_the_escalation_each_once_in_the_name_of_the_system() {
    let review = json!({ "due": "PT6S", "remind": ["PT1S", "-PT3S"], "escalate": { "to": "late" } });
    let stage = Stage::with_form("claim", &claim(review)).await;
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    let mut feed = stage.admin.feed("/v1/feed?types=formledger.submission.reminded", Some(0)).await;
    let answer = stage.admin.submit("claim", &json!({})).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    rita.post(&format!("{path}/claim")).await.expect(200);
    let first = feed.next().await.expect("a reminder").data;
    assert_eq!((&first["actor"], &first["data"]["assignee"]), (&json!("system"), &json!("rita")));
    assert_eq!(first["data"]["state"], "review");
    assert!(first["data"]["due_at"].is_string() && first["data"]["remind_at"].is_string(), "{first}");
    let waiting = rita
        .get_at("/v1/tasks", first["position"].as_str().and_then(|p| p.parse().ok()).expect("a position"));
    assert_eq!(waiting.await.expect(200).json()["items"][0]["state"], "review", "it still waits");
    let escalated = entries(&stage.admin, &path, "escalated", 1).await;
    assert_eq!(escalated.len(), 1);
    let reminded = entries(&stage.admin, &path, "reminded", 2).await;
    assert_eq!(reminded.len(), 2, "{reminded:?}");
    assert!(reminded.iter().all(|entry| entry["person"] == "rita"), "{reminded:?}");
}

#[tokio::test]
async fn what_was_to_be_told_while_nothing_ran_is_told_once_after_the_restart() {
    let review = json!({ "due": "P30D", "remind": ["PT4S", "PT5S", "P29D"] });
    let Stage { installation, server, admin } = Stage::with_form("claim", &claim(review)).await;
    let answer = admin.submit("claim", &json!({})).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    server.kill_9().await;
    // Both moments pass with nobody to look at the clock.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let server = installation.serve().await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    assert_eq!(entries(&admin, &path, "reminded", 1).await.len(), 1);
    // A look that came later told of another one, and found nothing to tell of this one.
    admin.publish("soon", &claim(json!({ "due": "P30D", "remind": ["PT1S"] }))).await;
    let soon = admin.submit("soon", &json!({})).await.expect(201);
    let soon = soon.header("location").expect("a Location").to_owned();
    assert_eq!(entries(&admin, &soon, "reminded", 1).await.len(), 1);
    assert_eq!(entries(&admin, &path, "reminded", 1).await.len(), 1);
    assert_eq!(entries(&admin, &path, "escalated", 0).await.len(), 0);
}

#[tokio::test]
async fn publishing_says_which_reminders_never_come() {
    let stage = Stage::set().await;
    let review = json!({ "due": "P3D", "remind": ["P1D", "-P1D", "P3D", "-P5D", "tomorrow"] });
    stage.admin.put("/v1/forms/claim", &claim(review)).await.expect(200);
    let refused = stage.admin.post("/v1/forms/claim/publish").await.expect_problem(422, "form-invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/workflow/states/review/remind/4");
    let review = json!({ "due": "P3D", "remind": ["P1D", "-P1D", "P3D", "-P5D"] });
    stage.admin.put("/v1/forms/claim", &claim(review)).await.expect(200);
    let refused = stage.admin.post("/v1/forms/claim/publish").await.expect_problem(422, "form-invalid");
    let pointers: Vec<_> =
        refused["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/workflow/states/review/remind/2", "/workflow/states/review/remind/3"]);
    let without_due = claim(json!({ "remind": ["-P1D"] }));
    stage.admin.put("/v1/forms/claim", &without_due).await.expect(200);
    stage.admin.post("/v1/forms/claim/publish").await.expect_problem(422, "form-invalid");
}
