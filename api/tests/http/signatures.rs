//! Electronic signatures over HTTP: what is asked for, what is recorded, and credentials that must be fresh.

use chrono::{TimeDelta, Utc};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Server, admin, token, token_of_login};

const MEANING: &str = "I approve this claim";

/// A claim by `sam` that two reviewers approve with their signatures.
struct Office {
    server: Server,
    claim: String,
}

impl Office {
    async fn open(max_age: Option<&str>) -> Self {
        let server = Server::start().await;
        let mut signature = json!({"meaning": MEANING});
        if let Some(max_age) = max_age {
            signature["max_age"] = json!(max_age);
        }
        let definition = json!({
            "title": "Claim",
            "schema": {"type": "object", "properties": {"amount": {"type": "integer"}}},
            "rules": [{"id": "double", "kind": "compute", "value": "amount * 2", "into": "/double"}],
            "workflow": {
                "initial": "review",
                "states": {"review": {"edit": ["/amount"]}, "approved": {"final": true}},
                "transitions": [{"name": "approve", "from": "review", "to": "approved", "roles": ["reviewer"],
                                 "approvals": 2, "signature": signature}]
            }
        });
        let admin = admin("acme");
        server.send(&admin, Method::PUT, "/v1/forms/claim", &definition).await.expect(200);
        server.send(&admin, Method::POST, "/v1/forms/claim/publish", &Value::Null).await.expect(201);
        let sam = token("acme", "sam", &["submitter"]);
        let body = json!({"data": {"amount": 21}});
        let made = server.send(&sam, Method::POST, "/v1/forms/claim/submissions", &body).await.expect(201);
        let claim = made.header("location").to_owned();
        Self { server, claim }
    }

    async fn approve(&self, who: &str, body: &Value) -> Answer {
        let path = format!("{}/transitions/approve", self.claim);
        self.server.send(who, Method::POST, &path, body).await
    }

    async fn see(&self) -> Value {
        let head = self.server.get(&admin("acme"), "/v1/ledger").await.expect(200).json()["position"].clone();
        let path = format!("{}?min_position={head}", self.claim);
        self.server.get(&admin("acme"), &path).await.expect(200).json()
    }
}

fn signed(name: &str) -> Value {
    json!({"reason": "within the budget", "signature": {"name": name, "meaning": MEANING}})
}

fn reviewer(subject: &str) -> String {
    token("acme", subject, &["reviewer"])
}

#[tokio::test]
async fn each_approval_is_signed_and_the_record_says_what_was_signed() {
    let office = Office::open(None).await;
    assert_eq!(office.see().await["signatures"], json!([]));
    office.approve(&reviewer("rita"), &signed("Rita Reviewer")).await.expect(200);
    let last = office.approve(&reviewer("rob"), &signed("Rob R. Reviewer")).await.expect(200).json();
    assert_eq!(last["state"], "approved");
    let seen = office.see().await;
    let signatures = seen["signatures"].as_array().expect("signatures").clone();
    let told: Vec<_> =
        signatures.iter().map(|it| (&it["by"], &it["name"], &it["meaning"], &it["transition"])).collect();
    assert_eq!(
        told,
        [
            (&json!("rita"), &json!("Rita Reviewer"), &json!(MEANING), &json!("approve")),
            (&json!("rob"), &json!("Rob R. Reviewer"), &json!(MEANING), &json!("approve"))
        ]
    );
    // What an auditor does: the data as they were shown then, in canonical form, hashed.
    assert_eq!(seen["data"], json!({"amount": 21, "double": 42}));
    let hash = Sha256::digest(r#"{"amount":21,"double":42}"#);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    for signature in &signatures {
        assert_eq!((&signature["data_sha256"], &signature["unchanged"]), (&json!(hash), &json!(true)));
        let then = format!("{}?at_position={}", office.claim, signature["position"]);
        let then = office.server.get(&admin("acme"), &then).await.expect(200).json();
        assert_eq!(then["data"], seen["data"]);
        assert_eq!(then["signatures"].as_array().and_then(|all| all.last()), Some(signature));
    }
    let timeline =
        office.server.get(&admin("acme"), &format!("{}/timeline", office.claim)).await.expect(200).json();
    let items = timeline["items"].as_array().expect("items");
    let signing: Vec<_> =
        items.iter().filter(|item| item["type"] == "formledger.submission.signed.v1").collect();
    assert_eq!(signing.len(), 2);
    assert_eq!(
        (&signing[0]["actor"], &signing[0]["signature"]["name"]),
        (&json!("rita"), &json!("Rita Reviewer"))
    );
    assert_eq!(signing[0]["at"], signatures[0]["signed_at"]);
}

