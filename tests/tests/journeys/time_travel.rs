//! The past: submissions, lists, statistics, tasks and exports as they were answered when the ledger ended there, and what changed since;
//! `past_answers` compares them with live answers at every head.

use formledger_tests::definitions::{contract_expense_claim, expense, expense_claim};
use formledger_tests::{Client, Stage};
use serde_json::json;

/// People who work on claims.
struct Office {
    stage: Stage,
    sam: Client,
    rita: Client,
}

impl Office {
    async fn open() -> Self {
        let stage = Stage::with_form("expense", &contract_expense_claim()).await;
        let sam = stage.somebody("acme", "sam", "submitter").await;
        let rita = stage.somebody("acme", "rita", "reviewer").await;
        Self { stage, sam, rita }
    }
}

/// A tenant with four claims, and the head and time after each.
async fn four_claims() -> (Stage, Vec<(u64, String)>) {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let mut moments = Vec::new();
    for amount in [1.0, 2.0, 3.0, 4.0] {
        stage.admin.submit("expense", &expense(amount, "DE")).await.expect(201);
        let ledger = stage.admin.get("/v1/ledger").await.expect(200).json();
        let time = ledger["recorded_at"].as_str().expect("a time").to_owned();
        moments.push((ledger["position"].as_u64().expect("a position"), time));
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    (stage, moments)
}

#[tokio::test]
async fn a_time_is_the_last_position_that_was_recorded_by_then() {
    let (stage, moments) = four_claims().await;
    for (count, (position, time)) in (1..).zip(&moments) {
        let then =
            stage.admin.get(&format!("/v1/submissions?at_time={time}")).header("Prefer", "wait=30").await;
        let then = then.expect(200);
        assert_eq!((then.submission_ids().len(), then.position()), (count, *position), "{time}");
        assert_eq!(then.json()["position"], *position);
    }
    let before = stage.admin.get("/v1/submissions?at_time=1999-12-31T23:59:59Z").await.expect(200);
    assert_eq!((before.json()["items"].clone(), before.position()), (json!([]), 0));
    let later = stage.admin.get("/v1/stats?at_time=2999-01-01T00:00:00Z").await.expect(200);
    assert_eq!(later.json()["states"][0]["count"], 4);
    let first = format!("/v1/exports/submissions.ndjson?at_position={}", moments[0].0);
    assert_eq!(stage.admin.get(&first).await.expect(200).json_lines().len(), 1);
}

#[tokio::test]
async fn pages_stay_at_their_moment_while_others_write() {
    let (stage, moments) = four_claims().await;
    let (_, time) = &moments[3];
    for moment in [
        format!("at_position={}", moments[3].0),
        format!("at_time={time}"),
        "at_time=2999-01-01T00:00:00Z".to_owned(),
    ] {
        let query = format!("/v1/submissions?form=expense&limit=3&{moment}");
        let first = stage.admin.get(&query).header("Prefer", "wait=30").await.expect(200);
        let count = first.submission_ids().len();
        stage.admin.submit("expense", &expense(9.0, "DE")).await.expect(201);
        let cursor = first.json()["next_cursor"].as_str().expect("more").to_owned();
        let second = stage.admin.get(&format!("{query}&cursor={cursor}")).await.expect(200);
        assert_eq!((count, second.position()), (3, first.position()), "{moment}");
        assert!(second.submission_ids().iter().all(|id| !first.submission_ids().contains(id)), "{moment}");
        let elsewhere = format!("/v1/submissions?form=expense&limit=3&at_position=2&cursor={cursor}");
        stage.admin.get(&elsewhere).await.expect_problem(400, "cursor-invalid");
        let another =
            format!("/v1/submissions?form=expense&limit=3&at_time=2998-01-01T00:00:00Z&cursor={cursor}");
        stage.admin.get(&another).await.expect_problem(400, "cursor-invalid");
        let now = format!("/v1/submissions?form=expense&limit=3&cursor={cursor}");
        stage.admin.get(&now).await.expect_problem(400, "cursor-invalid");
    }
}

#[tokio::test]
async fn another_server_in_the_same_folder_takes_no_moment_away() {
    let (stage, moments) = four_claims().await;
    let at = |position: u64| format!("/v1/submissions?at_position={position}");
    stage.admin.get(&at(moments[1].0)).header("Prefer", "wait=30").await.expect(200);
    let another = stage.installation.serve().await;
    assert!(another.stop().await.success());
    for (position, _) in &moments {
        stage.admin.get(&at(*position)).header("Prefer", "wait=30").await.expect(200);
    }
    let folders = || std::fs::read_dir(stage.installation.data()).expect("a folder");
    let of_servers = folders()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("serve-"));
    assert_eq!(of_servers.count(), 1, "the other one took its own with it");
}

