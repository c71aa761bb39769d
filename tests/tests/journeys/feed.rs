//! The feed: every position exactly once, however often and wherever the connection breaks, also while writes go on.

use formledger_tests::definitions::{anything, expense, expense_claim};
use formledger_tests::feed::{FeedEvent, positions};
use formledger_tests::sse::Frame;
use formledger_tests::{Client, Stage};
use serde_json::json;

/// How often the reconnecting client loses its connection.
const CUTS: usize = 120;
/// The most bytes between two cuts: some cuts fall into the first event, some come after several.
const BYTES_BETWEEN_CUTS_MAX: usize = 3000;
/// Submissions made while it reads.
const SUBMISSIONS: usize = 150;
/// Bytes of one submission to a client that does not read.
const LARGE_BYTES: usize = 50_000;
/// How many of them: 20 MB, where sockets buffer at most 6 MB.
const LARGE_COUNT: usize = 400;

async fn submit(client: &Client, amount: f64) -> u64 {
    client.submit("expense", &expense(amount, "DE")).await.expect(201).position()
}

#[tokio::test]
async fn a_client_that_reconnects_at_random_bytes_sees_every_position_once_while_writes_go_on() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let writer = async {
        for n in 0..SUBMISSIONS {
            submit(&stage.admin, n as f64).await;
        }
        // What tells the reader, which only knows positions, that this is the end.
        stage.admin.publish("last", &expense_claim()).await.position()
    };
    let reader = async {
        let mut seen: Vec<FeedEvent> = Vec::new();
        for _ in 0..CUTS {
            let last = seen.last().map_or(0, |event| event.position);
            let feed = stage.admin.feed("/v1/feed", Some(last)).await;
            let bytes = fastrand::usize(1..BYTES_BETWEEN_CUTS_MAX);
            seen.extend(feed.cut_after(bytes, last + 40).await);
        }
        seen
    };
    let (end, mut seen) = tokio::join!(writer, reader);
    let last = seen.last().map_or(0, |event| event.position);
    if last < end {
        seen.extend(stage.admin.feed("/v1/feed", Some(last)).await.up_to(end).await);
    }
    assert_eq!(positions(&seen), (1..=end).collect::<Vec<_>>());
}

