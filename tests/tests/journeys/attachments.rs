//! Files and signatures through the whole program: a signed claim with receipts, what `verify` finds, buckets, several servers.

use formledger_tests::{Bucket, Client, Installation, Stage};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n a picture of a receipt";
const MEANING: &str = "I approve this claim";

fn definition() -> Value {
    json!({
        "title": "Claim with receipts",
        "schema": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}},
        "attachments": {"types": ["application/pdf", "image/png"], "max_bytes": 15_000_000, "max_count": 3},
        "workflow": {
            "initial": "review",
            "states": {"review": {"attach": true}, "approved": {"final": true}},
            "transitions": [{"name": "approve", "from": "review", "to": "approved", "roles": ["reviewer"],
                             "approvals": 2, "exclude_submitter": true, "signature": {"meaning": MEANING, "max_age": "PT10M"}}]
        }
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn submit(client: &Client) -> String {
    let made = client.submit("claim", &json!({ "amount": 120 })).await.expect(201);
    made.header("location").expect("a Location").to_owned()
}

fn attach(client: &Client, submission: &str, name: &str, bytes: &[u8]) -> formledger_tests::client::Call {
    let media_type = if bytes.starts_with(b"%PDF") { "application/pdf" } else { "image/png" };
    client.post(&format!("{submission}/attachments?name={name}")).body(media_type, bytes.to_vec())
}

/// A PDF of a size.
fn pdf(bytes: usize) -> Vec<u8> {
    let mut pdf = b"%PDF-1.7\n".to_vec();
    pdf.resize_with(bytes, || fastrand::u8(..));
    pdf
}

#[tokio::test]
async fn a_claim_with_receipts_is_approved_by_two_signatures_and_all_of_it_is_on_record() {
    let stage = Stage::with_form("claim", &definition()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let claim = submit(&sam).await;
    let (small, large) = (PNG.to_vec(), pdf(5_000_000));
    let first = attach(&sam, &claim, "taxi.png", &small).await.expect(201);
    let second = attach(&sam, &claim, "hotel.pdf", &large).await.expect(201);
    let mut signed = Vec::new();
    for (subject, name) in [("rita", "Rita Reviewer"), ("rob", "Rob Reviewer")] {
        let reviewer = stage.somebody("acme", subject, "reviewer").await;
        for (answer, bytes) in [(&first, &small), (&second, &large)] {
            let fetched = reviewer.get(answer.header("location").expect("a Location")).await.expect(200);
            assert!(fetched.body == *bytes, "what is fetched is what was attached");
        }
        let approve = reviewer.post(&format!("{claim}/transitions/approve"));
        let body = json!({ "signature": { "name": name, "meaning": MEANING } });
        signed.push(approve.json(&body).await.expect(200));
    }
    assert_eq!(signed[1].json()["state"], "approved");
    let seen = sam.get_at(&claim, signed[1].position()).await.expect(200).json();
    let names: Vec<&Value> =
        seen["signatures"].as_array().expect("signatures").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, [&json!("Rita Reviewer"), &json!("Rob Reviewer")]);
    let mut files = [(sha256(&small), "taxi.png"), (sha256(&large), "hotel.pdf")];
    files.sort();
    let files = files.map(|(sha256, name)| json!({ "sha256": sha256, "name": name }));
    assert_eq!(seen["signatures"][0]["attachments"], json!(files), "the files are part of what was signed");
    assert_eq!(seen["attachments"].as_array().map(Vec::len), Some(2));
    attach(&sam, &claim, "late.png", b"\x89PNG\r\n\x1a\n late").await.expect_problem(409, "not-in-state");

    let kinds = "formledger.submission.attached,formledger.submission.signed";
    let events = stage.admin.get(&format!("/v1/events?after=0&types={kinds}")).await.expect(200).json();
    let attached = &events["events"][0]["data"]["attachment"];
    let told = json!({"sha256": sha256(&small), "name": "taxi.png", "media_type": "image/png", "bytes": small.len()});
    assert_eq!(*attached, told);
    assert_eq!(events["events"].as_array().map(Vec::len), Some(4));
    let verified = stage.installation.run(&["verify"]).await.expect(0).stdout;
    assert!(verified.contains("acme: 2 attachments hold the bytes that were attached"), "{verified}");
}

#[tokio::test]
async fn bad_files_are_refused_recorded_where_that_is_wanted_and_nothing_is_lost() {
    let stage = Stage::with_form("claim", &definition()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let claim = submit(&sam).await;
    attach(&sam, &claim, "good.png", PNG).await.expect(201);
    let wanted = json!({ "refusals": true, "reads": false, "exports": false });
    stage.admin.put("/v1/audit", &wanted).await.expect(200);
    let lie = sam.post(&format!("{claim}/attachments?name=lie.pdf")).body("application/pdf", PNG.to_vec());
    lie.await.expect_problem(422, "attachment-type-mismatch");
    attach(&sam, &claim, "large.pdf", &pdf(15_000_001)).await.expect_problem(413, "attachment-too-large");
    let entries = stage.admin.get("/v1/audit/entries").await.expect(200).json();
    let told: Vec<_> = entries["events"]
        .as_array()
        .expect("events")
        .iter()
        // What was wanted stands first, and has no code.
        .filter(|it| it["data"].get("code").is_some())
        .map(|it| (&it["actor"], &it["data"]["code"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("sam"), &json!("attachment-type-mismatch")),
            (&json!("sam"), &json!("attachment-too-large"))
        ]
    );
    let listed = sam.get(&format!("{claim}/attachments")).await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["items"][0]["name"], "good.png");
    let timeline = stage.admin.get(&format!("{claim}/timeline")).await.expect(200).json();
    let refused: Vec<_> = timeline["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|it| it.get("refused").is_some())
        .collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
}

#[tokio::test]
async fn verify_sees_bytes_that_are_gone_or_are_others() {
    let stage = Stage::with_form("claim", &definition()).await;
    let claim = submit(&stage.admin).await;
    for name in ["one", "two", "three"] {
        let bytes = format!("%PDF-1.7 {name}");
        attach(&stage.admin, &claim, name, bytes.as_bytes()).await.expect(201);
    }
    let off = format!("{claim}/attachments/{}", sha256(b"%PDF-1.7 three"));
    stage.admin.call(Method::DELETE, &off).await.expect(200);
    let path = |name: &str| {
        let digits = sha256(format!("%PDF-1.7 {name}").as_bytes());
        let folder = stage.installation.data().join("attachments/acme");
        folder.join(&digits[..2]).join(&digits[2..4]).join(&digits[4..])
    };
    std::fs::remove_file(path("one")).expect("it is there");
    std::fs::write(path("two"), "%PDF-1.7 TWO").expect("it can be written");
    std::fs::write(path("three"), "").expect("it can be written");
    let finished = stage.installation.run(&["verify"]).await.expect(1);
    for told in [
        format!("attachment {} (`one`) is missing", sha256(b"%PDF-1.7 one")),
        format!("attachment {} (`two`) holds other bytes", sha256(b"%PDF-1.7 two")),
        format!("attachment {} (`three`) holds other bytes", sha256(b"%PDF-1.7 three")),
        "3 of 3 attachments".to_owned(),
    ] {
        assert!(finished.stdout.contains(&told), "{told}: {}", finished.stdout);
    }
    let gone = format!("{claim}/attachments/{}", sha256(b"%PDF-1.7 one"));
    stage.admin.get(&gone).await.expect_problem(503, "attachment-missing");
    let log = stage.server.stderr();
    let mut lines = log.lines().filter(|line| line.contains("not where they were kept"));
    assert!(lines.any(|line| line.contains("acme") && line.contains(&sha256(b"%PDF-1.7 one"))), "{log}");
    let part = stage.admin.get(&gone).header("Range", "bytes=1-3").await;
    part.expect_problem(503, "attachment-missing");
    attach(&stage.admin, &claim, "one", b"%PDF-1.7 one").await.expect(200);
    assert_eq!(stage.admin.get(&gone).await.expect(200).body, b"%PDF-1.7 one"[..]);
    let changed = format!("{claim}/attachments/{}", sha256(b"%PDF-1.7 two"));
    for range in ["", "bytes=0-"] {
        let asked = stage.admin.get(&changed).header("Range", range);
        asked.attempt().await.expect_err("it breaks off rather than to give wrong bytes out");
    }
}

#[tokio::test]
async fn an_import_tells_how_many_files_are_to_be_copied_beside_the_ledger() {
    let stage = Stage::with_form("claim", &definition()).await;
    let claim = submit(&stage.admin).await;
    attach(&stage.admin, &claim, "one.pdf", b"%PDF-1.7 one").await.expect(201);
    let off = attach(&stage.admin, &claim, "two.pdf", b"%PDF-1.7 two").await.expect(201);
    stage.admin.call(Method::DELETE, off.header("location").expect("a Location")).await.expect(200);
    let other = submit(&stage.admin).await;
    attach(&stage.admin, &other, "again.pdf", b"%PDF-1.7 one").await.expect(201);
    let file = stage.installation.scratch().join("acme.ndjson");
    let file = file.to_str().expect("UTF-8");
    stage.installation.run(&["export", "--tenant", "acme", "--out", file]).await.expect(0);
    let elsewhere = Installation::of_this_run().await;
    let told = elsewhere.run(&["import", file]).await.expect(0).stdout;
    assert!(told.contains("2 attachment(s)") && told.contains("`attachments/acme`"), "{told}");
    let missing = elsewhere.run(&["verify"]).await.expect(1).stdout;
    assert!(missing.contains("2 of 2 attachments are missing"), "{missing}");
    let from = stage.installation.data().join("attachments/acme");
    copy(&from, &elsewhere.data().join("attachments/acme"));
    elsewhere.run(&["verify"]).await.expect(0);
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (there, here) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if there.is_dir() {
            copy(&there, &here);
        } else {
            std::fs::copy(there, here).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_bucket_keeps_what_is_attached_and_an_outage_loses_nothing() {
    let bucket = Bucket::open().await;
    let installation = bucket.of(Installation::of_this_run().await, "office/files");
    let stage = Stage::on(installation, &[]).await;
    stage.admin.publish("claim", &definition()).await;
    let claim = submit(&stage.admin).await;
    let large = pdf(12_000_000);
    for (name, bytes) in [("small.png", PNG), ("large.pdf", &large[..])] {
        let attached = attach(&stage.admin, &claim, name, bytes).await.expect(201);
        let fetched = stage.admin.get(attached.header("location").expect("a Location")).await.expect(200);
        assert!(fetched.body == *bytes, "{name}");
        let digits = sha256(bytes);
        let key = format!("office/files/acme/{}/{}/{}", &digits[..2], &digits[2..4], &digits[4..]);
        assert!(bucket.keys().contains(&key), "{key}: {:?}", bucket.keys());
        let place = attached.header("location").expect("a Location");
        let part = stage.admin.get(place).header("Range", "bytes=-5").await.expect(206);
        assert!(part.body == bytes[bytes.len() - 5..], "{name}");
    }
    assert_eq!((bucket.uploads_count(), bucket.parts_count()), (1, 0), "the large one came in parts");
    let incoming = std::fs::read_dir(stage.installation.data().join("attachments/.incoming"));
    assert_eq!(incoming.expect("a folder").count(), 0, "nothing is left beside the bucket");

    bucket.be_away(true);
    let head = stage.head().await;
    let refused = attach(&stage.admin, &claim, "third.pdf", b"%PDF-1.7 third").await;
    refused.expect_problem(503, "attachment-unavailable");
    let small = format!("{claim}/attachments/{}", sha256(PNG));
    stage.admin.get(&small).await.expect_problem(503, "attachment-unavailable");
    assert_eq!(stage.head().await, head, "no event names bytes that are not there");
    bucket.be_away(false);
    attach(&stage.admin, &claim, "third.pdf", b"%PDF-1.7 third").await.expect(201);
    stage.installation.run(&["verify"]).await.expect(0);
    let digits = sha256(PNG);
    bucket.damage(&format!("office/files/acme/{}/{}/{}", &digits[..2], &digits[2..4], &digits[4..]));
    let finished = stage.installation.run(&["verify"]).await.expect(1);
    assert!(finished.stdout.contains("(`small.png`) holds other bytes"), "{}", finished.stdout);
}

#[tokio::test]
async fn what_is_attached_through_one_server_is_fetched_through_another() {
    let shared = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}", shared.path().display());
    let one = Installation::on_postgres().await.with("ATTACHMENTS_URL", &url);
    let other = one.beside().with("ATTACHMENTS_URL", &url);
    let stage = Stage::on(one, &[]).await;
    stage.admin.publish("claim", &definition()).await;
    let claim = submit(&stage.admin).await;
    let attached = attach(&stage.admin, &claim, "small.png", PNG).await.expect(201);
    let server = other.serve().await;
    let client = server.client(&other.token("acme", "ada", "admin").await);
    let place = attached.header("location").expect("a Location");
    let fetched = client.get_at(place, attached.position()).await.expect(200);
    assert_eq!(fetched.body, PNG);
    other.run(&["verify"]).await.expect(0);
}
