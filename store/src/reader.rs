//! The reading side of whichever database holds the ledger. Called by `Store`, `TenantLedger` and `verify`.
//! Each question is one consistent read on a connection of its own pool; nothing here can reach the writer's connection.

use formledger_domain::{Position, StreamId, TenantId};

use crate::append::Idempotency;
use crate::backend::{Head, Remembered};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::part::Part;
use crate::postgres::PostgresReader;
use crate::sqlite::SqliteReader;
use crate::store::PoolStatus;
use crate::stored::{Stray, StreamPlace};

/// The connections that read.
#[derive(Debug, Clone)]
pub(crate) enum Reader {
    Sqlite(SqliteReader),
    Postgres(PostgresReader),
}

/// Hands a question to the reader of the database at hand. On the heap: a question takes 2 KB while it is asked, and each command would have room for it,
/// several times over, while it waits for the disk, though hardly any asks.
macro_rules! ask {
    ($reader:expr, $($question:tt)*) => {
        match $reader {
            Reader::Sqlite(reader) => Box::pin(reader.$($question)*).await,
            Reader::Postgres(reader) => Box::pin(reader.$($question)*).await,
        }
    };
}

impl Reader {
    /// Whether events can get lost under a running process.
    pub(crate) fn can_lose_history(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether it may be asked about all tenants at once; a login of Postgres may see one at a time.
    pub(crate) fn sees_every_tenant(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(reader) => reader.sees_every_tenant(),
        }
    }

    pub(crate) fn status(&self) -> PoolStatus {
        match self {
            Self::Sqlite(reader) => reader.status(),
            Self::Postgres(reader) => reader.status(),
        }
    }

    pub(crate) async fn close(&self) {
        ask!(self, close())
    }

    /// The events of one stream, in order of sequence.
    pub(crate) async fn load(&self, stream: &StreamId) -> Result<Vec<StoredEvent>, StoreError> {
        ask!(self, load(stream))
    }

    /// Some of one stream's events, in order of sequence.
    pub(crate) async fn load_part(
        &self,
        stream: &StreamId,
        part: Part<'_>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut events = ask!(self, load_part(stream, part))?;
        // What is looked for from the end on comes backwards.
        events.sort_unstable_by_key(|event| event.sequence);
        Ok(events)
    }

    /// Up to `limit` events after a position, in order; ends with the event with which they reach `bytes_max`.
    pub(crate) async fn read_after(
        &self,
        tenant: &TenantId,
        after: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        ask!(self, read_after(tenant, after, limit, bytes_max))
    }

    /// The ranges' events, in no promised order.
    pub(crate) async fn read_ranges(&self, ranges: &[&LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        ask!(self, read_ranges(ranges))
    }

    /// Up to `limit` places of the tenant's streams of one type after a place, stream by stream in order of sequence.
    pub(crate) async fn stream_places(
        &self,
        tenant: &TenantId,
        aggregate_type: &str,
        after: Option<&StreamPlace>,
        limit: u64,
    ) -> Result<Vec<StreamPlace>, StoreError> {
        ask!(self, stream_places(tenant, aggregate_type, after, limit))
    }

    /// Up to `limit` events of the tenant, from a place on, that stand outside of its ledger as it was at the same moment, in order of position.
    pub(crate) async fn strays(
        &self,
        tenant: &TenantId,
        from: i64,
        limit: u64,
    ) -> Result<Vec<Stray>, StoreError> {
        ask!(self, strays(tenant, from, limit))
    }

    /// Every ledger's head, or what is wrong with it: one damaged ledger must not stop the others.
    pub(crate) async fn heads(&self) -> Result<Vec<Result<(TenantId, Head), StoreError>>, StoreError> {
        ask!(self, heads())
    }

    /// Where all ledgers end.
    pub(crate) async fn positions(&self) -> Result<Vec<(TenantId, Position)>, StoreError> {
        match self {
            Self::Sqlite(reader) => Box::pin(reader.positions()).await,
            Self::Postgres(reader) => Box::pin(reader.positions(None)).await,
        }
    }

    /// Everyone who is named as the owner of a ledger or of an event, in order.
    pub(crate) async fn owners(&self) -> Result<Vec<Result<TenantId, StoreError>>, StoreError> {
        ask!(self, owners())
    }

    /// `None` for a tenant without events.
    pub(crate) async fn head(&self, tenant: &TenantId) -> Result<Option<Head>, StoreError> {
        ask!(self, head(tenant))
    }

    /// What is remembered under the tenant's key.
    pub(crate) async fn remembered(
        &self,
        tenant: &TenantId,
        idempotency: &Idempotency,
    ) -> Result<Option<Remembered>, StoreError> {
        ask!(self, remembered(tenant, idempotency))
    }
}