#[tokio::test]
async fn a_signature_that_was_overtaken_by_an_edit_says_so() {
    let office = Office::open(None).await;
    office.approve(&reviewer("rita"), &signed("Rita Reviewer")).await.expect(200);
    let patch = json!({"amount": 22});
    let sam = token("acme", "sam", &["submitter"]);
    office.server.send(&sam, Method::PATCH, &office.claim, &patch).await.expect(200);
    let seen = office.see().await;
    assert_eq!(seen["signatures"][0]["unchanged"], false);
    let again = office.approve(&reviewer("rita"), &signed("Rita Reviewer")).await.expect(200).json();
    assert_eq!(again["approvals"], json!({"have": 1, "need": 2}), "the first approval was void");
}

#[tokio::test]
async fn without_the_right_signature_nothing_is_recorded_and_the_answer_says_what_is_right() {
    let office = Office::open(None).await;
    let before = office.see().await;
    let problem =
        office.approve(&reviewer("rita"), &json!({})).await.expect_problem(422, "signature-required");
    assert_eq!(
        (&problem["errors"][0]["pointer"], &problem["errors"][0]["meaning"]),
        (&json!("/signature"), &json!(MEANING))
    );
    for (signature, pointer) in [
        (json!({"name": "Rita", "meaning": "I approve"}), "/signature/meaning"),
        (json!({"name": "", "meaning": MEANING}), "/signature/name"),
    ] {
        let refused = office.approve(&reviewer("rita"), &json!({"signature": signature})).await;
        let problem = refused.expect_problem(422, "signature-invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    for body in [
        json!({"signature": "Rita"}),
        json!({"signature": {"name": "Rita"}}),
        json!({"signature": {"name": "R", "meaning": MEANING, "at": 1}}),
    ] {
        office.approve(&reviewer("rita"), &body).await.expect_problem(400, "body-invalid");
    }
    assert_eq!(office.see().await, before);
}

#[tokio::test]
async fn credentials_that_were_shown_too_long_ago_do_not_sign_and_clients_are_challenged_to_ask_again() {
    let office = Office::open(Some("PT5M")).await;
    let login = |minutes: i64| {
        token_of_login("acme", "rita", &["reviewer"], Utc::now() - TimeDelta::minutes(minutes))
    };
    let refused = office.approve(&login(6), &signed("Rita Reviewer")).await;
    let challenge =
        "Bearer realm=\"formledger\", error=\"insufficient_user_authentication\", max_age=\"300\"";
    assert_eq!(refused.header("www-authenticate"), challenge);
    assert_eq!(refused.expect_problem(401, "reauthentication-required")["max_age"], 300);
    office.approve(&login(4), &signed("Rita Reviewer")).await.expect(200);
    // A token that does not say when its person logged in was made when they did.
    office.approve(&reviewer("rob"), &signed("Rob Reviewer")).await.expect(200);
    let seen = office.see().await;
    assert!(seen["signatures"].as_array().expect("all").iter().all(|it| it["authenticated_at"].is_string()));
    assert_eq!(seen["state"], "approved");
}

#[tokio::test]
async fn an_api_key_signs_nothing() {
    let office = Office::open(None).await;
    let key = json!({"name": "robot", "roles": ["reviewer"]});
    let made =
        office.server.send(&admin("acme"), Method::POST, "/v1/api-keys", &key).await.expect(201).json();
    let headers =
        [("x-api-key", made["secret"].as_str().expect("a secret")), ("content-type", "application/json")];
    let path = format!("{}/transitions/approve", office.claim);
    let refused = office.server.call(Method::POST, &path, &headers, &signed("Robot").to_string()).await;
    refused.expect_problem(403, "not-permitted");
}