#[tokio::test]
async fn what_is_no_moment_is_400_and_says_what_would_be_right() {
    let (stage, moments) = four_claims().await;
    let head = moments[3].0;
    for path in ["/v1/submissions", "/v1/stats", "/v1/tasks", "/v1/forms", "/v1/exports/submissions.csv"] {
        let ahead = stage.admin.get(&format!("{path}?at_position={}", head + 1)).await;
        assert_eq!(ahead.expect_problem(400, "cursor-ahead")["position"], head, "{path}");
        for wrong in [
            "at_position=1&at_time=2020-01-01T00:00:00Z",
            "at_position=-1",
            "at_time=yesterday",
            "at_position=1&at_position=2",
        ] {
            stage.admin.get(&format!("{path}?{wrong}")).await.expect_problem(400, "query-invalid");
        }
    }
    stage.admin.get("/v1/diff").await.expect_problem(400, "query-invalid");
    stage.admin.get("/v1/diff?from_position=3&to_position=2").await.expect_problem(400, "query-invalid");
    stage
        .admin
        .get(&format!("/v1/diff?from_position={}", head + 1))
        .await
        .expect_problem(400, "cursor-ahead");
}

#[tokio::test]
async fn the_past_shows_nobody_more_than_the_present() {
    let office = Office::open().await;
    let other = office.stage.somebody("acme", "tom", "submitter").await;
    for client in [&office.sam, &other] {
        client.submit("expense", &json!({"amount": 20_000, "country": "DE"})).await.expect(201);
    }
    let head = office.stage.head().await;
    let own =
        office.sam.get(&format!("/v1/submissions?at_position={head}")).header("Prefer", "wait=30").await;
    let own = own.expect(200).json();
    assert_eq!(
        (own["items"].as_array().expect("items").len(), &own["items"][0]["submitter"]),
        (1, &json!("sam"))
    );
    office
        .sam
        .get(&format!("/v1/submissions?submitter=tom&at_position={head}"))
        .await
        .expect_problem(403, "not-permitted");
    office.sam.get(&format!("/v1/stats?at_position={head}")).await.expect_problem(403, "not-permitted");
    office.sam.get("/v1/diff?from_position=0").await.expect_problem(403, "not-permitted");
    let tasks = |client: &Client, at: u64| {
        client.get(&format!("/v1/tasks?at_position={at}")).header("Prefer", "wait=30")
    };
    assert_eq!(
        tasks(&office.rita, head).await.expect(200).json()["items"].as_array().expect("tasks").len(),
        2
    );
    assert_eq!(tasks(&office.rita, 2).await.expect(200).json()["items"], json!([]));
    assert_eq!(tasks(&office.sam, head).await.expect(200).json()["items"], json!([]));
    // Another tenant's ledger is shorter, and holds nothing of this one.
    let stranger = office.stage.somebody("globex", "gus", "admin").await;
    stranger.publish("expense", &expense_claim()).await;
    assert_eq!(stranger.get("/v1/submissions?at_position=2").await.expect(200).json()["items"], json!([]));
    stranger.get(&format!("/v1/submissions?at_position={head}")).await.expect_problem(400, "cursor-ahead");
}

