//! Queries: waiting for a position, who sees what, pages of events, exports.

use http::Method;
use serde_json::{Value, json};

use crate::description::operations;
use crate::support::{Server, admin, bearer, token};

#[tokio::test]
async fn a_query_waits_for_a_position_or_says_how_far_it_is() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let position =
        server.submit(&admin, "expense", 5.0).await.json()["position"].as_u64().expect("a position");
    let list = server
        .get(&admin, &format!("/v1/submissions?form=expense&min_position={position}"))
        .await
        .expect(200);
    assert_eq!(list.json()["items"].as_array().map(Vec::len), Some(1));
    assert!(list.header("ledger-position").parse::<u64>().expect("a number") >= position);
    let authorization = bearer(&admin);
    for path in ["/v1/submissions", "/v1/forms", "/v1/stats", "/v1/ledger", "/v1/events"] {
        let headers =
            [("authorization", authorization.as_str()), ("ledger-min-position", "999"), ("prefer", "wait=0")];
        let answer = server.call(Method::GET, path, &headers, "").await;
        assert_eq!(answer.header("retry-after"), "1");
        let problem = answer.expect_problem(503, "replica-behind");
        assert!(problem["position"].as_u64().expect("a position") <= position, "{path}");
    }
}

/// Every query, by the description, but for the one of a file, which is of any type.
#[tokio::test]
async fn a_query_is_answered_as_accepted_or_says_what_it_is_served_as() {
    let server = Server::start().await;
    let admin = token("acme", "ada", &["admin", "operator"]);
    server.publish(&admin, "expense").await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let authorization = bearer(&admin);
    let mut queries = 0;
    for (method, path, operation) in operations(&document) {
        if method != Method::GET || !path.starts_with("/v1/") {
            continue;
        }
        queries += 1;
        let is_file = path.ends_with("{sha256}");
        let at = path.replace(['{', '}'], "");
        let asked = |accept: &str| [("authorization", authorization.clone()), ("accept", accept.to_owned())];
        let status = async |accept: &str| {
            let headers = asked(accept);
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            server.open(Method::GET, &at, &headers, "").await.status().as_u16()
        };
        assert_eq!(status("image/png, text/plain;q=0.5").await == 406, !is_file, "{path}");
        let served = operation["responses"]["200"]["content"].as_object().expect("a body");
        for media_type in served.keys().map(String::as_str).chain(["", "*/*;q=0.1"]) {
            assert_ne!(status(media_type).await, 406, "{path} {media_type}");
        }
    }
    assert!(queries > 20, "{queries}");
    let headers = [("authorization", &*authorization), ("accept", "text/html")];
    let refused = server.call(Method::GET, "/v1/exports/submissions.csv", &headers, "").await;
    assert_eq!(
        refused.expect_problem(406, "not-acceptable")["detail"],
        "this resource is served as `text/csv`"
    );
}

#[tokio::test]
async fn a_submission_is_readable_as_soon_as_it_was_acknowledged_and_as_it_was_before() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let draft = json!({"data": {"amount": 1}, "draft": true});
    let made = server.send(&admin, Method::POST, "/v1/forms/expense/submissions", &draft).await.expect(201);
    let (path, before) = (made.header("location").to_owned(), made.json()["position"].clone());
    let now = server.get(&admin, &path).await.expect(200);
    assert_eq!(now.json()["data"], json!({"amount": 1}));
    assert_eq!(now.header("etag"), "\"1\"");
    let after =
        server.send(&admin, Method::PATCH, &path, &json!({"amount": 2})).await.expect(200).json()["position"]
            .clone();
    let then = server.get(&admin, &format!("{path}?at_position={before}")).await.expect(200).json();
    assert_eq!((&then["data"], &then["sequence"]), (&json!({"amount": 1}), &json!(1)));
    let now = server.get(&admin, &format!("{path}?min_position={after}")).await.expect(200).json();
    assert_eq!(now["data"], json!({"amount": 2}));
    server.get(&admin, &format!("{path}?at_position=1")).await.expect_problem(404, "not-found");
    server.get(&admin, &format!("{path}?at_position=99")).await.expect_problem(400, "cursor-ahead");
    let timeline = server.get(&admin, &format!("{path}/timeline")).await.expect(200).json();
    assert_eq!(timeline["items"][1]["changes"], json!([{"pointer": "/amount", "from": 1, "to": 2}]));
}

