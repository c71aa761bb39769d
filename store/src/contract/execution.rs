//! Promise: a command is decided on the stream as it is, its events count once, and its repetition changes nothing.

use chrono::DateTime;
use formledger_domain::{LedgerAggregate, Position, Sequence};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::fault::Fault;
use super::tally::{AlreadyClosed, Command, Tally};
use super::{Database, append, context, events, keyed as keyed_append, positions, stream};
use crate::{
    Append, AppendError, Appended, ExecuteError, ExecuteOptions, Executed, Expectation, Idempotency,
    Remember, Store, StoreSettings,
};

/// The state after a command, and how many events it had.
pub(super) type Effect = (Tally, usize);

pub(super) fn expecting(expectation: Expectation) -> ExecuteOptions<'static, Tally, Effect> {
    let outcome = &|tally: &Tally, events: &[_]| (tally.clone(), events.len());
    ExecuteOptions { expectation, idempotency: None, topic: None, basis: None, outcome }
}

fn keyed(key: &str) -> ExecuteOptions<'static, Tally, Effect> {
    hashed(key, 1)
}

/// With a key that stands for a request with this hash.
fn hashed(key: &str, hash: u8) -> ExecuteOptions<'static, Tally, Effect> {
    let remember = |(tally, events): &Effect| format!(r#"{{"total":{},"events":{events}}}"#, tally.total);
    let idempotency =
        Some((Idempotency { key: key.into(), request_hash: [hash; 32] }, remember as Remember<_>));
    ExecuteOptions { idempotency, ..expecting(Expectation::Any) }
}

pub(super) async fn execute(
    store: &Store,
    id: &str,
    command: Command,
    options: ExecuteOptions<'_, Tally, Effect>,
) -> Result<Executed<Effect>, ExecuteError<AlreadyClosed>> {
    store.ledger(&context("acme")).execute(&stream("acme", id), command, &(), options).await
}

async fn replayed(store: &Store, id: &str) -> Tally {
    let mut tally = Tally::default();
    for event in store.ledger(&context("acme")).load(&stream("acme", id)).await.expect("loads") {
        let event = Tally::decode(&event.event_type, &event.event_version, &event.payload).expect("decodes");
        cqrs_es::Aggregate::apply(&mut tally, event);
    }
    tally
}

pub(crate) async fn a_replayed_state_is_the_live_state(database: &impl Database) {
    let store = database.open().await;
    // cqrs-es 0.5.0's own snapshot and aggregate stores make 6 or 8 of these four.
    for expected in 1..=4 {
        let executed = execute(&store, "four", Command::Add(1), expecting(Expectation::Any)).await;
        let Ok(Executed::Now { outcome: (tally, _), sequence, .. }) = executed else {
            panic!("{executed:?}")
        };
        assert_eq!((tally.total, sequence), (expected, Sequence(expected)));
    }
    assert_eq!(replayed(&store, "four").await.total, 4);

    let commands = proptest::collection::vec(prop_oneof![(0u64..9).prop_map(Some), Just(None)], 1..8);
    let runtime = tokio::runtime::Handle::current();
    let run = move |(case, commands): (u64, Vec<Option<u64>>)| {
        runtime.block_on(async {
            let id = format!("case-{case}");
            let mut live = Tally::default();
            for command in commands {
                let command = command.map_or(Command::Close, Command::Add);
                match execute(&store, &id, command, expecting(Expectation::Any)).await {
                    Ok(Executed::Now { outcome: (tally, _), .. }) => live = tally,
                    Err(ExecuteError::Refused(AlreadyClosed)) => assert!(live.closed),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(replayed(&store, &id).await, live);
        });
        Ok(())
    };
    tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
        runner.run(&(any::<u64>(), commands), run).expect("replay equals live");
    })
    .await
    .expect("runs");
}

pub(crate) async fn no_stream_loads_nothing_and_expects_nothing(database: &impl Database) {
    let store = database.open().await;
    let executed = execute(&store, "s", Command::Add(1), expecting(Expectation::NoStream)).await;
    assert!(matches!(executed, Ok(Executed::Now { sequence: Sequence(1), .. })), "{executed:?}");
    let again = execute(&store, "s", Command::Add(1), expecting(Expectation::NoStream)).await;
    let Err(ExecuteError::Append(AppendError::Conflict { expected, actual })) = again else {
        panic!("{again:?}")
    };
    assert_eq!((expected, actual), (Sequence(0), Sequence(1)));
}

pub(crate) async fn an_exact_expectation_is_checked_before_deciding(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    execute(&store, "s", Command::Close, expecting(Expectation::Exact(Sequence(2)))).await.expect("executes");
    for stale in [0, 2, 9] {
        let answer =
            execute(&store, "s", Command::Add(1), expecting(Expectation::Exact(Sequence(stale)))).await;
        // The closed tally would refuse; that the caller saw an older one is the more useful answer.
        let Err(ExecuteError::Append(AppendError::Conflict { actual, .. })) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(actual, Sequence(3));
    }
}

