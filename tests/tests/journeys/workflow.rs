//! A claim's way through people's hands: the expense claim of the public contract, and four eyes that cannot be beaten over HTTP.

use formledger_tests::definitions::contract_expense_claim;
use formledger_tests::{Answer, Client, Stage};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A published expense claim, and people.
struct Office {
    stage: Stage,
    sam: Client,
    rita: Client,
    rob: Client,
}

impl Office {
    async fn open() -> Self {
        let stage = Stage::with_form("expense", &contract_expense_claim()).await;
        let sam = stage.somebody("acme", "sam", "submitter").await;
        let rita = stage.somebody("acme", "rita", "reviewer").await;
        let rob = stage.somebody("acme", "rob", "reviewer").await;
        Self { stage, sam, rita, rob }
    }

    /// A claim by sam that waits for review; answers its path.
    async fn claim(&self) -> String {
        let answer = self.sam.submit("expense", &large()).await.expect(201);
        assert_eq!(answer.json()["state"], "review");
        answer.header("location").expect("a Location").to_owned()
    }

    /// The claim as the read models show it now.
    async fn see(&self, path: &str) -> Value {
        let head = self.stage.head().await;
        self.stage.admin.get_at(path, head).await.expect(200).json()
    }
}

fn large() -> Value {
    json!({ "amount": 20_000, "country": "DE", "lines": [{ "qty": 2, "price": "10.10" }] })
}

async fn take(client: &Client, path: &str, transition: &str, body: Value) -> Answer {
    client.post(&format!("{path}/transitions/{transition}")).json(&body).await
}

async fn approve(client: &Client, path: &str) -> Answer {
    take(client, path, "approve", json!({})).await
}

