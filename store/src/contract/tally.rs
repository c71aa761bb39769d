//! The smallest aggregate that can be counted wrong: a sum that may be closed.
//! Used by the contract suite to execute commands; an event applied twice shows in its total.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use formledger_domain::{CanonicalJson, EncodedEvent, LedgerAggregate, UndecodableEvent};
use serde::{Deserialize, Serialize};

/// A sum of what was added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) total: u64,
    pub(crate) closed: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Add(u64),
    Close,
    DoNothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Added { amount: u64 },
    Closed,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the tally is closed")]
pub(crate) struct AlreadyClosed;

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::Added { .. } => "formledger.tally.added".into(),
            Self::Closed => "formledger.tally.closed".into(),
        }
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Tally {
    const TYPE: &'static str = "Tally";
    type Command = Command;
    type Event = Event;
    type Error = AlreadyClosed;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AlreadyClosed> {
        if self.closed {
            return Err(AlreadyClosed);
        }
        match command {
            Command::Add(amount) => sink.write(Event::Added { amount }, self).await,
            Command::Close => sink.write(Event::Closed, self).await,
            Command::DoNothing => {}
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Added { amount } => self.total += amount,
            Event::Closed => self.closed = true,
        }
    }
}

impl LedgerAggregate for Tally {
    fn encode(event: &Event) -> EncodedEvent {
        let payload = serde_json::to_value(event).expect("serialises");
        EncodedEvent {
            event_type: match event {
                Event::Added { .. } => "formledger.tally.added",
                Event::Closed => "formledger.tally.closed",
            },
            event_version: "1",
            payload: CanonicalJson::from_value(&payload).expect("small numbers"),
        }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<Event, UndecodableEvent> {
        serde_json::from_str(payload.as_str()).map_err(|error| UndecodableEvent {
            event_type: event_type.into(),
            event_version: event_version.into(),
            reason: error.to_string(),
        })
    }
}
