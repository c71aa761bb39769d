//! The newest events of this process, kept in memory for those who follow: a projector or a feed at the head reads no database.
//! The writer adds what it committed; `TenantLedger::read_after` and `Store::read_ranges` look here first. It holds only what is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use formledger_domain::{Position, TenantId};

use crate::backend::HeadMove;
use crate::event::RecordedEvent;
use crate::ledger::LedgerRange;
use crate::merkle::Hash;

/// Bytes that stay, over all ledgers; at the limit the oldest events leave. A follower that is further behind reads the database, so
/// it is more than what a projector lets gather under full load.
const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Ledgers whose ends are known; at the limit those leave of which no event is here. An event of theirs is then linked by the database.
const ENDS_MAX: usize = 65_536;
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
    ledgers: HashMap<TenantId, End, RandomState>,
    /// One entry per event in order of arrival, with its bytes, also for events that left early because their ledger began anew.
    arrivals: VecDeque<(TenantId, Position, usize)>,
    bytes: usize,
}

/// What is known of the end of one ledger; stays when its events leave, so that the next one is linked to what was before it.
#[derive(Debug, Default)]
struct End {
    events: VecDeque<Linked>,
    /// Where the ledger is, with the tip of its tree and the leaf hash of its last event, if this process recorded that.
    last: Option<(Position, Option<Hash>)>,
    leaf_hash: Option<Hash>,
}

/// An event, and the leaf hash of the one before it where that is known.
#[derive(Debug)]
struct Linked {
    before: Option<Hash>,
    event: Arc<RecordedEvent>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { ends: Mutex::default(), bytes_max: TAIL_BYTES_MAX }
    }
}

