//! API keys: made once, used everywhere a token is, limited, expired and revoked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::audit::{configure, entries};
use crate::support::{Answer, Server, admin, token};

const NEVER: &str = "01a2044c-820f-767f-8936-209666b7162d";

async fn make(server: &Server, admin: &str, body: Value) -> (String, String) {
    let made = server.send(admin, Method::POST, "/v1/api-keys", &body).await.expect(201).json();
    let member = |name: &str| made[name].as_str().expect("text").to_owned();
    (member("id"), member("secret"))
}

async fn with_key(server: &Server, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    server.call(method, path, &[("x-api-key", key), ("content-type", "application/json")], &text).await
}

async fn get(server: &Server, key: &str, path: &str) -> Answer {
    with_key(server, key, Method::GET, path, &Value::Null).await
}

fn in_seconds(seconds: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::seconds(seconds)
}

#[tokio::test]
async fn a_key_speaks_for_itself_with_its_own_roles() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let (id, secret) = make(&server, &admin, json!({"name": "importer", "roles": ["submitter"]})).await;
    let path = "/v1/forms/expense/submissions";
    let body = json!({"data": {"amount": 5}});
    let recorded = with_key(&server, &secret, Method::POST, path, &body).await.expect(201);
    let (location, position) = (recorded.header("location").to_owned(), recorded.json()["position"].clone());
    let own = get(&server, &secret, &format!("{location}?min_position={position}")).await.expect(200).json();
    assert_eq!(own["submitter"], format!("key:{id}"));
    get(&server, &secret, "/v1/events").await.expect_problem(403, "not-permitted");
    get(&server, &secret, "/v1/api-keys").await.expect_problem(403, "not-permitted");
    let events = server.get(&admin, "/v1/events?types=formledger.submission.submitted").await.json();
    assert_eq!(events["events"][0]["actor"], format!("key:{id}"));
}

#[tokio::test]
async fn the_secret_is_in_one_answer_and_nowhere_else() {
    let server = Server::start().await;
    let admin = admin("acme");
    let body = json!({"name": "importer", "roles": ["submitter"]});
    let same = async || {
        let headers = [("idempotency-key", "once")];
        server.send_with(&admin, Method::POST, "/v1/api-keys", &headers, &body).await.expect(201)
    };
    let first = same().await.json();
    let secret = first["secret"].as_str().expect("text").rsplit('_').next().expect("a last part").to_owned();
    assert_eq!(secret.len(), 64, "256 bits in hex");
    let again = same().await.json();
    assert_eq!(again.get("secret"), None);
    assert_eq!((&again["id"], &again["position"]), (&first["id"], &first["position"]));
    let list = server.get(&admin, "/v1/api-keys").await.expect(200);
    assert_eq!(list.json()["items"].as_array().expect("items").len(), 1);
    assert_eq!(list.json()["items"][0]["created_by"], "ada");
    let events = server.get(&admin, "/v1/events").await.expect(200).text();
    assert!(events.contains("formledger.tenant.api-key-created.v1"));
    assert!(!events.contains(&secret) && !list.text().contains(&secret));
}

#[tokio::test]
async fn a_revoked_key_is_over_at_once_with_its_feed() {
    let server = Server::start().await;
    let admin = admin("acme");
    let (id, secret) = make(&server, &admin, json!({"name": "reader", "roles": ["auditor"]})).await;
    get(&server, &secret, "/v1/ledger").await.expect(200);
    let feed = server.open(Method::GET, "/v1/feed?after=0", &[("x-api-key", &secret)], "").await;
    assert_eq!(feed.status(), 200);
    let mut feed = feed.into_body();
    let mut text = String::new();
    // Until its own making went by: a feed that is over before it has begun would show nothing.
    while !text.contains("api-key-created") {
        let frame =
            tokio::time::timeout(Duration::from_secs(20), feed.frame()).await.expect("the feed goes on");
        let frame = frame.expect("it is open").expect("well");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("no trailers")));
    }
    let path = format!("/v1/api-keys/{id}");
    let revoked = server.send(&admin, Method::DELETE, &path, &Value::Null).await.expect(200).json();
    get(&server, &secret, "/v1/ledger").await.expect_problem(401, "unauthenticated");
    let rest = tokio::time::timeout(Duration::from_secs(20), feed.collect()).await.expect("the feed ends");
    text.push_str(&String::from_utf8_lossy(&rest.expect("well").to_bytes()));
    assert!(!text.contains("api-key-revoked"), "{text}");
    let again = server.send(&admin, Method::DELETE, &path, &Value::Null).await.expect(200).json();
    assert_eq!(again["position"], revoked["position"], "nothing more is recorded");
    let listed = server.get(&admin, "/v1/api-keys").await.expect(200).json();
    assert_eq!(listed["items"][0]["revoked_by"], "ada");
}

