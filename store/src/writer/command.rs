//! A command on its way to the writer, with everything computed that needs no position.
//! Made by the front in the caller's task, so that hashing a payload is not the one writer's work.

use std::borrow::Cow;

use formledger_domain::{CanonicalJson, EncodedEvent, EventId, Sequence, StreamId};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::append::{Append, Appended, Decision, Idempotency};
use crate::envelope::{OpenLeaf, Opening};
use crate::error::AppendError;
use crate::event::Metadata;
use crate::room::Share;

/// Where a command's answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Appended, AppendError>>;

/// Events to be recorded together, ready but for their places.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) stream: StreamId,
    /// [`StreamId::aggregate_id`], built once.
    pub(crate) aggregate_id: String,
    pub(crate) expected: Sequence,
    /// What the caller saw. Events are immutable, so a stream that reached `expected` in this era still does: the writer only checks that nothing
    /// follows it.
    pub(crate) decision: Decision,
    pub(crate) origin: Metadata,
    /// `origin` as canonical JSON.
    pub(crate) metadata: Box<RawValue>,
    pub(crate) events: Vec<PreparedEvent>,
    pub(crate) idempotency: Option<(Idempotency, String)>,
    /// What it holds of the queue until it is answered.
    pub(crate) share: Share,
    pub(crate) answer: Answer,
}

/// An event with its identity, and its leaf but for the end.
#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub(crate) event_id: EventId,
    pub(crate) event_type: Cow<'static, str>,
    pub(crate) event_version: Cow<'static, str>,
    pub(crate) payload: CanonicalJson,
    pub(crate) leaf: OpenLeaf,
}

impl Command {
    pub(crate) fn new(
        append: Append,
        decision: Decision,
        origin: Metadata,
        share: Share,
        answer: Answer,
    ) -> Self {
        let metadata = serde_json::value::to_raw_value(&origin).expect("metadata holds only strings");
        let Append { stream, expected, events, topic: _, idempotency } = append;
        let events = events.into_iter().map(|event| prepare(&stream, event, &metadata)).collect();
        let aggregate_id = stream.aggregate_id();
        Self {
            stream,
            aggregate_id,
            expected,
            decision,
            origin,
            metadata,
            events,
            idempotency,
            share,
            answer,
        }
    }

    /// Whether nothing that it was decided on was read in another era.
    pub(crate) fn is_of(&self, era: u64) -> bool {
        let Decision { seen_in, basis, .. } = &self.decision;
        let read_in = basis.as_ref().map(|basis| basis.era);
        seen_in.iter().copied().chain(read_in).all(|read_in| read_in == era)
    }

    /// The tenant's idempotency key, where the client gave one.
    pub(crate) fn key(&self) -> Option<&str> {
        self.idempotency.as_ref().map(|(idempotency, _)| idempotency.key.as_str())
    }
}

fn prepare(stream: &StreamId, event: EncodedEvent, metadata: &RawValue) -> PreparedEvent {
    let EncodedEvent { event_type, event_version, payload } = event;
    let event_id = EventId(Uuid::now_v7());
    let leaf = OpenLeaf::new(&Opening {
        aggregate_id: stream.id(),
        aggregate_type: stream.aggregate_type(),
        event_id,
        event_type,
        event_version,
        metadata,
        payload_sha256: payload.sha256(),
    });
    PreparedEvent {
        event_id,
        event_type: event_type.into(),
        event_version: event_version.into(),
        payload,
        leaf,
    }
}
