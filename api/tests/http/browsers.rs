//! Programs in browsers that come from another origin.

use http::Method;
use serde_json::json;

use crate::support::{Answer, Server, admin, bearer};

const APP: &str = "https://app.example.com";
const OTHER: &str = "https://other.example.com";

async fn server(origins: &[&str]) -> Server {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Server::start_with(|settings| settings.cors_origins = origins).await
}

async fn preflight(server: &Server, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    server.call(Method::OPTIONS, "/v1/forms/expense/submissions", &headers, "").await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.headers.get("access-control-allow-origin").map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn who_is_let_in_is_told_before_it_asks_and_reads_every_answer() {
    let server = server(&[APP, "http://localhost:5173"]).await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let told = preflight(&server, APP).await.expect(204);
    assert_eq!((allowed(&told), told.header("vary")), (Some(APP), "Origin"));
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(
            told.header("access-control-allow-methods").split(", ").any(|known| known == method),
            "{method}"
        );
    }
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.json();
    let fields = told.header("access-control-allow-headers").to_lowercase();
    for (method, path, operation) in crate::description::operations(&document) {
        for parameter in
            operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "header")
        {
            let name = parameter["name"].as_str().expect("a name").to_lowercase();
            assert!(fields.split(", ").any(|known| known == name), "{method} {path}: {name} may be sent");
        }
    }
    let authorization = bearer(&admin);
    let headers = [("origin", APP), ("authorization", &*authorization), ("content-type", "application/json")];
    let body = json!({"data": {"amount": 1}}).to_string();
    let path = "/v1/forms/expense/submissions";
    let made = server.call(Method::POST, path, &headers, &body).await.expect(201);
    let refused = server.call(Method::POST, path, &[("origin", APP)], "").await.expect(401);
    let missing = server.call(Method::GET, "/nothing", &[("origin", APP)], "").await.expect(404);
    for answer in [made, refused, missing] {
        assert_eq!((allowed(&answer), answer.header("vary")), (Some(APP), "Origin"));
        let read = answer.header("access-control-expose-headers").to_lowercase();
        for name in ["ledger-position", "etag", "location", "retry-after", "x-request-id", "www-authenticate"]
        {
            assert!(read.split(", ").any(|known| known == name), "{name}");
        }
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
}

#[tokio::test]
async fn others_are_answered_as_without_the_option_and_caches_are_told() {
    let server = server(&[APP]).await;
    preflight(&server, OTHER).await.expect(405);
    for headers in [&[("origin", OTHER)][..], &[]] {
        let answer = server.call(Method::GET, "/healthz", headers, "").await.expect(200);
        assert_eq!((allowed(&answer), answer.header("vary")), (None, "Origin"));
    }
    // No question of a browser: it names no method.
    server.call(Method::OPTIONS, "/healthz", &[("origin", APP)], "").await.expect(405);
}

#[tokio::test]
async fn a_star_lets_everybody_in_and_nobody_is_without_the_option() {
    let open = server(&["*"]).await;
    assert_eq!(allowed(&preflight(&open, OTHER).await.expect(204)), Some("*"));
    let closed = server(&[]).await;
    let refused = preflight(&closed, APP).await.expect(405);
    assert!(allowed(&refused).is_none() && !refused.headers.contains_key("vary"));
}
