//! Promise: a part of a stream is what its name says and nothing from outside of the ledger, and a command reads no more than its aggregate needs.

use std::convert::Infallible;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use formledger_domain::{CanonicalJson, EncodedEvent, LedgerAggregate, Recall, Sequence, UndecodableEvent};
use serde::{Deserialize, Serialize};

use super::tally::{self, Tally};
use super::{Database, append, context, events, stream};
use crate::{
    Append, ExecuteError, ExecuteOptions, Executed, Expectation, Part, RecordedEvent, Store, StoreError,
};

const ADDED: &str = "formledger.tally.added";
const CLOSED: &str = "formledger.tally.closed";

fn payloads(kinds: &[tally::Event]) -> Vec<EncodedEvent> {
    kinds.iter().map(Tally::encode).collect()
}

async fn part(store: &Store, tenant: &str, id: &str, part: Part<'_>) -> Vec<RecordedEvent> {
    store.ledger(&context(tenant)).load_part(&stream(tenant, id), part).await.expect("loads")
}

async fn sequences(store: &Store, asked: Part<'_>) -> Vec<u64> {
    part(store, "acme", "s", asked).await.iter().map(|event| event.sequence.0).collect()
}

pub(crate) async fn a_part_of_a_stream_is_exactly_what_was_asked(database: &impl Database) {
    use tally::Event::{Added, Closed};
    let store = database.open().await;
    let kinds = [Added { amount: 1 }, Closed, Added { amount: 2 }, Closed, Added { amount: 3 }];
    for (tenant, id) in [("acme", "other"), ("acme-b", "s"), ("acme", "s")] {
        append(&store, Append { events: payloads(&kinds), ..events(&stream(tenant, id), 0, 1) }).await;
    }
    append(&store, events(&stream("acme-b", "s"), 5, 1)).await;

    assert_eq!(sequences(&store, Part::Last).await, [5]);
    assert_eq!(sequences(&store, Part::LastOfEachType).await, [4, 5]);
    for (event_type, limit, expected) in [
        (ADDED, 2, &[3, 5][..]),
        (ADDED, 9, &[1, 3, 5]),
        (CLOSED, 1, &[4]),
        ("none", 9, &[]),
        (ADDED, 0, &[]),
    ] {
        assert_eq!(sequences(&store, Part::Newest { event_type, limit }).await, expected);
    }
    for (event_type, number, expected) in
        [(ADDED, 1, &[1][..]), (ADDED, 3, &[5]), (CLOSED, 2, &[4]), (CLOSED, 3, &[]), (ADDED, 0, &[1])]
    {
        assert_eq!(sequences(&store, Part::Nth { event_type, number }).await, expected);
    }
    let whole = store.ledger(&context("acme")).load(&stream("acme", "s")).await.expect("loads");
    assert_eq!(part(&store, "acme", "s", Part::LastOfEachType).await, whole[3..]);
    for asked in [Part::Last, Part::LastOfEachType] {
        assert!(part(&store, "acme", "none", asked).await.is_empty());
    }
    let ledger = store.ledger(&context("acme"));
    assert_eq!(ledger.sequence_of(&stream("acme", "s")).await.expect("reads"), Sequence(5));
    assert_eq!(ledger.sequence_of(&stream("acme", "none")).await.expect("reads"), Sequence::START);
    let foreign = ledger.load_part(&stream("acme-b", "s"), Part::Last).await;
    assert!(matches!(foreign, Err(StoreError::ForeignStream)));
}

