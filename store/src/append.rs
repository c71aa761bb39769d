//! The vocabulary of appending: what a caller hands in, and what it gets back.
//! Used by the front, the writer and `execute`; plain data, no behaviour.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{EncodedEvent, Position, Sequence, StreamId};

use crate::elsewhere::Moment;
use crate::tail::EVENT_BYTES;

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

/// Another stream that a decision rests on, as a submission rests on its form. What was decided is recorded only while that stream ends where it did
/// when it was read, also where another process appended to it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// The stream, of the same tenant.
    pub stream: StreamId,
    /// Where it ended.
    pub sequence: Sequence,
    /// [`crate::TenantLedger::era`] before it was read.
    pub era: u64,
    /// [`crate::TenantLedger::moment`] before it was read.
    pub since: Moment,
}

/// How an append came about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    /// The era in which the caller loaded the stream up to where it expects it; `None` when it did not.
    pub(crate) seen_in: Option<u64>,
    /// What it rests on beside its own stream.
    pub(crate) basis: Option<Arc<Basis>>,
    /// Whether others rest on its stream.
    pub(crate) is_basis: bool,
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
    /// The position of the last event that the first request recorded; of the ledger's last one then when it recorded none.
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
    /// At least one event; or none, to remember the outcome of a command that changed nothing.
    pub events: Vec<EncodedEvent>,
    /// See [`crate::Metadata::topic`].
    pub topic: Option<Arc<str>>,
    /// The client's key and the outcome to remember under it, where it gave one.
    pub idempotency: Option<(Idempotency, String)>,
}

impl Append {
    /// What it takes in memory and in a transaction, about.
    pub(crate) fn bytes(&self) -> usize {
        let payloads = self.events.iter().map(|event| EVENT_BYTES + event.payload.as_str().len());
        let outcome = self.idempotency.as_ref().map_or(0, |(key, outcome)| key.key.len() + outcome.len());
        payloads.sum::<usize>() + outcome
    }
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
