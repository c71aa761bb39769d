//! Answers that a slow client draws out: they end with the credential, visibly, and a tenant has only so many of them.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::support::{Server, admin, bearer, token_for};

/// More than fits into all buffers between server and client.
const MANY_BYTES: usize = 20_000_000;

/// A server with so much to read: the paths of an export as CSV and as NDJSON, of the events as lines, of a file.
async fn full(server: &Server) -> [String; 4] {
    let admin = admin("acme");
    let definition = json!({
        "title": "Claim", "schema": {"type": "object"},
        "attachments": {"types": ["text/plain"], "max_bytes": MANY_BYTES, "max_count": 1}
    });
    server.send(&admin, Method::PUT, "/v1/forms/claim", &definition).await.expect(200);
    server.send(&admin, Method::POST, "/v1/forms/claim/publish", &Value::Null).await.expect(201);
    let body = json!({"data": {"why": "x".repeat(900_000)}, "draft": true});
    let mut submission = String::new();
    for _ in 0..MANY_BYTES / 900_000 {
        let made = server.send(&admin, Method::POST, "/v1/forms/claim/submissions", &body).await.expect(201);
        submission = made.header("location").to_owned();
    }
    let headers = [("authorization", &*bearer(&admin)), ("content-type", "text/plain")];
    let path = format!("{submission}/attachments");
    let attached =
        server.call(Method::POST, &format!("{path}?name=all"), &headers, &"x".repeat(MANY_BYTES)).await;
    let file = attached.expect(201).header("location").to_owned();
    let at = server.get(&admin, "/v1/ledger").await.expect(200).json()["position"].to_string();
    ["/v1/exports/submissions.csv?", "/v1/exports/submissions.ndjson?sort=updated_at&", "/v1/events?"]
        .map(|path| format!("{path}min_position={at}"))
        .into_iter()
        .chain([file])
        .collect::<Vec<_>>()
        .try_into()
        .expect("four of them")
}

async fn begin(server: &Server, credential: (&str, &str), path: &str) -> (Incoming, usize) {
    let accept = if path.starts_with("/v1/events") { "application/x-ndjson" } else { "*/*" };
    let mut body = loop {
        let response = server.open(Method::GET, path, &[credential, ("accept", accept)], "").await;
        match response.status().as_u16() {
            200 => break response.into_body(),
            // The place of the one before is given back when the server notices that its client left.
            429 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{path}: {other}"),
        }
    };
    let first = piece(&mut body).await.expect("a piece").expect("read");
    (body, first.len())
}

async fn piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("it goes on");
    frame.map(|frame| frame.map(|frame| frame.into_data().expect("data")))
}

#[tokio::test]
async fn what_a_slow_client_is_being_given_breaks_off_when_its_key_is_revoked() {
    let server = Server::start().await;
    let paths = full(&server).await;
    let admin = admin("acme");
    for path in paths {
        let wanted = json!({"name": "slow", "roles": ["admin"]});
        let made = server.send(&admin, Method::POST, "/v1/api-keys", &wanted).await.expect(201);
        let made = made.json();
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        let (key, at) = (text("secret"), format!("/v1/api-keys/{}", text("id")));
        let (mut body, mut bytes) = begin(&server, ("x-api-key", &key), &path).await;
        server.send(&admin, Method::DELETE, &at, &Value::Null).await.expect(200);
        bytes += until_it_breaks_off(&mut body, &path).await;
        assert!(bytes < MANY_BYTES * 3 / 4, "{path}: {bytes} bytes");
    }
}

#[tokio::test]
async fn what_a_slow_client_is_being_given_breaks_off_when_its_token_ends() {
    let server = Server::start_with(|settings| settings.limits.exports_per_tenant_max = 4).await;
    let paths = full(&server).await;
    // It has ended already, but for what clocks may differ.
    let ago = i64::from(formledger_domain::CLOCK_LEEWAY_SECONDS) - 4;
    let bearer = bearer(&token_for("acme", "ada", &["admin"], -ago));
    let mut begun = Vec::new();
    for path in &paths {
        begun.push((path, begin(&server, ("authorization", &bearer), path).await));
    }
    tokio::time::sleep(Duration::from_millis(4_100)).await;
    for (path, (mut body, first)) in begun {
        let bytes = first + until_it_breaks_off(&mut body, path).await;
        assert!(bytes < MANY_BYTES * 3 / 4, "{path}: {bytes} bytes");
    }
}

/// Reads the rest of a body that must not end as if it were whole: its bytes.
async fn until_it_breaks_off(body: &mut Incoming, path: &str) -> usize {
    let mut bytes = 0;
    loop {
        match piece(body).await {
            Some(Ok(piece)) => bytes += piece.len(),
            Some(Err(_)) => return bytes,
            None => panic!("{path} ended as if it were whole, after {bytes} bytes"),
        }
    }
}

#[tokio::test]
async fn a_tenant_with_as_many_exports_as_it_may_have_leaves_places_for_others() {
    let server = Server::start_with(|settings| {
        settings.limits.exports_per_tenant_max = 1;
        settings.limits.exports_max = 2;
    })
    .await;
    let [csv, ndjson, events, _] = full(&server).await;
    let [acme, globex] = ["acme", "globex"].map(admin);
    server.publish(&globex, "claim").await;
    let lines = async |token: &str, path: &str| {
        let headers = [("authorization", &*bearer(token)), ("accept", "application/x-ndjson")];
        server.call(Method::GET, path, &headers, "").await
    };
    for path in [csv, ndjson, events] {
        let (body, _) = begin(&server, ("authorization", &bearer(&acme)), &path).await;
        for second in ["/v1/exports/submissions.ndjson", "/v1/events"] {
            lines(&acme, second).await.expect_problem(429, "too-many-exports");
            lines(&globex, second).await.expect(200);
        }
        server.get(&acme, "/v1/events").await.expect(200);
        drop(body);
    }
}

#[tokio::test]
async fn a_server_with_as_many_exports_as_it_may_have_says_so() {
    let server = Server::start_with(|settings| settings.limits.exports_max = 0).await;
    let acme = admin("acme");
    server.publish(&acme, "claim").await;
    server.get(&acme, "/v1/exports/submissions.csv").await.expect_problem(503, "too-many-exports");
}
