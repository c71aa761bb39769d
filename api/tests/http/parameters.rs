//! Parameters, numbers and times as clients write them: one spelling each, and of another one it is said what would be right.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, admin, bearer, token};

/// A 404 would say that there is no such form, where nobody asked for one.
#[tokio::test]
async fn a_filter_by_a_form_that_cannot_be_called_so_is_refused_and_not_missing() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    for path in [
        "/v1/submissions?",
        "/v1/tasks?",
        "/v1/stats?",
        "/v1/events?",
        "/v1/feed?",
        "/v1/exports/submissions.csv?",
        "/v1/exports/submissions.ndjson?",
        "/v1/diff?from_position=1&",
    ] {
        for form in ["", "a%20b", "-x"] {
            let path = format!("{path}form={form}");
            let refused = server.get(&admin, &path).await.expect_problem(400, "query-invalid");
            let detail = refused["detail"].as_str().expect("a text");
            assert!(detail.starts_with("`form`: ") && detail.contains("use 1 to 128 of"), "{path}: {detail}");
        }
    }
    // In a path it is a resource like any other that is not there.
    server.get(&admin, "/v1/forms/-x").await.expect_problem(404, "not-found");
}

/// A feed of nothing looks like one in which nothing happens.
#[tokio::test]
async fn a_type_that_no_event_has_is_refused_with_the_one_that_was_meant() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let replay = json!({"kind": "feed", "speed": "max"});
    let replay = server.send(&admin, Method::POST, "/v1/replays", &replay).await.expect(201).json();
    let replay = format!("/v1/replays/{}/feed", replay["replay_id"].as_str().expect("an id"));
    for path in ["/v1/events", "/v1/feed", &*replay] {
        for types in
            ["submitted", "formledger.submission.submited.v2", "formledger.form.published,submitted.v1"]
        {
            let path = format!("{path}?types={types}");
            let refused = server.get(&admin, &path).await.expect_problem(400, "query-invalid");
            let detail = refused["detail"].as_str().expect("a text");
            assert!(detail.contains("did you mean `formledger.submission.submitted`?"), "{path}: {detail}");
        }
    }
    let all = "/v1/events?types=formledger.form.published.v1,formledger.form.draft-saved";
    assert_eq!(server.get(&admin, all).await.expect(200).json()["events"].as_array().map(Vec::len), Some(2));
    // What a later version may record, and what a replay tells at its end.
    for types in ["formledger.form.published.v2", "formledger.webhook.sent", "formledger.replay.summary.v1"] {
        let none = server.get(&admin, &format!("/v1/events?types={types}")).await.expect(200).json();
        assert_eq!(none["events"], json!([]), "{types}");
        let told = server.get(&admin, &format!("{replay}?types={types}")).await.expect(200).text();
        assert_eq!(told.matches("\nevent: ").count() + usize::from(told.starts_with("event: ")), 1, "{told}");
        assert!(told.contains("event: formledger.replay.summary.v1"), "{told}");
    }
}

#[tokio::test]
async fn a_query_that_is_not_utf_8_is_refused_and_never_recorded_mended() {
    let server = Server::start().await;
    let admin = admin("acme");
    let definition =
        json!({"title": "T", "schema": {"type": "object"}, "attachments": {"types": ["text/plain"]}});
    server.send(&admin, Method::PUT, "/v1/forms/t", &definition).await.expect(200);
    server.send(&admin, Method::POST, "/v1/forms/t/publish", &Value::Null).await.expect(201);
    let draft = json!({"data": {}, "draft": true});
    let made = server.send(&admin, Method::POST, "/v1/forms/t/submissions", &draft).await.expect(201);
    let path = format!("{}/attachments?name=%ff", made.header("location"));
    let headers = [("authorization", &*bearer(&admin)), ("content-type", "text/plain")];
    server.call(Method::POST, &path, &headers, "a").await.expect_problem(400, "query-invalid");
    let refused = server.get(&admin, "/v1/submissions?q=%ff").await.expect_problem(400, "query-invalid");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("UTF-8")), "{refused}");
    server.get(&admin, "/v1/submissions?q=%C3%A9").await.expect(200);
}

