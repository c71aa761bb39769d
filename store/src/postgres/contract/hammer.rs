//! Promise: several processes on one database, also on one ledger, make one gapless history in which every answer came after its question.
//! A checker reads the log of calls against what the ledger holds.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use formledger_domain::{Position, StreamId};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::SharedDatabase;
use crate::contract::{Database, append, context, events, keyed, stream};
use crate::{AppendError, Appended, Store};

/// One append as its caller saw it.
struct Call {
    stream: StreamId,
    began: Instant,
    ended: Instant,
    /// Of the last event.
    position: Position,
    events: usize,
}

/// Appends to a new stream, and notes when.
async fn call(store: &Store, stream: StreamId, count: usize) -> Call {
    let began = Instant::now();
    let position = append(store, events(&stream, 0, count)).await;
    Call { stream, began, ended: Instant::now(), position, events: count }
}

/// `processes` stores, each hammered by `tasks` callers, `appends` times each, at the tenant that `tenant` picks.
async fn hammer(
    database: &SharedDatabase,
    (processes, tasks, appends): (usize, usize, usize),
    tenant: fn(usize) -> usize,
) -> (Vec<Store>, Vec<Call>) {
    let stores = join_all((0..processes).map(|_| database.open())).await;
    let mut callers = JoinSet::new();
    for caller in 0..processes * tasks {
        let store = stores[caller % processes].clone();
        callers.spawn(async move {
            let mut calls = Vec::new();
            for n in 0..appends {
                let tenant = format!("tenant-{}", tenant(caller * appends + n));
                calls.push(call(&store, stream(&tenant, &format!("{caller}-{n}")), 1 + n % 3).await);
            }
            calls
        });
    }
    let calls = callers.join_all().await.into_iter().flatten().collect();
    (stores, calls)
}

/// Every ledger is gapless and sound, holds each acknowledged append once and nothing else, and in an order in which nobody who began
/// after another's answer stands before it.
async fn check(store: &Store, calls: &[Call]) {
    let mut ledgers: HashMap<&str, BTreeMap<Position, &Call>> = HashMap::new();
    for call in calls {
        let ledger = ledgers.entry(call.stream.tenant().as_str()).or_default();
        assert!(ledger.insert(call.position, call).is_none(), "position {} was given twice", call.position);
    }
    for (tenant, calls) in ledgers {
        let ledger = store.ledger(&context(tenant));
        let recorded = ledger.read_after(Position::START, usize::MAX).await.expect("reads");
        assert!(recorded.iter().zip(1..).all(|(event, position)| event.position == Position(position)));
        assert_eq!(
            recorded.len(),
            calls.values().map(|call| call.events).sum::<usize>(),
            "events of `{tenant}`"
        );
        let mut latest_began: Option<Instant> = None;
        for (position, call) in calls {
            let last = position.0 as usize;
            assert!(
                recorded[last - call.events..last]
                    .iter()
                    .all(|event| *event.aggregate_id == *call.stream.id())
            );
            assert!(
                latest_began.is_none_or(|began| began <= call.ended),
                "position {position} of `{tenant}` was answered before one below it was asked for"
            );
            latest_began = latest_began.max(Some(call.began));
        }
        let report = store.verify(&tenant.parse().expect("slug"), |_| {}).await.expect("verifies");
        assert_eq!(report.differences, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_hammer_one_ledger() {
    let database = SharedDatabase::create().await;
    let (stores, calls) = hammer(&database, (3, 24, 20), |_| 0).await;
    assert_eq!(calls.len(), 3 * 24 * 20);
    check(&stores[0], &calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_hammer_a_thousand_ledgers() {
    let database = SharedDatabase::create().await;
    // Every ledger begins at both processes about at once, and moves under both.
    let (stores, calls) = hammer(&database, (2, 64, 32), |n| n.wrapping_mul(2_654_435_761) % 1000).await;
    check(&stores[1], &calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_many_ledgers_in_any_order_do_not_wait_in_a_circle() {
    let database = SharedDatabase::create().await;
    let (stores, calls) = hammer(&database, (3, 48, 12), |n| n.wrapping_mul(2_654_435_761) % 7).await;
    check(&stores[2], &calls).await;
    let deadlocks: i64 =
        sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            .fetch_one(&mut database.0.connect().await)
            .await
            .expect("reads");
    assert_eq!(deadlocks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_move_one_stream_one_wins_each_time() {
    const ROUNDS: u64 = 30;
    let database = SharedDatabase::create().await;
    let stores = [database.open().await, database.open().await];
    let (acme, contested) = (context("acme"), stream("acme", "contested"));
    let ledgers = stores.each_ref().map(|store| store.ledger(&acme));
    for round in 0..ROUNDS {
        let both = ledgers.each_ref().map(|ledger| ledger.append(events(&contested, round, 1)));
        let answers = join_all(both).await;
        let won = answers.iter().filter(|answer| matches!(answer, Ok(Appended::Recorded { .. }))).count();
        let lost =
            answers.iter().filter(|answer| matches!(answer, Err(AppendError::Conflict { .. }))).count();
        assert_eq!((won, lost), (1, 1), "{answers:?}");
    }
    assert_eq!(ledgers[0].load(&contested).await.expect("loads").len() as u64, ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_at_two_processes_at_once_records_once() {
    const ROUNDS: usize = 30;
    let database = SharedDatabase::create().await;
    let stores = [database.open().await, database.open().await];
    let acme = context("acme");
    let ledgers = stores.each_ref().map(|store| store.ledger(&acme));
    for round in 0..ROUNDS {
        let ask = |n: usize| keyed(&stream("acme", &format!("{round}-{n}")), 0, &format!("key-{round}"), 1);
        let answers = tokio::join!(ledgers[0].append(ask(0)), ledgers[1].append(ask(1)));
        let recorded = match answers {
            (Ok(Appended::Recorded { position, .. }), Ok(Appended::Replayed(first)))
            | (Ok(Appended::Replayed(first)), Ok(Appended::Recorded { position, .. })) => {
                (position, first.position)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(recorded.0, recorded.1);
    }
    let recorded = ledgers[0].read_after(Position::START, usize::MAX).await.expect("reads");
    assert_eq!(recorded.len(), ROUNDS);
}
