//! Attachments over HTTP: what is answered, what is refused before and after the bytes, what a browser is told, what is kept where.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::audit::{configure, entries, in_time};
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
