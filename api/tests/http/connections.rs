//! The connection loop: slow clients, too many clients, and stopping without dropping an answer.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Server, admin};

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await.expect("the server closes");
    String::from_utf8(text).expect("UTF-8")
}

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_does_not_hold_a_connection() {
    let server =
        Server::start_with(|settings| settings.limits.header_read_timeout = Duration::from_millis(300)).await;
    let mut slow = TcpStream::connect(&server.address).await.expect("connects");
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ").await.expect("writes");
    let mut byte = [0; 1];
    let ended = timeout(Duration::from_secs(10), slow.read(&mut byte)).await.expect("the server closes");
    assert!(matches!(ended, Ok(0) | Err(_)), "nothing is answered");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server =
        Server::start_with(|settings| settings.limits.body_read_timeout = Duration::from_millis(200)).await;
    let mut slow = TcpStream::connect(&server.address).await.expect("connects");
    let request = format!(
        "PUT /v1/forms/t HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        admin("acme")
    );
    slow.write_all(request.as_bytes()).await.expect("writes");
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// Who waits for `100 Continue` has sent nothing before it: an answer that began earlier would leave the two waiting for each other.
#[tokio::test]
async fn a_client_that_asks_before_it_sends_many_lines_is_told_to_go_on() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let line = "{\"form\":\"expense\",\"data\":{\"amount\":5}}\n";
    for (path, status) in [("/v1/submissions:import", 201), ("/v1/submissions:transition", 400)] {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {admin}\r\nconnection: close\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            line.len()
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        let told = timeout(Duration::from_secs(20), stream.read_exact(&mut interim)).await;
        told.expect("is told to go on").expect("the connection holds");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        stream.write_all(line.as_bytes()).await.expect("writes");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(&format!("\"status\":{status}")), "{answer}");
    }
}

#[tokio::test]
async fn who_is_told_to_go_on_and_sends_no_line_is_given_up() {
    let server =
        Server::start_with(|settings| settings.limits.body_read_timeout = Duration::from_millis(200)).await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let mut stream = TcpStream::connect(&server.address).await.expect("connects");
    let head = format!(
        "POST /v1/submissions:import HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {admin}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("body-timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_in_another_coding_than_chunked_is_refused_and_the_connection_ends() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    let send = async |fields: &str| {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        let request = format!(
            "POST /v1/forms/expense/submissions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\n{fields}\r\n\r\n15\r\n{{\"data\":{{\"amount\":5}}}}\r\n0\r\n\r\n",
            admin("acme")
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        read_to_end(&mut stream).await
    };
    let close = "connection: close\r\ntransfer-encoding: Chunked";
    assert!(send(close).await.starts_with("HTTP/1.1 201 "));
    for fields in [
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: foo;q=1, chunked",
        "transfer-encoding: gzip",
        "content-length: 5\r\ncontent-length: 6",
    ] {
        let answer = send(fields).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields}: {answer}");
    }
    // The coding counts, the length does not, and the connection ends: nobody can take the rest for another request.
    for fields in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let answer = send(fields).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{fields}: {answer}");
    }
}

