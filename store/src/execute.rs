//! Runs one command on one aggregate: load, decide, append, and again when another command was faster.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use formledger_domain::{EncodedEvent, LedgerAggregate, Position, Recall, Sequence, StreamId};

use crate::append::{Append, Appended, Basis, Decision, Expectation, FirstOutcome, Idempotency};
use crate::error::{AppendError, ExecuteError, StoreError};
use crate::ledger::TenantLedger;
use crate::part::Part;

/// How often a command that stated no expectation is decided, when other commands keep being faster; then it fails with the conflict.
const DECISIONS_MAX: u32 = 12;
/// The longest pause before the second decision; it doubles with each further one, [`RETRY_PAUSE_DOUBLINGS_MAX`] times.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// Bounds a pause to 64 ms and all pauses of a command to half a second.
const RETRY_PAUSE_DOUBLINGS_MAX: u32 = 5;

/// How a command is to be executed; `O` is what its caller keeps of its effect.
pub struct ExecuteOptions<'a, A: LedgerAggregate, O> {
    /// What the caller knows of the stream.
    pub expectation: Expectation,
    /// The client's idempotency key, where it gave one, and how the outcome is written down under it.
    pub idempotency: Option<(Idempotency, Remember<O>)>,
    /// See [`crate::Metadata::topic`].
    pub topic: Option<Arc<str>>,
    /// What the command rests on beside its own stream.
    pub basis: Option<Arc<Basis>>,
    /// Makes what the caller keeps.
    pub outcome: &'a MakeOutcome<'a, A, O>,
}

/// Makes what a command's answer says, from the state after it and what is to be recorded. Asked before that is recorded, so that
/// neither is kept while the command waits for the disk.
pub type MakeOutcome<'a, A, O> = dyn Fn(&A, &[<A as Aggregate>::Event]) -> O + Send + Sync + 'a;

/// Writes an outcome down, as a repeated request will be answered.
pub type Remember<O> = fn(&O) -> String;

/// A command that took effect, now or before.
#[derive(Debug)]
pub enum Executed<O> {
    /// It was decided and recorded now. An accepted command without events leaves position and sequence where they were; under an
    /// idempotency key its outcome is remembered all the same.
    Now {
        /// What was made of the state after it and its events.
        outcome: O,
        /// The position of its last event (of the ledger's head when it recorded none).
        position: Position,
        /// The stream's sequence after it.
        sequence: Sequence,
        /// When; the context's time when it recorded none.
        recorded_at: DateTime<Utc>,
    },
    /// An earlier request with the same idempotency key did it.
    Before(FirstOutcome),
}

/// What follows from a command.
struct Decided<O> {
    events: Vec<EncodedEvent>,
    /// The sequence that the stream had then.
    expected: Sequence,
    outcome: O,
}

impl TenantLedger {
    /// Loads the stream, or as much of it as the aggregate's [`Recall`] says, lets it decide, appends its events.
    ///
    /// Who states a [`Basis`] is answered [`AppendError::Outdated`] where that is to be read again. With [`Expectation::Any`] a sequence conflict is decided again on the newer state, a bounded number of times with jitter.
    /// A request that was recorded before gets its first outcome again, also when the aggregate would refuse it by now.
    ///
    /// # Errors
    /// [`ExecuteError::Refused`] with the aggregate's own reason, or why it could not be recorded.
    pub async fn execute<A, O>(
        &self,
        stream: &StreamId,
        command: A::Command,
        services: &A::Services,
        options: ExecuteOptions<'_, A, O>,
    ) -> Result<Executed<O>, ExecuteError<A::Error>>
    where
        A: LedgerAggregate,
    {
        let settled = self.decide_until_settled(stream, command, services, &options).await;
        // An append finds a repeated key by itself, so the key is looked up only when there was no append: the happy path reads nothing.
        let appended_nothing = matches!(
            settled,
            Err(ExecuteError::Refused(_) | ExecuteError::Append(AppendError::Conflict { .. }))
        );
        if appended_nothing
            && let Some((idempotency, _)) = &options.idempotency
            && let Some(first) = self.first_outcome(idempotency).await?
        {
            return Ok(Executed::Before(first));
        }
        settled
    }

