//! What is audited: nothing at first, then what the tenant's admin says. The coverage test is in `audit_coverage`.

use std::time::Duration;

use chrono::Utc;
use formledger_api::Storage;
use formledger_domain::{Audit, AuditEvent, LedgerAggregate, Sequence, SubmissionId, TenantContext, Use};
use formledger_store::{Append, Store, StoreSettings};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, admin, bearer, token};

pub async fn configure(server: &Server, refusals: bool, reads: bool, exports: bool) {
    let body = json!({"refusals": refusals, "reads": reads, "exports": exports});
    server.send(&admin("acme"), Method::PUT, "/v1/audit", &body).await.expect(200);
}

/// The entries after a position whose actor is `actor`.
pub async fn entries(server: &Server, after: u64, actor: &str) -> Vec<Value> {
    let path = format!("/v1/audit/entries?after={after}&limit=1000");
    let page = server.get(&admin("acme"), &path).await.expect(200).json();
    let events = page["events"].as_array().expect("events").iter();
    events.filter(|event| event["actor"] == actor).cloned().collect()
}

/// The entries of `actor`, once there are `count` of them.
pub async fn in_time(server: &Server, actor: &str, count: usize) -> Vec<Value> {
    let wait = async {
        loop {
            let found = entries(server, 0, actor).await;
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("recorded when the window ends")
}

async fn head(server: &Server) -> u64 {
    server.get(&admin("acme"), "/v1/ledger").await.expect(200).json()["position"]
        .as_u64()
        .expect("a position")
}

async fn refuse(server: &Server, subject: &str, times: usize) {
    let clerk = token("acme", subject, &["clerk"]);
    for _ in 0..times {
        let path = "/v1/forms/expense/retire";
        server.send(&clerk, Method::POST, path, &Value::Null).await.expect_problem(403, "not-permitted");
    }
}

#[tokio::test]
async fn nothing_is_audited_until_an_admin_says_so_and_only_in_their_tenant() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    server.publish(&admin("globex"), "expense").await;
    let before = head(&server).await;
    refuse(&server, "eve", 2).await;
    server.get(&admin("acme"), "/v1/exports/submissions.csv").await.expect(200);
    assert_eq!(head(&server).await, before);
    let shown = server.get(&admin("acme"), "/v1/audit").await.expect(200).json();
    assert_eq!(shown, json!({"refusals": false, "reads": false, "exports": false, "position": before}));
    configure(&server, true, true, true).await;
    configure(&server, true, true, true).await;
    assert_eq!(head(&server).await, before + 1, "what is so already is not recorded again");
    let other = server.get(&admin("globex"), "/v1/audit").await.expect(200).json();
    assert_eq!(other["refusals"], false);
    let half = json!({"refusals": true});
    server.send(&admin("acme"), Method::PUT, "/v1/audit", &half).await.expect_problem(400, "body-invalid");
    let auditor = token("acme", "aud", &["auditor"]);
    server.get(&auditor, "/v1/audit").await.expect(200);
    let all = json!({"refusals": false, "reads": false, "exports": false});
    server.send(&auditor, Method::PUT, "/v1/audit", &all).await.expect_problem(403, "not-permitted");
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_entry_and_a_count() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    configure(&server, true, false, false).await;
    let before = head(&server).await;
    refuse(&server, "eve", 60).await;
    assert_eq!(head(&server).await, before + 1);
    assert_eq!(entries(&server, before, "eve").await.len(), 1, "before it was answered");
    let found = in_time(&server, "eve", 2).await;
    let times: Vec<&Value> = found.iter().map(|entry| &entry["data"]["attempt"]["times"]).collect();
    assert_eq!(times, [1, 59]);
    assert_eq!(found[1]["data"]["code"], "not-permitted");
    assert_eq!(found[1]["data"]["attempt"]["target"], "/v1/forms/expense/retire");
}

#[tokio::test]
async fn what_was_counted_is_recorded_when_the_server_stops() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let start = || Server::start_with(|settings| settings.storage = Storage::embedded(data.path()));
    let server = start().await;
    server.publish(&admin("acme"), "expense").await;
    configure(&server, true, false, false).await;
    refuse(&server, "eve", 3).await;
    server.stop().await;
    let found = entries(&start().await, 0, "eve").await;
    assert_eq!(found.last().expect("entries")["data"]["attempt"]["times"], 2);
}

#[tokio::test]
async fn reads_are_counted_by_person_and_path_and_what_shows_nothing_is_not() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let recorded = server.submit(&admin, "expense", 5.0).await.expect(201);
    let (location, position) = (recorded.header("location").to_owned(), recorded.json()["position"].clone());
    configure(&server, false, true, false).await;
    let rita = token("acme", "rita", &["reviewer"]);
    for _ in 0..3 {
        let path = format!("{location}?min_position={position}");
        server.get(&rita, &path).await.expect(200);
    }
    server.get(&rita, "/v1/ledger").await.expect(200);
    server.get(&rita, "/v1/forms").await.expect(200);
    server.get(&rita, "/v1/submissions/nothing").await.expect_problem(404, "not-found");
    let found = in_time(&server, "rita", 1).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["type"], "formledger.audit.data-read.v1");
    let read = &found[0]["data"]["read"];
    assert_eq!((&read["times"], &read["target"]), (&json!(3), &json!(location)));
    assert_eq!(read["action"], "GET /v1/submissions/{id}");
    let by_form = server.get(&admin, "/v1/events?form=expense&types=formledger.audit.data-read").await.json();
    assert_eq!(by_form["events"].as_array().expect("events").len(), 1, "filed under its form");
}

