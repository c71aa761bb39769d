//! Replays: a range goes by again, to a feed or through candidate rules; directed, watched, refused, and never recorded.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::description::fits;
use crate::feed::Feed;
use crate::support::{Answer, Server, admin, bearer, token};

/// A range of three forms' events, 3, and two events for each of ten submissions with amounts 0 to 9.
const HEAD: u64 = 23;

async fn stage() -> (Server, String) {
    stage_with(Server::start().await).await
}

async fn stage_with(server: Server) -> (Server, String) {
    let admin = admin("acme");
    let definition = json!({
        "title": "Expense",
        "schema": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}},
        "rules": rules("amount > 5"),
    });
    server.send(&admin, Method::PUT, "/v1/forms/expense", &definition).await.expect(200);
    server.send(&admin, Method::POST, "/v1/forms/expense/publish", &Value::Null).await.expect(201);
    for amount in 0..10 {
        server.submit(&admin, "expense", f64::from(amount)).await.expect(201);
    }
    assert_eq!(head(&server, &admin).await["position"], HEAD);
    (server, admin)
}

fn rules(when: &str) -> Value {
    json!([{"id": "route", "kind": "decision", "when": when, "then": "committee", "otherwise": "auto"}])
}

async fn head(server: &Server, token: &str) -> Value {
    server.get(token, "/v1/ledger").await.expect(200).json()
}

async fn post(server: &Server, token: &str, path: &str, body: &Value) -> Answer {
    server.send(token, Method::POST, path, body).await
}

/// Begins a replay; answers its path.
async fn begin(server: &Server, token: &str, body: &Value) -> String {
    let begun = post(server, token, "/v1/replays", body).await.expect(201);
    assert_eq!(
        begun.header("location"),
        format!("/v1/replays/{}", begun.json()["replay_id"].as_str().expect("an id"))
    );
    begun.header("location").to_owned()
}

