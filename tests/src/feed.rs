//! Reads `GET /v1/feed`: frames in order, or cut off after any number of bytes as a bad network does.
//! Used by the feed journeys and the fault tests.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::client::Call;
use crate::sse::{Frame, SseParser};
use crate::wait::within;

/// An open feed; dropping it closes the connection.
#[derive(Debug)]
pub struct Feed {
    /// The answer's headers.
    pub headers: HeaderMap,
    body: Incoming,
    parser: SseParser,
    ready: std::collections::VecDeque<Frame>,
}

/// One event of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// The `id`: the position.
    pub position: u64,
    /// The `event`: the versioned type.
    pub kind: String,
    /// The `data`: the CloudEvent.
    pub data: Value,
}

impl FeedEvent {
    fn from_frame(id: Option<String>, event: Option<String>, data: &str) -> Self {
        let id = id.expect("every event of a feed has an id");
        let position = id.parse().unwrap_or_else(|_| panic!("the id is a position, not `{id}`"));
        let kind = event.expect("every event of a feed has a type");
        let data = serde_json::from_str(data).unwrap_or_else(|e| panic!("data is JSON ({e}): {data}"));
        Self { position, kind, data }
    }
}

impl Feed {
    pub(crate) async fn open(call: Call) -> Self {
        let asked = call.describe();
        let response = within(&format!("an answer to {asked}"), call.open()).await;
        let (parts, body) = response.unwrap_or_else(|e| panic!("{asked}: {e:?}")).into_parts();
        if parts.status != StatusCode::OK {
            let text = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            panic!("{asked}: {}: {}", parts.status, String::from_utf8_lossy(&text));
        }
        Self { headers: parts.headers, body, parser: SseParser::default(), ready: Default::default() }
    }

    /// The next frame; `None` when the server closed the feed.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let chunk = within("the feed's next message", self.next_chunk()).await?;
            self.ready.extend(self.parser.push(&chunk));
        }
    }

    /// The next event, past any comments; `None` when the server closed the feed.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        loop {
            if let Frame::Event { id, event, data } = self.next_frame().await? {
                return Some(FeedEvent::from_frame(id, event, &data));
            }
        }
    }

    /// Events up to and including position `last`.
    pub async fn up_to(&mut self, last: u64) -> Vec<FeedEvent> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &FeedEvent| event.position < last) {
            let event = self.next().await;
            events.push(event.unwrap_or_else(|| panic!("the feed was closed before position {last}")));
        }
        events
    }

    /// Reads `bytes` bytes, or up to position `last`, and then loses the connection: the events that were complete by then.
    pub async fn cut_after(mut self, bytes: usize, last: u64) -> Vec<FeedEvent> {
        let mut events = Vec::new();
        let mut left = bytes;
        while left > 0 && events.last().is_none_or(|event: &FeedEvent| event.position < last) {
            let Some(chunk) = within("the feed's next bytes", self.next_chunk()).await else { break };
            let taken = chunk.len().min(left);
            left -= taken;
            for frame in self.parser.push(&chunk[..taken]) {
                if let Frame::Event { id, event, data } = frame {
                    events.push(FeedEvent::from_frame(id, event, &data));
                }
            }
        }
        events
    }

    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.body.frame().await?;
            // A connection that breaks ends the feed for its reader, as a close does.
            if let Ok(chunk) = frame.ok()?.into_data() {
                return Some(chunk);
            }
        }
    }
}

/// Positions of events in the order they came.
pub fn positions(events: &[FeedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}