#[tokio::test]
async fn a_key_that_ends_while_its_request_waits_is_shown_nothing_and_records_nothing() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    configure(&server, true, true, true).await;
    let paths = [
        "/v1/ledger",
        "/v1/submissions",
        "/v1/tasks",
        "/v1/events",
        "/v1/forms/expense",
        "/v1/exports/submissions.csv",
        "/v1/submissions?at_position=1",
    ];
    for path in paths {
        let (id, secret) = make(&server, &admin, json!({"name": "waits", "roles": ["auditor"]})).await;
        let head = server.get(&admin, "/v1/ledger").await.json()["position"].as_u64().expect("a position");
        let sign = if path.contains('?') { '&' } else { '?' };
        // Released by the very event that ends the key.
        let path = format!("{path}{sign}min_position={}", head + 1);
        let headers = [("x-api-key", secret.as_str()), ("prefer", "wait=30")];
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server
                .send(&admin, Method::DELETE, &format!("/v1/api-keys/{id}"), &Value::Null)
                .await
                .expect(200);
        };
        let (answer, ()) = tokio::join!(server.call(Method::GET, &path, &headers, ""), revoke);
        answer.expect_problem(401, "unauthenticated");
    }

    let (id, secret) = make(&server, &admin, json!({"name": "holds back", "roles": ["submitter"]})).await;
    let mut held = held_back(&server, &secret, "/v1/forms/expense/submissions", 21).await;
    server.send(&admin, Method::DELETE, &format!("/v1/api-keys/{id}"), &Value::Null).await.expect(200);
    held.write_all(br#"{"data":{"amount":5}}"#).await.expect("writes");
    let mut answer = [0; 12];
    held.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer, b"HTTP/1.1 401");
}

/// A command whose body of some bytes does not come, once the server has found its credential good and waits for it.
async fn held_back(server: &Server, key: &str, path: &str, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.expect("connects");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
         content-length: {bytes}\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.expect("is asked for the body");
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "{go_on:?}");
    stream
}

#[tokio::test]
async fn what_a_key_is_refused_is_audited_though_it_ended_meanwhile() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    configure(&server, true, false, false).await;
    let (id, secret) = make(&server, &admin, json!({"name": "tries", "roles": ["submitter"]})).await;
    let path = format!("/v1/submissions/{NEVER}/comments");
    let mut held = held_back(&server, &secret, &path, 13).await;
    server.send(&admin, Method::DELETE, &format!("/v1/api-keys/{id}"), &Value::Null).await.expect(200);
    held.write_all(br#"{"text":"hi"}"#).await.expect("writes");
    let mut answer = [0; 10];
    held.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer, b"HTTP/1.1 4");
    let found = entries(&server, 0, &format!("key:{id}")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["data"]["attempt"]["target"], path);
}