#[tokio::test]
async fn between_history_and_live_there_is_no_gap_and_no_repeat() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for n in 0..300 {
        submit(&stage.admin, f64::from(n)).await;
    }
    let feeds: Vec<_> =
        futures_util::future::join_all((0..8).map(|n| stage.admin.feed("/v1/feed", Some(n * 40)))).await;
    let mut end = 0;
    for n in 0..50 {
        end = submit(&stage.admin, f64::from(n)).await;
    }
    for (n, mut feed) in (0u64..).zip(feeds) {
        assert_eq!(positions(&feed.up_to(end).await), (n * 40 + 1..=end).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_for_long_misses_nothing() {
    let stage = Stage::with_form("notes", &anything("Notes")).await;
    let mut feed = stage.admin.feed("/v1/feed", Some(0)).await;
    // More than any buffer between the two holds.
    let note = json!({ "text": "x".repeat(LARGE_BYTES) });
    let all = futures_util::future::join_all((0..LARGE_COUNT).map(|_| async {
        stage.admin.submit("notes", &note).await.expect(201);
    }));
    all.await;
    let end = stage.head().await;
    assert_eq!(positions(&feed.up_to(end).await), (1..=end).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_first_message_is_a_comment_that_names_the_start() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let head = submit(&stage.admin, 1.0).await;
    for (path, last_event_id, start) in [
        ("/v1/feed", None, head),
        ("/v1/feed", Some(1), 1),
        ("/v1/feed?after=1", None, 1),
        ("/v1/feed?after=0", None, 0),
        ("/v1/feed?after=0", Some(2), 2),
    ] {
        let mut feed = stage.admin.feed(path, last_event_id).await;
        assert!(
            feed.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/event-stream"))
        );
        let first = feed.next_frame().await.expect("an open feed");
        let Frame::Comment(text) = first else { panic!("{path}: first came {first:?}") };
        let numbers: Vec<u64> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
        assert!(numbers.contains(&start), "{path} {last_event_id:?}: `{text}` does not name {start}");
    }
}

#[tokio::test]
async fn without_a_cursor_a_feed_starts_at_the_head() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let head = submit(&stage.admin, 1.0).await;
    let mut feed = stage.admin.feed("/v1/feed", None).await;
    feed.next_frame().await.expect("the first comment: the feed has begun");
    let end = submit(&stage.admin, 2.0).await;
    assert_eq!(positions(&feed.up_to(end).await), (head + 1..=end).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_past_the_head_or_none_at_all_is_400() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let ahead = stage.head().await + 1;
    let by_query = stage.admin.get(&format!("/v1/feed?after={ahead}")).await;
    by_query.expect_problem(400, "cursor-ahead");
    let by_header = stage.admin.get("/v1/feed").header("Last-Event-ID", ahead).await;
    by_header.expect_problem(400, "cursor-ahead");
    stage.admin.get("/v1/feed?after=yesterday").await.expect_any_problem(400);
    stage.admin.get("/v1/feed").header("Last-Event-ID", "-1").await.expect_any_problem(400);
    for query in ["after=x", "limit=0", "limit=1000000", "types=", "nosuch=1"] {
        stage.admin.get(&format!("/v1/events?{query}")).await.expect_any_problem(400);
    }
    // The head itself is a good place to wait at.
    stage.admin.feed("/v1/feed", Some(ahead - 1)).await;
}

#[tokio::test]
async fn filters_pass_what_they_name_and_keep_positions() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &expense_claim()).await;
    let one = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).json();
    stage.admin.submit("other", &expense(2.0, "DE")).await.expect(201);
    let end = submit(&stage.admin, 3.0).await;
    let everything = stage.admin.feed("/v1/feed", Some(0)).await.up_to(end).await;
    let read = async |query: &str| {
        let page =
            stage.admin.get(&format!("/v1/events?after=0&limit=1000&{query}")).await.expect(200).json();
        page["events"].as_array().expect("events").clone()
    };
    let id = one["submission_id"].as_str().expect("an id");
    let subject_has =
        |event: &FeedEvent, text: &str| event.data["subject"].as_str().is_some_and(|s| s.contains(text));
    let type_is = |event: &FeedEvent, kind: &str| event.kind == kind;
    type Wanted<'a> = Box<dyn Fn(&FeedEvent) -> bool + 'a>;
    let submitted = "formledger.submission.submitted.v1";
    let cases: [(String, Wanted<'_>); 3] = [
        (format!("submission={id}"), Box::new(|event| subject_has(event, id))),
        (format!("types={submitted}"), Box::new(|event| type_is(event, submitted))),
        (
            format!("types={submitted},formledger.form.published.v1"),
            Box::new(|event| type_is(event, submitted) || type_is(event, "formledger.form.published.v1")),
        ),
    ];
    for (query, wanted) in cases {
        let expected: Vec<_> =
            everything.iter().filter(|event| wanted(event)).map(|e| e.data.clone()).collect();
        assert!(!expected.is_empty() && expected.len() < everything.len(), "{query} tells nothing");
        assert_eq!(read(&query).await, expected, "{query}");
        let mut feed = stage.admin.feed(&format!("/v1/feed?{query}"), Some(0)).await;
        for event in &expected {
            assert_eq!(feed.next().await.expect("an open feed").data, *event, "{query}");
        }
    }
    let of_form = read("form=other").await;
    assert!(
        !of_form.is_empty() && of_form.iter().all(|event| !event.to_string().contains("expense")),
        "{of_form:?}"
    );
}

#[tokio::test]
async fn every_event_is_a_cloud_event_with_its_place_as_decimal_strings() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let end = submit(&stage.admin, 20_000.0).await;
    let events = stage.admin.feed("/v1/feed", Some(0)).await.up_to(end).await;
    for event in &events {
        let data = &event.data;
        assert_eq!(data["specversion"], "1.0", "{data}");
        assert_eq!(data["type"], event.kind.as_str());
        assert_eq!(data["position"], event.position.to_string());
        assert!(data["sequence"].as_str().is_some_and(|text| text.parse::<u64>().is_ok()), "{data}");
        assert_eq!(data["datacontenttype"], "application/json");
        assert_eq!((&data["tenant"], &data["actor"]), (&"acme".into(), &"ada".into()));
        for member in ["id", "source", "subject", "time", "correlationid", "causationid"] {
            assert!(data[member].as_str().is_some_and(|text| !text.is_empty()), "`{member}`: {data}");
        }
        assert!(data["data"].is_object(), "{data}");
        // CloudEvents 1.0, section 3.1: names are lower-case letters and digits.
        let names = data.as_object().expect("an object").keys();
        assert!(
            names.flat_map(|name| name.chars()).all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{data}"
        );
    }
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    for kind in ["formledger.submission.submitted.v1", "formledger.submission.rules-evaluated.v1"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[tokio::test]
async fn history_can_be_paged_and_streamed() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let mut end = 0;
    for n in 0..25 {
        end = submit(&stage.admin, f64::from(n)).await;
    }
    let everything = stage.admin.feed("/v1/feed", Some(0)).await.up_to(end).await;
    let everything: Vec<_> = everything.into_iter().map(|event| event.data).collect();
    let mut paged: Vec<serde_json::Value> = Vec::new();
    loop {
        let after = paged.last().map_or("0", |event| event["position"].as_str().expect("a decimal string"));
        let page = stage.admin.get(&format!("/v1/events?after={after}&limit=7")).await.expect(200);
        let events = page.json()["events"].as_array().expect("events").clone();
        assert!(events.len() <= 7);
        if events.is_empty() {
            break;
        }
        paged.extend(events);
    }
    assert_eq!(paged, everything);
    let streamed =
        stage.admin.get("/v1/events?after=0").header("Accept", "application/x-ndjson").await.expect(200);
    assert_eq!(streamed.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(streamed.json_lines(), everything);
}
