//! Timers of several nodes on one Postgres ledger: what is due everywhere at once escalates once, also when a node dies half-way.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use formledger_tests::wait::within_time;
use formledger_tests::{Client, Installation, Server};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Tasks that are due in the same second.
const TASKS: usize = 10_000;
/// Submissions made between two looks at the clock.
const BATCH: usize = 64;
/// Submissions that are made without a due date first, to learn how long the others will take.
const MEASURED: usize = 256;
/// Submissions under way at once.
const CLIENTS: usize = 64;
/// How much longer than was measured the making of all tasks may take; on a machine that slows down more, the last ones are due later.
const RESERVE: f64 = 1.5;
/// How long each half of the escalations may take: some 6 ms of CPU each, over three unoptimised nodes, their read models and Postgres.
const ESCALATED_WITHIN: Duration = Duration::from_secs(120);
/// How often a level is asked for.
const ASKED_EVERY: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tasks_due_in_one_second_escalate_once_each_when_one_of_three_nodes_is_killed_half_way()
{
    let installation = Installation::on_postgres().await;
    let token = installation.token("acme", "ada", "admin").await;
    let server = installation.serve().await;
    let ada = server.client(&token);
    let others = [installation.beside(), installation.beside()];
    let (killed, survivor) = tokio::join!(others[0].serve(), others[1].serve());
    make_tasks(&ada).await;

    let began = Instant::now();
    within_time(
        "half of the tasks to escalate",
        ESCALATED_WITHIN,
        until(async || late(&ada).await >= TASKS / 2),
    )
    .await;
    killed.kill_9().await;
    let at_the_kill = late(&ada).await;
    within_time("all tasks to escalate", ESCALATED_WITHIN, until(async || late(&ada).await == TASKS)).await;
    println!("{at_the_kill} had escalated at the kill, all {TASKS} after {:?}", began.elapsed());

    for node in [&server, &survivor] {
        let seen = "formledger_timer_overdue_tasks 0";
        within_time(
            "a look that finds nothing overdue",
            ESCALATED_WITHIN,
            until(async || metrics(node).await.contains(seen)),
        )
        .await;
    }
    assert_each_escalated_once(&ada).await;
}

/// Makes tasks that are due in the same second of the clock: the later a task is made the less time its form version gives it.
async fn make_tasks(client: &Client) {
    client.publish("claim", &claim(None)).await;
    let measured = Instant::now();
    submit(client, MEASURED).await;
    let needed = measured.elapsed().mul_f64(RESERVE * TASKS as f64 / MEASURED as f64);
    let due = clock() + needed.as_secs() + 2;
    let mut given = None;
    for made in (0..TASKS).step_by(BATCH) {
        let left = due.saturating_sub(clock()).max(1);
        if given != Some(left) {
            client.publish("claim", &claim(Some(left))).await;
            given = Some(left);
        }
        submit(client, BATCH.min(TASKS - made)).await;
    }
    let left = due as i64 - clock() as i64;
    println!("{TASKS} tasks made in {:?}, {left} s before they are due", measured.elapsed());
}

/// The clock's second; due dates are whole seconds.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Waits in `review`, for so many seconds where they are given.
fn claim(seconds: Option<u64>) -> Value {
    let review = match seconds {
        Some(seconds) => json!({"due": format!("PT{seconds}S"), "escalate": {"to": "late"}}),
        None => json!({}),
    };
    json!({"title": "Claim", "schema": {"type": "object"}, "workflow": {
        "initial": "review",
        "states": {"review": review, "late": {}, "closed": {"final": true}},
        "transitions": [
            {"name": "close", "from": ["review", "late"], "to": "closed", "roles": ["reviewer"]},
            {"name": "leave", "from": "review", "to": "late", "roles": ["reviewer"]},
        ],
    }})
}

async fn submit(client: &Client, count: usize) {
    let submit = |_| async { drop(client.submit("claim", &json!({})).await.expect(201)) };
    stream::iter(0..count).map(submit).buffer_unordered(CLIENTS).collect::<Vec<()>>().await;
}

/// How many claims went to `late`.
async fn late(client: &Client) -> usize {
    let counts = client.get("/v1/stats?form=claim").await.expect(200).json();
    let states = counts["states"].as_array().expect("states");
    let late = states.iter().find(|state| state["state"] == "late");
    late.and_then(|state| state["count"].as_u64()).unwrap_or_default() as usize
}

async fn metrics(server: &Server) -> String {
    server.anonymous().get("/metrics").await.expect(200).text()
}

/// Returns when `reached` says so.
async fn until(mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        sleep(ASKED_EVERY).await;
    }
}

async fn assert_each_escalated_once(client: &Client) {
    let events = client
        .get("/v1/events?types=formledger.submission.escalated")
        .header("Accept", "application/x-ndjson");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.await.expect(200).json_lines() {
        *times.entry(event["subject"].as_str().expect("a subject").to_owned()).or_default() += 1;
    }
    let more_than_once: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(more_than_once.is_empty(), "{more_than_once:?}");
    assert_eq!(times.len(), TASKS);
}
