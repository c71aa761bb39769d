//! `kill -9` under load, again and again: what was acknowledged is there, once, in a ledger without gaps, and all read models agree.

use std::collections::{BTreeMap, BTreeSet};

use formledger_tests::definitions::expense_claim;
use formledger_tests::{Client, Feed, Installation};
use serde_json::Value;

use crate::load::{Acknowledged, Load};

/// How often the server is killed.
const ROUNDS: usize = 100;
/// Clients that submit at the same time.
const CLIENTS: usize = 12;
/// The most submissions acknowledged between two kills; some kills come right after the first.
const ACKNOWLEDGED_BETWEEN_KILLS_MAX: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_under_load_lose_nothing_and_repeat_nothing() {
    let installation = Installation::fresh();
    let token = installation.token("acme", "ada", "admin").await;
    let mut server = installation.serve().await;
    server.client(&token).publish("expense", &expense_claim()).await;
    let mut load = Load::start(CLIENTS);
    let mut followed = Vec::new();
    for _ in 0..ROUNDS {
        let client = server.client(&token);
        let last: u64 = followed.len().try_into().expect("positions are small");
        let feed = client.feed("/v1/feed", Some(last)).await;
        load.direct_to(client);
        let (seen, ()) = tokio::join!(follow_until_cut(feed), async {
            load.acknowledges(fastrand::usize(1..=ACKNOWLEDGED_BETWEEN_KILLS_MAX)).await;
            server.kill_9().await;
        });
        followed.extend(seen);
        server = installation.serve().await;
    }
    let client = server.client(&token);
    load.direct_to(client.clone());
    load.acknowledges(CLIENTS).await;
    let acknowledged = load.finish().await;
    println!("{} submissions acknowledged over {ROUNDS} kills", acknowledged.len());

    let head = client.get("/v1/ledger").await.expect(200).json()["position"].as_u64().expect("a position");
    let ledger = ledger_without_gap(&client, head).await;
    assert!(
        followed == ledger[..followed.len()],
        "what a feed announced over the kills is what the ledger holds"
    );
    assert_every_acknowledged_once(&client, head, &acknowledged).await;

    let before = read_models(&client, head).await;
    assert!(server.stop().await.success());
    installation.run(&["verify"]).await.expect(0);
    installation.run(&["rebuild"]).await.expect(0);
    let server = installation.serve().await;
    let after = read_models(&server.client(&token), head).await;
    assert!(before == after, "the read models differ from a rebuild:\n{before:#?}\n{after:#?}");
}

/// What a feed shows until the server dies.
async fn follow_until_cut(mut feed: Feed) -> Vec<Value> {
    let mut seen = Vec::new();
    while let Some(event) = feed.next().await {
        seen.push(event.data);
    }
    seen
}

/// Every event of the ledger, proven to be at positions 1 to `head`.
async fn ledger_without_gap(client: &Client, head: u64) -> Vec<Value> {
    let events = client.get("/v1/events?after=0").header("Accept", "application/x-ndjson").await.expect(200);
    let events = events.json_lines();
    let number = |event: &Value| event["position"].as_str().and_then(|text| text.parse().ok());
    let positions: Vec<u64> = events.iter().filter_map(number).collect();
    assert_eq!(positions, (1..=head).collect::<Vec<_>>());
    let ids: BTreeSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    assert_eq!(ids.len(), events.len(), "no event is there twice");
    events
}

/// The submissions that the read models show at a position they have reached, each once.
pub async fn shown(client: &Client, head: u64) -> BTreeMap<String, Acknowledged> {
    let export = client.get_at("/v1/exports/submissions.ndjson?form=expense", head).await.expect(200);
    let mut stored = BTreeMap::new();
    for row in export.json_lines() {
        let key = row["data"]["lines"][0]["price"].as_str().expect("the key stands in the data").to_owned();
        let there = Acknowledged {
            id: row["submission_id"].as_str().expect("an id").to_owned(),
            position: row["position"].as_u64().expect("a position"),
        };
        assert_eq!(stored.insert(key.clone(), there), None, "{key} was recorded twice");
    }
    stored
}

pub async fn assert_every_acknowledged_once(
    client: &Client,
    head: u64,
    acknowledged: &BTreeMap<String, Acknowledged>,
) {
    let stored = shown(client, head).await;
    for (key, expected) in acknowledged {
        assert_eq!(stored.get(key), Some(expected), "{key} was acknowledged so");
    }
    assert_eq!(stored.len(), acknowledged.len(), "every submission begun was answered in the end");
}

/// All that the read models say, at a position they have reached.
pub async fn read_models(client: &Client, head: u64) -> Vec<String> {
    let mut said = Vec::new();
    for path in
        ["/v1/forms", "/v1/forms/expense", "/v1/stats", "/v1/exports/submissions.ndjson?sort=created_at"]
    {
        said.push(client.get_at(path, head).await.expect(200).text());
    }
    said
}
