//! `kill -9` while files are attached: every file whose attaching was answered is there, whole; others are there or not, and harm nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use formledger_tests::{Client, Installation};
use futures_util::future::join_all;
use serde_json::json;

/// How often the server is killed.
const ROUNDS: usize = 12;
/// Files that are attached at the same time, each to a submission of its own.
const CLIENTS: usize = 6;
/// The most files acknowledged before a kill.
const ACKNOWLEDGED_BETWEEN_KILLS_MAX: usize = 25;

/// A file whose attaching was answered.
struct Acknowledged {
    place: String,
    bytes: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_file_is_whole_after_kills_between_any_two_steps() {
    let installation = Installation::of_this_run().await;
    let token = installation.token("acme", "ada", "admin").await;
    let mut server = installation.serve().await;
    let definition =
        json!({"title": "Files", "schema": {"type": "object"}, "attachments": {"max_count": 100}});
    server.client(&token).publish("files", &definition).await;
    let mut all: Vec<Acknowledged> = Vec::new();
    for round in 0..ROUNDS {
        let client = server.client(&token);
        let count = Arc::new(AtomicUsize::new(0));
        let uploading: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(attach_until_cut(client.clone(), Arc::clone(&count))))
            .collect();
        let enough = fastrand::usize(1..=ACKNOWLEDGED_BETWEEN_KILLS_MAX);
        while count.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill_9().await;
        for acknowledged in join_all(uploading).await {
            all.extend(acknowledged.expect("no client panics"));
        }
        server = installation.serve().await;
        let client = server.client(&token);
        for Acknowledged { place, bytes } in &all {
            let fetched = client.get(place).await.expect(200);
            assert!(fetched.body == *bytes, "round {round}: {place}");
        }
    }
    println!("{} files acknowledged over {ROUNDS} kills", all.len());
    let verified = installation.run(&["verify"]).await.expect(0).stdout;
    assert!(verified.contains("attachments hold the bytes that were attached"), "{verified}");
}

/// Attaches one file after the other until the server dies.
async fn attach_until_cut(client: Client, count: Arc<AtomicUsize>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let draft = json!({"data": {}, "draft": true});
    let Ok(made) = client.post("/v1/forms/files/submissions").json(&draft).attempt().await else {
        return acknowledged;
    };
    let submission = made.expect(201).header("location").expect("a Location").to_owned();
    loop {
        let mut bytes = b"%PDF-1.7\n".to_vec();
        bytes.resize_with(fastrand::usize(10..400_000), || fastrand::u8(..));
        let path = format!("{submission}/attachments?name=file.pdf");
        let call = client.post(&path).body("application/pdf", bytes.clone());
        let Ok(answer) = call.attempt().await else { return acknowledged };
        if answer.status == 409 {
            // It has as many as it takes; the round goes on with the others.
            return acknowledged;
        }
        let place = answer.expect(201).header("location").expect("a Location").to_owned();
        acknowledged.push(Acknowledged { place, bytes });
        count.fetch_add(1, Ordering::SeqCst);
    }
}
