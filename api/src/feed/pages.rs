//! Pages of the ledger as feeds send them, shared by the subscribers that read the same ones.
//! Positions never change, so a page is right for ever; the cache only bounds how many are kept. Called by `feed`.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use formledger_domain::{Position, TenantId};
use formledger_store::{EventFilter, RecordedEvent, StoreError, TenantLedger};
use tokio::sync::OnceCell;

use crate::bounded::BoundedMap;
use crate::cloudevents::CloudEvent;
use crate::limits::{FEED_PAGE_EVENTS, FEED_PAGES_MAX};

/// Rendered pages by tenant and the position before their first event.
pub struct FeedPages(BoundedMap<(TenantId, Position), Arc<OnceCell<Arc<Page>>>>);

/// Consecutive events of one ledger, rendered.
pub struct Page {
    chunk: Bytes,
    events: Vec<(RecordedEvent, Range<usize>)>,
}

impl FeedPages {
    /// Keeps none yet.
    pub fn new() -> Self {
        Self(BoundedMap::new(FEED_PAGES_MAX))
    }

    /// The page that begins after a position, of which the caller knows that there is an event: read once, however many ask for it at
    /// the same moment, which live subscribers do.
    pub async fn after(
        &self,
        tenant: &TenantId,
        ledger: &TenantLedger,
        after: Position,
    ) -> Result<Arc<Page>, StoreError> {
        let key = (tenant.clone(), after);
        let cell = match self.0.get(&key) {
            Some(cell) => cell,
            None => {
                let cell = Arc::<OnceCell<Arc<Page>>>::default();
                self.0.insert(key, Arc::clone(&cell));
                cell
            }
        };
        let read =
            || async { ledger.read_after(after, FEED_PAGE_EVENTS).await.map(Page::render).map(Arc::new) };
        cell.get_or_try_init(read).await.cloned()
    }
}

impl Page {
    fn render(events: Vec<RecordedEvent>) -> Self {
        let mut text = Vec::new();
        let events = events
            .into_iter()
            .map(|event| {
                let start = text.len();
                write_message(&event, &mut text);
                (event, start..text.len())
            })
            .collect();
        Self { chunk: text.into(), events }
    }

    /// The position of the last event.
    pub fn last(&self) -> Position {
        self.events.last().map(|(event, _)| event.position).unwrap_or_default()
    }

    /// The messages that a subscriber wants, and how many; without a filter all of them, without a copy.
    pub fn wanted(&self, filter: &EventFilter) -> (Bytes, u64) {
        if *filter == EventFilter::default() {
            return (self.chunk.clone(), self.events.len() as u64);
        }
        let mut wanted = BytesMut::new();
        let mut count = 0;
        for (_, range) in self.events.iter().filter(|(event, _)| filter.wants(event)) {
            wanted.extend_from_slice(&self.chunk[range.clone()]);
            count += 1;
        }
        (wanted.freeze(), count)
    }
}

/// One message of the event stream format (WHATWG HTML section 9.2.6); the data are JSON on one line.
fn write_message(event: &RecordedEvent, out: &mut Vec<u8>) {
    let head = format!("id: {}\nevent: {}\ndata: ", event.position, event.versioned_type());
    out.extend_from_slice(head.as_bytes());
    CloudEvent::write(event, out);
    out.extend_from_slice(b"\n\n");
}