#[tokio::test]
async fn an_expired_unknown_or_mangled_key_is_refused_in_the_same_words() {
    let server = Server::start().await;
    let admin = admin("acme");
    let soon = in_seconds(2);
    let body = json!({"name": "short", "roles": ["auditor"], "expires_at": soon});
    let (id, secret) = make(&server, &admin, body).await;
    get(&server, &secret, "/v1/ledger").await.expect(200);
    let (_, other) = make(&server, &admin, json!({"name": "long", "roles": ["auditor"]})).await;
    let left = (soon - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(left).await;
    let simple = id.replace('-', "");
    let random = other.rsplit('_').next().expect("a last part");
    let mut details = Vec::new();
    for key in [
        &secret,
        &format!("flk_acme_{simple}_{random}"),
        &other.replace("acme", "globex"),
        &other[..other.len() - 1].to_owned(),
        &format!("flk_acme_{}_{random}", NEVER.replace('-', "")),
        &"k".to_owned(),
    ] {
        let refused = get(&server, key, "/v1/ledger").await;
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        details.push(refused.expect_problem(401, "unauthenticated")["detail"].clone());
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    get(&server, &other, "/v1/ledger").await.expect(200);
}

#[tokio::test]
async fn two_credentials_in_one_request_are_refused() {
    let server = Server::start().await;
    let admin = admin("acme");
    let (_, secret) = make(&server, &admin, json!({"name": "k", "roles": ["auditor"]})).await;
    let both = [("x-api-key", secret.as_str()), ("authorization", &crate::support::bearer(&admin))];
    server.call(Method::GET, "/v1/ledger", &both, "").await.expect_problem(400, "credential-ambiguous");
}

#[tokio::test]
async fn a_key_for_some_forms_reaches_these_and_their_submissions_only() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    server.publish(&admin, "travel").await;
    let theirs = server.submit(&admin, "travel", 1.0).await.expect(201);
    let mine = server.submit(&admin, "expense", 2.0).await.expect(201);
    let at = format!("min_position={}", mine.json()["position"]);
    let (mine, theirs) = (mine.header("location").to_owned(), theirs.header("location").to_owned());
    let body = json!({"name": "k", "roles": ["admin"], "forms": ["expense"]});
    let (_, key) = make(&server, &admin, body).await;
    let data = json!({"data": {"amount": 1}});
    let call =
        async |method: Method, path: &str, body: &Value| with_key(&server, &key, method, path, body).await;
    for path in [
        &mine,
        &format!("{mine}/timeline"),
        &format!("/v1/submissions?form=expense&{at}"),
        "/v1/forms/expense",
        "/v1/forms/expense/versions/1",
        "/v1/events?form=expense",
        "/v1/stats?form=expense",
        "/v1/tasks?form=expense",
        "/v1/exports/submissions.csv?form=expense",
    ] {
        call(Method::GET, path, &Value::Null).await.expect(200);
    }
    call(Method::POST, "/v1/forms/expense/submissions", &data).await.expect(201);
    for path in [&theirs, &format!("{theirs}/timeline"), &format!("{theirs}?at_position=9")] {
        call(Method::GET, path, &Value::Null).await.expect_problem(404, "not-found");
    }
    for (method, path) in [
        (Method::GET, "/v1/submissions"),
        (Method::GET, "/v1/submissions?form=travel"),
        (Method::GET, "/v1/events"),
        (Method::GET, "/v1/feed?form=travel"),
        (Method::GET, "/v1/stats"),
        (Method::GET, "/v1/forms"),
        (Method::GET, "/v1/forms/travel"),
        (Method::GET, "/v1/ledger"),
        (Method::GET, "/v1/api-keys"),
        (Method::POST, "/v1/api-keys"),
        (Method::PUT, "/v1/forms/travel"),
        (Method::POST, "/v1/forms/travel/retire"),
        (Method::POST, "/v1/forms/travel/submissions"),
    ] {
        call(method, path, &data).await.expect_problem(403, "not-permitted");
    }
    for act in ["comments", "withdraw", "claim", "submit"] {
        let path = format!("{theirs}/{act}");
        call(Method::POST, &path, &Value::Null).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn only_an_admin_keeps_keys_and_none_reaches_beyond_its_tenant_or_its_maker() {
    let server = Server::start().await;
    let (acme, globex) = (admin("acme"), admin("globex"));
    server.publish(&globex, "expense").await;
    let body = |roles: &[&str]| json!({"name": "k", "roles": roles});
    let post = async |token: &str, body: &Value| server.send(token, Method::POST, "/v1/api-keys", body).await;
    let (id, _) = make(&server, &acme, body(&["admin"])).await;
    for role in ["designer", "submitter", "reviewer", "auditor", "operator", "clerk"] {
        let somebody = token("acme", "eve", &[role]);
        post(&somebody, &body(&["auditor"])).await.expect_problem(403, "not-permitted");
        server.get(&somebody, "/v1/api-keys").await.expect_problem(403, "not-permitted");
        let path = format!("/v1/api-keys/{id}");
        server
            .send(&somebody, Method::DELETE, &path, &Value::Null)
            .await
            .expect_problem(403, "not-permitted");
    }
    post(&acme, &body(&["admin", "operator"])).await.expect_problem(422, "api-key-invalid");
    post(&acme, &body(&[])).await.expect_problem(422, "api-key-invalid");
    post(&acme, &json!({"name": "k"})).await.expect_problem(400, "body-invalid");
    let past = json!({"name": "k", "roles": ["auditor"], "expires_at": in_seconds(-1)});
    post(&acme, &past).await.expect_problem(422, "api-key-invalid");

    for path in [format!("/v1/api-keys/{id}"), format!("/v1/api-keys/{NEVER}"), "/v1/api-keys/k".to_owned()] {
        let missing = server.send(&globex, Method::DELETE, &path, &Value::Null).await;
        missing.expect_problem(404, "not-found");
    }
    assert_eq!(server.get(&globex, "/v1/api-keys").await.expect(200).json()["items"], json!([]));

    let end = in_seconds(600);
    let mut ending = body(&["admin"]);
    ending["expires_at"] = json!(end);
    let (_, key) = make(&server, &acme, ending.clone()).await;
    let mint = async |body: &Value| with_key(&server, &key, Method::POST, "/v1/api-keys", body).await;
    mint(&body(&["auditor"])).await.expect_problem(422, "api-key-invalid");
    mint(&ending).await.expect(201);
}

#[tokio::test]
async fn with_a_revoked_key_end_the_keys_that_it_made_and_theirs_with_their_feeds() {
    let server = Server::start().await;
    let admin = admin("acme");
    let body = |name: &str| json!({"name": name, "roles": ["admin"]});
    let (id, first) = make(&server, &admin, body("first")).await;
    let (_, other) = make(&server, &admin, body("other")).await;
    let mint = async |key: &str, name: &str| {
        let made = with_key(&server, key, Method::POST, "/v1/api-keys", &body(name)).await.expect(201);
        made.json()["secret"].as_str().expect("text").to_owned()
    };
    let second = mint(&first, "second").await;
    let third = mint(&second, "third").await;
    let by_other = mint(&other, "by the other").await;
    let feed = server.open(Method::GET, "/v1/feed", &[("x-api-key", &third)], "").await;
    assert_eq!(feed.status(), 200);
    server.send(&admin, Method::DELETE, &format!("/v1/api-keys/{id}"), &Value::Null).await.expect(200);
    for key in [&first, &second, &third] {
        get(&server, key, "/v1/ledger").await.expect_problem(401, "unauthenticated");
    }
    for key in [&other, &by_other] {
        get(&server, key, "/v1/ledger").await.expect(200);
    }
    let rest = tokio::time::timeout(Duration::from_secs(20), feed.into_body().collect()).await;
    rest.expect("the feed ends").expect("well");
    let listed = server.get(&admin, "/v1/api-keys").await.expect(200).json();
    let items = listed["items"].as_array().expect("items").iter();
    let ended: Vec<&Value> = items.filter(|key| key["revoked_by"] == "ada").map(|key| &key["name"]).collect();
    assert_eq!(ended, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_repeated_request_of_a_key_gets_its_first_answer() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let (_, one) = make(&server, &admin, json!({"name": "one", "roles": ["submitter"]})).await;
    let (_, two) = make(&server, &admin, json!({"name": "two", "roles": ["submitter"]})).await;
    let submit = async |key: &str| {
        let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", "k")];
        let body = json!({"data": {"amount": 1}}).to_string();
        let path = "/v1/forms/expense/submissions";
        server.call(Method::POST, path, &headers, &body).await.expect(201).json()
    };
    let first = submit(&one).await;
    assert_eq!(submit(&one).await, first);
    assert_ne!(submit(&two).await["submission_id"], first["submission_id"], "a key's keys are its own");
}
