//! The newest events of this process, kept in memory for those who follow: a projector or a feed at the head reads no database.
//! The writer adds what it committed; `TenantLedger::read_after` and `Store::read_ranges` look here first. It holds only what is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::{Position, TenantId};

use crate::event::RecordedEvent;
use crate::ledger::LedgerRange;

/// Bytes that stay, over all ledgers; at the limit the oldest events leave. A follower that is further behind reads the database, so
/// it is more than what a projector lets gather under full load.
const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What an event takes besides its payload, about.
pub(crate) const EVENT_BYTES: usize = 512;

/// The ends of ledgers, each without a gap.
#[derive(Debug)]
pub(crate) struct Tail {
    ends: Mutex<Ends>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Ends {
    ledgers: HashMap<TenantId, VecDeque<Arc<RecordedEvent>>>,
    /// One entry per event in order of arrival, with its bytes, also for events that left early because their ledger began anew.
    arrivals: VecDeque<(TenantId, Position, usize)>,
    bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { ends: Mutex::default(), bytes_max: TAIL_BYTES_MAX }
    }
}

impl Tail {
    /// Adds committed events, of each ledger in order of position.
    pub(crate) fn extend(&self, events: impl Iterator<Item = RecordedEvent>) {
        let mut ends = self.lock();
        for event in events {
            ends.push(event);
            while ends.bytes > self.bytes_max {
                ends.drop_oldest();
            }
        }
    }

    /// The whole range; `None` when the first of it is older than what is here, or the last newer.
    pub(crate) fn range(&self, range: &LedgerRange) -> Option<Vec<Arc<RecordedEvent>>> {
        let count = range.up_to.0.saturating_sub(range.after.0);
        let events = self.after(&range.tenant, range.after, usize::try_from(count).ok()?)?;
        (events.len() as u64 == count).then_some(events)
    }

    /// Up to `limit` events after a position; `None` when the next one is not here.
    pub(crate) fn after(
        &self,
        tenant: &TenantId,
        after: Position,
        limit: usize,
    ) -> Option<Vec<Arc<RecordedEvent>>> {
        let ends = self.lock();
        let events = ends.ledgers.get(tenant)?;
        let first = events.front()?.position;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        (skip < events.len()).then(|| events.iter().skip(skip).take(limit).cloned().collect())
    }

    /// A panic elsewhere leaves complete entries.
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn push(&mut self, event: RecordedEvent) {
        let (tenant, position) = (event.tenant.clone(), event.position);
        let bytes = EVENT_BYTES + event.payload.as_str().len();
        let end = self.ledgers.entry(tenant.clone()).or_default();
        if end.back().is_some_and(|last| last.position.next() != position) {
            // Another process appended in between.
            end.clear();
        }
        end.push_back(Arc::new(event));
        self.arrivals.push_back((tenant, position, bytes));
        self.bytes += bytes;
    }

    fn drop_oldest(&mut self) {
        let Some((tenant, position, bytes)) = self.arrivals.pop_front() else { return };
        self.bytes -= bytes;
        if let Some(end) = self.ledgers.get_mut(&tenant) {
            end.pop_front_if(|first| first.position == position);
            if end.is_empty() {
                self.ledgers.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;
    use chrono::DateTime;
    use formledger_domain::{CanonicalJson, EventId, Sequence};
    use uuid::Uuid;

    fn event(tenant: &str, position: u64) -> RecordedEvent {
        RecordedEvent {
            tenant: tenant.parse().expect("slug"),
            position: Position(position),
            aggregate_type: "Tally".into(),
            aggregate_id: "s".into(),
            sequence: Sequence(position),
            event_id: EventId(Uuid::nil()),
            event_type: "formledger.tally.added".into(),
            event_version: "1".into(),
            recorded_at: DateTime::UNIX_EPOCH,
            metadata: Metadata {
                actor: "ada".into(),
                causation_id: None,
                correlation_id: "r".into(),
                topic: None,
            },
            payload: CanonicalJson::from_stored("{}"),
            leaf_hash: [0; 32],
        }
    }

    fn range(tail: &Tail, tenant: &str, after: u64, up_to: u64) -> Option<Vec<u64>> {
        let range = LedgerRange {
            tenant: tenant.parse().expect("slug"),
            after: Position(after),
            up_to: Position(up_to),
        };
        Some(tail.range(&range)?.iter().map(|event| event.position.0).collect())
    }

    #[test]
    fn a_range_is_given_whole_or_not_at_all() {
        let tail = Tail::default();
        tail.extend((3..=6).map(|position| event("a", position)));
        assert_eq!(range(&tail, "a", 2, 6), Some(vec![3, 4, 5, 6]));
        assert_eq!(range(&tail, "a", 4, 5), Some(vec![5]));
        for (after, up_to) in [(1, 3), (2, 7), (6, 7), (0, 9)] {
            assert_eq!(range(&tail, "a", after, up_to), None, "{after}..{up_to}");
        }
        assert_eq!(range(&tail, "b", 2, 6), None);
    }

    #[test]
    fn after_a_gap_a_ledger_begins_anew() {
        let tail = Tail::default();
        tail.extend([event("a", 1), event("b", 1), event("a", 2), event("a", 5)].into_iter());
        assert_eq!(range(&tail, "a", 1, 5), None);
        assert_eq!(range(&tail, "a", 0, 1), None);
        assert_eq!(range(&tail, "a", 4, 5), Some(vec![5]));
        assert_eq!(range(&tail, "b", 0, 1), Some(vec![1]));
    }

    #[test]
    fn memory_is_bounded_over_all_ledgers_also_after_gaps() {
        let one = EVENT_BYTES + "{}".len();
        let tail = Tail { bytes_max: 10 * one, ..Tail::default() };
        for step in 1..=50 {
            let position = if step < 30 { step } else { step + 100 };
            tail.extend([event("a", position), event(&format!("b{step}"), 1)].into_iter());
        }
        let ends = tail.lock();
        let kept: usize = ends.ledgers.values().map(VecDeque::len).sum();
        assert_eq!((kept, ends.arrivals.len(), ends.bytes), (10, 10, 10 * one));
        drop(ends);
        assert_eq!(range(&tail, "b50", 0, 1), Some(vec![1]));
        assert_eq!(range(&tail, "a", 145, 150), Some(vec![146, 147, 148, 149, 150]));
        assert_eq!(range(&tail, "a", 144, 150), None);
    }
}
