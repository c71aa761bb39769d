//! What the ledger needs of an aggregate besides cqrs-es's `Aggregate`: its events to and from their stored form.
//! Called by `store` when it loads and appends; upcasting happens here, so that nothing else meets an old event.

use cqrs_es::Aggregate;

use crate::json::CanonicalJson;

/// An event in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The stored type without version, for example `formledger.submission.submitted`.
    pub event_type: &'static str,
    /// The stored version, for example `1`.
    pub event_version: &'static str,
    /// The payload; it names its own kind, so that a stock cqrs-es repository can read it.
    pub payload: CanonicalJson,
}

/// A stored event that this binary cannot read: written by a newer one, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored event `{event_type}` version `{event_version}` cannot be read: {reason}")]
pub struct UndecodableEvent {
    /// The stored type.
    pub event_type: String,
    /// The stored version.
    pub event_version: String,
    /// What the decoder said.
    pub reason: String,
}

/// How much of its stream an aggregate's state is made of: what is read before a command is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// Every event. Such a stream has a bound, or grows by what people do one by one.
    Whole,
    /// The newest event of each type, in order: they make the same state as all events do.
    LastOfEachType,
    /// Nothing: only where the stream ends is asked.
    Nothing,
}

/// An aggregate whose events live in a ledger.
pub trait LedgerAggregate: Aggregate<Command: Clone> {
    /// Whether commands of other aggregates rest on what these streams say, as submissions rest on their forms.
    const IS_BASIS: bool = false;
    /// How much of a stream has to be read for its state.
    const RECALL: Recall = Recall::Whole;

    /// The stored form of an event that was just decided.
    fn encode(event: &Self::Event) -> EncodedEvent;

    /// Reads a stored event of any version ever written, upcast to today's shape.
    ///
    /// # Errors
    /// [`UndecodableEvent`] when type, version or payload are unknown to this binary.
    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<Self::Event, UndecodableEvent>;
}
