//! Pages of the ledger as feeds send them, shared by the subscribers that read the same ones.
//! Positions do not change within an era of the ledgers, so a page is right as long as that lasts; the cache only bounds how many are kept. Called by `feed`.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use cqrs_es::Aggregate;
use formledger_domain::{ApiKeyId, LedgerAggregate, Position, Tenant, TenantEvent, TenantId};
use formledger_store::{EventFilter, RecordedEvent, StoreError, TenantLedger};
use tokio::sync::OnceCell;

use crate::bounded::BoundedMap;
use crate::cloudevents::CloudEvent;
use crate::limits::{FEED_PAGE_BYTES_MAX, FEED_PAGE_EVENTS, FEED_PAGES_BYTES_MAX, FEED_PAGES_MAX};

/// A tenant, the era in which a page was read, and the position before its first event.
type PageKey = (TenantId, u64, Position);

/// Rendered pages.
pub struct FeedPages {
    pages: BoundedMap<PageKey, Arc<OnceCell<Arc<Page>>>>,
    /// Rendered since the map was last emptied, so never less than what it holds. Locked while the map is emptied, so that no two empty it for the same
    /// bytes, and no page that is counted from then on is emptied with those before.
    bytes: Mutex<usize>,
    bytes_max: usize,
}

/// Consecutive events of one ledger, rendered.
pub struct Page {
    chunk: Bytes,
    events: Vec<(RecordedEvent, Range<usize>)>,
}

impl FeedPages {
    /// Keeps none yet.
    pub fn new() -> Self {
        Self {
            pages: BoundedMap::new(FEED_PAGES_MAX),
            bytes: Mutex::default(),
            bytes_max: FEED_PAGES_BYTES_MAX,
        }
    }

    /// The page that begins after a position, of which the caller knows that there is an event: read once, however many ask for it at
    /// the same moment, which live subscribers do.
    pub async fn after(
        &self,
        tenant: &TenantId,
        ledger: &TenantLedger,
        after: Position,
    ) -> Result<Arc<Page>, StoreError> {
        let key = (tenant.clone(), ledger.era(), after);
        let cell = match self.pages.get(&key) {
            Some(cell) => cell,
            None => {
                let cell = Arc::<OnceCell<Arc<Page>>>::default();
                self.pages.insert(key, Arc::clone(&cell));
                cell
            }
        };
        let read = || async {
            let events = ledger.read_next(after, FEED_PAGE_EVENTS, FEED_PAGE_BYTES_MAX).await?;
            let page = Page::render(events);
            self.make_room(page.bytes());
            Ok(Arc::new(page))
        };
        cell.get_or_try_init(read).await.cloned()
    }

    /// Empties the map when it might hold more than its bytes with one more page. Those who read a page keep it as long as they need it.
    fn make_room(&self, bytes: usize) {
        let mut counted = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *counted += bytes;
        if *counted > self.bytes_max {
            self.pages.clear();
            *counted = bytes;
        }
    }
}

impl Page {
    /// Renders events.
    pub fn render(events: Vec<RecordedEvent>) -> Self {
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

    /// What it takes in memory, about: each event rendered, and as it was read.
    fn bytes(&self) -> usize {
        2 * self.chunk.len()
    }

    /// The position of the last event.
    pub fn last(&self) -> Position {
        self.events.last().map(|(event, _)| event.position).unwrap_or_default()
    }

    /// Whether an API key is revoked by one of the events.
    pub fn revokes(&self, key: ApiKeyId) -> bool {
        let of_tenant =
            self.events.iter().map(|(event, _)| event).filter(|event| event.aggregate_type == Tenant::TYPE);
        of_tenant
            .filter_map(|event| Tenant::decode(&event.event_type, &event.event_version, &event.payload).ok())
            .any(|said| matches!(said, TenantEvent::ApiKeyRevoked { id } if id == key))
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
    begin_message(event.position.0, &event.versioned_type(), out);
    CloudEvent::write(event, out);
    out.extend_from_slice(MESSAGE_END);
}

/// What ends a message.
pub const MESSAGE_END: &[u8] = b"\n\n";

/// The lines of a message up to where its data begin.
pub fn begin_message(id: u64, event: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {id}\nevent: {event}\ndata: ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_come_while_others_are_forgotten_are_counted() {
        let pages = FeedPages { bytes_max: 8, ..FeedPages::new() };
        let tenant: TenantId = "acme".parse().expect("a slug");
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (pages, tenant) = (&pages, &tenant);
                scope.spawn(move || {
                    for n in 0..5_000 {
                        pages.pages.insert((tenant.clone(), thread, Position(n)), Arc::default());
                        pages.make_room(1);
                        let counted = pages.bytes.lock().expect("no panic");
                        assert!(*counted <= pages.bytes_max, "{counted}");
                    }
                });
            }
        });
        let counted = *pages.bytes.lock().expect("no panic");
        assert!(pages.pages.len() <= counted, "{} pages, {counted} counted", pages.pages.len());
    }
}
