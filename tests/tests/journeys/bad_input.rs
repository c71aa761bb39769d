//! What hostile or broken clients send: each gets a clear answer, costs little, and leaves everybody else unharmed.

use std::time::Duration;

use formledger_tests::Stage;
use formledger_tests::definitions::{anything, expense, expense_claim};
use formledger_tests::wait::{within, within_time};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that a connection may stay open without having sent a complete head: the documented 30 seconds, and some for a busy machine.
const HEAD_PATIENCE: Duration = Duration::from_secs(50);

async fn connect(stage: &Stage) -> TcpStream {
    TcpStream::connect(stage.server.address()).await.expect("the server listens")
}

/// Everything the server sends until it closes.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends the answer just as a close does.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn what_is_not_json_is_400() {
    let stage = Stage::with_form("any", &anything("Anything")).await;
    let head = stage.head().await;
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"{\"data\":{}",
        b"{\"data\":{}} trailing",
        b"{\"data\":{\"a\":1,\"a\":2}}",
        b"{\"data\":{},\"data\":{\"a\":1}}",
        b"{\"data\":NaN}",
        b"{\"data\":{'a':1}}",
        b"{\"data\":\"\xff\xfe\"}",
        b"{\"data\":{\"a\":\"\\ud800\"}}",
        b"\xef\xbb\xbf\x00",
        deep.as_bytes(),
    ];
    for body in bodies {
        let call = stage.admin.post("/v1/forms/any/submissions").body("application/json", body.to_vec());
        let answer = call.await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        answer.expect_any_problem(400);
    }
    assert_eq!(stage.head().await, head);
}

