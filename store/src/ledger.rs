//! The front of the ledger: what callers may ask of it.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::{EncodedEvent, Position, Sequence, StreamId, TenantContext, TenantId};
use tokio::sync::watch;

use crate::error::{AppendError, StoreError};
use crate::event::RecordedEvent;
use crate::wake::Moved;

/// Limits of a store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Commands that may wait for the writer; at the limit an append fails with [`StoreError::QueueFull`].
    pub append_queue_max: usize,
    /// Commands per transaction; 1 gives one transaction per command, for comparison.
    pub append_batch_max: usize,
    /// Connections that read streams and ranges.
    pub read_connections_max: u32,
    /// How long a reader waits for a connection before it fails.
    pub acquire_timeout: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            append_queue_max: 8192,
            append_batch_max: 512,
            read_connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

/// What the caller knows of a stream before it appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing: decide on what is there, and again if that moved meanwhile.
    Any,
    /// The stream does not exist: nothing is loaded before the command decides.
    NoStream,
    /// The stream is at exactly this sequence, as the caller saw it (`If-Match`).
    Exact(Sequence),
}

/// A client's promise that a repeated request is the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1 to 255 bytes.
    pub key: String,
    /// SHA-256 over method, path and body of the request.
    pub request_hash: [u8; 32],
}

/// The answer that the first request with an idempotency key got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstOutcome {
    /// What the caller stored with the append; JSON text.
    pub outcome: String,
    /// The position of the last event that the first request recorded.
    pub position: Position,
    /// The stream's sequence after it.
    pub sequence: Sequence,
}

/// Events of one stream to be recorded together, or not at all.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The sequence the stream must be at.
    pub expected: Sequence,
    /// At least one event.
    pub events: Vec<EncodedEvent>,
    /// See [`crate::Metadata::topic`].
    pub topic: Option<std::sync::Arc<str>>,
    /// The client's key and the outcome to remember under it, where it gave one.
    pub idempotency: Option<(Idempotency, String)>,
}

/// What the ledger answers to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The events are durable.
    Recorded {
        /// The position of the last one.
        position: Position,
        /// The stream's sequence after it.
        sequence: Sequence,
        /// When.
        recorded_at: DateTime<Utc>,
    },
    /// The same request was recorded before; nothing was appended now.
    Replayed(FirstOutcome),
}

/// Where a ledger ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerHead {
    /// The owner.
    pub tenant: TenantId,
    /// The last position; 0 for a ledger without events.
    pub position: Position,
    /// RFC 6962 Merkle tree root over all leaves, 32 bytes.
    pub root_hash: [u8; 32],
    /// When the last event was recorded; `None` for a ledger without events.
    pub recorded_at: Option<DateTime<Utc>>,
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

/// Which events of a ledger a reader wants; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events about this topic.
    pub topic: Option<String>,
    /// Only events of this stream: aggregate type and id.
    pub stream: Option<(String, String)>,
    /// Only these types, with or without version suffix; empty for all.
    pub types: Vec<String>,
}

impl EventFilter {
    /// Whether `event` is wanted.
    pub fn wants(&self, _event: &RecordedEvent) -> bool {
        todo!()
    }
}

/// All tenants' ledgers in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens the embedded store in the file `path`, creates it if missing, applies migrations and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file cannot be opened, is newer than this binary or not a ledger.
    pub async fn open_sqlite(_path: &Path, _settings: StoreSettings) -> Result<Self, StoreError> {
        todo!()
    }

    /// The ledger of the context's tenant, and of no other.
    pub fn ledger(&self, _context: &TenantContext) -> TenantLedger {
        todo!()
    }

    /// The heads of all ledgers, for projectors and tools.
    pub async fn heads(&self) -> Result<Vec<LedgerHead>, StoreError> {
        todo!()
    }

    /// The events of several ledgers' ranges in one read, by tenant and then position. For projectors and tools.
    pub async fn read_ranges(&self, _ranges: &[LedgerRange]) -> Result<Vec<RecordedEvent>, StoreError> {
        todo!()
    }

    /// Follows which ledgers move, for projectors.
    pub fn moved(&self) -> Moved {
        todo!()
    }

    /// Stops taking appends, records what waits, closes the database.
    pub async fn close(&self) {
        todo!()
    }
}

/// One tenant's ledger, in the name of one actor. Exists only for a [`TenantContext`].
#[derive(Debug, Clone)]
pub struct TenantLedger {}

impl TenantLedger {
    /// Records events of one stream; answers when they are durable.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the stream is elsewhere, [`AppendError::KeyReused`], or the store failed.
    pub async fn append(&self, _append: Append) -> Result<Appended, AppendError> {
        todo!()
    }

    /// All events of one stream in order; empty when there is no such stream.
    pub async fn load(&self, _stream: &StreamId) -> Result<Vec<RecordedEvent>, StoreError> {
        todo!()
    }

    /// Up to `limit` events after a position, in order.
    pub async fn read_after(
        &self,
        _after: Position,
        _limit: usize,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        todo!()
    }

    /// Where the ledger ends now.
    pub async fn head(&self) -> Result<LedgerHead, StoreError> {
        todo!()
    }

    /// The newest position known to this process, and a signal each time it moves.
    pub async fn follow(&self) -> Result<watch::Receiver<Position>, StoreError> {
        todo!()
    }

    /// The outcome of an earlier request with the same key.
    ///
    /// # Errors
    /// [`AppendError::KeyReused`] when the key was used for another request.
    pub async fn first_outcome(
        &self,
        _idempotency: &Idempotency,
    ) -> Result<Option<FirstOutcome>, AppendError> {
        todo!()
    }
}
