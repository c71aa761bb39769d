//! What a database must do for the writer: read heads, streams and keys, and record one batch in one transaction.
//! Implemented once per database (`sqlite`, `postgres`), called only by `writer`; decides nothing, hashes nothing, counts nothing.

use std::borrow::Cow;
use std::future::Future;

use chrono::DateTime;
use formledger_domain::{CanonicalJson, EventId, Position, Sequence, StreamId, TenantId};

use crate::append::FirstOutcome;
use crate::error::StoreError;
use crate::event::{Metadata, RecordedEvent};
use crate::followers::Followers;
use crate::merkle::{Frontier, Hash};

/// Microseconds since 1970-01-01T00:00:00Z.
pub(crate) type Micros = i64;

/// Where a ledger ends, with all that is needed to append to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) recorded_at: Micros,
    pub(crate) frontier: Frontier,
}

/// A head that was read, or why nothing is appended behind it.
pub(crate) type StoredHead = Result<Head, Withheld>;

/// Why nothing is appended to a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// What is wrong with it, for people.
    Damaged(String),
    /// An import is not at its end, and has come to this head. Nothing else fits in before the rest of its file.
    Importing(Head),
}

impl From<Withheld> for StoreError {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Damaged(what) => Self::Damaged(what),
            Withheld::Importing(_) => Self::Importing,
        }
    }
}

/// What a batch is to an import. All but [`ImportStep::None`] may append where an import is not at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ImportStep {
    /// Commands of clients.
    #[default]
    None,
    /// Events of an import, of which more are to come: the ledgers are marked.
    GoesOn,
    /// The last ones: the marks are taken away.
    Ends,
}

/// A ledger's move from one position to the next, compared and set.
#[derive(Debug)]
pub(crate) struct HeadMove {
    pub(crate) tenant: TenantId,
    /// Where the ledger must be; [`Position::START`] when it must not exist.
    pub(crate) from: Position,
    /// [`Frontier::tip`] there: where history can be lost, the position alone would not tell this ledger from one that lost events and
    /// has others now.
    pub(crate) tip: Option<Hash>,
    pub(crate) to: Head,
}

/// A row of `events`.
#[derive(Debug)]
pub(crate) struct EventRow<'a> {
    pub(crate) stream: &'a StreamId,
    /// [`StreamId::aggregate_id`], built once per command.
    pub(crate) aggregate_id: &'a str,
    pub(crate) sequence: Sequence,
    pub(crate) event_type: &'a Cow<'static, str>,
    pub(crate) event_version: &'a Cow<'static, str>,
    pub(crate) payload: &'a CanonicalJson,
    /// The stored text of `origin`.
    pub(crate) metadata: &'a str,
    pub(crate) origin: &'a Metadata,
    pub(crate) position: Position,
    pub(crate) event_id: EventId,
    pub(crate) recorded_at: Micros,
    pub(crate) leaf_hash: Hash,
}

impl EventRow<'_> {
    /// The event as readers get it once it is durable.
    pub(crate) fn to_recorded(&self) -> RecordedEvent {
        RecordedEvent {
            tenant: self.stream.tenant().clone(),
            position: self.position,
            aggregate_type: self.stream.aggregate_type().into(),
            aggregate_id: self.stream.shared_id(),
            sequence: self.sequence,
            event_id: self.event_id,
            event_type: self.event_type.clone(),
            event_version: self.event_version.clone(),
            recorded_at: DateTime::from_timestamp_micros(self.recorded_at)
                .expect("the writer made it from a time"),
            metadata: self.origin.clone(),
            payload: self.payload.clone(),
            leaf_hash: self.leaf_hash,
        }
    }
}

/// A row of `idempotency`.
#[derive(Debug)]
pub(crate) struct OutcomeRow<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) key: &'a str,
    pub(crate) request_hash: [u8; 32],
    pub(crate) outcome: &'a str,
    pub(crate) position: Position,
    pub(crate) sequence: Sequence,
    pub(crate) recorded_at: Micros,
}

/// What one transaction records.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    /// One per tenant, by tenant.
    pub(crate) heads: Vec<HeadMove>,
    /// Of each tenant in order of position.
    pub(crate) events: Vec<EventRow<'a>>,
    pub(crate) outcomes: Vec<OutcomeRow<'a>>,
    pub(crate) import: ImportStep,
}

