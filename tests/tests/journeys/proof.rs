//! The proof: an exported ledger gives the root hash that the server answers, computed here from the written format alone (docs/proof.md)
//! and by the page of Python that the documentation offers; one changed character gives another one.

use std::path::Path;
use std::process::Output;

use formledger_tests::Stage;
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::installation::repository;
use formledger_tests::program::required;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The leaf hash of an exported line: the envelope names the payload by the hash of its stored text.
fn leaf(line: &str) -> Hash {
    #[derive(serde::Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let payload: Payload<'_> = serde_json::from_str(line).expect("a line has a payload");
    let mut envelope: Map<String, Value> = serde_json::from_str(line).expect("a line is an object");
    envelope.remove("payload");
    envelope.remove("leaf_hash");
    envelope.insert("payload_sha256".to_owned(), json!(hex(&sha256(&[payload.payload.get().as_bytes()]))));
    // Its members are texts and small integers, and serde_json sorts them: this is the form of RFC 8785.
    sha256(&[&[0], Value::Object(envelope).to_string().as_bytes()])
}

/// RFC 6962 section 2.1, as it is written there.
fn merkle_tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &merkle_tree_hash(left), &merkle_tree_hash(right)])
        }
    }
}

fn root_of(export: &str) -> String {
    hex(&merkle_tree_hash(&export.lines().map(leaf).collect::<Vec<_>>()))
}

#[tokio::test]
async fn an_export_proves_the_root_that_the_server_answered() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for n in 0..20 {
        let mut data = expense(f64::from(n), "DE");
        data["lines"] = json!([{ "price": "ä \"quoted\" \\ \u{1} 😀" }]);
        stage.admin.submit("expense", &data).await.expect(201);
        let ledger = stage.admin.get("/v1/ledger").await.expect(200).json();
        let export = stage.installation.run(&["export", "--tenant", "acme"]).await.expect(0).stdout;
        assert_eq!(ledger["position"], export.lines().count());
        assert_eq!(ledger["root_hash"], root_of(&export).as_str(), "after {n} submissions");
    }
}

#[tokio::test]
async fn the_documented_page_of_python_says_the_same_and_vouches_for_nothing_that_no_leaf_covers() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for n in 0..10 {
        stage.admin.submit("expense", &expense(f64::from(n), "DE")).await.expect(201);
    }
    let ledger = stage.admin.get("/v1/ledger").await.expect(200).json();
    let root = ledger["root_hash"].as_str().expect("a root hash");
    let export = stage.installation.run(&["export", "--tenant", "acme"]).await.expect(0).stdout;
    let file = stage.installation.scratch().join("acme.ndjson");
    std::fs::write(&file, &export).expect("an export can be written");
    required("python3").await;
    let verified = python(&file, &["--root", root]).await;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains(root), "{verified:?}");
    let empty = root_of("");
    for arguments in [["--root", &root.to_uppercase()].as_slice(), &["--root", &empty, "--position", "0"]] {
        let verified = python(&file, arguments).await;
        assert!(verified.status.success(), "{arguments:?}: {verified:?}");
    }
    for position in ["0", "1", "-1", "1000"] {
        let other = python(&file, &["--root", root, "--position", position]).await;
        assert!(!other.status.success(), "the last root at {position}");
    }
    for (why, from, to) in FORGERIES {
        assert!(export.contains(from), "{why}: there is no `{from}` in an export");
        std::fs::write(&file, export.replacen(from, to, 1)).expect("an export can be changed");
        let forged = python(&file, &["--root", root]).await;
        let said = String::from_utf8_lossy(&forged.stderr);
        assert!(!forged.status.success() && said.starts_with("NOT VERIFIED"), "{why}: {forged:?}");
    }
}

/// What a forger does to a line: most of it leaves everything that is hashed as it was, so that no leaf tells.
const FORGERIES: [(&str, &str, &str); 16] = [
    ("another value", "\"DE\"", "\"FR\""),
    ("an actor in front of the real one", "\"metadata\":{", "\"metadata\":{\"actor\":\"eve\","),
    (
        "a payload in front of the real one",
        "\"payload\":",
        "\"payload\":{\"kind\":\"withdrawn\"},\"payload\":",
    ),
    ("a time in front of the real one", "{\"tenant\":", "{\"recorded_at\":\"2020-01-01\",\"tenant\":"),
    ("a member that is not known", "{\"tenant\":", "{\"note\":\"approved by eve\",\"tenant\":"),
    ("metadata that are not known", ",\"correlationid\":", ",\"on_behalf_of\":\"eve\",\"correlationid\":"),
    ("text behind an event", "}\n", "} approved by eve\n"),
    ("an object behind an event", "}\n", "}{\"note\":\"approved by eve\"}\n"),
    ("a comma that is missing", ",\"position\":", "\"position\":"),
    ("a list that never ends", "{\"tenant\":", "[\"tenant\":"),
    ("a blank", "\"position\":1,", "\"position\": 1,"),
    ("a name that is written otherwise", "\"actor\":", "\"\\u0061ctor\":"),
    ("a number that is written otherwise", "\"position\":1,", "\"position\":1.0,"),
    ("a carriage return", "}\n", "}\r\n"),
    ("a blank in the payload", "\"country\":\"DE\"", "\"country\": \"DE\""),
    ("an empty line", "}\n", "}\n\n"),
];

/// What `docs/verify-ledger.py` says.
async fn python(export: &Path, arguments: &[&str]) -> Output {
    let script = repository().join("docs/verify-ledger.py");
    let run = Command::new("python3").arg(script).arg(export).args(arguments).output();
    run.await.expect("python3 can be started")
}