#[tokio::test]
async fn submitters_see_what_they_submitted_and_nothing_else() {
    let server = Server::start().await;
    let (admin, sam) = (admin("acme"), token("acme", "sam", &["submitter"]));
    server.publish(&admin, "expense").await;
    let others = server.submit(&admin, "expense", 1.0).await.expect(201).header("location").to_owned();
    let own = server.submit(&sam, "expense", 2.0).await.expect(201);
    let (path, position) = (own.header("location").to_owned(), own.json()["position"].clone());
    server.get(&sam, &others).await.expect_problem(404, "not-found");
    server.get(&sam, &format!("{others}/timeline")).await.expect_problem(404, "not-found");
    server.get(&sam, &path).await.expect(200);
    let list = server.get(&sam, &format!("/v1/submissions?min_position={position}")).await.expect(200).json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    server.get(&sam, "/v1/submissions?submitter=ada").await.expect_problem(403, "not-permitted");
    let export = server
        .get(&sam, &format!("/v1/exports/submissions.ndjson?min_position={position}"))
        .await
        .expect(200);
    assert_eq!(export.text().lines().count(), 1);
    for path in ["/v1/events", "/v1/feed", "/v1/stats"] {
        server.get(&sam, path).await.expect_problem(403, "not-permitted");
    }
    server.get(&sam, "/v1/forms/expense").await.expect(200);
}

#[tokio::test]
async fn drafts_of_forms_are_for_those_who_read_everything() {
    let server = Server::start().await;
    let (admin, sam) = (admin("acme"), token("acme", "sam", &["submitter"]));
    server.publish(&admin, "expense").await;
    let draft = json!({"title": "Secret", "schema": {"type": "object"}, "rules": [{"id": "broken"}]});
    for form in ["expense", "unpublished"] {
        let path = format!("/v1/forms/{form}");
        let saved = server.send(&admin, Method::PUT, &path, &draft).await.expect(200).json();
        let path = format!("{path}?min_position={}", saved["position"]);
        let seen = server.get(&admin, &path).await.expect(200).json();
        assert_eq!((&seen["draft"]["title"], &seen["has_draft"]), (&json!("Secret"), &json!(true)));
        let again = server.get(&admin, &path).await.expect(200).json();
        assert!(!seen["problems"].as_array().expect("an array").is_empty());
        assert_eq!(seen["problems"], again["problems"], "remembered");
    }
    let seen = server.get(&sam, "/v1/forms/expense").await.expect(200).json();
    assert_eq!(
        (&seen["draft"], &seen["has_draft"], &seen["problems"]),
        (&json!(null), &json!(false), &json!([]))
    );
    server.get(&sam, "/v1/forms/unpublished").await.expect_problem(404, "not-found");
    let ids = |list: serde_json::Value| -> Vec<serde_json::Value> {
        list["items"].as_array().expect("an array").iter().map(|form| form["form"].clone()).collect()
    };
    assert_eq!(ids(server.get(&sam, "/v1/forms").await.expect(200).json()), ["expense"]);
    assert_eq!(ids(server.get(&admin, "/v1/forms").await.expect(200).json()), ["expense", "unpublished"]);
}