/// What became of a batch's statements.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Everything waits for the commit, or is durable after [`Backend::record`], except what belongs to these tenants: their heads had
    /// moved, nothing of them was written.
    Open {
        /// Tenants to re-read and try again; normally none.
        moved: Vec<TenantId>,
    },
    /// A stream or a key was already there. The transaction is rolled back, nothing was written.
    Collided,
}

/// A remembered first outcome, with the request that got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) request_hash: [u8; 32],
    pub(crate) first: FirstOutcome,
}

/// One connection that writes.
pub(crate) trait Backend: Send + 'static {
    /// From now on tells `followers` of other processes' appends, where the database has a way to hear of them by itself; else they are
    /// found by [`Backend::moved_elsewhere`]. Where history can be lost, begins their new era when it may have been.
    fn follow(&mut self, _followers: &Followers) {}

    /// The heads of those of `tenants` that have a ledger, in any order.
    fn heads(
        &mut self,
        tenants: &[TenantId],
    ) -> impl Future<Output = Result<Vec<(TenantId, StoredHead)>, StoreError>> + Send;

    /// As [`Backend::heads`], in a transaction that lets nobody else move them; [`Backend::apply`] or [`Backend::release`] comes next.
    ///
    /// For ledgers that other processes move all the time: whoever compares and sets would lose every time to one who is nearer. Where
    /// one process at a time holds the whole database, there is nothing to hold.
    fn hold_heads(
        &mut self,
        tenants: &[TenantId],
    ) -> impl Future<Output = Result<Vec<(TenantId, StoredHead)>, StoreError>> + Send {
        self.heads(tenants)
    }

    /// Ends what [`Backend::hold_heads`] began, when there is nothing to write.
    fn release(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Those of `tenants` whose ledgers have events after their heads or before their first position, which no append leaves behind.
    fn overrun(
        &mut self,
        tenants: &[TenantId],
    ) -> impl Future<Output = Result<Vec<TenantId>, StoreError>> + Send;

    /// The sequence of each stream, in the order asked; [`Sequence::START`] for a stream without events.
    fn sequences(
        &mut self,
        streams: &[&StreamId],
    ) -> impl Future<Output = Result<Vec<Sequence>, StoreError>> + Send;

    /// What is remembered under each tenant's key, in the order asked.
    fn remembered(
        &mut self,
        keys: &[(&TenantId, &str)],
    ) -> impl Future<Output = Result<Vec<Option<Remembered>>, StoreError>> + Send;

    /// Makes sure that what these tenants' ledgers hold by now is durable wherever a commit has to be, before somebody is told of it again: a
    /// server that crashed while a commit waited for a standby shows that commit, though no standby has it. Without a synchronous standby,
    /// whatever can be read is durable.
    fn confirm(&mut self, _tenants: &[TenantId]) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Writes the batch into the transaction that [`Backend::hold_heads`] began, or into a new one.
    fn apply(&mut self, batch: &Batch<'_>) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Makes what [`Backend::apply`] left open durable.
    fn commit(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the batch and makes it durable: [`Backend::apply`] and [`Backend::commit`], or less where a database needs less.
    fn record(&mut self, batch: &Batch<'_>) -> impl Future<Output = Result<Applied, StoreError>> + Send {
        async {
            let applied = self.apply(batch).await?;
            if matches!(applied, Applied::Open { .. }) {
                self.commit().await?;
            }
            Ok(applied)
        }
    }

    /// After any error: leaves no transaction behind, so that the next batch starts clean.
    fn recover(&mut self) -> impl Future<Output = ()> + Send;

    /// Those of `tenants` whose heads somebody else holds now, and where they are; waits for nobody. Asked after [`StoreError::Held`], which a database never
    /// answers that does not hold heads one by one.
    fn held(
        &mut self,
        _tenants: &[TenantId],
    ) -> impl Future<Output = Result<Vec<(TenantId, Position)>, StoreError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// After [`StoreError::Refused`] and [`StoreError::Held`]: as [`Backend::recover`], where it is known that nothing was recorded.
    fn undo(&mut self) -> impl Future<Output = ()> + Send {
        self.recover()
    }

    /// The ledgers' newest positions if anyone else wrote since this was last asked, else nothing; `None` where [`Backend::follow`] tells of it.
    fn moved_elsewhere(
        &mut self,
    ) -> impl Future<Output = Result<Option<Vec<(TenantId, Position)>>, StoreError>> + Send;

    /// Closes the connection in good order.
    fn close(self) -> impl Future<Output = ()> + Send;
}
