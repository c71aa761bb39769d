//! Commands: what they answer, idempotency keys, preconditions, roles, and bodies that are refused at the door.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, admin, bearer, token};

#[tokio::test]
async fn a_submission_is_answered_with_its_place_and_location() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let answer = server.submit(&admin, "expense", 12.5).await.expect(201);
    let body = answer.json();
    assert_eq!(
        answer.header("location"),
        format!("/v1/submissions/{}", body["submission_id"].as_str().expect("an id"))
    );
    assert_eq!(answer.header("etag"), format!("\"{}\"", body["sequence"]));
    assert_eq!(answer.header("ledger-position"), body["position"].to_string());
    assert_eq!(
        (&body["form"], &body["form_version"], &body["state"]),
        (&json!("expense"), &json!(1), &json!("submitted"))
    );
    assert!(body["outcomes"].is_object());
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_and_another_body_is_refused() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let key = [("idempotency-key", "order-7")];
    let path = "/v1/forms/expense/submissions";
    let body = json!({"data": {"amount": 1}});
    let first = server.send_with(&admin, Method::POST, path, &key, &body).await.expect(201);
    let again = server.send_with(&admin, Method::POST, path, &key, &body).await.expect(201);
    assert_eq!(first.json(), again.json());
    assert_eq!(first.header("location"), again.header("location"));
    let other = json!({"data": {"amount": 2}});
    server
        .send_with(&admin, Method::POST, path, &key, &other)
        .await
        .expect_problem(422, "idempotency-key-reused");
    // What was accepted once is answered the same way when by now it would be refused.
    server.send(&admin, Method::POST, "/v1/forms/expense/retire", &Value::Null).await.expect(200);
    let late = server.send_with(&admin, Method::POST, path, &key, &body).await.expect(201);
    assert_eq!(first.json(), late.json());
    server.submit(&admin, "expense", 1.0).await.expect_problem(409, "form-retired");
}

#[tokio::test]
async fn two_people_with_the_same_idempotency_key_each_get_their_own_outcome() {
    let server = Server::start().await;
    let (sam, eve) = (token("acme", "sam", &["submitter"]), token("acme", "eve", &["submitter"]));
    server.publish(&admin("acme"), "expense").await;
    let key = [("idempotency-key", "1")];
    let path = "/v1/forms/expense/submissions";
    let body = json!({"data": {"amount": 1}});
    let first = server.send_with(&sam, Method::POST, path, &key, &body).await.expect(201).json();
    let second = server.send_with(&eve, Method::POST, path, &key, &body).await.expect(201).json();
    assert_ne!(first["submission_id"], second["submission_id"]);
    let again = server.send_with(&eve, Method::POST, path, &key, &body).await.expect(201).json();
    assert_eq!(again, second);
}

#[tokio::test]
async fn a_publication_can_be_repeated_under_its_key() {
    let server = Server::start().await;
    let admin = admin("acme");
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    server.send(&admin, Method::PUT, "/v1/forms/t", &definition).await.expect(200);
    let key = [("idempotency-key", "p")];
    let first =
        server.send_with(&admin, Method::POST, "/v1/forms/t/publish", &key, &Value::Null).await.expect(201);
    let again =
        server.send_with(&admin, Method::POST, "/v1/forms/t/publish", &key, &Value::Null).await.expect(201);
    assert_eq!(first.json(), again.json());
    server
        .send(&admin, Method::POST, "/v1/forms/t/publish", &Value::Null)
        .await
        .expect_problem(409, "nothing-to-publish");
}

#[tokio::test]
async fn if_match_names_the_sequence_that_the_client_saw() {
    let server = Server::start().await;
    let admin = admin("acme");
    let definition = |title: &str| json!({"title": title, "schema": {"type": "object"}});
    let put = async |title: &str, if_match: &str| {
        server
            .send_with(&admin, Method::PUT, "/v1/forms/t", &[("if-match", if_match)], &definition(title))
            .await
    };
    server.send(&admin, Method::PUT, "/v1/forms/t", &definition("a")).await.expect(200);
    put("b", "\"1\"").await.expect(200);
    let problem = put("c", "\"1\"").await.expect_problem(412, "precondition-failed");
    assert_eq!(problem["sequence"], 2);
    put("c", "1").await.expect_problem(400, "if-match-invalid");
    put("c", "W/\"2\"").await.expect_problem(412, "precondition-failed");
    put("c", "\"1\", \"2\"").await.expect(200);
    put("d", "\"1\", \"2\"").await.expect_problem(412, "precondition-failed");
    put("d", "*").await.expect(200);
}

