//! Promise: every ledger is one gapless order, whoever appends and however often the process starts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use formledger_domain::{Position, Sequence};

use super::{Database, append, context, events, positions, stream};
use crate::{Append, Appended, LedgerRange};

const TENANTS: usize = 6;
const TASKS: usize = 6;
const APPENDS: usize = 20;

pub(crate) async fn concurrent_appends_number_every_ledger_without_gaps(database: &impl Database) {
    let store = database.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TENANTS * TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let tenant = format!("tenant-{}", task % TENANTS);
            let mut acknowledged = Vec::new();
            for n in 0..APPENDS {
                let stream = stream(&tenant, &format!("{task}-{n}"));
                let count = 1 + n % 3;
                acknowledged.push((append(&store, events(&stream, 0, count)).await, stream, count as u64));
            }
            assert!(
                acknowledged.is_sorted_by_key(|(position, ..)| *position),
                "answers come in ledger order"
            );
            acknowledged
        });
    }
    let acknowledged: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    for n in 0..TENANTS {
        let tenant = format!("tenant-{n}");
        let ledger = store.ledger(&context(&tenant));
        let recorded = ledger.read_after(Position::START, usize::MAX).await.expect("reads");
        let of_tenant: Vec<_> =
            acknowledged.iter().filter(|(_, stream, _)| stream.tenant().as_str() == tenant).collect();
        assert_eq!(recorded.len() as u64, of_tenant.iter().map(|(.., count)| count).sum::<u64>());
        assert!(recorded.iter().zip(1..).all(|(event, position)| event.position == Position(position)));
        assert!(recorded.is_sorted_by_key(|event| event.recorded_at));
        for (position, stream, count) in of_tenant {
            let last = &recorded[position.0 as usize - 1];
            assert_eq!((&*last.aggregate_id, last.sequence), (stream.id(), Sequence(*count)));
        }
        assert_eq!(ledger.head().await.expect("reads").position, Position(recorded.len() as u64));
    }
}

pub(crate) async fn a_stream_is_loaded_in_its_own_order(database: &impl Database) {
    let store = database.open().await;
    let (one, other) = (stream("acme", "one"), stream("acme", "other"));
    append(&store, events(&one, 0, 2)).await;
    append(&store, events(&other, 0, 1)).await;
    append(&store, events(&one, 2, 1)).await;

    let ledger = store.ledger(&context("acme"));
    let loaded = ledger.load(&one).await.expect("loads");
    let places: Vec<_> = loaded.iter().map(|event| (event.sequence.0, event.position.0)).collect();
    assert_eq!(places, [(1, 1), (2, 2), (3, 4)]);
    assert!(ledger.load(&stream("acme", "none")).await.expect("loads").is_empty());
}