    async fn decide_until_settled<A, O>(
        &self,
        stream: &StreamId,
        command: A::Command,
        services: &A::Services,
        options: &ExecuteOptions<'_, A, O>,
    ) -> Result<Executed<O>, ExecuteError<A::Error>>
    where
        A: LedgerAggregate,
    {
        // What was read may have been lost before it was recorded, in the middle of a failover: whatever is expected is looked for again. What it
        // rests on, only the caller can read again.
        let (any, alone) = (options.expectation == Expectation::Any, options.basis.is_none());
        let retries = if any || alone { DECISIONS_MAX - 1 } else { 0 };
        for retry in 0..retries {
            match self.decide_and_append(stream, command.clone(), services, options).await {
                Err(ExecuteError::Append(AppendError::Conflict { .. })) if any => pause(retry).await,
                Err(ExecuteError::Append(AppendError::Outdated)) if alone => pause(retry).await,
                settled => return settled,
            }
        }
        self.decide_and_append(stream, command, services, options).await
    }

    async fn decide_and_append<A, O>(
        &self,
        stream: &StreamId,
        command: A::Command,
        services: &A::Services,
        options: &ExecuteOptions<'_, A, O>,
    ) -> Result<Executed<O>, ExecuteError<A::Error>>
    where
        A: LedgerAggregate,
    {
        let era = self.era();
        // On the heap, and gone before the wait for the disk: thousands of commands may wait there, each with no more than what it appends, what its
        // caller keeps, and itself where it may have to be decided again.
        let decided = Box::pin(self.decide(stream, command, services, options)).await?;
        let Decided { events, expected, outcome } = decided;
        let has_events = !events.is_empty();
        if !has_events && options.idempotency.is_none() {
            let head = self.head().await.map_err(AppendError::from)?;
            let (position, recorded_at) = (head.position, self.now());
            return Ok(Executed::Now { outcome, position, sequence: expected, recorded_at });
        }
        let idempotency = options.idempotency.as_ref();
        let append = Append {
            stream: stream.clone(),
            expected,
            events,
            topic: options.topic.clone(),
            idempotency: idempotency.map(|(key, remember)| (key.clone(), remember(&outcome))),
        };
        let decision = Decision { seen_in: Some(era), basis: options.basis.clone(), is_basis: A::IS_BASIS };
        Ok(match self.append_decided(append, decision).await? {
            Appended::Recorded { position, sequence, recorded_at } => {
                let recorded_at = if has_events { recorded_at } else { self.now() };
                Executed::Now { outcome, position, sequence, recorded_at }
            }
            Appended::Replayed(first) => Executed::Before(first),
        })
    }

    async fn decide<A, O>(
        &self,
        stream: &StreamId,
        command: A::Command,
        services: &A::Services,
        options: &ExecuteOptions<'_, A, O>,
    ) -> Result<Decided<O>, ExecuteError<A::Error>>
    where
        A: LedgerAggregate,
    {
        let (mut aggregate, expected) = self.replay::<A>(stream, options.expectation).await?;
        let sink = EventSink::default();
        // The sink applies each event to the aggregate as it is written: applying them here again would count them twice.
        aggregate.handle(command, services, &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;
        let outcome = (options.outcome)(&aggregate, &events);
        Ok(Decided { events: events.iter().map(A::encode).collect(), expected, outcome })
    }

    /// The aggregate's state and the sequence it stands for.
    async fn replay<A>(
        &self,
        stream: &StreamId,
        expectation: Expectation,
    ) -> Result<(A, Sequence), AppendError>
    where
        A: LedgerAggregate,
    {
        let mut aggregate = A::default();
        let mut actual = Sequence::START;
        if expectation == Expectation::NoStream {
            return Ok((aggregate, actual));
        }
        let events = match A::RECALL {
            Recall::Whole => self.load(stream).await?,
            Recall::LastOfEachType => self.load_part(stream, Part::LastOfEachType).await?,
            Recall::Nothing => {
                actual = self.sequence_of(stream).await?;
                Vec::new()
            }
        };
        for event in events {
            let decoded = A::decode(&event.event_type, &event.event_version, &event.payload);
            aggregate.apply(decoded.map_err(|error| StoreError::Damaged(error.to_string()))?);
            actual = event.sequence;
        }
        match expectation {
            Expectation::Exact(expected) if expected != actual => {
                Err(AppendError::Conflict { expected, actual })
            }
            _ => Ok((aggregate, actual)),
        }
    }
}

/// Waits a random part of the pause, so that commands that collided do not collide again.
async fn pause(retry: u32) {
    // Every `RandomState` has new keys; it spares a dependency where nothing secret depends on the number.
    let random = RandomState::new().build_hasher().finish();
    let pause_max = RETRY_PAUSE * 2u32.pow(retry.min(RETRY_PAUSE_DOUBLINGS_MAX));
    tokio::time::sleep(pause_max.mul_f64(random as f64 / u64::MAX as f64)).await;
}