pub(crate) async fn commands_that_race_are_decided_again(database: &impl Database) {
    const RACERS: usize = 3;
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    let race = |key: &'static str| {
        let store = &store;
        async move {
            let executed = execute(store, "s", Command::Add(1), keyed(key)).await;
            let Ok(Executed::Now { outcome: (tally, 1), .. }) = executed else { panic!("{executed:?}") };
            (key, tally.total)
        }
    };
    // All of them decide on the same state and wait in the queue together, so that all but one must decide again.
    faults.next(Fault::HoldBeforeStatements);
    let release_when_queued = async {
        while store.queued() < RACERS {
            tokio::task::yield_now().await;
        }
        faults.release();
    };
    let race_while_busy = async {
        faults.held().await;
        tokio::join!(race("a"), race("b"), race("c"), release_when_queued)
    };
    let busy = append(&store, events(&stream("busy", "s"), 0, 1));
    let (_, (a, b, c, ())) = tokio::join!(busy, race_while_busy);
    // What is remembered is what was decided in the end.
    for (key, total) in [a, b, c] {
        let again = execute(&store, "s", Command::Add(1), keyed(key)).await;
        let Ok(Executed::Before(first)) = again else { panic!("{again:?}") };
        assert_eq!(first.outcome, format!(r#"{{"total":{total},"events":1}}"#));
    }
    assert_eq!(replayed(&store, "s").await.total, 1 + RACERS as u64);
    assert_eq!(positions(&store, "acme").await, [1, 2, 3, 4]);
}

pub(crate) async fn a_repeated_command_gets_its_first_outcome_even_if_refused_by_now(
    database: &impl Database,
) {
    let store = database.open().await;
    execute(&store, "s", Command::Add(7), keyed("add")).await.expect("executes");
    execute(&store, "s", Command::Close, keyed("close")).await.expect("executes");
    for (command, key, outcome) in [
        (Command::Add(7), "add", r#"{"total":7,"events":1}"#),
        (Command::Close, "close", r#"{"total":7,"events":1}"#),
    ] {
        let Ok(Executed::Before(first)) = execute(&store, "s", command, keyed(key)).await else {
            panic!("`{key}` was not recognised");
        };
        assert_eq!(first.outcome, outcome);
    }
    let reused = execute(&store, "s", Command::Add(8), hashed("add", 2)).await;
    assert!(matches!(reused, Err(ExecuteError::Append(AppendError::KeyReused))), "{reused:?}");
    assert_eq!(positions(&store, "acme").await, [1, 2]);
}

pub(crate) async fn an_accepted_command_without_events_moves_nothing(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "other"), 0, 5)).await;
    let executed = execute(&store, "s", Command::DoNothing, expecting(Expectation::Any)).await;
    let Ok(Executed::Now { position, sequence, outcome: (_, events), .. }) = executed else {
        panic!("{executed:?}")
    };
    assert_eq!((position.0, sequence.0, events), (5, 0, 0));
}

pub(crate) async fn a_repeated_command_that_changed_nothing_gets_its_first_outcome(database: &impl Database) {
    let store = database.open().await;
    // A ledger without events forgets it.
    for _ in 0..2 {
        let executed = execute(&store, "s", Command::DoNothing, keyed("nothing")).await;
        assert!(matches!(executed, Ok(Executed::Now { position: Position(0), .. })), "{executed:?}");
    }
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    let ledger = store.ledger(&context("acme"));
    let before = ledger.head().await.expect("reads");
    let executed = execute(&store, "s", Command::DoNothing, keyed("nothing")).await;
    let Ok(Executed::Now { position, sequence, outcome: (_, none), recorded_at }) = executed else {
        panic!("{executed:?}")
    };
    assert_eq!((position.0, sequence.0, none, recorded_at), (2, 2, 0, DateTime::UNIX_EPOCH));
    assert_eq!(ledger.head().await.expect("reads"), before, "nothing happened to the ledger");

    execute(&store, "s", Command::Add(5), keyed("add")).await.expect("executes");
    // What it would find by now is not what it found; and somebody else's process remembers, too.
    for store in [&store, &database.open().await] {
        let again = execute(store, "s", Command::DoNothing, keyed("nothing")).await;
        let Ok(Executed::Before(first)) = again else { panic!("decided again: {again:?}") };
        assert_eq!((first.position, first.sequence), (Position(2), Sequence(2)));
        assert_eq!(first.outcome, r#"{"total":2,"events":0}"#);
        let reused = execute(store, "s", Command::DoNothing, hashed("nothing", 9)).await;
        assert!(matches!(reused, Err(ExecuteError::Append(AppendError::KeyReused))), "{reused:?}");
    }
    assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, []);
}

pub(crate) async fn an_outcome_without_events_shares_its_batch_with_events_and_survives_a_lost_answer(
    database: &impl Database,
) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    for tenant in ["acme", "globex"] {
        append(&store, events(&stream(tenant, "s"), 0, 1)).await;
    }
    let nothing = |tenant: &str, key: &str| Append {
        events: Vec::new(),
        ..keyed_append(&stream(tenant, "s"), 1, key, 1)
    };
    let appends = vec![
        nothing("acme", "alone"),
        events(&stream("globex", "s"), 1, 1),
        Append { expected: Sequence(2), ..nothing("globex", "beside") },
    ];
    let answers = faults.while_busy(&store, appends).await;
    let positions_of: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Appended::Recorded { position, sequence, .. }) => (position.0, sequence.0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(positions_of, [(1, 1), (2, 2), (2, 2)]);

    let ledger = store.ledger(&context("acme"));
    faults.next(Fault::LoseAnswer);
    ledger.append(nothing("acme", "lost")).await.expect_err("the answer is lost");
    for key in ["alone", "lost"] {
        let again = ledger.append(nothing("acme", key)).await.expect("answers");
        assert!(matches!(again, Appended::Replayed(ref first) if first.position == Position(1)), "{again:?}");
    }
    assert_eq!(append(&store, events(&stream("acme", "s"), 1, 1)).await, Position(2));
}
