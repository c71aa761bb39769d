//! The feed: history into live without gap or repeat, its cursor, its filters, and its end.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::support::{Server, admin, bearer};

/// An open feed, read as text.
pub struct Feed {
    body: Incoming,
    pub text: String,
}

impl Feed {
    pub async fn open(server: &Server, token: &str, path: &str, last_event_id: Option<u64>) -> Self {
        let authorization = bearer(token);
        let cursor = last_event_id.map(|id| id.to_string());
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(cursor.as_deref().map(|cursor| ("last-event-id", cursor)));
        Self::open_with(server, &headers, path).await
    }

    pub async fn open_with(server: &Server, headers: &[(&str, &str)], path: &str) -> Self {
        let response = server.open(Method::GET, path, headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// Reads until `enough`.
    pub async fn until(&mut self, enough: impl Fn(&str) -> bool) {
        while !enough(&self.text) {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("nothing more came after: {}", self.text));
            let frame = frame.expect("the feed goes on").expect("a frame");
            self.text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        }
    }

    /// Reads to the end that the server makes.
    pub async fn ends(&mut self) {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.expect("the feed ends, it does not break");
            self.text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        }
    }

    pub fn ids(&self) -> Vec<u64> {
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix("id: "))
            .map(|id| id.parse().expect("a position"))
            .collect()
    }
}

#[tokio::test]
async fn history_flows_into_live_and_every_position_comes_once() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let mut from_start = Feed::open(&server, &admin, "/v1/feed?after=0", None).await;
    let mut from_head = Feed::open(&server, &admin, "/v1/feed", None).await;
    // The header wins, because a browser repeats the first address when it comes back.
    let mut resumed = Feed::open(&server, &admin, "/v1/feed?after=0", Some(2)).await;
    let mut filtered =
        Feed::open(&server, &admin, "/v1/feed?after=0&types=formledger.form.published", None).await;
    for amount in 0..40 {
        server.submit(&admin, "expense", f64::from(amount)).await.expect(201);
    }
    for (feed, start) in [(&mut from_start, 0), (&mut from_head, 3), (&mut resumed, 2)] {
        feed.until(|text| text.contains("id: 43\n") && text.ends_with("\n\n")).await;
        assert_eq!(feed.ids(), (start + 1..=43).collect::<Vec<u64>>());
        assert!(feed.text.starts_with(&format!(": start after position {start}\n\n")));
    }
    filtered.until(|text| text.contains("id: ") && text.ends_with("\n\n")).await;
    assert_eq!(filtered.ids(), [3]);
    assert!(
        from_start
            .text
            .contains("\nevent: formledger.submission.submitted.v1\ndata: {\"specversion\":\"1.0\"")
    );
}

#[tokio::test]
async fn a_cursor_past_the_head_is_refused_and_so_is_one_that_is_no_position() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let problem = server.get(&admin, "/v1/feed?after=4").await.expect_problem(400, "cursor-ahead");
    assert_eq!(problem["position"], 3);
    server.get(&admin, "/v1/feed?after=x").await.expect_problem(400, "query-invalid");
    let headers = [("authorization", &*bearer(&admin)), ("last-event-id", "x")];
    server.call(Method::GET, "/v1/feed", &headers, "").await.expect_problem(400, "cursor-invalid");
}

#[tokio::test]
async fn an_idle_feed_shows_that_it_lives_and_ends_when_the_server_stops() {
    let server = Server::start_with(|settings| {
        settings.limits.feed_heartbeat = Duration::from_millis(50);
        settings.limits.feeds_max = 1;
    })
    .await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let mut feed = Feed::open(&server, &admin, "/v1/feed", None).await;
    feed.until(|text| text.contains(": still here\n\n")).await;
    server.get(&admin, "/v1/feed").await.expect_problem(503, "too-many-feeds");
    server.stop().await;
    feed.ends().await;
}

#[tokio::test]
async fn a_tenant_with_as_many_feeds_as_it_may_have_leaves_places_for_others() {
    let server = Server::start_with(|settings| settings.limits.feeds_per_tenant_max = 1).await;
    let (acme, globex) = (admin("acme"), admin("globex"));
    server.publish(&acme, "expense").await;
    server.publish(&globex, "expense").await;
    let _open = Feed::open(&server, &acme, "/v1/feed", None).await;
    server.get(&acme, "/v1/feed").await.expect_problem(429, "too-many-feeds");
    let _others = Feed::open(&server, &globex, "/v1/feed", None).await;
}
