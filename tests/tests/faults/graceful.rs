//! SIGTERM: what is under way is answered, feeds are closed, the exit status is 0, and the next start finds everything.

use std::time::{Duration, Instant};

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::wait::within;
use formledger_tests::{Server, Stage};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::Load;

/// With nothing under way there is nothing to wait for.
const IDLE_STOP_MAX: Duration = Duration::from_secs(10);

/// Waits until the server takes no new connection: the stop has begun.
async fn no_longer_listens(server: &Server) {
    within("the server to stop listening", async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_under_way_is_answered_and_durable() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let body = json!({ "data": expense(1.0, "DE") }).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(stage.server.address()).await.expect("the server listens");
    let head = format!(
        "POST /v1/forms/expense/submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the head can be sent");
    // "100 Continue" says that the request has begun: the server asks for its body.
    let mut interim = [0; 25];
    within("100 Continue", stream.read_exact(&mut interim)).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).await.expect("half a body can be sent");

    let Stage { installation, mut server, .. } = stage;
    server.ask_to_stop();
    no_longer_listens(&server).await;
    stream.write_all(rest.as_bytes()).await.expect("the other half can be sent");
    let mut answer = String::new();
    within("the answer and the close", stream.read_to_string(&mut answer)).await.expect("a whole answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.ended().await.code(), Some(0));

    let server = installation.serve().await;
    let client = server.client(&token);
    let head = client.get("/v1/ledger").await.expect(200).json()["position"].as_u64().expect("a position");
    assert_eq!(client.get_at("/v1/submissions", head).await.expect(200).submission_ids().len(), 1);
}

#[tokio::test]
async fn feeds_are_closed_and_idle_connections_hold_nothing_up() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let mut feed = stage.admin.feed("/v1/feed?after=0", None).await;
    feed.up_to(stage.head().await).await;
    let idle = TcpStream::connect(stage.server.address()).await.expect("the server listens");
    let began = Instant::now();
    let status = stage.server.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < IDLE_STOP_MAX, "stopping took {:?} with nothing to do", began.elapsed());
    assert_eq!(feed.next().await, None, "the feed ended");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_answer() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let mut load = Load::start(16);
    load.direct_to(stage.admin.clone());
    load.acknowledges(50).await;
    let Stage { installation, server, .. } = stage;
    assert_eq!(server.stop().await.code(), Some(0));
    let server = installation.serve().await;
    load.direct_to(server.client(&token));
    load.acknowledges(16).await;
    let acknowledged = load.finish().await;
    let client = server.client(&token);
    let head = client.get("/v1/ledger").await.expect(200).json()["position"].as_u64().expect("a position");
    let stored = client.get_at("/v1/exports/submissions.ndjson", head).await.expect(200).json_lines();
    assert_eq!(stored.len(), acknowledged.len());
}
