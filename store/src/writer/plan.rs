//! Decides what a batch of commands would record: who conflicts, who repeats, who gets which sequence and position.
//! Called by the writer; pure over what it is told of the database, so the same batch can be planned again on newer facts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use chrono::{DateTime, Utc};
use formledger_domain::{Position, Sequence, StreamId, TenantId};

use super::command::Command;
use crate::append::{Appended, FirstOutcome, Idempotency};
use crate::backend::{Batch, EventRow, Head, HeadMove, Micros, OutcomeRow, Remembered};
use crate::envelope::rfc3339;
use crate::error::AppendError;
use crate::merkle::Hash;

/// What the writer read about the streams and keys of a batch, where it had to.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) sequences: HashMap<StreamId, Sequence>,
    pub(crate) remembered: HashMap<(TenantId, String), Remembered>,
}

/// What to record, and what to answer once it is durable.
pub(crate) struct Plan<'c> {
    pub(crate) batch: Batch<'c>,
    /// One per command, in order.
    pub(crate) verdicts: Vec<Result<Appended, AppendError>>,
}

/// Plans `commands` in their order: each sees what those before it would have recorded.
///
/// `heads` holds every ledger of the batch that exists. A stream of which `facts` say nothing is taken to be where the command
/// expects it; the database refuses the batch if it is longer.
pub(crate) fn plan<'c>(
    commands: &'c [Command],
    heads: &HashMap<TenantId, Head>,
    facts: &Facts,
    now: Micros,
) -> Plan<'c> {
    let mut planner = Planner {
        heads,
        facts,
        now,
        ledgers: HashMap::default(),
        sequences: HashMap::with_capacity_and_hasher(commands.len(), RandomState::default()),
        remembered: HashMap::default(),
        batch: Batch::default(),
    };
    planner.batch.events.reserve_exact(commands.iter().map(|command| command.events.len()).sum());
    let verdicts = commands.iter().map(|command| planner.decide(command)).collect();
    planner.batch.heads = planner
        .ledgers
        .into_iter()
        // To be told that nothing happened, nobody needs a ledger.
        .filter(|(_, ledger)| ledger.head.position > Position::START)
        .map(|(tenant, ledger)| HeadMove {
            tenant: tenant.clone(),
            from: ledger.from,
            tip: ledger.tip,
            to: ledger.head,
        })
        .collect();
    // One order everywhere, so that two processes that lock the same heads cannot wait for each other.
    planner.batch.heads.sort_unstable_by(|a, b| a.tenant.cmp(&b.tenant));
    Plan { batch: planner.batch, verdicts }
}

struct Planner<'c, 'f> {
    heads: &'f HashMap<TenantId, Head>,
    facts: &'f Facts,
    now: Micros,
    /// What the batch has done so far, to each ledger, stream and key.
    ledgers: HashMap<&'c TenantId, PlannedLedger, RandomState>,
    sequences: HashMap<&'c StreamId, Sequence, RandomState>,
    remembered: HashMap<(&'c TenantId, &'c str), Remembered, RandomState>,
    batch: Batch<'c>,
}

/// A ledger that the batch appends to. All its events share one time, which is its head's only with the first of them.
struct PlannedLedger {
    from: Position,
    tip: Option<Hash>,
    head: Head,
    recorded_at: Micros,
    time: DateTime<Utc>,
    time_text: String,
}

impl PlannedLedger {
    fn new(head: Head, now: Micros) -> Self {
        let (from, tip) = (head.position, head.frontier.tip());
        // The wall clock may step back; a ledger's time may not.
        let recorded_at = head.recorded_at.max(now);
        let time = DateTime::from_timestamp_micros(recorded_at)
            .expect("the clock lies within chrono's 262,000 years; a stored head that does not was refused as damaged");
        Self { from, tip, head, recorded_at, time, time_text: rfc3339(time) }
    }
}

impl<'c> Planner<'c, '_> {
    /// A repeated key comes before a conflict: the first request moved the stream, so its repetition must conflict too.
    fn decide(&mut self, command: &'c Command) -> Result<Appended, AppendError> {
        if let Some((idempotency, _)) = &command.idempotency
            && let Some(remembered) = self.remembered(command.stream.tenant(), idempotency)
        {
            return replay(remembered, idempotency);
        }
        if let Some(basis) = &command.decision.basis
            && self.known(&basis.stream).is_some_and(|actual| actual != basis.sequence)
        {
            return Err(AppendError::Outdated);
        }
        let actual = self.known(&command.stream).unwrap_or(command.expected);
        if actual != command.expected {
            return Err(AppendError::Conflict { expected: command.expected, actual });
        }
        Ok(self.record(command))
    }

    fn remembered(&self, tenant: &'c TenantId, idempotency: &'c Idempotency) -> Option<&Remembered> {
        let key = idempotency.key.as_str();
        self.remembered.get(&(tenant, key)).or_else(|| {
            // Facts are read only after a collision; an owned key is built only then.
            if self.facts.remembered.is_empty() {
                return None;
            }
            self.facts.remembered.get(&(tenant.clone(), key.to_owned()))
        })
    }

    /// Where a stream ends, as far as that was read or follows from the commands before.
    fn known(&self, stream: &StreamId) -> Option<Sequence> {
        self.sequences.get(stream).or_else(|| self.facts.sequences.get(stream)).copied()
    }

    fn record(&mut self, command: &'c Command) -> Appended {
        let tenant = command.stream.tenant();
        let ledger = match self.ledgers.entry(tenant) {
            Entry::Occupied(ledger) => ledger.into_mut(),
            Entry::Vacant(free) => {
                let head = self.heads.get(tenant).cloned().unwrap_or_default();
                free.insert(PlannedLedger::new(head, self.now))
            }
        };
        let mut sequence = command.expected;
        for event in &command.events {
            sequence = sequence.next();
            let position = ledger.head.position.next();
            let leaf_hash = event.leaf.close(tenant, position, sequence, &ledger.time_text);
            ledger.head.frontier.append(leaf_hash);
            (ledger.head.position, ledger.head.recorded_at) = (position, ledger.recorded_at);
            self.batch.events.push(EventRow {
                stream: &command.stream,
                aggregate_id: &command.aggregate_id,
                sequence,
                event_type: &event.event_type,
                event_version: &event.event_version,
                payload: &event.payload,
                metadata: command.metadata.get(),
                origin: &command.origin,
                position,
                event_id: event.event_id,
                recorded_at: ledger.recorded_at,
                leaf_hash,
            });
        }
        let (position, recorded_at, time) = (ledger.head.position, ledger.recorded_at, ledger.time);
        self.sequences.insert(&command.stream, sequence);
        if let Some((idempotency, outcome)) = &command.idempotency
            && position > Position::START
        {
            let first = FirstOutcome { outcome: outcome.clone(), position, sequence };
            let remembered = Remembered { request_hash: idempotency.request_hash, first };
            self.remembered.insert((tenant, &idempotency.key), remembered);
            self.batch.outcomes.push(OutcomeRow {
                tenant,
                key: &idempotency.key,
                request_hash: idempotency.request_hash,
                outcome,
                position,
                sequence,
                recorded_at,
            });
        }
        Appended::Recorded { position, sequence, recorded_at: time }
    }
}

/// The first outcome again, for the same request only.
pub(crate) fn replay(remembered: &Remembered, idempotency: &Idempotency) -> Result<Appended, AppendError> {
    if remembered.request_hash == idempotency.request_hash {
        Ok(Appended::Replayed(remembered.first.clone()))
    } else {
        Err(AppendError::KeyReused)
    }
}
