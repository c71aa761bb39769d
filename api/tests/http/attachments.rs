//! Attachments over HTTP: what is answered, what is refused before and after the bytes, what a browser is told.

mod arriving;
mod given_out;

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Server, admin, bearer, token};

const PDF: &str = "%PDF-1.7\na receipt";
const GIF: &str = "GIF89a a picture";

/// A form that takes small PDFs and texts, and a draft of it by `sam`.
struct Desk {
    server: Server,
    sam: String,
    draft: String,
}

impl Desk {
    async fn open() -> Self {
        Self::open_on(Server::start().await).await
    }

    async fn open_on(server: Server) -> Self {
        let definition = json!({
            "title": "Claim", "schema": {"type": "object"},
            "attachments": {"types": ["application/pdf", "text/plain"], "max_bytes": 100_000, "max_count": 2},
            "workflow": {
                "initial": "review",
                "states": {"review": {"attach": true}, "closed": {"final": true}},
                "transitions": [{"name": "close", "from": "review", "to": "closed", "roles": ["reviewer"], "approvals": 2}]
            }
        });
        let admin = admin("acme");
        server.send(&admin, Method::PUT, "/v1/forms/claim", &definition).await.expect(200);
        server.send(&admin, Method::POST, "/v1/forms/claim/publish", &Value::Null).await.expect(201);
        let sam = token("acme", "sam", &["submitter"]);
        let body = json!({"data": {}, "draft": true});
        let made = server.send(&sam, Method::POST, "/v1/forms/claim/submissions", &body).await.expect(201);
        let draft = made.header("location").to_owned();
        Self { server, sam, draft }
    }

    /// Where a draft of another tenant is, whose form takes PDFs.
    async fn draft_of(&self, tenant: &str) -> String {
        let admin = admin(tenant);
        let definition = json!({"title": "Theirs", "schema": {"type": "object"}, "attachments": {}});
        self.server.send(&admin, Method::PUT, "/v1/forms/theirs", &definition).await.expect(200);
        self.server.send(&admin, Method::POST, "/v1/forms/theirs/publish", &Value::Null).await.expect(201);
        let body = json!({"data": {}, "draft": true});
        let path = "/v1/forms/theirs/submissions";
        let made = self.server.send(&admin, Method::POST, path, &body).await.expect(201);
        made.header("location").to_owned()
    }

    async fn attach(&self, who: &str, name: &str, media_type: &str, bytes: &str) -> Answer {
        self.attach_with(who, name, &[("content-type", media_type)], bytes).await
    }

    async fn attach_with(&self, who: &str, name: &str, headers: &[(&str, &str)], bytes: &str) -> Answer {
        let authorization = bearer(who);
        let headers = [&[("authorization", &*authorization)], headers].concat();
        let path = format!("{}/attachments?name={name}", self.draft);
        self.server.call(Method::POST, &path, &headers, bytes).await
    }

    async fn items(&self) -> Vec<Value> {
        let path = format!("{}/attachments", self.draft);
        self.server.get(&self.sam, &path).await.expect(200).json()["items"].as_array().expect("items").clone()
    }

    /// The hashes of all bytes that are kept for the tenant.
    fn kept(&self) -> std::collections::BTreeSet<String> {
        let mut kept = std::collections::BTreeSet::new();
        let mut folders = vec![(self.server.data().join("attachments/acme"), String::new())];
        while let Some((folder, digits)) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let entry = entry.expect("an entry");
                let name = format!("{digits}{}", entry.file_name().to_str().expect("digits"));
                if entry.path().is_dir() {
                    folders.push((entry.path(), name));
                } else {
                    kept.insert(name);
                }
            }
        }
        kept
    }
}

