//! One tenant's ledger: the only way to its streams, positions and keys. Made by `Store::ledger` for a `TenantContext`.
//! What other tenants have cannot be asked for here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::{Position, Sequence, StreamId, TenantContext, TenantId};
use tokio::sync::{oneshot, watch};

use crate::append::{Append, Appended, Decision, FirstOutcome, Idempotency};
use crate::backend::Head;
use crate::elsewhere::Moment;
use crate::error::{AppendError, StoreError};
use crate::event::{Metadata, RecordedEvent, StoredEvent};
use crate::merkle::Frontier;
use crate::part::Part;
use crate::store::Inner;
use crate::tail::EVENT_BYTES;
use crate::writer::{Command, replay};

/// Where a ledger ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerHead {
    /// The owner.
    pub tenant: TenantId,
    /// The last position; 0 for a ledger without events.
    pub position: Position,
    /// When the last event was recorded; `None` for a ledger without events.
    pub recorded_at: Option<DateTime<Utc>>,
    frontier: Frontier,
}

impl LedgerHead {
    pub(crate) fn new(tenant: TenantId, head: Head) -> Self {
        let recorded_at = (head.position > Position::START)
            .then(|| DateTime::from_timestamp_micros(head.recorded_at))
            .flatten();
        Self { tenant, position: head.position, recorded_at, frontier: head.frontier }
    }

    /// RFC 6962 Merkle tree root over all leaves, 32 bytes. Computed when it is asked for: projectors look at all ledgers every two seconds, and want
    /// positions only.
    pub fn root_hash(&self) -> [u8; 32] {
        self.frontier.root()
    }
}

/// Positions `after < p <= up_to` of one ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRange {
    /// The owner.
    pub tenant: TenantId,
    /// The position before the first one wanted.
    pub after: Position,
    /// The last one wanted.
    pub up_to: Position,
}

/// What was read of several ledgers, and what stands before it.
#[derive(Debug, Default)]
pub struct LinkedRanges {
    /// By tenant and then position; shared with what is kept in memory of the newest events.
    pub events: Vec<Arc<RecordedEvent>>,
    /// The leaf hashes of the events at the ranges' `after`, read in one snapshot with what follows them, or recorded by this process. None for
    /// a ledger that holds no such event, and where [`crate::Store::can_lose_history`] says no.
    pub links: HashMap<TenantId, [u8; 32]>,
}

/// One tenant's ledger, in the name of one actor. Exists only for a [`TenantContext`].
#[derive(Debug, Clone)]
pub struct TenantLedger {
    store: Arc<Inner>,
    tenant: TenantId,
    actor: Arc<str>,
    correlation_id: Arc<str>,
    causation_id: Option<Arc<str>>,
    now: DateTime<Utc>,
}

impl TenantLedger {
    pub(crate) fn new(store: Arc<Inner>, context: &TenantContext) -> Self {
        Self {
            store,
            tenant: context.tenant.clone(),
            actor: context.actor.subject.clone(),
            correlation_id: context.correlation_id.clone(),
            causation_id: context.causation_id.clone(),
            now: context.now,
        }
    }