#[tokio::test]
async fn if_match_of_any_kind_fails_where_there_is_nothing() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    for if_match in ["*", "\"0\"", "\"1\""] {
        let headers = [("if-match", if_match)];
        let problem = server
            .send_with(&admin, Method::PUT, "/v1/forms/t", &headers, &definition)
            .await
            .expect_problem(412, "precondition-failed");
        assert_eq!(problem["sequence"], 0, "{if_match}");
    }
    server.get(&admin, "/v1/forms/t").await.expect(404);
}

#[tokio::test]
async fn a_draft_is_amended_and_submitted_by_its_own_submitter() {
    let server = Server::start().await;
    let (admin, eve) = (admin("acme"), token("acme", "eve", &["submitter"]));
    let sam = token("acme", "sam", &["submitter"]);
    server.publish(&admin, "expense").await;
    let draft = json!({"data": {}, "draft": true});
    let made = server.send(&sam, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
    let path = made.header("location").to_owned();
    assert_eq!(made.json()["state"], "draft");
    let submit = format!("{path}/submit");
    let refused = server
        .send(&sam, Method::POST, &submit, &Value::Null)
        .await
        .expect_problem(422, "submission-invalid");
    assert_eq!(
        (&refused["errors"][0]["pointer"], &refused["errors"][0]["keyword"]),
        (&json!("/amount"), &json!("required"))
    );
    let amount = json!({"amount": 3});
    server.send(&eve, Method::PATCH, &path, &amount).await.expect_problem(404, "not-found");
    server.send(&sam, Method::PATCH, &path, &amount).await.expect(200);
    assert_eq!(
        server.send(&sam, Method::POST, &submit, &Value::Null).await.expect(200).json()["state"],
        "submitted"
    );
    server.send(&sam, Method::PATCH, &path, &amount).await.expect_problem(409, "not-in-state");
}

#[tokio::test]
async fn to_a_stranger_a_submission_is_missing_whatever_its_sequence_and_state_are() {
    let server = Server::start().await;
    let (sam, eve) = (token("acme", "sam", &["submitter"]), token("acme", "eve", &["submitter"]));
    server.publish(&admin("acme"), "expense").await;
    let made = server.submit(&sam, "expense", 1.0).await.expect(201);
    let path = made.header("location").to_owned();
    let amount = json!({"amount": 3});
    let stale = [("if-match", "\"99\"")];
    let submit = format!("{path}/submit");
    server.send(&eve, Method::PATCH, &path, &amount).await.expect_problem(404, "not-found");
    server.send_with(&eve, Method::PATCH, &path, &stale, &amount).await.expect_problem(404, "not-found");
    server
        .send_with(&eve, Method::POST, &submit, &stale, &Value::Null)
        .await
        .expect_problem(404, "not-found");
    server
        .send_with(&sam, Method::PATCH, &path, &stale, &amount)
        .await
        .expect_problem(412, "precondition-failed");
    // Who reads everything is told what stands in the way.
    let rita = token("acme", "rita", &["submitter", "reviewer"]);
    server
        .send_with(&rita, Method::PATCH, &path, &stale, &amount)
        .await
        .expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_draft_of_a_retired_form_stays_a_draft() {
    let server = Server::start().await;
    let (admin, sam) = (admin("acme"), token("acme", "sam", &["submitter"]));
    server.publish(&admin, "expense").await;
    let draft = json!({"data": {"amount": 1}, "draft": true});
    let mut paths = Vec::new();
    for _ in 0..2 {
        let made = server.send(&sam, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
        paths.push(format!("{}/submit", made.header("location")));
    }
    let key = [("idempotency-key", "s")];
    let first = server.send_with(&sam, Method::POST, &paths[0], &key, &Value::Null).await.expect(200);
    server.send(&admin, Method::POST, "/v1/forms/expense/retire", &Value::Null).await.expect(200);
    server.send(&sam, Method::POST, &paths[1], &Value::Null).await.expect_problem(409, "form-retired");
    // What was accepted once is answered the same way again.
    let again = server.send_with(&sam, Method::POST, &paths[0], &key, &Value::Null).await.expect(200);
    assert_eq!(first.json(), again.json());
}

#[tokio::test]
async fn a_patch_is_a_merge_patch_and_every_other_kind_is_told_so() {
    let server = Server::start().await;
    let sam = token("acme", "sam", &["submitter"]);
    server.publish(&admin("acme"), "expense").await;
    let draft = json!({"data": {}, "draft": true});
    let made = server.send(&sam, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
    let path = made.header("location").to_owned();
    let authorization = bearer(&sam);
    let patch = async |content_type: &str, body: &str| {
        let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
        server.call(Method::PATCH, &path, &headers, body).await
    };
    let operations = r#"[{"op": "add", "path": "/amount", "value": 3}]"#;
    let refused = patch("application/json-patch+json", operations).await;
    assert_eq!(refused.header("accept-patch"), "application/merge-patch+json, application/json");
    refused.expect_problem(415, "media-type-unsupported");
    patch("application/vnd.acme+json", r#"{"amount": 3}"#).await.expect(415);
    patch("Application/Merge-Patch+JSON; charset=utf-8", r#"{"amount": 3}"#).await.expect(200);
}

#[tokio::test]
async fn roles_say_who_may_and_tenants_begin_with_their_administrator() {
    let server = Server::start().await;
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    let designer = token("acme", "dora", &["designer"]);
    server
        .send(&designer, Method::PUT, "/v1/forms/t", &definition)
        .await
        .expect_problem(404, "tenant-unknown");
    server.get(&admin("acme"), "/v1/forms").await.expect_problem(404, "tenant-unknown");
    server.publish(&admin("acme"), "expense").await;
    server.send(&designer, Method::PUT, "/v1/forms/t", &definition).await.expect(200);
    for role in ["submitter", "reviewer", "auditor", "clerk"] {
        let other = token("acme", "otto", &[role]);
        server
            .send(&other, Method::PUT, "/v1/forms/t", &definition)
            .await
            .expect_problem(403, "not-permitted");
    }
    let auditor = token("acme", "otto", &["auditor"]);
    server.submit(&auditor, "expense", 1.0).await.expect_problem(403, "not-permitted");
}

#[tokio::test]
async fn provisioned_tenants_are_made_by_an_operator_only() {
    let server = Server::start_with(|settings| settings.provisioned_tenants = true).await;
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    for refused in [
        server.send(&admin("acme"), Method::PUT, "/v1/forms/t", &definition).await,
        server.get(&admin("acme"), "/v1/forms").await,
    ] {
        let refused = refused.expect_problem(404, "tenant-unknown");
        let advice = "the tenant does not exist; an `operator` makes it with `POST /v1/tenants`";
        assert_eq!(refused["detail"], advice);
    }
    let tenant = json!({"tenant": "acme"});
    server
        .send(&admin("acme"), Method::POST, "/v1/tenants", &tenant)
        .await
        .expect_problem(403, "not-permitted");
    let operator = token("operations", "olga", &["operator"]);
    server.send(&operator, Method::POST, "/v1/tenants", &tenant).await.expect(201);
    server.send(&operator, Method::POST, "/v1/tenants", &tenant).await.expect_problem(409, "tenant-exists");
    server.send(&admin("acme"), Method::PUT, "/v1/forms/t", &definition).await.expect(200);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_at_the_door() {
    let server = Server::start_with(|settings| settings.limits.body_bytes_max = 4096).await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let authorization = bearer(&admin);
    let post = async |content_type: &str, body: &str| {
        let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
        server.call(Method::POST, "/v1/forms/expense/submissions", &headers, body).await
    };
    let json_type = "application/json";
    let problem = post(json_type, "{\"data\":\n {\"amount\": }}").await.expect_problem(400, "json-malformed");
    assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(2), Some(13)), "{problem}");
    let deep = format!("{{\"data\":\n{}", "[".repeat(64));
    for (body, line, column) in [
        ("{\"data\":\n {\"amount\": 1, \"amount\": 2}}", 2, 27),
        ("{\"data\":\n\"\\ud800\"}", 2, 8),
        (&*deep, 2, 64),
    ] {
        let problem = post(json_type, body).await.expect_problem(400, "json-malformed");
        assert_eq!((&problem["line"], &problem["column"]), (&json!(line), &json!(column)), "{problem}");
    }
    post(json_type, r#"{"data": {"amount": 9007199254740993}}"#).await.expect_problem(422, "number-inexact");
    post(json_type, r#"{"amount": 1}"#).await.expect_problem(400, "body-invalid");
    post(json_type, r#"{"data": {"amount": 1}, "drafts": true}"#).await.expect_problem(400, "body-invalid");
    post("text/plain", r#"{"data": {}}"#).await.expect_problem(415, "media-type-unsupported");
    post(json_type, &format!("{{\"data\": \"{}\"}}", "x".repeat(8192)))
        .await
        .expect_problem(413, "body-too-large");
    post("application/json; charset=utf-8", r#"{"data": {"amount": 1}}"#).await.expect(201);
}

#[tokio::test]
async fn a_number_that_would_be_rounded_is_told_by_its_place_in_the_data_whatever_the_command() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let authorization = bearer(&admin);
    let send = async |method: Method, path: &str, content_type: &str, body: &str| {
        let headers = [("authorization", authorization.as_str()), ("content-type", content_type)];
        server.call(method, path, &headers, body).await
    };
    let draft = json!({"data": {}, "draft": true});
    let made = server.send(&admin, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
    let path = made.header("location").to_owned();
    let transition = format!("{path}/transitions/approve");
    let wrapped = r#"{"data": {"n": 9007199254740993}}"#;
    for (method, path, content_type, body, pointer) in [
        (Method::POST, "/v1/forms/expense/submissions", "application/json", wrapped, "/n"),
        (Method::POST, transition.as_str(), "application/json", wrapped, "/n"),
        (Method::PATCH, path.as_str(), "application/merge-patch+json", r#"{"n": 9007199254740993}"#, "/n"),
        // The patch is the data.
        (Method::PATCH, path.as_str(), "application/merge-patch+json", wrapped, "/data/n"),
    ] {
        let problem = send(method, path, content_type, body).await.expect_problem(422, "number-inexact");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{path} {body}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_method_names_the_known_ones() {
    let server = Server::start().await;
    server.call(Method::GET, "/v1/nothing", &[], "").await.expect_problem(404, "not-found");
    let answer = server.call(Method::DELETE, "/v1/forms/expense", &[], "").await;
    assert_eq!(answer.header("allow"), "GET, PUT, HEAD");
    answer.expect_problem(405, "method-not-allowed");
    let head = server.call(Method::HEAD, "/healthz", &[], "").await.expect(200);
    assert!(head.body.is_empty());
}

/// A client that says more than a command takes means something by it, which did not happen.
#[tokio::test]
async fn commands_that_take_no_body_refuse_one_that_says_something() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let definition = json!({"title": "Expense", "schema": {"type": "object"}});
    server.send(&admin, Method::PUT, "/v1/forms/expense", &definition).await.expect(200);
    let draft = json!({"data": {"amount": 1}, "draft": true});
    let made = server.send(&admin, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
    let submit = format!("{}/submit", made.header("location"));
    let key = json!({"name": "k", "roles": ["auditor"]});
    let key = server.send(&admin, Method::POST, "/v1/api-keys", &key).await.expect(201).json();
    let key = format!("/v1/api-keys/{}", key["id"].as_str().expect("an id"));
    let authorization = bearer(&admin);
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    for (method, path, status) in [
        (Method::POST, "/v1/forms/expense/publish", 201),
        (Method::POST, &*submit, 200),
        (Method::DELETE, &*key, 200),
    ] {
        for (body, code) in
            [("{", "json-malformed"), ("[]", "body-invalid"), (r#"{"why": 1}"#, "body-invalid")]
        {
            server.call(method.clone(), path, &headers, body).await.expect_problem(400, code);
        }
        // Nothing happened, and a body without members says nothing.
        server.call(method, path, &headers, "{}").await.expect(status);
    }
}

/// `?dry_run=true` would publish. Which parameters each route takes, `description` walks.
#[tokio::test]
async fn a_parameter_that_a_command_does_not_know_is_refused_after_what_comes_first() {
    let server = Server::start().await;
    let admin = admin("acme");
    let definition = json!({"title": "T", "schema": {"type": "object"}});
    server.send(&admin, Method::PUT, "/v1/forms/t", &definition).await.expect(200);
    let path = "/v1/forms/t/publish?dry_run=true";
    server.call(Method::POST, path, &[], "").await.expect_problem(401, "unauthenticated");
    let clerk = token("acme", "otto", &["clerk"]);
    server.send(&clerk, Method::POST, path, &Value::Null).await.expect_problem(403, "not-permitted");
    let elsewhere = token("globex", "dora", &["designer"]);
    server.send(&elsewhere, Method::POST, path, &Value::Null).await.expect_problem(404, "tenant-unknown");
    let refused = server.send(&admin, Method::POST, path, &Value::Null).await;
    let refused = refused.expect_problem(400, "query-invalid");
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("`dry_run`")), "{refused}");
    // It was not published, and an empty query string is none.
    server.send(&admin, Method::POST, "/v1/forms/t/publish?", &Value::Null).await.expect(201);
}

#[tokio::test]
async fn a_line_that_is_no_json_is_told_the_line_of_the_request() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let headers = [("authorization", &*bearer(&admin)), ("content-type", "application/x-ndjson")];
    let good = json!({"form": "expense", "data": {"amount": 1}});
    let body = format!("{good}\n\n{{\"form\": }}\n");
    for path in ["/v1/submissions:import", "/v1/submissions:transition"] {
        let answer = server.call(Method::POST, path, &headers, &body).await.expect(200).text();
        let results: Vec<Value> =
            answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(results.len(), 2, "{answer}");
        let told = &results[1];
        assert_eq!(
            (&told["code"], &told["line"], &told["column"]),
            (&json!("json-malformed"), &json!(3), &json!(10))
        );
        assert_eq!(told["detail"], "not JSON: expected value (column 10)");
    }
}