#[tokio::test]
async fn json_of_another_shape_is_refused_and_says_what_was_expected() {
    let stage = Stage::with_form("any", &anything("Anything")).await;
    for body in
        [json!([]), json!("text"), json!({}), json!({ "dat": {} }), json!({ "data": {}, "draft": "yes" })]
    {
        let answer = stage.admin.post("/v1/forms/any/submissions").json(&body).await;
        assert!(answer.status == 400 || answer.status == 422, "{body}: {} {}", answer.status, answer.text());
        let status = answer.status.as_u16();
        let problem = answer.expect_any_problem(status);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
}

#[tokio::test]
async fn commands_take_objects_and_say_which_member_is_wrong() {
    let stage = Stage::with_form("any", &anything("Anything")).await;
    let made = stage.admin.submit("any", &json!({})).await.expect(201);
    let path = |rest: &str| {
        format!("/v1/submissions/{}/{rest}", made.json()["submission_id"].as_str().expect("an id"))
    };
    for (rest, body, said) in [
        ("comments", json!(["hello"]), "send an object"),
        ("withdraw", json!(["because"]), "send an object"),
        ("withdraw", json!({ "reason": 5 }), "`reason`: "),
        ("delegate", json!(["x", null, null, null, null]), "send an object"),
        ("delegate", json!({}), "`to` is missing"),
        ("delegate", json!({ "to": "d", "ends_at": "2026-12-05" }), "`ends_at`: "),
        ("assign", json!({ "to": null }), "`to`: "),
    ] {
        let answer = stage.admin.post(&path(rest)).json(&body).await;
        let problem = answer.expect_problem(400, "body-invalid");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{body}: {problem}");
    }
    let settings = stage.admin.put("/v1/audit", &json!([true, false, true])).await;
    settings.expect_problem(400, "body-invalid");
}

#[tokio::test]
async fn numbers_that_others_would_round_are_refused_with_advice() {
    let stage = Stage::with_form("any", &anything("Anything")).await;
    let head = stage.head().await;
    for number in [
        "9007199254740993",
        "-9007199254740993",
        "123456789012345678901234567890",
        "1e400",
        "0.12345678901234567890123",
    ] {
        let body = format!("{{\"data\":{{\"list\":[1,{number}]}}}}");
        let answer = stage.admin.post("/v1/forms/any/submissions").body("application/json", body).await;
        assert!(answer.status == 422 || answer.status == 400, "{number}: {}", answer.text());
        assert!(answer.text().contains("string"), "{number}: no advice: {}", answer.text());
    }
    assert_eq!(stage.head().await, head);
    for number in ["9007199254740991", "-9007199254740991", "0.1", "1e21", "1.5"] {
        let body = format!("{{\"data\":{{\"n\":{number}}}}}");
        stage.admin.post("/v1/forms/any/submissions").body("application/json", body).await.expect(201);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_while_it_still_comes() {
    let stage = Stage::set_with(&["--body-bytes-max", "10000"]).await;
    stage.admin.publish("any", &anything("Anything")).await;
    let large = json!({ "data": { "text": "x".repeat(20_000) } });
    let announced = stage.admin.post("/v1/forms/any/submissions").json(&large).await;
    announced.expect_any_problem(413);

    // A body that never ends: the answer comes, and the server stops reading.
    let token = stage.installation.token("acme", "ada", "admin").await;
    let mut stream = connect(&stage).await;
    let request = format!(
        "POST /v1/forms/any/submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the head can be sent");
    let (mut reading, mut writing) = stream.split();
    let endless = async {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while writing.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let answer = async {
        let mut first = [0; 12];
        reading.read_exact(&mut first).await.expect("an answer comes while the body goes on");
        first
    };
    let first = within("413 for an endless body", async {
        tokio::select! {
            first = answer => first,
            () = endless => unreachable!("it waits for ever after the server closed"),
        }
    });
    assert_eq!(&first.await, b"HTTP/1.1 413");
}

#[tokio::test]
async fn media_types_methods_and_paths_that_are_not_there_are_named() {
    let stage = Stage::with_form("any", &anything("Anything")).await;
    let text = stage.admin.post("/v1/forms/any/submissions").body("text/plain", "{\"data\":{}}").await;
    text.expect_any_problem(415);
    let body = || stage.admin.post("/v1/forms/any/submissions").json(&json!({ "data": {} }));
    body().header("Content-Encoding", "gzip").await.expect_problem(415, "media-type-unsupported");
    body().header("Content-Encoding", "identity").await.expect(201);
    let charset = stage
        .admin
        .post("/v1/forms/any/submissions")
        .body("application/json; charset=utf-8", "{\"data\":{}}");
    charset.await.expect(201);

    for (method, path, allowed) in [
        (Method::DELETE, "/v1/forms/any", "PUT"),
        (Method::PUT, "/v1/forms", "GET"),
        (Method::GET, "/v1/forms/any/publish", "POST"),
        (Method::POST, "/v1/ledger", "GET"),
    ] {
        let answer = stage.admin.call(method.clone(), path).await;
        let allow = answer.header("allow").unwrap_or_default().to_owned();
        assert!(allow.contains(allowed), "{method} {path}: Allow is `{allow}`: {}", answer.text());
        answer.expect_any_problem(405);
    }
    for path in
        ["/v1", "/v1/nothing", "/v2/forms", "/v1/forms/any/submissions/more", "/v1/submissions/not-an-id"]
    {
        stage.admin.get(path).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn names_that_are_no_names_are_refused() {
    let stage = Stage::set().await;
    for form in ["%20", "a%2Fb", "..%2F..", "-x", &"x".repeat(129), "%C3%A4", "a%00b"] {
        let answer = stage.admin.put(&format!("/v1/forms/{form}"), &anything("Odd")).await;
        assert!(answer.status == 400 || answer.status == 404, "{form}: {} {}", answer.status, answer.text());
    }
    for key in ["", " ", &"k".repeat(300)] {
        let call = stage.admin.put("/v1/forms/a", &anything("A")).header("Idempotency-Key", key);
        call.await.expect_any_problem(400);
    }
    for etag in ["5", "\"five\"", "W/"] {
        let call = stage.admin.put("/v1/forms/a", &anything("A")).header("If-Match", etag);
        let answer = call.await;
        assert!(answer.status == 400 || answer.status == 412, "{etag}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off_while_others_are_served() {
    let stage = Stage::set().await;
    let mut silent = connect(&stage).await;
    let mut slow = connect(&stage).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.expect("a head can be begun");
    stage.server.anonymous().get("/healthz").await.expect(200);
    let both = async { tokio::join!(to_end(&mut silent), to_end(&mut slow)) };
    let (silent, slow) = within_time("slow connections to be closed", HEAD_PATIENCE, both).await;
    assert!(!silent.contains("200 OK") && !slow.contains("200 OK"));
    stage.server.anonymous().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_431() {
    let stage = Stage::set().await;
    let mut stream = connect(&stage).await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    // The server may close before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = within("an answer to a head of 200 kB", to_end(&mut stream)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    stage.server.anonymous().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let stage = Stage::set().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = connect(&stage).await;
        stream.write_all(bytes).await.expect("bytes can be sent");
        let answer = within("an answer or a close", to_end(&mut stream)).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    stage.server.anonymous().get("/healthz").await.expect(200);
}

#[tokio::test]
async fn connections_over_the_cap_are_turned_away_until_one_is_free() {
    let stage = Stage::set_with(&["--connections-max", "4"]).await;
    // Each has asked once, so the server has taken all of them in.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&stage).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request can be sent");
        let mut first = [0; 12];
        within("an answer", stream.read_exact(&mut first)).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut fifth = connect(&stage).await;
    let _ = fifth.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = within("the fifth connection to be turned away", to_end(&mut fifth)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
    held.pop();
    within("a place to be free again", async {
        while !matches!(stage.server.anonymous().get("/healthz").attempt().await, Ok(answer) if answer.status == 200) {}
    })
    .await;
}

#[tokio::test]
async fn refused_data_never_harm_the_next_submission() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for text in ["\u{0}", "'; drop table events; --", "\u{202e}", "😀", &"x".repeat(10_000)] {
        let mut data = expense(1.0, "DE");
        data["lines"] = json!([{ "price": text }]);
        let answer = stage.admin.submit("expense", &data).await.expect(201);
        let location = answer.header("location").expect("a Location").to_owned();
        let read = stage.admin.get_at(&location, answer.position()).await.expect(200).json();
        assert_eq!(read["data"], data);
    }
}