pub(crate) async fn pages_and_ranges_hold_exactly_what_was_asked(database: &impl Database) {
    let store = database.open().await;
    for tenant in ["b", "a"] {
        append(&store, events(&stream(tenant, "s"), 0, 5)).await;
    }
    let ledger = store.ledger(&context("a"));
    let page = ledger.read_after(Position(1), 3).await.expect("reads");
    assert_eq!(page.iter().map(|event| event.position.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(ledger.read_after(Position(5), 3).await.expect("reads").is_empty());
    // A page of few bytes has one event at least, from memory and from the database, which has to be asked for what is not a full page.
    for (limit, bytes_max, count) in [(3, 1, 1), (9, 1, 1), (3, 600, 2), (9, 600, 2), (9, usize::MAX, 4)] {
        let page = ledger.read_page(Position(1), limit, bytes_max).await.expect("reads");
        assert_eq!(page.len(), count, "{limit} events in {bytes_max} bytes");
    }

    let range = |tenant: &str, after, up_to| LedgerRange {
        tenant: tenant.parse().expect("slug"),
        after: Position(after),
        up_to: Position(up_to),
    };
    let ranges = [range("b", 3, 9), range("a", 0, 2), range("a", 4, 5), range("none", 0, 9)];
    let read = store.read_ranges(&ranges).await.expect("reads");
    let places: Vec<_> = read.iter().map(|event| (event.tenant.as_str(), event.position.0)).collect();
    assert_eq!(places, [("a", 1), ("a", 2), ("a", 5), ("b", 4), ("b", 5)]);
    assert!(store.read_ranges(&[]).await.expect("reads").is_empty());
}

pub(crate) async fn what_was_just_recorded_reads_as_the_database_has_it(database: &impl Database) {
    let store = database.open().await;
    for n in 0..3 {
        let append_two =
            Append { topic: Some("expense".into()), ..events(&stream("acme", &format!("{n}")), 0, 2) };
        append(&store, append_two).await;
    }
    let newest = store.ledger(&context("acme")).read_range(Position(1), Position(5)).await.expect("reads");
    // A store that recorded nothing has nothing in memory.
    let other = database.open().await;
    let stored = other.ledger(&context("acme")).read_range(Position(1), Position(5)).await.expect("reads");
    assert_eq!(newest, stored);
    assert_eq!(newest.iter().map(|event| event.position.0).collect::<Vec<_>>(), [2, 3, 4, 5]);

    // What the other appends is not in our memory, and not hidden by it either.
    append(&other, events(&stream("acme", "other"), 0, 1)).await;
    assert_eq!(positions(&store, "acme").await, (1..=7).collect::<Vec<_>>());
    append(&store, events(&stream("acme", "ours"), 0, 1)).await;
    let all = store.ledger(&context("acme")).read_range(Position::START, Position(8)).await.expect("reads");
    assert!(all.iter().zip(1..).all(|(event, position)| event.position == Position(position)));
    assert_eq!(all.len(), 8);
}

pub(crate) async fn a_reopened_ledger_goes_on_with_the_right_tree(database: &impl Database) {
    let mut at = 0;
    for round in 0..4 {
        let store = database.open().await;
        for n in 0..=round {
            at = append(&store, events(&stream("acme", &format!("{round}-{n}")), 0, 1 + n)).await.0;
        }
        store.close().await;
    }
    let store = database.open().await;
    assert_eq!(positions(&store, "acme").await, (1..=at).collect::<Vec<_>>());
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!((report.events, report.differences), (at, vec![]));
}

pub(crate) async fn recorded_time_never_goes_back_when_the_clock_does(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    store.close().await;
    // The last event was recorded by a clock an hour ahead of ours.
    let hour = Duration::from_secs(3600).as_micros();
    database.sql(&format!("UPDATE ledgers SET recorded_at = recorded_at + {hour}")).await.expect("updates");

    let store = database.open().await;
    let ledger = store.ledger(&context("acme"));
    let ahead = ledger.head().await.expect("reads").recorded_at.expect("has events");
    let answer = ledger.append(events(&stream("acme", "after"), 0, 1)).await.expect("appends");
    let Appended::Recorded { recorded_at, .. } = answer else { panic!("was not recorded before") };
    assert_eq!(recorded_at, ahead);
}

pub(crate) async fn a_time_finds_the_last_position_recorded_by_then(database: &impl Database) {
    let tick = TimeDelta::microseconds(1);
    let store = database.open().await;
    let nothing =
        store.ledger(&context("nobody")).position_at(DateTime::<Utc>::MAX_UTC).await.expect("reads");
    assert_eq!(nothing, Position::START);
    for n in 0..9 {
        // Several of one append share their time; those of another tenant lie between.
        append(&store, events(&stream("acme", &format!("{n}")), 0, 1 + n % 3)).await;
        append(&store, events(&stream("globex", &format!("{n}")), 0, 2)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // From memory, and from the database.
    for store in [&store, &database.open().await] {
        for tenant in ["acme", "globex"] {
            let ledger = store.ledger(&context(tenant));
            let recorded = ledger.read_after(Position::START, usize::MAX).await.expect("reads");
            assert_eq!(recorded.len(), 18);
            let times = recorded.iter().map(|event| event.recorded_at);
            for time in
                times.flat_map(|time| [time - tick, time, time + tick]).chain([DateTime::<Utc>::MAX_UTC])
            {
                let reached = recorded.iter().filter(|event| event.recorded_at <= time).count();
                let found = ledger.position_at(time).await.expect("reads");
                assert_eq!(found, Position(reached as u64), "`{tenant}` at {time}");
            }
        }
    }
}

pub(crate) async fn two_processes_share_one_ledger_without_gaps(database: &impl Database) {
    let stores = [database.open().await, database.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = stores[task % stores.len()].clone();
        tasks.spawn(async move {
            for n in 0..10 {
                append(&store, events(&stream("acme", &format!("{task}-{n}")), 0, 1)).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(positions(&stores[0], "acme").await, (1..=80).collect::<Vec<_>>());
    let report = stores[1].verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, vec![]);
}
