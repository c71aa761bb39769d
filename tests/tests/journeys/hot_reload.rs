//! Several nodes on one ledger, a form published again and again at one or another of them while all take submissions: each judges by one
//! version at a time, soon by the newest, and what was begun under a version goes on under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Server, Stage};
use serde_json::{Value, json};

const NODES: usize = 3;
/// Versions that are published, the first one included.
const VERSIONS: u64 = 6;
const EVALUATED: &str = "formledger.submission.rules-evaluated.v1";

/// A form of which every rule says the version that it belongs to: rules of two versions in one evaluation would show.
fn form_of_version(version: u64) -> Value {
    json!({
        "title": "Claim",
        "schema": {
            "type": "object", "required": ["amount"], "additionalProperties": false,
            "properties": {"amount": {"type": "number"}, "made": {"type": "integer"}},
        },
        "rules": [
            {"id": "made", "kind": "compute", "value": version.to_string(), "into": "/made"},
            {"id": "route", "kind": "decision", "when": "amount >= 0", "then": {"version": version}},
            {"id": "fee", "kind": "table", "hit": "first", "inputs": ["made"],
             "rows": [{"when": [version.to_string()], "then": {"version": version}}], "otherwise": {"version": 0}},
        ],
        "workflow": {
            "initial": "submitted",
            "states": {"submitted": {"edit": ["/amount"]}, "done": {"final": true}},
            "transitions": [{"name": "finish", "from": ["submitted"], "to": "done", "roles": ["reviewer"]}],
        },
    })
}

/// The one version that everything in an answer or an event says.
fn version_of(said: &Value) -> u64 {
    let version = said["form_version"].as_u64().unwrap_or_else(|| panic!("no version: {said}"));
    let outcomes = &said["outcomes"];
    for found in [
        &outcomes["made"]["value"],
        &outcomes["route"]["value"]["version"],
        &outcomes["fee"]["value"]["version"],
    ] {
        assert_eq!(*found, json!(version), "rules of another version took part: {said}");
    }
    version
}

async fn submit(client: &Client) -> Value {
    client.submit("claim", &json!({"amount": 1.5})).await.expect(201).json()
}

/// Nodes beside the stage's own, and an administrator at every node.
async fn nodes(stage: &Stage) -> (Vec<(Installation, Server)>, Vec<Client>) {
    let (mut beside, mut clients) = (Vec::new(), vec![stage.admin.clone()]);
    for _ in 1..NODES {
        let installation = stage.installation.beside();
        let server = installation.serve().await;
        clients.push(server.client(&installation.token("acme", "ada", "admin").await));
        beside.push((installation, server));
    }
    (beside, clients)
}

/// Submits at one node until it is told to stop; versions never go back there, and none is judged by that was not published.
async fn flow(client: Client, published: Arc<AtomicU64>, stop: Arc<AtomicU64>) -> u64 {
    let (mut newest, mut count) = (1, 0);
    while stop.load(Ordering::Relaxed) == 0 {
        let version = version_of(&submit(&client).await);
        // A publication counts from its recording, which is before its answer.
        assert!(version >= newest && version <= published.load(Ordering::SeqCst), "{version} after {newest}");
        (newest, count) = (version, count + 1);
    }
    count
}

#[tokio::test]
async fn a_publication_at_one_node_is_judged_by_at_every_node_and_never_by_halves() {
    let stage = Stage::on(Installation::on_postgres().await, &[]).await;
    let (_beside, clients) = nodes(&stage).await;
    stage.admin.publish("claim", &form_of_version(1)).await;
    let draft = json!({"data": {"amount": 1}, "draft": true});
    let drafted = clients[1].post("/v1/forms/claim/submissions").json(&draft).await.expect(201).json();
    let begun = submit(&clients[2]).await;
    assert_eq!(version_of(&begun), 1);

    let (published, stop) = (Arc::new(AtomicU64::new(1)), Arc::<AtomicU64>::default());
    let flows: Vec<_> = clients
        .iter()
        .map(|client| tokio::spawn(flow(client.clone(), published.clone(), stop.clone())))
        .collect();
    for version in 2..=VERSIONS {
        let publisher = &clients[version as usize % NODES];
        published.store(version, Ordering::SeqCst);
        publisher.publish("claim", &form_of_version(version)).await;
        assert_eq!(version_of(&submit(publisher).await), version, "who published judges by it at once");
        for client in &clients {
            let soon = async { while version_of(&submit(client).await) < version {} };
            within("every node to judge by the new version", soon).await;
        }
    }
    stop.store(1, Ordering::Relaxed);
    for flow in flows {
        assert!(flow.await.expect("the flow goes on") > 0);
    }

    // What began under the first version goes on under it, at nodes that never saw it as the newest.
    let path = |submission: &Value| {
        format!("/v1/submissions/{}", submission["submission_id"].as_str().expect("an id"))
    };
    let submitted = clients[0].post(&format!("{}/submit", path(&drafted))).await.expect(200);
    let amended = clients[1]
        .call(http::Method::PATCH, &path(&begun))
        .body("application/merge-patch+json", r#"{"amount": 7}"#)
        .await
        .expect(200);
    for (submission, at) in [(&drafted, submitted.position()), (&begun, amended.position())] {
        let now = clients[2].get_at(&path(submission), at).await.expect(200).json();
        assert_eq!(version_of(&now), 1);
    }

    let mut evaluations = 0;
    let mut after = 0;
    loop {
        let page = format!("/v1/events?after={after}&limit=500&types={EVALUATED}");
        let page = stage.admin.get(&page).await.expect(200).json();
        let events = page["events"].as_array().expect("events");
        let Some(last) = events.last() else { break };
        events.iter().for_each(|event| assert!(version_of(&event["data"]) > 0));
        evaluations += events.len();
        after = last["position"].as_str().expect("a position").parse::<u64>().expect("a number");
    }
    assert!(evaluations > 2 * VERSIONS as usize * NODES, "{evaluations}");
}