impl Tail {
    /// Adds committed events, of each ledger in order of position, and says from where to where these ledgers went.
    pub(crate) fn extend(&self, heads: &[HeadMove], events: impl Iterator<Item = RecordedEvent>) {
        let mut ends = self.lock();
        for head in heads {
            ends.go_on(head);
        }
        for event in events {
            ends.push(event);
            while ends.bytes > self.bytes_max {
                ends.drop_oldest();
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.lock() = Ends::default();
    }

    /// The whole range; `None` when the first of it is older than what is here, or the last newer.
    pub(crate) fn range(&self, range: &LedgerRange) -> Option<Vec<Arc<RecordedEvent>>> {
        self.linked_range(range).map(|(events, _)| events)
    }

    /// As [`Tail::range`], with the leaf hash of the event before the first, where that is known.
    pub(crate) fn linked_range(
        &self,
        range: &LedgerRange,
    ) -> Option<(Vec<Arc<RecordedEvent>>, Option<Hash>)> {
        let count = usize::try_from(range.up_to.0.saturating_sub(range.after.0)).ok()?;
        let ends = self.lock();
        let end = ends.ledgers.get(&range.tenant)?;
        let first = end.place_after(range.after)?;
        let events: Vec<_> =
            end.events.range(first..).take(count).map(|linked| linked.event.clone()).collect();
        (events.len() == count).then(|| (events, end.events[first].before))
    }

    /// Up to `limit` events after a position; `None` when the next one is not here.
    pub(crate) fn after(
        &self,
        tenant: &TenantId,
        after: Position,
        limit: usize,
    ) -> Option<Vec<Arc<RecordedEvent>>> {
        let ends = self.lock();
        let end = ends.ledgers.get(tenant)?;
        let first = end.place_after(after)?;
        Some(end.events.range(first..).take(limit).map(|linked| linked.event.clone()).collect())
    }

    /// A panic elsewhere leaves complete entries.
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    /// Where the event after a position is, if it is here.
    fn place_after(&self, after: Position) -> Option<usize> {
        let first = self.events.front()?.event.position;
        let place = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        (place < self.events.len()).then_some(place)
    }
}

impl Ends {
    /// Takes note of where a ledger goes. Unless it was left where it goes on from, another process appended in between, or events were lost.
    fn go_on(&mut self, head: &HeadMove) {
        if self.ledgers.len() >= ENDS_MAX {
            self.ledgers.retain(|_, end| !end.events.is_empty());
        }
        let end = self.ledgers.entry(head.tenant.clone()).or_default();
        if end.last != Some((head.from, head.tip)) {
            *end = End::default();
        }
        end.last = Some((head.to.position, head.to.frontier.tip()));
    }

    fn push(&mut self, event: RecordedEvent) {
        let (tenant, position) = (event.tenant.clone(), event.position);
        let bytes = EVENT_BYTES + event.payload.as_str().len();
        let end = self.ledgers.entry(tenant.clone()).or_default();
        let before = end.leaf_hash.replace(event.leaf_hash);
        end.events.push_back(Linked { before, event: Arc::new(event) });
        self.arrivals.push_back((tenant, position, bytes));
        self.bytes += bytes;
    }

    fn drop_oldest(&mut self) {
        let Some((tenant, position, bytes)) = self.arrivals.pop_front() else { return };
        self.bytes -= bytes;
        if let Some(end) = self.ledgers.get_mut(&tenant) {
            end.events.pop_front_if(|first| first.event.position == position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;
    use crate::backend::Head;
    use crate::merkle::Frontier;
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

    /// Records the event at a position as the writer would, in a history where all leaves but this one are zeros.
    fn record(tail: &Tail, tenant: &str, position: u64, leaf: u8) {
        record_after(tail, tenant, position, 0, leaf);
    }

    /// The same on top of a history that ends with the leaf `before`.
    fn record_after(tail: &Tail, tenant: &str, position: u64, before: u8, leaf: u8) {
        let mut frontier = Frontier::default();
        for place in 1..position {
            frontier.append([if place + 1 == position { before } else { 0 }; 32]);
        }
        let tip = frontier.tip();
        frontier.append([leaf; 32]);
        let to = Head { position: Position(position), recorded_at: 0, frontier };
        let tenant_id = tenant.parse().expect("slug");
        let head = HeadMove { tenant: tenant_id, from: Position(position - 1), tip, to };
        tail.extend(
            &[head],
            std::iter::once(RecordedEvent { leaf_hash: [leaf; 32], ..event(tenant, position) }),
        );
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
        (3..=6).for_each(|position| record(&tail, "a", position, 0));
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
        for (tenant, position) in [("a", 1), ("b", 1), ("a", 2), ("a", 5)] {
            record(&tail, tenant, position, 0);
        }
        assert_eq!(range(&tail, "a", 1, 5), None);
        assert_eq!(range(&tail, "a", 0, 1), None);
        assert_eq!(range(&tail, "a", 4, 5), Some(vec![5]));
        assert_eq!(range(&tail, "b", 0, 1), Some(vec![1]));
    }

    #[test]
    fn a_ledger_that_lost_events_and_grew_again_to_the_same_position_begins_anew() {
        let tail = Tail::default();
        (1..=5).for_each(|position| record(&tail, "a", position, 7));
        // Nothing between 4 and 5 tells the position; the tip does.
        record_after(&tail, "a", 6, 9, 0);
        assert_eq!(range(&tail, "a", 4, 6), None);
        assert_eq!(range(&tail, "a", 5, 6), Some(vec![6]));
    }

    #[test]
    fn an_event_is_linked_to_the_one_before_it_also_when_that_has_left() {
        let one = EVENT_BYTES + "{}".len();
        let tail = Tail { bytes_max: one, ..Tail::default() };
        record(&tail, "a", 1, 7);
        record_after(&tail, "a", 2, 7, 8);
        let range = |after, up_to| LedgerRange {
            tenant: "a".parse().expect("slug"),
            after: Position(after),
            up_to: Position(up_to),
        };
        assert!(tail.linked_range(&range(0, 2)).is_none());
        let (events, before) = tail.linked_range(&range(1, 2)).expect("is here");
        assert_eq!((events.len(), before), (1, Some([7; 32])));
    }

    #[test]
    fn memory_is_bounded_over_all_ledgers_also_after_gaps() {
        let one = EVENT_BYTES + "{}".len();
        let tail = Tail { bytes_max: 10 * one, ..Tail::default() };
        for step in 1..=50 {
            let position = if step < 30 { step } else { step + 100 };
            record(&tail, "a", position, 0);
            record(&tail, &format!("b{step}"), 1, 0);
        }
        let ends = tail.lock();
        let kept: usize = ends.ledgers.values().map(|end| end.events.len()).sum();
        assert_eq!((kept, ends.arrivals.len(), ends.bytes), (10, 10, 10 * one));
        drop(ends);
        assert_eq!(range(&tail, "b50", 0, 1), Some(vec![1]));
        assert_eq!(range(&tail, "a", 145, 150), Some(vec![146, 147, 148, 149, 150]));
        assert_eq!(range(&tail, "a", 144, 150), None);
    }
}