#[tokio::test]
async fn a_time_is_rfc_3339_in_parameters_and_in_bodies() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let made = server.submit(&admin, "expense", 1.0).await.expect(201);
    let delegate = format!("{}/delegate", made.header("location"));
    for time in
        ["2026-1-31T12:00:00Z", "2026-01-31T12:00:00 Z", "-0001-01-31T12:00:00Z", "2026-01-31", "soon"]
    {
        let in_query = time.replace(' ', "%20");
        for path in [format!("/v1/submissions?at_time={in_query}"), format!("/v1/diff?from_time={in_query}")]
        {
            let refused = server.get(&admin, &path).await.expect_problem(400, "query-invalid");
            let detail = refused["detail"].as_str().expect("a text");
            assert!(detail.contains("RFC 3339") && detail.contains("`%2B`"), "{detail}");
        }
        let key = json!({"name": "k", "roles": ["auditor"], "expires_at": time});
        let delegation = json!({"to": "otto", "ends_at": time});
        for (path, body) in [("/v1/api-keys", &key), (&*delegate, &delegation)] {
            let refused = server.send(&admin, Method::POST, path, body).await;
            let refused = refused.expect_problem(400, "body-invalid");
            assert!(
                refused["detail"].as_str().is_some_and(|detail| detail.contains("RFC 3339")),
                "{refused}"
            );
        }
    }
    let key = json!({"name": "k", "roles": ["auditor"], "expires_at": "2126-01-31T12:00:00+01:00"});
    server.send(&admin, Method::POST, "/v1/api-keys", &key).await.expect(201);
    let key = json!({"name": "k", "roles": ["auditor"], "expires_at": null});
    server.send(&admin, Method::POST, "/v1/api-keys", &key).await.expect(201);
}

#[tokio::test]
async fn what_a_parameter_cannot_be_is_told_with_what_it_can() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    for (path, told) in [
        ("/v1/tasks?limit=x", "`limit`: use 1 to 200"),
        ("/v1/tasks?limit=201", "`limit`: use 1 to 200"),
        ("/v1/submissions?limit=%2B5", "`limit`: use 1 to 500"),
        ("/v1/diff?from_position=1&limit=05", "`limit`: use 1 to 500"),
        ("/v1/events?limit=1001", "`limit`: use 1 to 1000"),
        ("/v1/audit/entries?limit=", "`limit`: use 1 to 1000"),
        ("/v1/events?after=%2B1", "`after`: use a position of the ledger, a whole number in digits"),
        (
            "/v1/ledger?min_position=x",
            "`min_position`: use a position of the ledger, a whole number in digits",
        ),
        (
            "/v1/submissions?at_position=1.0",
            "`at_position`: use a position of the ledger, a whole number in digits",
        ),
    ] {
        let refused = server.get(&admin, path).await.expect_problem(400, "query-invalid");
        assert_eq!(refused["detail"], told, "{path}");
    }
    let line = json!({"submission_id": "x", "transition": "t", "if_match": "3"}).to_string();
    let headers = [("authorization", &*bearer(&admin)), ("content-type", "application/x-ndjson")];
    let refused =
        server.call(Method::POST, "/v1/submissions:transition", &headers, &line).await.expect(200).json();
    assert!(
        refused["detail"].as_str().is_some_and(|detail| detail.ends_with("expected a whole number")),
        "{refused}"
    );
}

/// One thing has one address, and one number one name.
#[tokio::test]
async fn numbers_are_spelt_in_one_way_in_paths_header_fields_and_parameters() {
    let server = Server::start().await;
    let (admin, auditor) = (admin("acme"), token("acme", "otto", &["auditor"]));
    server.publish(&admin, "expense").await;
    server.get(&admin, "/v1/forms/expense/versions/1").await.expect(200);
    for version in ["+1", "01", "%2B1", "1.0"] {
        let path = format!("/v1/forms/expense/versions/{version}");
        server.get(&admin, &path).await.expect_problem(404, "not-found");
    }
    for position in ["+3", "03", "x"] {
        let headers = [("authorization", &*bearer(&auditor)), ("last-event-id", position)];
        server.call(Method::GET, "/v1/feed", &headers, "").await.expect_problem(400, "cursor-invalid");
        let headers = [("authorization", &*bearer(&auditor)), ("ledger-min-position", position)];
        server.call(Method::GET, "/v1/ledger", &headers, "").await.expect_problem(400, "header-invalid");
    }
}