#[tokio::test]
async fn a_slash_at_the_end_names_nothing_and_parameters_are_percent_decoded() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    for path in ["/v1/forms/", "/v1/forms/expense/", "/v1/ledger/", "/healthz/"] {
        server.get(&admin, path).await.expect_problem(404, "not-found");
    }
    server.send(&admin, Method::POST, "/v1/forms/", &json!({})).await.expect_problem(404, "not-found");
    server.get(&admin, "/v1/forms/%65xpense").await.expect(200);
    for path in ["/v1/forms/%ff", "/v1/forms/expense%2F"] {
        server.get(&admin, path).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn events_come_in_pages_and_as_lines_and_say_where_to_go_on() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    for amount in 0..5 {
        server.submit(&admin, "expense", f64::from(amount)).await.expect(201);
    }
    let page = server.get(&admin, "/v1/events?limit=3").await.expect(200).json();
    assert_eq!((&page["position"], &page["next_after"]), (&json!(8), &json!(3)));
    assert_eq!(page["events"][0]["type"], "formledger.tenant.registered.v1");
    let rest = server.get(&admin, "/v1/events?after=3").await.expect(200).json();
    assert_eq!(rest["events"].as_array().map(Vec::len), Some(5));
    assert!(rest.get("next_after").is_none());
    let submitted = "/v1/events?types=formledger.submission.submitted&form=expense&limit=2";
    let page = server.get(&admin, submitted).await.expect(200).json();
    assert_eq!((&page["events"][1]["position"], &page["next_after"]), (&json!("5"), &json!(5)));
    let headers = [("authorization", &*bearer(&admin)), ("accept", "application/x-ndjson")];
    let lines = server.call(Method::GET, "/v1/events?after=2", &headers, "").await.expect(200);
    assert_eq!((lines.header("content-type"), lines.text().lines().count()), ("application/x-ndjson", 6));
    let lines = server.call(Method::GET, "/v1/events?limit=5000", &headers, "").await.expect(200);
    assert_eq!(lines.text().lines().count(), 8);
    for limit in ["0", "-1", "many", ""] {
        for headers in [&headers[..1], &headers[..]] {
            let answer = server.call(Method::GET, &format!("/v1/events?limit={limit}"), headers, "").await;
            answer.expect_problem(400, "query-invalid");
        }
    }
    server.get(&admin, "/v1/events?after=9").await.expect_problem(400, "cursor-ahead");
    server.get(&admin, "/v1/events?limit=0").await.expect_problem(400, "query-invalid");
    server.get(&admin, "/v1/events?limt=5").await.expect_problem(400, "query-invalid");
    let headers = [("authorization", &*bearer(&admin)), ("accept", "image/png")];
    server.call(Method::GET, "/v1/events", &headers, "").await.expect_problem(406, "not-acceptable");
}