#[tokio::test]
async fn a_diff_of_a_submission_tells_what_changed_between_two_moments() {
    let office = Office::open().await;
    let answer = office
        .sam
        .submit("expense", &json!({"amount": 20_000, "country": "DE", "lines": []}))
        .await
        .expect(201);
    let id = answer.json()["submission_id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/submissions/{id}");
    let submitted = office.stage.head().await;
    let reject = json!({"reason": "too dear"});
    office.rita.post(&format!("{path}/transitions/reject")).json(&reject).await.expect(200);
    let diff = async |query: &str| office.sam.get(&format!("{path}/diff?{query}")).await.expect(200).json();

    let decided = diff(&format!("from_position={submitted}")).await;
    assert_eq!((&decided["from"]["state"], &decided["to"]["state"]), (&json!("review"), &json!("rejected")));
    assert_eq!((&decided["changes"], &decided["outcomes"]), (&json!([]), &json!([])));
    let events = decided["events"].as_array().expect("events");
    assert_eq!(
        (events.len(), &events[0]["reason"], &events[0]["actor"]),
        (1, &json!("too dear"), &json!("rita"))
    );

    let made = diff(&format!("from_position=0&to_position={submitted}")).await;
    assert_eq!((made["from"].get("state"), &made["from"]["sequence"]), (None, &json!(0)));
    assert!(
        made["changes"].as_array().expect("changes").contains(&json!({"pointer": "/amount", "to": 20_000})),
        "{made}"
    );
    assert!(
        made["outcomes"].as_array().expect("outcomes").iter().any(|one| one["rule"] == "route"),
        "{made}"
    );
    let nothing = diff(&format!("from_position={submitted}&to_position={submitted}")).await;
    assert_eq!((&nothing["events"], &nothing["changes"]), (&json!([]), &json!([])));

    let unborn = office.sam.get(&format!("{path}/diff?from_position=0&to_position=1")).await;
    unborn.expect_problem(404, "not-found");
    let tom = office.stage.somebody("acme", "tom", "submitter").await;
    tom.get(&format!("{path}/diff?from_position=0")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_diff_of_a_tenant_counts_states_and_lists_what_happened_to_which_submission() {
    let office = Office::open().await;
    let mut ids = Vec::new();
    for country in ["DE", "FR", "DE"] {
        let answer =
            office.sam.submit("expense", &json!({"amount": 20_000, "country": country})).await.expect(201);
        ids.push(answer.json()["submission_id"].as_str().expect("an id").to_owned());
    }
    let from = office.stage.head().await;
    let reject = json!({"reason": "no"});
    office
        .rita
        .post(&format!("/v1/submissions/{}/transitions/reject", ids[1]))
        .json(&reject)
        .await
        .expect(200);
    office.sam.submit("expense", &json!({"amount": 30_000, "country": "FR"})).await.expect(201);
    let diff = async |query: &str| {
        let path = format!("/v1/diff?from_position={from}{query}");
        office.stage.admin.get(&path).header("Prefer", "wait=30").await.expect(200).json()
    };
    let all = diff("").await;
    let states = [
        json!({"form": "expense", "state": "rejected", "from": 0, "to": 1}),
        json!({"form": "expense", "state": "review", "from": 3, "to": 3}),
    ];
    assert_eq!(all["states"], json!(states));
    let items = all["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "two were left alone: {all}");
    assert_eq!(
        (&items[0]["submission_id"], &items[0]["state"]),
        (&json!(ids[1]), &json!({"from": "review", "to": "rejected"}))
    );
    assert_eq!(items[0]["changes"], json!([]));
    assert_eq!(items[1]["state"], json!({"to": "review"}), "it was made since then");
    assert!(
        items[1]["changes"]
            .as_array()
            .expect("changes")
            .contains(&json!({"pointer": "/amount", "to": 30_000}))
    );

    // Pages stay where the first one was, and nothing of another form is told.
    let first = diff("&limit=1").await;
    let cursor = first["next_cursor"].as_str().expect("more");
    office.sam.submit("expense", &json!({"amount": 40_000, "country": "FR"})).await.expect(201);
    let second = diff(&format!("&limit=1&cursor={cursor}")).await;
    assert_eq!(
        (&second["items"][0], second.get("next_cursor"), &second["to"]),
        (&items[1], None, &first["to"])
    );
    assert_eq!(diff("&form=nosuch").await["items"], json!([]));
}

#[tokio::test]
async fn an_operator_bounds_what_the_past_may_take_or_turns_its_lists_off() {
    let off = Stage::set_with(&["--past-bytes-max", "0"]).await;
    off.admin.publish("expense", &expense_claim()).await;
    let id =
        off.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).json()["submission_id"].clone();
    let head = off.head().await;
    for path in ["/v1/submissions?", "/v1/stats?", "/v1/tasks?", "/v1/forms?", "/v1/exports/submissions.csv?"]
    {
        let refused = off.admin.get(&format!("{path}at_position={head}")).await;
        refused.expect_problem(422, "past-lists-off");
    }
    let one = format!("/v1/submissions/{}?at_position={head}", id.as_str().expect("an id"));
    off.admin.get(&one).await.expect(200);
    off.admin.get_at("/v1/submissions", head).await.expect(200);

    let full = Stage::set_with(&["--past-disk-reserve-bytes", "18446744073709551615"]).await;
    full.admin.publish("expense", &expense_claim()).await;
    let refused = full.admin.get("/v1/submissions?at_position=1").header("Prefer", "wait=30").await;
    refused.expect_problem(503, "moments-disk-full");
}