fn sha256(bytes: &str) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_file_is_attached_listed_fetched_and_taken_off() {
    let desk = Desk::open().await;
    let answer = desk.attach(&desk.sam, "M%C3%A4rz%201.pdf", "Application/PDF; q=1", PDF).await.expect(201);
    let place = answer.header("location").to_owned();
    assert_eq!(place, format!("{}/attachments/{}", desk.draft, sha256(PDF)));
    let attachment = json!({"sha256": sha256(PDF), "name": "März 1.pdf", "media_type": "application/pdf", "bytes": PDF.len()});
    assert_eq!(answer.json()["attachment"], attachment);
    assert_eq!(answer.header("etag"), format!("\"{}\"", answer.json()["sequence"]));
    let item = &desk.items().await[0];
    assert_eq!((&item["name"], &item["attached_by"]), (&json!("März 1.pdf"), &json!("sam")));
    assert_eq!(item["position"], answer.json()["position"]);

    let fetched = desk.server.get(&desk.sam, &place).await.expect(200);
    assert_eq!(fetched.text(), PDF);
    for (field, value) in [
        ("content-type", "application/pdf"),
        ("content-length", &*PDF.len().to_string()),
        ("content-disposition", "attachment; filename=\"M_rz 1.pdf\"; filename*=UTF-8''M%C3%A4rz%201.pdf"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "no-store"),
        ("etag", &*format!("\"{}\"", sha256(PDF))),
    ] {
        assert_eq!(fetched.header(field), value, "{field}");
    }
    let authorization = bearer(&desk.sam);
    let known = [("authorization", &*authorization), ("if-none-match", fetched.header("etag"))];
    let unchanged = desk.server.call(Method::GET, &place, &known, "").await.expect(304);
    assert!(unchanged.body.is_empty() && unchanged.header("etag") == fetched.header("etag"));

    let off = desk.server.send(&desk.sam, Method::DELETE, &place, &json!({"reason": "wrong month"})).await;
    assert_eq!(off.expect(200).json()["attachment"], attachment);
    assert!(desk.items().await.is_empty());
    assert_eq!(
        desk.server.get(&desk.sam, &place).await.expect(200).text(),
        PDF,
        "its bytes are part of the record"
    );
    desk.server.send(&desk.sam, Method::DELETE, &place, &Value::Null).await.expect_problem(404, "not-found");
    let timeline = desk.server.get(&desk.sam, &format!("{}/timeline", desk.draft)).await.expect(200).json();
    let told: Vec<_> = timeline["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|it| it["attachment"].is_object())
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["type"], "formledger.submission.attached.v1");
    assert_eq!((&told[1]["attachment"], &told[1]["reason"]), (&attachment, &json!("wrong month")));
}