/// Rules, guards, lists and whoever looks see one and the same value of a field.
#[tokio::test]
async fn what_is_filled_in_for_a_computed_field_is_seen_by_nobody() {
    let number = json!({ "type": "number" });
    let definition = json!({
        "title": "Loan", "index": ["/score", "/ratio"],
        "schema": { "type": "object", "properties": { "income": number, "debt": number, "score": number, "ratio": number } },
        "rules": [
            { "id": "score", "kind": "compute", "value": "income - debt", "into": "/score" },
            { "id": "ratio", "kind": "compute", "value": "income / debt", "into": "/ratio" },
            { "id": "cap", "kind": "constraint", "assert": "score < 1000.0" },
            { "id": "route", "kind": "decision", "when": "score > 500.0", "then": "auto", "otherwise": "committee" }
        ],
        "workflow": {
            "initial": "submitted",
            "states": { "submitted": {}, "review": {}, "approved": { "final": true } },
            "auto": [
                { "from": "submitted", "to": "approved", "when": "score > 500.0 || ratio > 1.0" },
                { "from": "submitted", "to": "review" }
            ],
            "transitions": [{ "name": "approve", "from": "review", "to": "approved", "roles": ["reviewer"] }]
        }
    });
    let stage = Stage::with_form("loan", &definition).await;
    let filled_in = json!({ "score": 9999, "ratio": 7.5 });
    let forged = stage.admin.submit("loan", &filled_in).await.expect(201);
    assert_eq!(forged.json()["state"], "review", "{}", forged.text());
    // Neither is infinity, which JSON does not carry.
    let endless =
        stage.admin.submit("loan", &json!({ "income": 400.5, "debt": 0, "ratio": 7.5 })).await.expect(201);
    assert_eq!(endless.json()["state"], "review", "{}", endless.text());
    assert!(endless.json()["outcomes"]["ratio"]["error"].is_string(), "{}", endless.text());
    let made =
        stage.admin.submit("loan", &json!({ "income": 900.5, "debt": 100, "score": 1 })).await.expect(201);
    assert_eq!(made.json()["state"], "approved", "{}", made.text());

    let path = |answer: &Answer| {
        format!("/v1/submissions/{}", answer.json()["submission_id"].as_str().expect("an id"))
    };
    let shown = |answer: &Answer| {
        stage.admin.get(&path(answer)).header("Ledger-Min-Position", answer.position().to_string())
    };
    assert_eq!(shown(&made).await.expect(200).json()["data"]["score"], 800.5);
    assert_eq!(shown(&forged).await.expect(200).json()["data"], json!({ "score": null, "ratio": null }));
    let data = shown(&endless).await.expect(200).json()["data"].clone();
    assert_eq!(data, json!({ "income": 400.5, "debt": 0, "score": 400.5, "ratio": null }));
    for (condition, count) in [("/score%3E500", 1), ("/score%3D9999", 0), ("/ratio%3E0", 1)] {
        let list = format!("/v1/submissions?form=loan&where={condition}");
        assert_eq!(stage.admin.get(&list).await.expect(200).submission_ids().len(), count, "{condition}");
    }
    // What is filled in stays recorded as it was.
    let events = stage.admin.get("/v1/events?after=0&limit=100").await.expect(200).text();
    assert!(events.contains(r#""data":{"ratio":7.5,"score":9999}"#), "{events}");
}

#[tokio::test]
async fn a_small_claim_is_approved_by_itself_and_a_large_one_by_two_reviewers() {
    let office = Office::open().await;
    let small =
        office.sam.submit("expense", &json!({ "amount": 12, "country": "DE" })).await.expect(201).json();
    assert_eq!(small["state"], "approved");
    assert_eq!(small["outcomes"]["fee"], json!({ "matched": true, "value": { "fee": 0 } }));

    let path = office.claim().await;
    let first = approve(&office.rita, &path).await.expect(200);
    assert_eq!(first.header("etag"), Some(format!("\"{}\"", first.json()["sequence"]).as_str()));
    assert_eq!(first.json()["state"], "review");
    assert_eq!(first.json()["approvals"], json!({ "have": 1, "need": 2 }));
    let second = approve(&office.rob, &path).await.expect(200).json();
    assert_eq!(second["state"], "approved");
    assert_eq!(second["approvals"], json!({ "have": 2, "need": 2 }));
    assert_eq!(office.see(&path).await["state"], "approved");
    let late = take(&office.rita, &path, "reject", json!({ "reason": "too late" })).await;
    late.expect_problem(409, "not-in-state");
}

#[tokio::test]
async fn a_rejection_says_why_and_the_timeline_and_the_counts_follow() {
    let office = Office::open().await;
    let path = office.claim().await;
    take(&office.rita, &path, "reject", json!({})).await.expect_problem(422, "reason-required");
    office.rita.post(&format!("{path}/transitions/reject")).await.expect_problem(422, "reason-required");
    take(&office.rita, &path, "reject", json!({ "reason": "no receipt" })).await.expect(200);
    let entries = office.sam.get(&format!("{path}/timeline")).await.expect(200).json()["items"].clone();
    let last = entries.as_array().and_then(|entries| entries.last()).expect("entries").clone();
    assert_eq!(last["type"], "formledger.submission.transitioned.v1");
    assert_eq!(
        (&last["actor"], &last["transition"], &last["reason"], &last["state"]),
        (&json!("rita"), &json!("reject"), &json!("no receipt"), &json!("rejected"))
    );
    let head = office.stage.head().await;
    let stats = office.stage.admin.get_at("/v1/stats?form=expense", head).await.expect(200).json();
    assert_eq!(stats["states"], json!([{ "form": "expense", "state": "rejected", "count": 1 }]));
    let listed = office.stage.admin.get_at("/v1/submissions?state=rejected", head).await.expect(200);
    assert_eq!(listed.submission_ids().len(), 1);
}

#[tokio::test]
async fn the_same_person_twice_is_one_approval_with_any_key_or_token() {
    let office = Office::open().await;
    let path = office.claim().await;
    let with_key = |key: &str| {
        office
            .rita
            .post(&format!("{path}/transitions/approve"))
            .header("Idempotency-Key", key)
            .json(&json!({}))
    };
    let first = with_key("one").await.expect(200);
    let again = with_key("one").await.expect(200);
    assert_eq!(first.json(), again.json(), "the same key is the same request");
    with_key("two").await.expect_problem(409, "already-approved");
    approve(&office.rita, &path).await.expect_problem(409, "already-approved");
    let other_token = office.stage.somebody("acme", "rita", "reviewer,admin").await;
    approve(&other_token, &path).await.expect_problem(409, "already-approved");
    assert_eq!(office.see(&path).await["state"], "review");
}

#[tokio::test]
async fn the_submitter_does_not_approve_in_any_role() {
    let office = Office::open().await;
    let path = office.claim().await;
    for roles in ["reviewer", "submitter,reviewer", "admin,reviewer", "admin"] {
        let sam = office.stage.somebody("acme", "sam", roles).await;
        approve(&sam, &path).await.expect_problem(403, "not-permitted");
    }
    office.rita.post(&format!("{path}/delegate")).json(&json!({ "to": "sam" })).await.expect(200);
    approve(&office.sam, &path).await.expect_problem(403, "not-permitted");
}

#[tokio::test]
async fn an_owner_and_their_delegate_are_one_approval_in_any_order() {
    let office = Office::open().await;
    let dora = office.stage.somebody("acme", "dora", "clerk").await;
    for delegate_first in [true, false] {
        let path = office.claim().await;
        approve(&dora, &path).await.expect_problem(404, "not-found");
        office.rita.post(&format!("{path}/delegate")).json(&json!({ "to": "dora" })).await.expect(200);
        dora.get(&path).await.expect(200);
        let (one, other) = if delegate_first { (&dora, &office.rita) } else { (&office.rita, &dora) };
        approve(one, &path).await.expect(200);
        approve(other, &path).await.expect_problem(409, "already-approved");
        assert_eq!(approve(&office.rob, &path).await.expect(200).json()["state"], "approved");
    }
}

#[tokio::test]
async fn of_many_racing_approvals_of_two_people_two_count() {
    let office = Office::open().await;
    let path = office.claim().await;
    let racing = (0..8).map(|n| {
        let client = if n % 2 == 0 { &office.rita } else { &office.rob };
        approve(client, &path)
    });
    let answers = join_all(racing).await;
    let given = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(given, 2, "{answers:?}");
    assert_eq!(office.see(&path).await["state"], "approved");
    let timeline = office.rita.get(&format!("{path}/timeline")).await.expect(200).text();
    assert_eq!(timeline.matches("formledger.submission.approved.v1").count(), 2);
}

#[tokio::test]
async fn an_approval_after_the_role_was_removed_is_refused_and_an_earlier_one_stands() {
    let office = Office::open().await;
    let path = office.claim().await;
    approve(&office.rita, &path).await.expect(200);
    let moved_on = office.stage.somebody("acme", "rob", "designer").await;
    approve(&moved_on, &path).await.expect_problem(403, "not-permitted");
    let rita = office.stage.somebody("acme", "rita", "designer").await;
    approve(&rita, &path).await.expect_problem(403, "not-permitted");
    assert_eq!(approve(&office.rob, &path).await.expect(200).json()["state"], "approved");
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_it_was_although_nothing_is_left_to_do() {
    let office = Office::open().await;
    let path = office.claim().await;
    let dora = office.stage.somebody("acme", "dora", "clerk").await;
    let release = || dora.post(&format!("{path}/release")).header("Idempotency-Key", "k1").json(&json!({}));
    release().await.expect_problem(404, "not-found");
    office.rita.post(&format!("{path}/delegate")).json(&json!({ "to": "dora" })).await.expect(200);
    let first = release().await.expect(200);
    assert_eq!(release().await.expect(200).text(), first.text());
    dora.get(&path).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn an_admin_ends_the_delegations_of_somebody_who_left() {
    let office = Office::open().await;
    let path = office.claim().await;
    let dora = office.stage.somebody("acme", "dora", "clerk").await;
    let delegate = |client: &Client, body: Value| client.post(&format!("{path}/delegate")).json(&body);
    delegate(&office.rita, json!({ "to": "dora" })).await.expect(200);
    delegate(&office.rob, json!({ "from": "rita", "to": null })).await.expect_problem(403, "not-permitted");
    let both = json!({ "from": "rita", "to": "dan" });
    delegate(&office.stage.admin, both).await.expect_problem(400, "body-invalid");
    delegate(&office.stage.admin, json!({ "from": "rita", "to": null })).await.expect(200);
    approve(&dora, &path).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_stale_sequence_is_412_and_an_unknown_transition_404() {
    let office = Office::open().await;
    let path = office.claim().await;
    let stale = office.rita.post(&format!("{path}/transitions/approve")).header("If-Match", "\"1\"");
    stale.json(&json!({})).await.expect_problem(412, "precondition-failed");
    take(&office.rita, &path, "aprove", json!({})).await.expect_problem(404, "transition-unknown");
    take(&office.rita, &path, "approve", json!({ "why": "x" })).await.expect_problem(400, "body-invalid");
}

#[tokio::test]
async fn tasks_change_hands_and_comments_are_heard() {
    let office = Office::open().await;
    let path = office.claim().await;
    let post = |client: &Client, what: &str, body: Value| client.post(&format!("{path}/{what}")).json(&body);
    post(&office.rita, "claim", json!({})).await.expect(200);
    post(&office.rob, "claim", json!({})).await.expect_problem(409, "already-claimed");
    post(&office.sam, "claim", json!({})).await.expect_problem(403, "not-permitted");
    post(&office.rita, "release", json!({})).await.expect(200);
    post(&office.stage.admin, "assign", json!({ "to": "rob", "reason": "knows Paris" })).await.expect(200);
    post(&office.rita, "assign", json!({})).await.expect_problem(422, "text-empty");
    post(&office.sam, "comments", json!({ "text": "the receipt follows" })).await.expect(200);
    let auditor = office.stage.somebody("acme", "otto", "auditor").await;
    post(&auditor, "comments", json!({ "text": "noted" })).await.expect_problem(403, "not-permitted");
    let eve = office.stage.somebody("acme", "eve", "submitter").await;
    post(&eve, "comments", json!({ "text": "me too" })).await.expect_problem(404, "not-found");
    let timeline = auditor.get(&format!("{path}/timeline")).await.expect(200).json();
    let said: Vec<&Value> = timeline["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|entry| entry.get("comment"))
        .collect();
    assert_eq!(said, [&json!("the receipt follows")]);
}

#[tokio::test]
async fn a_submitter_withdraws_what_is_not_decided() {
    let office = Office::open().await;
    let path = office.claim().await;
    let withdraw = |client: &Client| {
        client.post(&format!("{path}/withdraw")).json(&json!({ "reason": "paid privately" }))
    };
    withdraw(&office.rita).await.expect_problem(403, "not-permitted");
    assert_eq!(withdraw(&office.sam).await.expect(200).json()["state"], "withdrawn");
    withdraw(&office.sam).await.expect_problem(409, "not-in-state");
    approve(&office.rita, &path).await.expect_problem(409, "not-in-state");
}

#[tokio::test]
async fn every_moment_of_a_claim_can_be_seen_again() {
    let office = Office::open().await;
    let path = office.claim().await;
    let mut seen = vec![(office.stage.head().await, office.see(&path).await)];
    for client in [&office.rita, &office.rob] {
        approve(client, &path).await.expect(200);
        seen.push((office.stage.head().await, office.see(&path).await));
    }
    for (position, then) in seen {
        let again = office.sam.get(&format!("{path}?at_position={position}")).await.expect(200).json();
        assert_eq!(again, then, "at {position}");
    }
}
