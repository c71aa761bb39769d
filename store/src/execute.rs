//! Runs one command on one aggregate: load, decide, append, and again when another command was faster.

use chrono::{DateTime, Utc};
use formledger_domain::{LedgerAggregate, Position, Sequence, StreamId};

use crate::error::ExecuteError;
use crate::ledger::{Expectation, FirstOutcome, Idempotency, TenantLedger};

/// How a command is to be executed.
pub struct ExecuteOptions<A: LedgerAggregate> {
    /// What the caller knows of the stream.
    pub expectation: Expectation,
    /// The client's idempotency key, where it gave one.
    pub idempotency: Option<Idempotency>,
    /// See [`crate::Metadata::topic`].
    pub topic: Option<std::sync::Arc<str>>,
    /// Renders the outcome to remember under the idempotency key; called only when there is one.
    pub outcome: fn(&A, &[A::Event]) -> String,
}

/// A command that took effect, now or before.
#[derive(Debug)]
pub enum Executed<A: LedgerAggregate> {
    /// It was decided and recorded now. An accepted command without events leaves position and sequence where they were.
    Now {
        /// The state after it.
        aggregate: A,
        /// What it recorded.
        events: Vec<A::Event>,
        /// The position of its last event (of the ledger's head when it recorded none).
        position: Position,
        /// The stream's sequence after it.
        sequence: Sequence,
        /// When.
        recorded_at: DateTime<Utc>,
    },
    /// An earlier request with the same idempotency key did it.
    Before(FirstOutcome),
}

impl TenantLedger {
    /// Loads the stream, lets the aggregate decide, appends its events.
    ///
    /// With [`Expectation::Any`] a sequence conflict is decided again on the newer state, a bounded number of times with jitter.
    ///
    /// # Errors
    /// [`ExecuteError::Refused`] with the aggregate's own reason, or why it could not be recorded.
    pub async fn execute<A>(
        &self,
        _stream: &StreamId,
        _command: A::Command,
        _services: &A::Services,
        _options: ExecuteOptions<A>,
    ) -> Result<Executed<A>, ExecuteError<A::Error>>
    where
        A: LedgerAggregate,
    {
        todo!()
    }
}