#[tokio::test]
async fn connections_over_the_cap_are_told_so() {
    let server = Server::start_with(|settings| settings.limits.connections_max = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut third = TcpStream::connect(&server.address).await.expect("connects");
    let answer = read_to_end(&mut third).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert!(head.starts_with("HTTP/1.1 503 ") && problem["code"] == "too-many-connections", "{answer}");
    assert_eq!(field("content-length: "), body.len().to_string());
    assert_eq!(field("retry-after: "), "1");
    assert!(problem["instance"].as_str().is_some_and(|id| id.len() == 36), "{answer}");
    assert_eq!(problem["instance"], field("x-request-id: "));
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(&server.address).await.expect("connects");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    stream.write_all(request.as_bytes()).await.expect("writes");
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// A connection on which a request waits that the server has read.
async fn waiting(server: &Server, request: &str) -> TcpStream {
    let mut waiting = TcpStream::connect(&server.address).await.expect("connects");
    waiting.write_all(request.as_bytes()).await.expect("writes");
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let theirs = port(waiting.peer_addr().expect("connected"));
    let ours = port(waiting.local_addr().expect("connected"));
    timeout(Duration::from_secs(10), async {
        while !has_read_all(&theirs, &ours) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the server reads the request");
    waiting
}

/// Whether all that was sent on a connection has arrived at the server's end, and nothing of it still lies there (`tx_queue:rx_queue` in
/// proc_pid_net(5)).
fn has_read_all(server_port: &str, client_port: &str) -> bool {
    let connections = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux tells");
    let queues = |local: &str, remote: &str| {
        connections.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields.get(1)?.ends_with(local) && fields.get(2)?.ends_with(remote);
            is_it.then(|| fields.get(4)?.split_once(':')).flatten()
        })
    };
    let sent =
        queues(client_port, server_port).is_some_and(|(unacknowledged, _)| unacknowledged == "00000000");
    sent && queues(server_port, client_port).is_some_and(|(_, unread)| unread == "00000000")
}

#[tokio::test]
async fn a_stop_answers_those_who_wait_for_a_position_at_once() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let mut all = Vec::new();
    for path in ["/v1/ledger", "/v1/submissions", "/v1/events", "/v1/feed"] {
        let request = format!(
            "GET {path}?min_position=99 HTTP/1.1\r\nhost: a\r\nprefer: wait=30\r\nauthorization: Bearer {admin}\r\n\r\n"
        );
        all.push(waiting(&server, &request).await);
    }
    let began = Instant::now();
    server.stop().await;
    for mut stream in all {
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"code\":\"closing\""), "{answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// The client learns where to go on, and the stop waits for no body.
#[tokio::test]
async fn a_stop_tells_a_request_with_many_lines_which_line_was_not_begun() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let line = "{\"form\":\"expense\",\"data\":{\"amount\":1}}\n";
    let request = format!(
        "POST /v1/submissions:import HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {admin}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n",
        line.len()
    );
    let mut stream = waiting(&server, &request).await;
    let mut first = Vec::new();
    while !String::from_utf8_lossy(&first).contains("\"status\":201") {
        assert_ne!(stream.read_buf(&mut first).await.expect("an answer"), 0, "the first line is answered");
    }
    let began = Instant::now();
    server.stop().await;
    let answer = String::from_utf8_lossy(&first).into_owned() + &read_to_end(&mut stream).await;
    let told: Vec<serde_json::Value> =
        answer.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = told.iter().filter(|told| told.is_object()).collect();
    assert_eq!(told.len(), 2, "{answer}");
    assert_eq!((&told[0]["line"], &told[0]["status"]), (&1.into(), &201.into()), "{answer}");
    assert_eq!((&told[1]["line"], &told[1]["code"]), (&2.into(), &"closing".into()), "{answer}");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "the answer is whole: {answer}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Two readers of a request that has no host, or several, may take it for another server's (RFC 9112 section 3.2).
#[tokio::test]
async fn a_request_says_in_one_field_which_host_it_is_for() {
    let server = Server::start().await;
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "host: a\r\nhost: a\r\n", 400),
        ("1.1", "host: a b\r\n", 400),
        ("1.1", "host: ada@a\r\n", 400),
        ("1.0", "host: a\r\nhost: b\r\n", 400),
        ("1.1", "host: forms.example.org:8080\r\n", 200),
        ("1.1", "host: [::1]:8080\r\n", 200),
        ("1.0", "", 200),
    ] {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        let request = format!("GET /healthz HTTP/{version}\r\nconnection: close\r\n{hosts}\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let answer = read_to_end(&mut stream).await;
        assert!(answer.contains(&format!(" {status} ")), "{request} {answer}");
        assert_eq!(answer.contains("\"code\":\"header-invalid\""), status == 400, "{request} {answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
    }
}
