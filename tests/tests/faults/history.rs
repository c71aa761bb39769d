//! Reads a tenant's ledger as it grows and holds it to its promises: positions 1 to n without gap, each event once and of this tenant,
//! each key recorded once, everything acknowledged there as it was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use formledger_tests::Client;
use serde_json::Value;

use crate::load::Acknowledged;

/// What was read of one tenant's ledger so far.
pub struct History {
    tenant: String,
    /// The last position read.
    head: u64,
    events: BTreeSet<String>,
    /// The last position of each stream, by the events' subject.
    streams: BTreeMap<String, u64>,
    /// The stream that was submitted under each key.
    keys: BTreeMap<String, String>,
}

impl History {
    /// Nothing read yet.
    pub fn of(tenant: &str) -> Self {
        let (events, streams, keys) = Default::default();
        Self { tenant: tenant.to_owned(), head: 0, events, streams, keys }
    }

    /// Reads on to the ledger's end.
    pub async fn advance(&mut self, client: &Client) {
        let path = format!("/v1/events?after={}", self.head);
        let answer = client.get(&path).header("Accept", "application/x-ndjson").await.expect(200);
        for event in answer.json_lines() {
            self.take(&event);
        }
    }

    /// The last position that was read.
    pub fn head(&self) -> u64 {
        self.head
    }

    fn take(&mut self, event: &Value) {
        let text =
            |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name}: {event}")).to_owned();
        let position: u64 = text("position").parse().expect("a position is a number");
        assert_eq!(position, self.head + 1, "{}: a gap or a repetition", self.tenant);
        self.head = position;
        assert_eq!(text("tenant"), self.tenant, "another tenant's event: {event}");
        assert!(self.events.insert(text("id")), "an event is there twice: {event}");
        let stream = text("subject");
        if let Some(key) = event["data"]["data"]["lines"][0]["price"].as_str() {
            assert!(key.starts_with(&self.tenant), "another tenant's submission: {event}");
            let first = self.keys.insert(key.to_owned(), stream.clone());
            assert_eq!(first, None, "{key} was recorded twice");
        }
        self.streams.insert(stream, position);
    }

    /// What was acknowledged and is not there, or is there otherwise.
    pub fn missing<'a>(
        &self,
        acknowledged: &'a BTreeMap<String, Acknowledged>,
    ) -> Vec<(&'a str, &'a Acknowledged)> {
        let is_there = |key: &str, expected: &Acknowledged| {
            let stream = self.keys.get(key)?;
            let same = *stream == format!("submissions/{}", expected.id);
            (same && self.streams.get(stream) == Some(&expected.position)).then_some(())
        };
        let all = acknowledged.iter().map(|(key, expected)| (key.as_str(), expected));
        all.filter(|(key, expected)| is_there(key, expected).is_none()).collect()
    }

    /// How many submissions there are.
    pub fn submissions(&self) -> usize {
        self.keys.len()
    }
}
