//! Bytes that are given out: whole or in part, to whom, as which exports.

use http::Method;
use serde_json::{Value, json};

use super::{Desk, PDF, sha256};
use crate::audit::{configure, entries, in_time};
use crate::support::{admin, bearer, token};

#[tokio::test]
async fn a_part_of_a_file_is_answered_where_the_client_has_the_rest_of_this_very_file() {
    let desk = Desk::open().await;
    let place = desk.attach(&desk.sam, "a.pdf", "application/pdf", PDF).await.expect(201);
    let place = place.header("location").to_owned();
    let authorization = bearer(&desk.sam);
    let ask = async |method: Method, fields: &[(&str, &str)]| {
        let fields = [&[("authorization", &*authorization)], fields].concat();
        desk.server.call(method, &place, &fields, "").await
    };
    let whole = ask(Method::GET, &[]).await.expect(200);
    let (size, tag) = (PDF.len(), whole.header("etag").to_owned());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    for (range, part) in [
        ("bytes=0-3", 0..4),
        ("bytes=5-", 5..size),
        ("bytes=5-4000", 5..size),
        ("bytes=-7", size - 7..size),
        ("bytes=0-", 0..size),
    ] {
        let answer = ask(Method::GET, &[("range", range), ("if-range", &tag)]).await.expect(206);
        assert_eq!(answer.text(), &PDF[part.clone()], "{range}");
        let place = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        for (field, value) in [
            ("content-range", &*place),
            ("content-length", &*part.len().to_string()),
            ("content-type", "application/pdf"),
            ("accept-ranges", "bytes"),
            ("etag", &*tag),
            ("content-disposition", whole.header("content-disposition")),
        ] {
            assert_eq!(answer.header(field), value, "{range}: {field}");
        }
    }
    let other = format!("\"{}\"", sha256("another"));
    for fields in [
        [("range", "bytes=0-3"), ("if-range", &*other)],
        [("range", "bytes=0-3"), ("if-range", &*format!("W/{tag}"))],
        [("range", "bytes=0-3"), ("if-range", "Sat, 01 Jan 2022 00:00:00 GMT")],
        [("range", "bytes=0-3,5-6"), ("if-range", &*tag)],
        [("range", "bytes=6-5"), ("if-range", &*tag)],
        [("range", "pages=1-2"), ("if-range", &*tag)],
    ] {
        assert_eq!(ask(Method::GET, &fields).await.expect(200).text(), PDF, "{fields:?}");
    }
    for range in [&*format!("bytes={size}-"), "bytes=4000-5000", "bytes=-0"] {
        let refused = ask(Method::GET, &[("range", range)]).await;
        assert_eq!(refused.header("content-range"), format!("bytes */{size}"));
        assert_eq!(refused.expect_problem(416, "range-not-satisfiable")["bytes"], size);
    }
    ask(Method::GET, &[("range", "bytes=0-3"), ("if-none-match", &tag)]).await.expect(304);
    let looked = ask(Method::HEAD, &[("range", "bytes=0-3")]).await.expect(200);
    assert_eq!(looked.header("content-length"), size.to_string());
}

#[tokio::test]
async fn a_download_is_an_export_of_its_submission_unless_the_client_has_the_bytes() {
    let desk = Desk::open().await;
    let place = desk.attach(&desk.sam, "a.pdf", "application/pdf", PDF).await.expect(201);
    let place = place.header("location").to_owned();
    configure(&desk.server, false, false, true).await;
    let otto = token("acme", "otto", &["auditor"]);
    let fetched = desk.server.get(&otto, &place).await.expect(200);
    let authorization = bearer(&otto);
    let known = [("authorization", &*authorization), ("if-none-match", fetched.header("etag"))];
    desk.server.call(Method::GET, &place, &known, "").await.expect(304);
    let looked = desk.server.call(Method::HEAD, &place, &known[..1], "").await.expect(200);
    assert_eq!(looked.header("content-length"), fetched.header("content-length"));
    let missing = format!("{}/attachments/{}", desk.draft, sha256("another"));
    desk.server.get(&otto, &missing).await.expect_problem(404, "not-found");
    let found = entries(&desk.server, 0, "otto").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["type"], "formledger.audit.exported.v1");
    let export = &found[0]["data"]["export"];
    assert_eq!(export["action"], "GET /v1/submissions/{id}/attachments/{sha256}");
    assert_eq!((&export["target"], &export["times"]), (&json!(place), &json!(1)));
    let id = desk.draft.rsplit('/').next().expect("an id");
    assert_eq!(export["submission_id"], id);
}