/// Waits until a replay has ended.
async fn ended(server: &Server, token: &str, path: &str) -> Value {
    let ended = async {
        loop {
            let replay = server.get(token, path).await.expect(200).json();
            if !["running", "paused"].contains(&replay["status"].as_str().expect("a status")) {
                return replay;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends")
}

/// The whole feed of a replay: ids and data, the summary last.
async fn told(
    server: &Server,
    token: &str,
    path: &str,
    last_event_id: Option<u64>,
) -> Vec<(u64, String, Value)> {
    let mut feed = Feed::open(server, token, &format!("{path}/feed"), last_event_id).await;
    feed.until(|text| text.contains("event: formledger.replay.summary.v1") && text.ends_with("\n\n")).await;
    feed.ends().await;
    let messages = feed.text.split("\n\n").filter(|message| message.starts_with("id: "));
    let read = |message: &str| {
        let field = |name: &str| {
            let line = message.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.to_owned()
        };
        let data = serde_json::from_str(&field("data: ")).expect("JSON");
        (field("id: ").parse().expect("a position"), field("event: "), data)
    };
    messages.map(read).collect()
}

#[tokio::test]
async fn candidate_rules_judge_the_range_and_every_changed_outcome_is_told() {
    let (server, admin) = stage().await;
    let before = head(&server, &admin).await;
    let path =
        begin(&server, &admin, &json!({"kind": "rules", "form": "expense", "rules": rules("amount > 7")}))
            .await;
    let replay = ended(&server, &admin, &path).await;
    assert_eq!(
        (&replay["status"], &replay["kind"], &replay["form"]),
        (&json!("done"), &json!("rules"), &json!("expense"))
    );
    assert_eq!(replay["progress"], json!({"done": HEAD, "total": HEAD}));
    assert_eq!(
        replay["summary"],
        json!({"evaluated": 10, "changed": 2, "refused": 0, "not_compared": 0, "rules": {"route": 2}})
    );
    let messages = told(&server, &admin, &path, None).await;
    let [(first, kind, six), (second, _, seven), (last, _, summary)] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    assert_eq!(kind, "formledger.replay.outcomes-changed.v1");
    assert_eq!((*first, *second, *last), (16, 18, HEAD + 1));
    for message in [six, seven] {
        assert_eq!((&message["specversion"], &message["tenant"]), (&json!("1.0"), &json!("acme")));
        assert_eq!(
            message["data"]["changes"],
            json!([{"rule": "route", "before": {"matched": true, "value": "committee"}, "after": {"matched": false, "value": "auto"}}])
        );
    }
    assert_eq!(summary["data"]["summary"], replay["summary"]);

    // The feed resumes; behind the summary there is nothing.
    let resumed = told(&server, &admin, &path, Some(16)).await;
    assert_eq!(resumed, messages[1..]);
    let behind = [("authorization", &*bearer(&admin)), ("last-event-id", "24")];
    let nothing = server.call(Method::GET, &format!("{path}/feed"), &behind, "").await.expect(204);
    assert_eq!(nothing.header("ledger-position"), HEAD.to_string());

    // A whole definition will do, and so does a part of the history, which ends between data and outcomes.
    let part = json!({"kind": "rules", "form": "expense", "rules": {"rules": rules("amount > 7")}, "from": 17, "to": 18});
    let path = begin(&server, &admin, &part).await;
    let replay = ended(&server, &admin, &path).await;
    assert_eq!((&replay["summary"]["evaluated"], &replay["summary"]["changed"]), (&json!(1), &json!(1)));
    assert_eq!(head(&server, &admin).await, before, "nothing was recorded");
}

#[tokio::test]
async fn a_candidate_that_cannot_be_judged_is_refused_with_places_in_the_request() {
    let (server, admin) = stage().await;
    let refused = async |body: Value, code: &str| {
        post(&server, &admin, "/v1/replays", &body).await.expect_problem(422, code)["errors"][0].clone()
    };
    let error =
        refused(json!({"kind": "rules", "form": "expense", "rules": rules("amout > 7")}), "rules-invalid")
            .await;
    assert_eq!(error["pointer"], "/rules/0/when");
    assert!(error["message"].as_str().expect("a text").contains("did you mean `amount`"), "{error}");
    let error = refused(
        json!({"kind": "rules", "form": "expense", "rules": {"rules": rules("amout > 7")}}),
        "rules-invalid",
    )
    .await;
    assert_eq!(error["pointer"], "/rules/rules/0/when");
    let error = refused(json!({"kind": "rules", "form": "travel", "rules": []}), "replay-invalid").await;
    assert_eq!(error["pointer"], "/form");
    let error = refused(json!({"kind": "feed", "to": HEAD + 1}), "replay-invalid").await;
    assert_eq!(
        (&error["pointer"], &error["message"]),
        (&json!("/to"), &json!("is a position of the ledger, 1 to 23"))
    );
    server
        .call(
            Method::POST,
            "/v1/replays",
            &[("authorization", &bearer(&admin)), ("content-type", "application/json")],
            "{",
        )
        .await
        .expect_problem(400, "json-malformed");
    server
        .send_with(&admin, Method::POST, "/v1/replays", &[("if-match", "\"1\"")], &json!({"kind": "feed"}))
        .await
        .expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn the_events_come_again_as_the_live_feed_told_them() {
    let (server, admin) = stage().await;
    let path = begin(&server, &admin, &json!({"kind": "feed", "from": 4, "to": 9, "speed": "max"})).await;
    let messages = told(&server, &admin, &path, None).await;
    let ids: Vec<u64> = messages.iter().map(|(id, _, _)| *id).collect();
    assert_eq!(ids, [4, 5, 6, 7, 8, 9, 10]);
    let live = server.get(&admin, "/v1/events?after=3&limit=6").await.expect(200).json();
    let again: Vec<&Value> = messages[..6].iter().map(|(_, _, data)| data).collect();
    assert_eq!(json!(again), live["events"]);
    let (_, _, summary) = &messages[6];
    assert_eq!(
        (&summary["type"], &summary["data"]["status"]),
        (&json!("formledger.replay.summary.v1"), &json!("done"))
    );
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    for (_, _, message) in &messages {
        assert_eq!(fits(&document, "ReplayFeedMessage", message), Ok(()), "{message}");
    }
    assert!(summary.get("position").is_none(), "it is about no place in the ledger: {summary}");
    for member in ["created_at", "ended_at"] {
        let time = summary["data"][member].as_str().expect("a time");
        assert_eq!(time.len(), "2026-11-30T23:52:59.332639Z".len(), "six digits, as everywhere: {time}");
    }
    assert_eq!(told(&server, &admin, &path, Some(8)).await.len(), 2);

    let mut filtered =
        Feed::open(&server, &admin, &format!("{path}/feed?types=formledger.submission.submitted"), None)
            .await;
    filtered.ends().await;
    assert_eq!(filtered.ids(), [4, 6, 8, 10]);
    server.get(&admin, &format!("{path}/feed?speed=1")).await.expect_problem(400, "query-invalid");
}

#[tokio::test]
async fn a_replay_is_paused_resumed_and_cancelled_and_says_so() {
    let (server, admin) = stage().await;
    // The first events lie apart by at least the time of a commit: at a thousandth of their speed there is something to pause.
    let path = begin(&server, &admin, &json!({"kind": "feed", "speed": 0.001})).await;
    let paused = post(&server, &admin, &format!("{path}/pause"), &Value::Null).await.expect(200).json();
    assert_eq!((&paused["status"], &paused["speed"]), (&json!("paused"), &json!(0.001)));
    assert_eq!(paused.get("estimated_end"), None);
    let position = server.get(&admin, &path).await.expect(200).json()["position"].clone();
    let again = post(&server, &admin, &format!("{path}/pause"), &json!({})).await.expect(200).json();
    assert_eq!((&again["status"], &again["position"]), (&json!("paused"), &position));
    let resumed = post(&server, &admin, &format!("{path}/resume"), &Value::Null).await.expect(200).json();
    assert_eq!(resumed["status"], "running");
    // Known as soon as the run has read when the range's first and last events were recorded.
    let known =
        async { while server.get(&admin, &path).await.expect(200).json()["estimated_end"].is_null() {} };
    tokio::time::timeout(Duration::from_secs(30), known).await.expect("an estimate");
    let cancelled = post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cancelled["ended_at"].is_string());
    post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200);
    for refused in ["pause", "resume"] {
        let answer = post(&server, &admin, &format!("{path}/{refused}"), &Value::Null).await;
        answer.expect_problem(409, "replay-ended");
    }
    post(&server, &admin, &format!("{path}/cancel"), &json!({"why": 1}))
        .await
        .expect_problem(400, "body-invalid");
    let messages = told(&server, &admin, &path, None).await;
    let (_, _, summary) = messages.last().expect("a summary");
    assert_eq!(summary["data"]["status"], "cancelled");
}

#[tokio::test]
async fn a_replay_is_waited_for_until_it_has_come_so_far_or_ended_and_its_feed_as_other_feeds_are() {
    let (server, admin) = stage().await;
    let path = begin(&server, &admin, &json!({"kind": "feed", "speed": 0.001})).await;
    post(&server, &admin, &format!("{path}/pause"), &Value::Null).await.expect(200);
    let authorization = bearer(&admin);
    let get = async |path: &str, wait: &str, position: Option<&str>| {
        let mut headers = vec![("authorization", &*authorization), ("prefer", wait)];
        headers.extend(position.map(|position| ("ledger-min-position", position)));
        server.call(Method::GET, path, &headers, "").await
    };
    for far in [path.clone(), format!("{path}/feed")] {
        get(&format!("{far}?min_position=999"), "wait=0", None).await.expect_problem(503, "replica-behind");
        get(&far, "wait=0", Some("999")).await.expect_problem(503, "replica-behind");
    }
    post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200);
    // No more comes of it, so what there is is answered, without the wait.
    let ended = get(&format!("{path}?min_position=999"), "wait=0", None).await.expect(200);
    assert_eq!(ended.json()["status"], "cancelled");

    let path = begin(&server, &admin, &json!({"kind": "feed", "speed": "max"})).await;
    let reached = get(&format!("{path}?min_position=2"), "wait=30", None).await.expect(200);
    assert!(reached.header("ledger-position").parse::<u64>().expect("a number") >= 2);
    server.get(&admin, &format!("{path}/feed?min_position=1")).await.expect(200);
}

#[tokio::test]
async fn who_may_not_and_who_is_elsewhere_hear_so() {
    let (server, admin) = stage().await;
    let [auditor, designer, reviewer, submitter] =
        ["auditor", "designer", "reviewer", "submitter"].map(|role| token("acme", role, &[role]));
    let (feed, rules) = (
        json!({"kind": "feed", "speed": "max"}),
        json!({"kind": "rules", "form": "expense", "rules": rules("true")}),
    );
    for (token, body, status) in [
        (&auditor, &feed, 201),
        (&auditor, &rules, 201),
        (&designer, &rules, 201),
        (&designer, &feed, 403),
        (&reviewer, &feed, 403),
        (&submitter, &rules, 403),
    ] {
        post(&server, token, "/v1/replays", body).await.expect(status);
    }
    let path = begin(&server, &admin, &feed).await;
    let stranger = crate::support::admin("globex");
    server.publish(&stranger, "expense").await;
    for method in ["", "/feed"] {
        server.get(&designer, &format!("{path}{method}")).await.expect(200);
        server.get(&reviewer, &format!("{path}{method}")).await.expect_problem(403, "not-permitted");
        server.get(&stranger, &format!("{path}{method}")).await.expect_problem(404, "not-found");
        server.get(&admin, &format!("/v1/replays/no-such{method}")).await.expect_problem(404, "not-found");
    }
    for command in ["pause", "resume", "cancel"] {
        let command = format!("{path}/{command}");
        post(&server, &designer, &command, &Value::Null).await.expect_problem(403, "not-permitted");
        post(&server, &stranger, &command, &Value::Null).await.expect_problem(404, "not-found");
    }
    let listed = |answer: Answer| answer.json()["items"].as_array().expect("items").len();
    assert_eq!(listed(server.get(&auditor, "/v1/replays").await.expect(200)), 4);
    assert_eq!(listed(server.get(&stranger, "/v1/replays").await.expect(200)), 0);
    server.get(&submitter, "/v1/replays").await.expect_problem(403, "not-permitted");
}

#[tokio::test]
async fn a_tenant_has_only_so_many_at_once_and_a_key_begins_one() {
    let server = Server::start_with(|settings| settings.limits.replays_per_tenant_max = 1).await;
    let (server, admin) = stage_with(server).await;
    let slow = json!({"kind": "feed", "speed": 0.001});
    let keyed = async |body: &Value| {
        server.send_with(&admin, Method::POST, "/v1/replays", &[("idempotency-key", "once")], body).await
    };
    let first = keyed(&slow).await.expect(201);
    let path = first.header("location").to_owned();
    post(&server, &admin, &format!("{path}/pause"), &Value::Null).await.expect(200);
    assert_eq!(keyed(&slow).await.expect(201).header("location"), path);
    keyed(&json!({"kind": "feed"})).await.expect_problem(422, "idempotency-key-reused");
    let answer = post(&server, &admin, "/v1/replays", &slow).await;
    assert_eq!(answer.header("retry-after"), "1");
    answer.expect_problem(429, "too-many-replays");
    let other = crate::support::admin("globex");
    server.publish(&other, "expense").await;
    begin(&server, &other, &json!({"kind": "feed", "speed": "max"})).await;
    let metrics = server.call(Method::GET, "/metrics", &[], "").await.expect(200).text();
    assert!(metrics.contains("formledger_replays_running "), "{metrics}");
    post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200);
    let freed = async {
        while post(&server, &admin, "/v1/replays", &slow).await.status != 201 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("the place is given back");
    // A stop ends what runs, and does not wait for recorded gaps.
    server.stop().await;
}

#[tokio::test]
async fn the_feed_of_a_revoked_key_tells_nothing_more() {
    let (server, admin) = stage().await;
    let path = begin(&server, &admin, &json!({"kind": "feed", "speed": 0.001})).await;
    post(&server, &admin, &format!("{path}/pause"), &Value::Null).await.expect(200);
    let made = post(&server, &admin, "/v1/api-keys", &json!({"name": "follower", "roles": ["auditor"]}))
        .await
        .expect(201);
    let key = made.json()["secret"].as_str().expect("a key").to_owned();
    let mut feed = Feed::open_with(&server, &[("x-api-key", &key)], &format!("{path}/feed")).await;
    feed.until(|text| text.starts_with(": start after position 0")).await;
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    server.send(&admin, Method::DELETE, &format!("/v1/api-keys/{id}"), &Value::Null).await.expect(200);
    post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200);
    feed.ends().await;
    assert!(!feed.text.contains("formledger.replay.summary"), "{}", feed.text);
}