#[tokio::test]
async fn a_submission_shows_its_files_as_they_are_and_as_they_were() {
    let desk = Desk::open().await;
    let see = async |query: &str| {
        desk.server.get(&desk.sam, &format!("{}?{query}", desk.draft)).await.expect(200).json()
    };
    let head = desk.server.get(&desk.sam, "/v1/ledger").await.expect(200).json()["position"].clone();
    let mut then = vec![(head.clone(), see(&format!("min_position={head}")).await)];
    assert_eq!(then[0].1["attachments"], json!([]));
    for (name, bytes) in [("1.pdf", "%PDF-1"), ("2.pdf", "%PDF-2")] {
        let position =
            desk.attach(&desk.sam, name, "application/pdf", bytes).await.expect(201).json()["position"]
                .clone();
        then.push((position.clone(), see(&format!("min_position={position}")).await));
    }
    let place = format!("{}/attachments/{}", desk.draft, sha256("%PDF-1"));
    desk.server.send(&desk.sam, Method::DELETE, &place, &Value::Null).await.expect(200);
    let names = |seen: &Value| {
        let names = seen["attachments"].as_array().expect("attachments").iter();
        names.map(|it| it["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&then[2].1), ["1.pdf", "2.pdf"]);
    for (position, seen) in then {
        assert_eq!(see(&format!("at_position={position}")).await, seen, "at {position}");
    }
    desk.server.publish(&admin("acme"), "plain").await;
    let plain = desk.server.submit(&admin("acme"), "plain", 1.0).await.expect(201);
    let path = format!("{}?min_position={}", plain.header("location"), plain.json()["position"]);
    let plain = desk.server.get(&admin("acme"), &path).await.expect(200).json();
    assert!(plain.get("attachments").is_none(), "{plain}");
}

/// Programs that do not know what a file is say `application/octet-stream`, generated clients among them.
#[tokio::test]
async fn a_file_of_no_said_type_is_what_its_bytes_say() {
    let desk = Desk::open().await;
    let kind = "application/octet-stream";
    let made = desk.attach(&desk.sam, "a.pdf", kind, PDF).await.expect(201).json();
    assert_eq!(made["attachment"]["media_type"], "application/pdf", "{made}");
    desk.attach(&desk.sam, "a.pdf", kind, PDF).await.expect(200);
    let refused = desk.attach(&desk.sam, "a.gif", kind, GIF).await;
    let problem = refused.expect_problem(415, "attachment-type-unsupported");
    assert!(problem["detail"].as_str().expect("text").contains("image/gif"), "{problem}");
    let refused = desk.attach(&desk.sam, "a.txt", kind, "a text").await;
    let problem = refused.expect_problem(422, "attachment-type-mismatch");
    assert!(problem["detail"].as_str().expect("text").contains("Content-Type"), "{problem}");
    desk.attach(&desk.sam, "a.pdf", kind, "").await.expect_problem(422, "attachment-invalid");
}

#[tokio::test]
async fn what_a_form_does_not_take_is_refused_with_what_it_takes_and_nothing_is_recorded() {
    let desk = Desk::open().await;
    let head = desk.server.get(&desk.sam, "/v1/ledger").await.expect(200).json();
    let refused = desk.attach(&desk.sam, "a.gif", "image/gif", GIF).await;
    let problem = refused.expect_problem(415, "attachment-type-unsupported");
    assert_eq!(problem["types"], json!(["application/pdf", "text/plain"]));
    desk.attach(&desk.sam, "a", "", PDF).await.expect_problem(415, "attachment-type-unsupported");
    let lie = desk.attach(&desk.sam, "a.pdf", "application/pdf", GIF).await;
    let problem = lie.expect_problem(422, "attachment-type-mismatch");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("`application/pdf`") && detail.contains("`image/gif`"), "{detail}");
    desk.attach(&desk.sam, "a.txt", "text/plain", "a\0b")
        .await
        .expect_problem(422, "attachment-type-mismatch");
    for (kind, bytes, said) in
        [("text/plain; charset=windows-1252", "a", "windows-1252"), ("text/plain", "a\0b", "UTF-8")]
    {
        let refused = desk.attach(&desk.sam, "a.txt", kind, bytes).await;
        let problem = refused.expect_problem(422, "attachment-type-mismatch");
        assert!(problem["detail"].as_str().expect("text").contains(said), "{problem}");
    }
    desk.attach(&desk.sam, "a.pdf", "application/pdf", "").await.expect_problem(422, "attachment-invalid");
    for digest in ["sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:", "sha-256=AAAA", "sha-256=:AAAA:"]
    {
        let headers = [("content-type", "application/pdf"), ("content-digest", digest)];
        let refused = desk.attach_with(&desk.sam, "a.pdf", &headers, PDF).await;
        refused.expect_problem(400, "header-invalid");
    }
    for name in ["", "..", "a%2Fb.pdf", "a%0Ab.pdf", "%E2%80%AEfdp.exe", &"x".repeat(256)] {
        desk.attach(&desk.sam, name, "application/pdf", PDF).await.expect_problem(422, "attachment-invalid");
    }
    let authorization = bearer(&desk.sam);
    let headers = [("authorization", &*authorization), ("content-type", "application/pdf")];
    for query in ["", "?name=a&name=b", "?name=a&size=1"] {
        let path = format!("{}/attachments{query}", desk.draft);
        desk.server.call(Method::POST, &path, &headers, PDF).await.expect_problem(400, "query-invalid");
    }
    assert_eq!(desk.server.get(&desk.sam, "/v1/ledger").await.expect(200).json(), head);
}

#[tokio::test]
async fn utf_8_has_more_than_one_name() {
    for charset in ["UTF8", "\"utf-8\"", "ascii", "\"US-ASCII\""] {
        let desk = Desk::open().await;
        let kind = format!("text/plain; Charset={charset}");
        desk.attach(&desk.sam, "a.txt", &kind, charset).await.expect(201);
    }
}

#[tokio::test]
async fn more_bytes_than_a_form_takes_are_413_whether_they_are_announced_or_not() {
    let desk = Desk::open().await;
    let fits = format!("{PDF}{}", " ".repeat(100_000 - PDF.len()));
    desk.attach(&desk.sam, "fits.pdf", "application/pdf", &fits).await.expect(201);
    let large = format!("{fits} ");
    let problem = desk.attach(&desk.sam, "large.pdf", "application/pdf", &large).await;
    let problem = problem.expect_problem(413, "attachment-too-large");
    assert_eq!(problem["limit_bytes"], 100_000);
    let unannounced = desk.unannounced("large.pdf", &large).await;
    assert!(
        unannounced.contains("HTTP/1.1 413") && unannounced.contains("attachment-too-large"),
        "{unannounced}"
    );
    let breaks_off = desk.unannounced("short.pdf", "%PDF-1.7").await;
    assert!(breaks_off.contains("HTTP/1.1 201"), "{breaks_off}");
    assert_eq!(desk.items().await.len(), 2);
}

impl Desk {
    /// Sends bytes in pieces without saying how many they are; the answer as text.
    async fn unannounced(&self, name: &str, bytes: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.server.address).await.expect("connects");
        let head = format!(
            "POST {}/attachments?name={name} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/pdf\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            self.draft,
            bearer(&self.sam)
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        for piece in bytes.as_bytes().chunks(7_000) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.expect("sent");
            stream.write_all(piece).await.expect("sent");
            stream.write_all(b"\r\n").await.expect("sent");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

#[tokio::test]
async fn a_repeated_upload_gets_its_first_answer_also_when_it_would_be_refused_by_now() {
    let desk = Desk::open().await;
    let upload = async |key: &str, name: &str, bytes: &str| {
        let headers = [("content-type", "application/pdf"), ("idempotency-key", key)];
        desk.attach_with(&desk.sam, name, &headers, bytes).await
    };
    let first = upload("k1", "a.pdf", PDF).await.expect(201);
    let again = upload("k1", "a.pdf", PDF).await.expect(201);
    assert_eq!((first.json(), first.header("location")), (again.json(), again.header("location")));
    upload("k1", "b.pdf", PDF).await.expect_problem(422, "idempotency-key-reused");
    upload("k1", "a.pdf", "%PDF-2").await.expect_problem(422, "idempotency-key-reused");
    let nothing_new = upload("k2", "a.pdf", PDF).await.expect(200);
    assert_eq!(nothing_new.json()["sequence"], first.json()["sequence"]);
    upload("k3", "b.pdf", PDF).await.expect_problem(409, "already-attached");
    desk.server
        .send(&desk.sam, Method::POST, &format!("{}/submit", desk.draft), &Value::Null)
        .await
        .expect(200);
    for reviewer in ["rita", "rob"] {
        let reviewer = token("acme", reviewer, &["reviewer"]);
        let path = format!("{}/transitions/close", desk.draft);
        desk.server.send(&reviewer, Method::POST, &path, &json!({})).await.expect(200);
    }
    upload("k4", "c.pdf", PDF).await.expect_problem(409, "not-in-state");
    assert_eq!(upload("k1", "a.pdf", PDF).await.expect(201).json(), first.json());
}

#[tokio::test]
async fn a_stale_sequence_attaches_nothing() {
    let desk = Desk::open().await;
    let headers = [("content-type", "application/pdf"), ("if-match", "\"7\"")];
    desk.attach_with(&desk.sam, "a.pdf", &headers, PDF).await.expect_problem(412, "precondition-failed");
    assert!(desk.items().await.is_empty() && desk.kept().is_empty());
    let place = format!("{}/attachments/{}", desk.draft, sha256(PDF));
    desk.server.get(&desk.sam, &place).await.expect_problem(404, "not-found");
    let headers = [("content-type", "application/pdf"), ("if-match", "\"1\"")];
    desk.attach_with(&desk.sam, "a.pdf", &headers, PDF).await.expect(201);
    assert_eq!(desk.server.get(&desk.sam, &place).await.expect(200).text(), PDF);
}
