//! Statistics: counts by state, day and rule outcome that agree with the submissions they count.

use formledger_tests::Stage;
use formledger_tests::definitions::{contract_expense_claim, expense, expense_claim};
use serde_json::{Value, json};

/// The `count` of the only entry in `list` that has all of `members`.
fn count(list: &Value, members: &Value) -> u64 {
    let has = |entry: &&Value| {
        members.as_object().expect("an object").iter().all(|(name, value)| entry[name] == *value)
    };
    let found: Vec<&Value> = list.as_array().expect("a list").iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{members} in {list}");
    found[0]["count"].as_u64().expect("a count")
}

#[tokio::test]
async fn counts_agree_with_what_was_submitted_per_form() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &expense_claim()).await;
    for n in 0..12 {
        let amount = if n % 3 == 0 { 20_000.0 } else { 10.0 };
        stage.admin.submit("expense", &expense(amount, "DE")).await.expect(201);
    }
    stage.admin.submit("other", &expense(1.0, "DE")).await.expect(201);
    let stats = stage.admin.get_at("/v1/stats?form=expense", stage.head().await).await.expect(200);
    let stats = stats.json();
    assert_eq!(count(&stats["states"], &json!({ "form": "expense", "state": "submitted" })), 12);
    let route = |matched: bool| json!({ "form": "expense", "rule": "route", "matched": matched });
    assert_eq!(count(&stats["outcomes"], &route(true)), 4);
    assert_eq!(count(&stats["outcomes"], &route(false)), 8);
    let days = stats["days"].as_array().expect("days");
    let in_all: u64 = days.iter().filter_map(|day| day["count"].as_u64()).sum();
    assert_eq!(in_all, 12, "a test that runs over midnight sees two days: {stats}");
    assert!(!stats.to_string().contains("other"), "only the form asked for: {stats}");
}

#[tokio::test]
async fn without_a_form_all_forms_are_counted_apart() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &expense_claim()).await;
    stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201);
    stage.admin.submit("other", &expense(1.0, "DE")).await.expect(201);
    let stats = stage.admin.get_at("/v1/stats", stage.head().await).await.expect(200).json();
    for form in ["expense", "other"] {
        assert_eq!(count(&stats["states"], &json!({ "form": form, "state": "submitted" })), 1);
    }
}

#[tokio::test]
async fn times_say_how_long_claims_were_in_a_state_and_since_when_others_are() {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = sam.submit("expense", &json!({"amount": 20_000, "country": "DE"})).await.expect(201);
        ids.push(answer.json()["submission_id"].as_str().expect("an id").to_owned());
    }
    let draft = json!({"data": {"amount": 1}, "draft": true});
    sam.post("/v1/forms/expense/submissions").json(&draft).await.expect(201);
    let reject = json!({"reason": "no"});
    rita.post(&format!("/v1/submissions/{}/transitions/reject", ids[0])).json(&reject).await.expect(200);

    let stats = stage.admin.get_at("/v1/stats?form=expense", stage.head().await).await.expect(200).json();
    let of = |state: &str| {
        let times = stats["times"].as_array().expect("times").iter();
        times
            .clone()
            .find(|time| time["state"] == state)
            .unwrap_or_else(|| panic!("{state} in {stats}"))
            .clone()
    };
    // It went on from there by itself, each time.
    assert_eq!(of("submitted")["ended"]["count"], 3);
    assert_eq!(of("submitted")["ended"]["mean_seconds"], 0.0);
    let review = of("review");
    assert_eq!((&review["ended"]["count"], &review["open"]["count"]), (&json!(1), &json!(2)));
    let (mean, median) = (&review["ended"]["mean_seconds"], &review["ended"]["p50_seconds"]);
    assert!(mean.as_f64().expect("a mean") > 0.0 && mean.as_f64() <= median.as_f64(), "{review}");
    let since: u64 = review["open"]["since"]
        .as_array()
        .expect("days")
        .iter()
        .filter_map(|day| day["count"].as_u64())
        .sum();
    assert_eq!(since, 2);
    assert_eq!((of("draft").get("ended"), &of("draft")["open"]["count"]), (None, &json!(1)));
    assert!(!stats["times"].to_string().contains("rejected"), "a final state is not left: {stats}");
}