#[tokio::test]
async fn a_feed_is_read_whether_what_it_shows_happens_now_or_goes_by_again() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    server.submit(&admin, "expense", 5.0).await.expect(201);
    let body = json!({"kind": "feed", "speed": "max"});
    let replay = server.send(&admin, Method::POST, "/v1/replays", &body).await.expect(201);
    configure(&server, false, true, true).await;
    let auditor = token("acme", "aud", &["auditor"]);
    let again = format!("{}/feed", replay.header("location"));
    server.get(&auditor, &again).await.expect(200);
    let authorization = bearer(&auditor);
    drop(server.open(Method::GET, "/v1/feed?after=0", &[("authorization", &authorization)], "").await);
    let found = in_time(&server, "aud", 2).await;
    let mut told: Vec<_> =
        found.iter().map(|entry| (&entry["type"], &entry["data"]["read"]["action"])).collect();
    told.sort_by_key(|(_, action)| action.to_string());
    let read = json!("formledger.audit.data-read.v1");
    let actions = [json!("GET /v1/feed"), json!("GET /v1/replays/{id}/feed")];
    assert_eq!(told, [(&read, &actions[0]), (&read, &actions[1])]);
}

#[tokio::test]
async fn a_flood_of_one_export_is_one_entry_and_a_count_though_others_stand_before_it() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    configure(&server, true, false, true).await;
    let rita = token("acme", "rita", &["reviewer"]);
    for number in 0..25 {
        server.get(&rita, &format!("/v1/forms/none{number}")).await.expect_problem(404, "not-found");
    }
    let before = head(&server).await;
    for _ in 0..15 {
        server.get(&rita, "/v1/exports/submissions.csv").await.expect(200);
        server.get(&rita, "/v1/exports/submissions.csv?form=expense").await.expect(200);
    }
    assert_eq!(head(&server).await, before + 2, "each query once, before it is given out");
    // The refusals, of which five are counted, and two exports; then the counts.
    let found = in_time(&server, "rita", 25).await;
    let of_exports = found.iter().filter_map(|entry| entry["data"]["export"]["times"].as_u64());
    assert_eq!(of_exports.collect::<Vec<_>>(), [1, 1, 14, 14]);
}

#[tokio::test]
async fn an_export_is_in_the_ledger_before_it_is_given_out() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    configure(&server, false, false, true).await;
    let before = head(&server).await;
    let rita = token("acme", "rita", &["reviewer"]);
    server.get(&rita, "/v1/exports/submissions.csv").await.expect(200);
    server.get(&rita, "/v1/exports/submissions.ndjson?form=expense").await.expect(200);
    let authorization = bearer(&rita);
    let lines = [("authorization", authorization.as_str()), ("accept", "application/x-ndjson")];
    server.call(Method::GET, "/v1/events", &lines, "").await.expect(200);
    server.get(&rita, "/v1/events").await.expect(200);
    let found = entries(&server, before, "rita").await;
    let actions: Vec<&Value> = found.iter().map(|entry| &entry["data"]["export"]["action"]).collect();
    assert_eq!(
        actions,
        ["GET /v1/exports/submissions.csv", "GET /v1/exports/submissions.ndjson", "GET /v1/events"]
    );
}

#[tokio::test]
async fn a_timeline_shows_the_newest_refusals_of_any_number_and_none_of_the_reads_beside_them() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let start = || Server::start_with(|settings| settings.storage = Storage::embedded(data.path()));
    let server = start().await;
    server.publish(&admin("acme"), "expense").await;
    let submitted = server.submit(&admin("acme"), "expense", 5.0).await.expect(201);
    let id = submitted.json()["submission_id"].as_str().expect("an id").to_owned();
    configure(&server, true, true, false).await;
    server.stop().await;

    // As a server records them in the course of years.
    let ledger = data.path().join("ledger.db");
    let store = Store::open_sqlite(&ledger, StoreSettings::default()).await.expect("opens");
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let submission_id = id.parse().map(SubmissionId).expect("a UUID");
    let used = |number: u32| {
        let (action, target) = (format!("POST {number}").into(), None);
        let (first_at, last_at) = (context.now, context.now);
        Use { action, target, submission_id: Some(submission_id), times: 1, first_at, last_at }
    };
    let refused = (0..700).map(|number| AuditEvent::AttemptRefused {
        attempt: used(number),
        code: "not-permitted".into(),
        status: 403,
    });
    let events = refused.flat_map(|refused| [refused, AuditEvent::DataRead { read: used(0) }]);
    let append = Append {
        stream: context.stream::<Audit>(submission_id),
        expected: Sequence::START,
        events: events.map(|event| Audit::encode(&event)).collect(),
        topic: Some("expense".into()),
        idempotency: None,
    };
    store.ledger(&context).append(append).await.expect("recorded");
    store.close().await;

    let server = start().await;
    let eve = token("acme", "eve", &["auditor"]);
    let approve = format!("/v1/submissions/{id}/transitions/approve");
    server.send(&eve, Method::POST, &approve, &Value::Null).await.expect_problem(403, "not-permitted");
    let timeline = server.get(&eve, &format!("/v1/submissions/{id}/timeline")).await.expect(200).json();
    let items = timeline["items"].as_array().expect("items");
    let refused: Vec<_> = items.iter().filter(|item| item.get("refused").is_some()).collect();
    assert_eq!(refused.len(), 500);
    assert_eq!(refused[0]["refused"]["action"], "POST 201");
    let (last, at) = (refused[499], &refused[499]["sequence"]);
    assert_eq!((&last["actor"], at), (&json!("eve"), &json!(1_401)), "behind all that was there");
    let filed = server.get(&eve, "/v1/events?form=expense&limit=1000&after=1400").await.expect(200).json();
    let filed = filed["events"].as_array().expect("events").iter();
    assert_eq!(filed.filter(|event| event["actor"] == "eve").count(), 1, "filed under its form");
}