#[tokio::test]
async fn pages_of_large_things_end_early_and_say_where_to_go_on() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let body = json!({"data": {"amount": 1, "note": "x".repeat(1_000_000)}});
    let mut position = 0;
    for _ in 0..6 {
        let made =
            server.send(&admin, Method::POST, "/v1/forms/expense/submissions", &body).await.expect(201);
        position = made.json()["position"].as_u64().expect("a position");
    }
    let submitted = "/v1/events?limit=1000&types=formledger.submission.submitted";
    let first = server.get(&admin, submitted).await.expect(200).json();
    assert_eq!(first["events"].as_array().map(Vec::len), Some(5));
    let next = format!("{submitted}&after={}", first["next_after"]);
    let last = server.get(&admin, &next).await.expect(200).json();
    assert_eq!((last["events"].as_array().map(Vec::len), last.get("next_after")), (Some(1), None));
    let path = format!("/v1/submissions?limit=500&min_position={position}");
    let first = server.get(&admin, &path).await.expect(200).json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(5));
    let next = format!("{path}&cursor={}", first["next_cursor"].as_str().expect("there is more"));
    let last = server.get(&admin, &next).await.expect(200).json();
    assert_eq!((last["items"].as_array().map(Vec::len), last.get("next_cursor")), (Some(1), None));
    let export = server.get(&admin, "/v1/exports/submissions.ndjson").await.expect(200);
    assert_eq!(export.text().lines().count(), 6);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged_and_bad_filters_are_named() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let mut position = 0;
    for amount in [30.0, 10.0, 20.0] {
        position =
            server.submit(&admin, "expense", amount).await.json()["position"].as_u64().expect("a position");
    }
    let first = format!(
        "/v1/submissions?form=expense&where=/amount%3E%3D20&sort=/amount&limit=1&min_position={position}"
    );
    let page = server.get(&admin, &first).await.expect(200).json();
    assert_eq!(page["items"][0]["data"]["amount"], 20);
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let page = server.get(&admin, &format!("{first}&cursor={cursor}")).await.expect(200).json();
    assert_eq!(page["items"][0]["data"]["amount"], 30);
    assert!(page.get("next_cursor").is_none());
    server.get(&admin, "/v1/submissions?cursor=x").await.expect_problem(400, "cursor-invalid");
    server
        .get(&admin, "/v1/submissions?form=expense&where=/other=1")
        .await
        .expect_problem(400, "field-not-indexed");
    server
        .get(&admin, "/v1/submissions?form=expense&where=amount")
        .await
        .expect_problem(400, "query-invalid");
    server.get(&admin, "/v1/submissions?limit=100000").await.expect_problem(400, "query-invalid");
    server
        .get(&admin, "/v1/exports/submissions.csv?where=/amount=1")
        .await
        .expect_problem(400, "query-invalid");
    let conditions =
        |count: usize| format!("/v1/submissions?form=expense{}", "&where=/amount=1".repeat(count));
    server.get(&admin, &conditions(16)).await.expect(200);
    server.get(&admin, &conditions(17)).await.expect_problem(400, "query-invalid");
    for parameter in ["limit=1", "cursor=x"] {
        let path = format!("/v1/exports/submissions.ndjson?{parameter}");
        server.get(&admin, &path).await.expect_problem(400, "query-invalid");
    }
    let csv = server.get(&admin, "/v1/exports/submissions.csv?form=expense").await.expect(200);
    assert_eq!(csv.text().lines().count(), 4);
    assert!(csv.text().lines().nth(1).expect("a row").contains("\"{\"\"amount\"\":20}\""));
}

