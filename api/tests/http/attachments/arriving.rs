//! Bytes on their way in: which of them are kept where, who is turned away meanwhile, how many may come at once.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Desk, PDF, sha256};
use crate::support::{Server, admin, bearer};

#[tokio::test]
async fn bytes_of_what_is_refused_are_not_kept() {
    let desk = Desk::open().await;
    let upload = async |headers: &[(&str, &str)], name: &str, bytes: &str| {
        let headers = [&[("content-type", "application/pdf")], headers].concat();
        desk.attach_with(&desk.sam, name, &headers, bytes).await
    };
    let first = upload(&[("idempotency-key", "k1")], "1.pdf", "%PDF-1").await.expect(201);
    upload(&[("idempotency-key", "k1")], "1.pdf", "%PDF-x")
        .await
        .expect_problem(422, "idempotency-key-reused");
    upload(&[("if-match", "\"1\"")], "x.pdf", "%PDF-x").await.expect_problem(412, "precondition-failed");
    upload(&[("if-match", "\"1\"")], "1.pdf", "%PDF-1").await.expect_problem(412, "precondition-failed");
    upload(&[], "2.pdf", "%PDF-2").await.expect(201);
    upload(&[], "3.pdf", "%PDF-3").await.expect_problem(409, "too-many-attachments");
    upload(&[], "3.pdf", "%PDF-1").await.expect_problem(409, "already-attached");
    let names = [sha256("%PDF-1"), sha256("%PDF-2")].into();
    assert_eq!(desk.kept(), names, "a refused file takes no place on the disk");
    // What was accepted once is answered so again, whatever holds by now.
    let stale = [("idempotency-key", "k1"), ("if-match", "\"1\"")];
    assert_eq!(upload(&stale, "1.pdf", "%PDF-1").await.expect(201).json(), first.json());
    assert_eq!(desk.kept(), names);
}

impl Desk {
    /// Waits until so many uploads have begun: then each has a file.
    async fn arriving(&self, count: usize) {
        let incoming = self.server.data().join("attachments/.incoming");
        let begun = async {
            while std::fs::read_dir(&incoming).expect("a folder").count() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), begun).await.expect("they are let in");
    }

    /// Sends the head of an upload that is to have so many bytes, and some of them.
    async fn begin(&self, path: &str, fields: &str, bytes: usize, begun: &str) -> tokio::net::TcpStream {
        use tokio::io::AsyncWriteExt;
        let mut stream = tokio::net::TcpStream::connect(&self.server.address).await.expect("connects");
        let head = format!(
            "POST {path}/attachments?name=a.pdf HTTP/1.1\r\nhost: x\r\n{fields}content-type: application/pdf\r\n\
             content-length: {bytes}\r\nconnection: close\r\n\r\n{begun}"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream
    }
}

/// The rest of a connection, which must end soon.
async fn rest(mut stream: tokio::net::TcpStream) -> String {
    use tokio::io::AsyncReadExt;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("soon").expect("an answer");
    answer
}

#[tokio::test]
async fn a_key_that_is_revoked_while_bytes_arrive_attaches_nothing() {
    use tokio::io::AsyncWriteExt;
    let desk = Desk::open().await;
    let ada = admin("acme");
    let key = json!({"name": "scanner", "roles": ["submitter"]});
    let made = desk.server.send(&ada, Method::POST, "/v1/api-keys", &key).await.expect(201);
    let secret = made.json()["secret"].as_str().expect("a secret").to_owned();
    let headers = [("x-api-key", &*secret), ("content-type", "application/json")];
    let body = json!({"data": {}, "draft": true}).to_string();
    let path = "/v1/forms/claim/submissions";
    let draft = desk.server.call(Method::POST, path, &headers, &body).await.expect(201);
    let draft = draft.header("location");
    for (revoked, status) in [(false, "HTTP/1.1 201"), (true, "HTTP/1.1 401")] {
        let bytes = format!("{PDF} {revoked}");
        let mut upload = desk.begin(draft, &format!("x-api-key: {secret}\r\n"), bytes.len(), PDF).await;
        desk.arriving(1).await;
        if revoked {
            let place = format!("/v1/api-keys/{}", made.json()["id"].as_str().expect("an id"));
            desk.server.send(&ada, Method::DELETE, &place, &Value::Null).await.expect(200);
        }
        upload.write_all(&bytes.as_bytes()[PDF.len()..]).await.expect("sent");
        let answer = rest(upload).await;
        assert!(answer.starts_with(status), "{answer}");
    }
    let items = desk.server.get(&ada, &format!("{draft}/attachments")).await.expect(200).json();
    assert_eq!(items["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(desk.kept(), [sha256(&format!("{PDF} false"))].into());
}

#[tokio::test]
async fn who_finds_no_submission_is_told_so_before_any_bytes_are_taken_in() {
    let desk = Desk::open().await;
    let missing = "/v1/submissions/01a2044c-820f-767f-8936-209666b7162d";
    let fields =
        format!("authorization: {}\r\nidempotency-key: once\r\nexpect: 100-continue\r\n", bearer(&desk.sam));
    for path in [missing, "/v1/submissions/nothing"] {
        let answer = rest(desk.begin(path, &fields, 1_000_000, "").await).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("not-found"), "{answer}");
    }
}

#[tokio::test]
async fn more_uploads_than_a_tenant_may_have_are_429_and_than_the_server_has_503() {
    let server = Server::start_with(|settings| {
        settings.limits.uploads_max = 2;
        settings.limits.uploads_per_tenant_max = 1;
    })
    .await;
    let desk = Desk::open_on(server).await;
    let path = desk.draft.clone();
    let mut held = Vec::new();
    for (tenant, open) in [("acme", 1), ("globex", 2)] {
        let (who, path) = match tenant {
            "acme" => (desk.sam.clone(), path.clone()),
            _ => (admin(tenant), desk.draft_of(tenant).await),
        };
        let fields = format!("authorization: {}\r\n", bearer(&who));
        held.push(desk.begin(&path, &fields, 1_000, PDF).await);
        desk.arriving(open).await;
    }
    let refused = desk.attach(&desk.sam, "b.pdf", "application/pdf", PDF).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.expect_problem(429, "too-many-uploads");
    let third = desk.draft_of("initech").await;
    let authorization = bearer(&admin("initech"));
    let headers = [("authorization", &*authorization), ("content-type", "application/pdf")];
    let path = format!("{third}/attachments?name=a.pdf");
    desk.server.call(Method::POST, &path, &headers, PDF).await.expect_problem(503, "too-many-uploads");
}
