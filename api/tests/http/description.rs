//! The OpenAPI document against the running routes.

use http::Method;
use serde_json::Value;

use crate::support::{Server, admin};

/// Paths that take no credential. This list may only shrink.
const OPEN: [&str; 5] = ["/", "/healthz", "/metrics", "/openapi.json", "/readyz"];

#[tokio::test]
async fn every_documented_operation_exists_and_asks_for_a_credential() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let open = OPEN.contains(&path.as_str());
            let answer = server.call(method.clone(), path, &[], "").await;
            let expected = if open { 200 } else { 401 };
            assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.text());
            assert_eq!(operation["security"].is_array(), !open, "{method} {path} documents its credential");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations >= 24, "{operations}");
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_status() {
    let server = Server::start().await;
    server.call(Method::GET, "/v1/forms/some-form", &[], "").await.expect(401);
    let text = server.call(Method::GET, "/metrics", &[], "").await.expect(200).text();
    let line = r#"formledger_http_requests_total{method="GET",route="/v1/forms/{form}",status="401"}"#;
    assert!(text.contains(line), "{text}");
    for name in [
        "formledger_http_request_seconds_bucket",
        "formledger_http_connections",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(name), "{name}");
    }
}

#[tokio::test]
async fn readiness_says_how_far_the_read_models_are() {
    let server = Server::start().await;
    let ready: Value = server.call(Method::GET, "/readyz", &[], "").await.expect(200).json();
    assert_eq!(ready["lag_events"], 0);
}

/// The members that a documented object must have and may have.
fn members(document: &Value, name: &str) -> (Vec<String>, Vec<String>) {
    let schema = &document["components"]["schemas"][name];
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let known = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    (required.map(str::to_owned).collect(), known.collect())
}

#[tokio::test]
async fn answers_have_the_documented_members_and_no_others() {
    let server = Server::start().await;
    let admin = admin("acme");
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    server.publish(&admin, "expense").await;
    let recorded = server.submit(&admin, "expense", 1.0).await.expect(201);
    let (path, position) = (recorded.header("location").to_owned(), recorded.json()["position"].clone());
    let get = async |path: &str| {
        server.get(&admin, &format!("{path}?min_position={position}")).await.expect(200).json()
    };
    let events = get("/v1/events").await;
    let list = get("/v1/submissions").await;
    let forms = get("/v1/forms").await;
    let timeline = get(&format!("{path}/timeline")).await;
    for (name, answer) in [
        ("SubmissionRecorded", &recorded.json()),
        ("Submission", &get(&path).await),
        ("SubmissionPage", &list),
        ("Timeline", &timeline),
        ("TimelineEntry", &timeline["items"][0]),
        ("EventPage", &events),
        ("Event", &events["events"][0]),
        ("FormList", &forms),
        ("FormSummary", &forms["items"][0]),
        ("FormVersion", &get("/v1/forms/expense/versions/1").await),
        ("Ledger", &get("/v1/ledger").await),
        ("Counts", &get("/v1/stats").await),
    ] {
        let (required, known) = members(&document, name);
        let given: Vec<String> = answer.as_object().expect("an object").keys().cloned().collect();
        assert!(!known.is_empty(), "{name} is not documented");
        assert!(
            required.iter().all(|member| given.contains(member)),
            "{name} lacks one of {required:?}: {answer}"
        );
        assert!(
            given.iter().all(|member| known.contains(member)),
            "{name} documents {known:?} only: {answer}"
        );
    }
}