#[tokio::test]
async fn what_was_just_published_is_indexed_for_who_asks_at_once() {
    let server = Server::start().await;
    let admin = admin("acme");
    for form in ["one", "two", "three"] {
        let paths = ["/v1/submissions", "/v1/exports/submissions.ndjson"];
        for (field, path) in ["/a", "/b"].into_iter().zip(paths) {
            let properties = json!({"a": {"type": "integer"}, "b": {"type": "integer"}});
            let schema = json!({"type": "object", "properties": properties});
            let definition = json!({"title": "New", "schema": schema, "index": [field]});
            server.send(&admin, Method::PUT, &format!("/v1/forms/{form}"), &definition).await.expect(200);
            let publish = format!("/v1/forms/{form}/publish");
            server.send(&admin, Method::POST, &publish, &Value::Null).await.expect(201);
            server.get(&admin, &format!("{path}?form={form}&sort={field}")).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_submission_that_the_client_has_is_not_sent_again_until_something_happens_to_it() {
    let server = Server::start().await;
    let admin = admin("acme");
    let definition = json!({
        "title": "Claim", "schema": {"type": "object"}, "attachments": {"types": ["text/plain"]},
        "rules": [{"id": "size", "kind": "decision", "when": "true", "then": {"is": 1}}],
        "workflow": {
            "initial": "review",
            "states": {"review": {"attach": true, "edit": [""], "editors": ["admin"]}, "done": {"final": true}},
            "transitions": [{"name": "sign", "from": "review", "to": "done", "roles": ["admin"],
                             "signature": {"meaning": "seen"}}]
        }
    });
    server.send(&admin, Method::PUT, "/v1/forms/claim", &definition).await.expect(200);
    server.send(&admin, Method::POST, "/v1/forms/claim/publish", &Value::Null).await.expect(201);
    let path = "/v1/forms/claim/submissions";
    let made = server.send(&admin, Method::POST, path, &json!({"data": {}})).await.expect(201);
    let place = made.header("location").to_owned();
    let authorization = bearer(&admin);
    let ask = async |path: &str, known: &str| {
        let headers = [("authorization", &*authorization), ("if-none-match", known)];
        server.call(Method::GET, path, &headers, "").await
    };
    let mut position = made.json()["position"].clone();
    let mut shown = server.get(&admin, &format!("{place}?min_position={position}")).await.expect(200);
    let acts: [(Method, &str, &str, &str); 4] = [
        (Method::POST, "/comments", "application/json", r#"{"text": "well"}"#),
        (Method::POST, "/attachments?name=a.txt", "text/plain", "a"),
        (Method::PATCH, "", "application/merge-patch+json", r#"{"a": 1}"#),
        (
            Method::POST,
            "/transitions/sign",
            "application/json",
            r#"{"signature": {"name": "Ada", "meaning": "seen"}}"#,
        ),
    ];
    for (method, act, media_type, body) in acts {
        let tag = shown.header("etag").to_owned();
        for known in [&*tag, "*", &*format!("W/{tag}"), &*format!("\"0\", {tag}")] {
            let same = ask(&place, known).await.expect(304);
            assert!(same.body.is_empty() && same.header("etag") == tag, "{known}");
            assert!(same.header("ledger-position").parse::<u64>().is_ok());
            assert_eq!(same.headers.get("content-type"), None);
        }
        let before = position;
        let headers = [("authorization", &*authorization), ("content-type", media_type)];
        let done = server.call(method, &format!("{place}{act}"), &headers, body).await;
        position = done.json()["position"].clone();
        let now = ask(&format!("{place}?min_position={position}"), &tag).await.expect(200);
        assert!(now.header("etag") != tag && now.body != shown.body, "{act}: {}", now.text());
        ask(&format!("{place}?at_position={before}"), &tag).await.expect(304);
        shown = now;
    }
    let stranger = bearer(&token("acme", "eve", &["submitter"]));
    let headers = [("authorization", &*stranger), ("if-none-match", "*")];
    server.call(Method::GET, &place, &headers, "").await.expect_problem(404, "not-found");
}

/// One thing has one address, which caches, logs and the audit trail agree on.
#[tokio::test]
async fn an_id_is_spelt_as_it_is_answered_and_otherwise_names_nothing() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let made = server.submit(&admin, "expense", 1.0).await.expect(201).json();
    let replay = json!({"kind": "feed", "speed": "max"});
    let replay = server.send(&admin, Method::POST, "/v1/replays", &replay).await.expect(201).json();
    let at = format!("min_position={}", made["position"]);
    for (id, path) in [(&made["submission_id"], "/v1/submissions"), (&replay["replay_id"], "/v1/replays")] {
        let id = id.as_str().expect("an id");
        for spelt in [id.to_owned(), id.to_uppercase()] {
            server.get(&admin, &format!("{path}/{spelt}")).await.expect(200);
        }
        for other in [id.replace('-', ""), format!("%7B{id}%7D"), format!("urn:uuid:{id}")] {
            server.get(&admin, &format!("{path}/{other}")).await.expect_problem(404, "not-found");
        }
    }
    let id = made["submission_id"].as_str().expect("an id").replace('-', "");
    let comment = json!({"text": "a word"});
    let path = format!("/v1/submissions/{id}/comments");
    server.send(&admin, Method::POST, &path, &comment).await.expect_problem(404, "not-found");
    let path = format!("/v1/events?submission={id}&{at}");
    server.get(&admin, &path).await.expect_problem(404, "not-found");
}
