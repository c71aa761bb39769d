//! Submitting: what the answer holds, what the rules say, what is refused, and reading one's own write.

use std::collections::BTreeSet;

use formledger_tests::Stage;
use formledger_tests::definitions::{expense, expense_claim};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_submission_is_answered_with_its_place_and_can_be_read_there() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let answer = stage.admin.submit("expense", &expense(12.5, "DE")).await.expect(201);
    let body = answer.json();
    let id = body["submission_id"].as_str().expect("an id");
    assert_eq!(body["form"], "expense");
    assert_eq!(body["form_version"], 1);
    assert_eq!(body["state"], "submitted");
    assert_eq!(body["position"].as_u64(), Some(answer.position()));
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", body["sequence"]).as_str()));
    assert_eq!(answer.header("location"), Some(format!("/v1/submissions/{id}").as_str()));

    let location = answer.header("location").expect("checked above");
    let read = stage.admin.get_at(location, answer.position()).await.expect(200);
    assert!(read.position() >= answer.position());
    let read = read.json();
    assert_eq!(read["data"], expense(12.5, "DE"));
    assert_eq!(read["submitter"], "ada");
    for member in ["submission_id", "form", "form_version", "state", "outcomes", "sequence", "position"] {
        assert_eq!(read[member], body[member], "{member}");
    }
    for member in ["created_at", "updated_at"] {
        assert!(read[member].as_str().is_some_and(|time| time.ends_with('Z')), "{member}: {read}");
    }
}

#[tokio::test]
async fn a_decision_says_whether_it_matched_and_what_follows() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for (amount, country, matched, route) in [
        (10_000.01, "DE", true, "committee"),
        (10_000.0, "DE", false, "auto"),
        (50_000.0, "IT", false, "auto"),
        (50_000.0, "FR", true, "committee"),
    ] {
        let outcomes =
            stage.admin.submit("expense", &expense(amount, country)).await.expect(201).json()["outcomes"]
                .clone();
        assert_eq!(
            outcomes["route"],
            json!({ "matched": matched, "value": { "route": route } }),
            "{amount} {country}"
        );
    }
}

#[tokio::test]
async fn a_constraint_that_fails_refuses_and_records_nothing() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let head = stage.head().await;
    let minor = json!({ "amount": 5, "country": "DE", "applicant": { "age": 17 } });
    let refused = stage.admin.submit("expense", &minor).await.expect_problem(422, "submission-invalid");
    let errors = json!([{ "pointer": "/applicant/age", "keyword": "adult", "message": "must be an adult" }]);
    assert_eq!(refused["errors"], errors);
    assert_eq!(stage.head().await, head);
}

#[tokio::test]
async fn data_that_break_the_schema_are_refused_with_every_place() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let wrong = json!({ "amount": -1, "country": "Germany", "applicant": {}, "lines": [{ "qty": 1 }, { "qty": "two" }] });
    let refused = stage.admin.submit("expense", &wrong).await.expect_problem(422, "submission-invalid");
    let found: BTreeSet<(String, String)> = refused["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| (error["pointer"].to_string(), error["keyword"].to_string()))
        .collect();
    let expected = [
        ("/amount", "minimum"),
        ("/applicant/age", "required"),
        ("/country", "maxLength"),
        ("/lines/1/qty", "type"),
    ];
    let expected = expected.map(|(pointer, keyword)| (format!("{pointer:?}"), format!("{keyword:?}")));
    assert_eq!(found, BTreeSet::from(expected), "{refused}");
}

#[tokio::test]
async fn a_submitter_submits_and_an_auditor_reads_everything_and_writes_nothing() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let submitter = stage.somebody("acme", "sam", "submitter").await;
    submitter.submit("expense", &expense(1.0, "DE")).await.expect(201);
    let auditor = stage.somebody("acme", "otto", "auditor").await;
    auditor.submit("expense", &expense(1.0, "DE")).await.expect_problem(403, "not-permitted");
    let seen = auditor.get_at("/v1/submissions", stage.head().await).await.expect(200).submission_ids();
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn concurrent_submissions_get_positions_without_gap_or_repeat() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let before = stage.head().await;
    let data = expense(20_000.0, "DE");
    let answers =
        join_all((0..64).map(|_| async { stage.admin.submit("expense", &data).await.expect(201) })).await;
    let last: BTreeSet<u64> = answers.iter().map(|answer| answer.position()).collect();
    assert_eq!(last.len(), 64, "no two commands end at the same position");
    let head = stage.head().await;
    let path = format!("/v1/events?after={before}&limit=1000");
    let events = stage.admin.get(&path).await.expect(200).json()["events"].clone();
    let seen: Vec<u64> = events
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["position"].as_str().and_then(|text| text.parse().ok()).expect("a decimal string"))
        .collect();
    assert_eq!(seen, (before + 1..=head).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_query_can_ask_for_at_least_its_own_write() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for round in 0..40 {
        let answer = stage.admin.submit("expense", &expense(f64::from(round), "DE")).await.expect(201);
        let id = answer.json()["submission_id"].as_str().expect("an id").to_owned();
        let at = answer.position();
        let by_query = stage
            .admin
            .get(&format!("/v1/submissions?limit=1&min_position={at}"))
            .header("Prefer", "wait=20");
        let by_query = by_query.await.expect(200);
        assert!(by_query.position() >= at);
        assert_eq!(by_query.submission_ids(), [id], "the newest comes first, and it is there");
    }
}

#[tokio::test]
async fn a_query_for_a_position_that_is_not_reached_says_so() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let ahead = stage.head().await + 1000;
    let path = format!("/v1/submissions?min_position={ahead}");
    let answer = stage.admin.get(&path).header("Prefer", "wait=0").await;
    assert!(answer.header("retry-after").is_some());
    let behind = answer.expect_problem(503, "replica-behind");
    assert!(behind["position"].as_u64().is_some_and(|position| position < ahead), "{behind}");
}