pub(crate) async fn no_part_of_a_stream_holds_an_event_from_outside_of_the_ledger<D: Database>(_: &D) {
    // Of the newest type there is, and of one that has no other event.
    for (owner, position) in [("nobody", "position"), ("acme", "7"), ("acme", "-1"), ("acme", "0")] {
        for event_type in [ADDED, "formledger.tally.forged"] {
            let database = D::create().await;
            let store = database.open().await;
            append(&store, events(&stream("acme", "s"), 0, 2)).await;
            let forged = format!(
                "INSERT INTO events SELECT aggregate_type, aggregate_id, 3, '{event_type}', event_version, payload, metadata, \
                 '{owner}', {position}, event_id, recorded_at, leaf_hash FROM events WHERE tenant_id = 'acme' AND position = 2"
            );
            database.tamper(&forged).await.expect("forges");
            assert_eq!(sequences(&store, Part::Last).await, [2]);
            assert_eq!(sequences(&store, Part::LastOfEachType).await, [2]);
            let event_type = ADDED;
            assert_eq!(sequences(&store, Part::Newest { event_type, limit: 9 }).await, [1, 2]);
            assert!(sequences(&store, Part::Nth { event_type, number: 3 }).await.is_empty());
        }
    }
}

/// Tells which amounts its state was made of, its own included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Short<const ANYTHING: bool> {
    read: Vec<u64>,
}

impl<const ANYTHING: bool> Aggregate for Short<ANYTHING> {
    const TYPE: &'static str = "Tally";
    type Command = u64;
    type Event = tally::Event;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, amount: u64, (): &(), sink: &EventSink<Self>) -> Result<(), Infallible> {
        sink.write(tally::Event::Added { amount }, self).await;
        Ok(())
    }

    fn apply(&mut self, event: tally::Event) {
        if let tally::Event::Added { amount } = event {
            self.read.push(amount);
        }
    }
}

impl<const ANYTHING: bool> LedgerAggregate for Short<ANYTHING> {
    const RECALL: Recall = if ANYTHING { Recall::LastOfEachType } else { Recall::Nothing };

    fn encode(event: &tally::Event) -> EncodedEvent {
        Tally::encode(event)
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<tally::Event, UndecodableEvent> {
        Tally::decode(event_type, event_version, payload)
    }
}

/// Adds 9 to the stream: the amounts that the state after it was made of, and where the stream ends then.
async fn executed<const ANYTHING: bool>(
    store: &Store,
    expectation: Expectation,
) -> Result<(Vec<u64>, u64), ExecuteError<Infallible>> {
    let outcome = &|short: &Short<ANYTHING>, _: &[_]| short.read.clone();
    let options = ExecuteOptions { expectation, idempotency: None, topic: None, basis: None, outcome };
    let ledger = store.ledger(&context("acme"));
    match ledger.execute::<Short<ANYTHING>, _>(&stream("acme", "s"), 9, &(), options).await? {
        Executed::Now { outcome, sequence, .. } => Ok((outcome, sequence.0)),
        Executed::Before(first) => panic!("{first:?}"),
    }
}

pub(crate) async fn a_command_reads_no_more_of_its_stream_than_its_aggregate_recalls(
    database: &impl Database,
) {
    use tally::Event::{Added, Closed};
    let store = database.open().await;
    let kinds = [Added { amount: 1 }, Added { amount: 2 }, Closed, Added { amount: 4 }];
    append(&store, Append { events: payloads(&kinds), ..events(&stream("acme", "s"), 0, 1) }).await;

    // What it recorded itself is the last one, of either.
    let done = async |anything: bool, expectation| match anything {
        true => executed::<true>(&store, expectation).await,
        false => executed::<false>(&store, expectation).await,
    };
    assert_eq!(done(false, Expectation::Any).await.expect("executes"), (vec![9], 5));
    assert_eq!(done(true, Expectation::Any).await.expect("executes"), (vec![9, 9], 6));
    for anything in [false, true] {
        let stale = done(anything, Expectation::Exact(Sequence(5))).await;
        assert!(matches!(stale, Err(ExecuteError::Append(crate::AppendError::Conflict { .. }))), "{stale:?}");
    }
    let exact = done(false, Expectation::Exact(Sequence(6))).await.expect("executes");
    assert_eq!(exact, (vec![9], 7));
}