#[tokio::test]
async fn parts_of_a_file_are_one_export_and_counted() {
    let desk = Desk::open().await;
    let place = desk.attach(&desk.sam, "a.pdf", "application/pdf", PDF).await.expect(201);
    let place = place.header("location").to_owned();
    configure(&desk.server, false, false, true).await;
    let authorization = bearer(&token("acme", "otto", &["auditor"]));
    for range in ["bytes=0-0", "bytes=1-1", "bytes=2-"] {
        let part = [("authorization", &*authorization), ("range", range)];
        desk.server.call(Method::GET, &place, &part, "").await.expect(206);
    }
    let found = entries(&desk.server, 0, "otto").await;
    assert_eq!(found.len(), 1, "the first is there before it is given out: {found:?}");
    assert_eq!(found[0]["data"]["export"]["target"], json!(place));
    let found = in_time(&desk.server, "otto", 2).await;
    let export = &found[1]["data"]["export"];
    assert_eq!((&export["target"], &export["times"]), (&json!(place), &json!(2)));
}

#[tokio::test]
async fn who_may_not_read_a_submission_finds_no_file_of_it() {
    let desk = Desk::open().await;
    desk.attach(&desk.sam, "a.pdf", "application/pdf", PDF).await.expect(201);
    let place = format!("{}/attachments/{}", desk.draft, sha256(PDF));
    let stranger = token("acme", "eve", &["submitter"]);
    for path in [&place, &format!("{}/attachments", desk.draft)] {
        desk.server.get(&stranger, path).await.expect_problem(404, "not-found");
        desk.server.get(&token("acme", "otto", &["auditor"]), path).await.expect(200);
    }
    desk.attach(&stranger, "b.pdf", "application/pdf", PDF).await.expect_problem(404, "not-found");
    // A draft is its submitter's business, also for those who read everything.
    let auditor = token("acme", "otto", &["auditor", "submitter"]);
    desk.attach(&auditor, "b.pdf", "application/pdf", PDF).await.expect_problem(403, "not-permitted");
    for bad in ["0".repeat(64), sha256(PDF).to_uppercase(), "..%2F..%2Fledger.db".to_owned()] {
        let path = format!("{}/attachments/{bad}", desk.draft);
        desk.server.get(&desk.sam, &path).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn the_same_bytes_of_another_tenant_are_another_file() {
    let desk = Desk::open().await;
    desk.attach(&desk.sam, "a.pdf", "application/pdf", PDF).await.expect(201);
    let globex = admin("globex");
    let definition = json!({"title": "Theirs", "schema": {"type": "object"}, "attachments": {}});
    desk.server.send(&globex, Method::PUT, "/v1/forms/theirs", &definition).await.expect(200);
    desk.server.send(&globex, Method::POST, "/v1/forms/theirs/publish", &Value::Null).await.expect(201);
    let body = json!({"data": {}, "draft": true});
    let made =
        desk.server.send(&globex, Method::POST, "/v1/forms/theirs/submissions", &body).await.expect(201);
    for submission in [made.header("location"), &desk.draft] {
        let path = format!("{submission}/attachments/{}", sha256(PDF));
        desk.server.get(&globex, &path).await.expect_problem(404, "not-found");
    }
}