    /// Records events of one stream; answers when they are durable.
    ///
    /// Without events it remembers the outcome under its key, in the same batch as everybody's events, and leaves ledger and stream where they are;
    /// a ledger that holds nothing yet has nothing to remember it with, and forgets it.
    ///
    /// A future that is dropped after its first poll may still record: retry with the same idempotency key.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the stream is elsewhere, [`AppendError::KeyReused`], or the store failed.
    ///
    /// # Panics
    /// When `append` has neither events nor an outcome to remember.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.append_decided(append, Decision::default()).await
    }

    /// As [`TenantLedger::append`], of what was decided on what the caller read.
    pub(crate) async fn append_decided(
        &self,
        append: Append,
        decision: Decision,
    ) -> Result<Appended, AppendError> {
        let says_something = !append.events.is_empty() || append.idempotency.is_some();
        assert!(says_something, "an append records an event, or an outcome to remember");
        self.own(&append.stream)?;
        decision.basis.as_ref().map_or(Ok(()), |basis| self.own(&basis.stream))?;
        let origin = Metadata {
            actor: self.actor.clone(),
            causation_id: self.causation_id.clone(),
            correlation_id: self.correlation_id.clone(),
            topic: append.topic.clone(),
        };
        // A full queue is said before the work of hashing, and at once: waiting here would only hide the overload.
        let (place, share) = self.store.queue_place(&self.tenant, append.bytes())?;
        let (sender, answer) = oneshot::channel();
        place.send(Command::new(append, decision, origin, share, sender));
        answer.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// All events of one stream in order; empty when there is no such stream.
    pub async fn load(&self, stream: &StreamId) -> Result<Vec<RecordedEvent>, StoreError> {
        self.own(stream)?;
        recorded(self.store.reader.load(stream).await?)
    }

    /// Some of one stream's events, in order of sequence: what a stream without bound is read by.
    pub async fn load_part(
        &self,
        stream: &StreamId,
        part: Part<'_>,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.own(stream)?;
        recorded(self.store.reader.load_part(stream, part).await?)
    }

    /// Where one stream ends; [`Sequence::START`] when there is no such stream.
    pub async fn sequence_of(&self, stream: &StreamId) -> Result<Sequence, StoreError> {
        let last = self.load_part(stream, Part::Last).await?;
        Ok(last.first().map_or(Sequence::START, |event| event.sequence))
    }

    /// Up to `limit` events after a position, in order.
    pub async fn read_after(&self, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read_page(after, limit, usize::MAX).await
    }

    /// As [`TenantLedger::read_after`], but ends with the event with which the page reaches `bytes_max`; so an event that is larger than
    /// that is a page of its own, and an empty page is still the ledger's end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the next position is missing and a later one is there; a page ends in front of such a gap.
    pub async fn read_page(
        &self,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        // Only a full page: whether a shorter one is all there is, only the database knows, because another process may have appended.
        if let Some(newest) = self.store.followers.tail.after(&self.tenant, after, limit)
            && newest.len() == limit
        {
            let mut bytes = 0;
            let fits = |event: &Arc<RecordedEvent>| {
                let fits = bytes < bytes_max;
                bytes += EVENT_BYTES + event.payload.as_str().len();
                fits
            };
            return Ok(newest.into_iter().take_while(fits).map(Arc::unwrap_or_clone).collect());
        }
        let mut page = recorded(self.store.reader.read_after(&self.tenant, after, limit, bytes_max).await?)?;
        // A page is one statement or several in order, and heads move with their events: what others append meanwhile makes no gap.
        let whole =
            page.iter().zip(after.0 + 1..).take_while(|(event, next)| event.position.0 == *next).count();
        if whole == 0 && !page.is_empty() {
            return Err(StoreError::missing(after.next()));
        }
        page.truncate(whole);
        Ok(page)
    }

    /// As [`TenantLedger::read_page`], for who knows that the ledger goes on behind `after`: never empty.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the next position is missing, too: who asked again would wait for it for ever.
    pub async fn read_next(
        &self,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let page = self.read_page(after, limit, bytes_max).await?;
        if page.is_empty() { Err(StoreError::missing(after.next())) } else { Ok(page) }
    }

    /// The events at `after < p <= up_to`, in order, as a follower wants them that knows where the ledger ends.
    ///
    /// The newest events come from memory.
    pub async fn read_range(
        &self,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.store.read_ranges(&[LedgerRange { tenant: self.tenant.clone(), after, up_to }]).await
    }

    /// Where the ledger ends now.
    pub async fn head(&self) -> Result<LedgerHead, StoreError> {
        let head = self.store.reader.head(&self.tenant).await?.unwrap_or_default();
        Ok(LedgerHead::new(self.tenant.clone(), head))
    }

    /// The last position that was recorded at `time` or before; [`Position::START`] before the first event. Recorded times never go back along
    /// a ledger, so it is found by halving, with one small read per bit of the head.
    pub async fn position_at(&self, time: DateTime<Utc>) -> Result<Position, StoreError> {
        let head = self.head().await?;
        if head.recorded_at.is_none_or(|recorded_at| recorded_at <= time) {
            return Ok(head.position);
        }
        // What is recorded at `reached` is not later than `time`, what is at `beyond` is.
        let (mut reached, mut beyond) = (Position::START, head.position);
        while reached.next() < beyond {
            let middle = Position(reached.0.midpoint(beyond.0));
            let event = self.read_after(Position(middle.0 - 1), 1).await?.pop();
            let event = event.ok_or_else(|| StoreError::missing(middle))?;
            if event.recorded_at <= time { reached = middle } else { beyond = middle }
        }
        Ok(reached)
    }

    /// See [`crate::Store::era`].
    pub fn era(&self) -> u64 {
        self.store.followers.era()
    }

    /// Now, as far as other processes' appends are known here. Take it before reading what is to be kept; then ask
    /// [`TenantLedger::is_ours_since`].
    pub fn moment(&self) -> Moment {
        self.store.followers.elsewhere.moment()
    }

    /// Whether only this process appended to the ledger since, as of at most `age_max` ago: then what was read of it then, and is kept up to our own
    /// appends, is still true. `false` where that is not known.
    pub fn is_ours_since(&self, since: Moment, age_max: Duration) -> bool {
        self.store.followers.elsewhere.is_ours_since(&self.tenant, since, age_max)
    }

    /// Whether another process is known to have appended to the ledger since; what it appended within [`crate::POLL_INTERVAL`] may be unknown.
    pub fn has_moved_since(&self, since: Moment) -> bool {
        self.store.followers.elsewhere.has_moved_since(&self.tenant, since)
    }

    /// The newest position known to this process, and a signal each time it moves.
    ///
    /// Appends of other processes are noticed within [`crate::POLL_INTERVAL`]. The signal ends when the ledger may have lost events: begin again.
    pub async fn follow(&self) -> Result<watch::Receiver<Position>, StoreError> {
        // Listen first, then read: a move in between is heard, not lost.
        let receiver = self.store.followers.wake.follow(&self.tenant);
        if *receiver.borrow() == Position::START {
            let head = self.head().await?;
            self.store.followers.wake.catch_up(&self.tenant, head.position);
        }
        Ok(receiver)
    }

    /// The outcome of an earlier request with the same key, once it is durable wherever a commit has to be.
    ///
    /// # Errors
    /// [`AppendError::KeyReused`] when the key was used for another request.
    pub async fn first_outcome(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<FirstOutcome>, AppendError> {
        let remembered = self.store.reader.remembered(&self.tenant, idempotency).await?;
        match remembered.map(|remembered| replay(&remembered, idempotency)).transpose()? {
            Some(Appended::Replayed(first)) => {
                self.store.confirm(&self.tenant).await?;
                Ok(Some(first))
            }
            Some(Appended::Recorded { .. }) | None => Ok(None),
        }
    }

    /// The time at which the context's work began.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The wall between tenants, should a caller mix up two contexts.
    fn own(&self, stream: &StreamId) -> Result<(), StoreError> {
        if *stream.tenant() == self.tenant { Ok(()) } else { Err(StoreError::ForeignStream) }
    }
}

pub(crate) fn recorded(events: Vec<StoredEvent>) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut recorded = Vec::with_capacity(events.len());
    for event in events {
        recorded.push(event.into_recorded()?);
    }
    Ok(recorded)
}