#[tokio::test]
async fn a_shadow_is_built_and_compared_where_the_live_rows_are() {
    let (server, admin) = stage().await;
    let before = head(&server, &admin).await;
    let path = begin(&server, &admin, &json!({"kind": "shadow", "from": 1, "to": 5})).await;
    let replay = ended(&server, &admin, &path).await;
    assert_eq!(
        (&replay["status"], &replay["progress"]),
        (&json!("done"), &json!({"done": 5, "total": 5})),
        "{replay}"
    );
    assert_eq!(replay["projections"], json!(["forms", "submissions", "statistics", "tasks"]));
    let summary = &replay["summary"];
    assert_eq!((&summary["differences"], &summary["told"]), (&json!(0), &json!(0)));
    let compared = summary["compared"][0]["read_models"].as_array().expect("read models");
    assert!(compared.iter().all(|read_model| read_model["position"].as_u64() >= Some(5)), "{replay}");
    let messages = told(&server, &admin, &path, None).await;
    let [(1, kind, last)] = messages.as_slice() else { panic!("{messages:?}") };
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    assert_eq!(fits(&document, "ReplayFeedMessage", last), Ok(()), "{last}");
    assert_eq!((kind.as_str(), &last["data"]["summary"]), ("formledger.replay.summary.v1", summary));
    let behind = [("authorization", &*bearer(&admin)), ("last-event-id", "1")];
    server.call(Method::GET, &format!("{path}/feed"), &behind, "").await.expect(204);
    assert_eq!(head(&server, &admin).await, before, "nothing was recorded");
    for role in ["designer", "reviewer"] {
        let answer =
            post(&server, &token("acme", role, &[role]), "/v1/replays", &json!({"kind": "shadow"})).await;
        answer.expect_problem(403, "not-permitted");
    }
}

#[tokio::test]
async fn a_start_behind_everything_that_a_replay_tells_is_ahead_and_not_the_end() {
    let (server, admin) = stage().await;
    let slow = json!({"kind": "feed", "from": 4, "to": 9, "speed": 0.001});
    let path = begin(&server, &admin, &slow).await;
    post(&server, &admin, &format!("{path}/pause"), &Value::Null).await.expect(200);
    let from = async |after: u64| server.get(&admin, &format!("{path}/feed?after={after}")).await;
    // It has not ended, so nobody has its summary.
    for after in [10, 11, 4_711] {
        let refused = from(after).await.expect_problem(400, "cursor-ahead");
        assert_eq!(refused["position"], 9, "{refused}");
    }
    post(&server, &admin, &format!("{path}/cancel"), &Value::Null).await.expect(200);
    from(10).await.expect(204);
    assert_eq!(from(11).await.expect_problem(400, "cursor-ahead")["position"], 10);
    assert!(from(9).await.expect(200).text().contains("event: formledger.replay.summary.v1"));
}
