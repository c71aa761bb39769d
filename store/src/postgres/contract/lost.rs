//! Promise: a process that lives while events get lost goes on with what is left, and serves nothing else from memory.

use std::sync::Arc;
use std::time::Duration;

use formledger_domain::{Position, Sequence, TenantId};
use formledger_test_cluster::{Postgres, Proxy};
use tokio::time::timeout;

use super::SharedDatabase;
use super::outage::{PATIENCE, append_until_known, at, open, through};
use crate::append::Decision;
use crate::contract::{Database, append, context, events, positions, stream};
use crate::{AppendError, Basis, LedgerRange, Store};

/// Puts the ledgers back to where they were when this was made, beside everybody.
const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM ledgers";
const LOSE: &str = "\
DELETE FROM events USING kept WHERE events.tenant_id = kept.tenant_id AND events.position > kept.position;
UPDATE ledgers SET position = kept.position, recorded_at = kept.recorded_at, frontier = kept.frontier
FROM kept WHERE kept.tenant_id = ledgers.tenant_id";

async fn assert_intact(store: &Store, tenant: &str) {
    let tenant: TenantId = tenant.parse().expect("slug");
    assert_eq!(store.verify(&tenant, |_| {}).await.expect("verifies").differences, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_was_lost_is_not_planned_on_though_another_history_is_at_its_position() {
    let database = SharedDatabase::create().await;
    let (here, elsewhere) = (database.open().await, database.open().await);
    append(&here, events(&stream("acme", "kept"), 0, 2)).await;
    database.sql(KEEP).await.expect("keeps");
    append(&here, events(&stream("acme", "lost"), 0, 2)).await;
    database.tamper(LOSE).await.expect("loses");
    append(&elsewhere, events(&stream("acme", "found"), 0, 2)).await;
    assert_eq!(append(&here, events(&stream("acme", "after"), 0, 1)).await, Position(5));
    assert_intact(&elsewhere, "acme").await;
    let range = LedgerRange { tenant: "acme".parse().expect("slug"), after: Position(2), up_to: Position(5) };
    let read = here.read_ranges(&[range]).await.expect("reads");
    let of: Vec<_> = read.iter().map(|event| &*event.aggregate_id).collect();
    assert_eq!(of, ["found", "found", "after"], "nothing that was lost is served from memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_went_back_is_noticed_without_a_question() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    append(&store, events(&stream("acme", "kept"), 0, 2)).await;
    database.sql(KEEP).await.expect("keeps");
    append(&store, events(&stream("acme", "lost"), 0, 2)).await;
    let mut follower = store.ledger(&context("acme")).follow().await.expect("reads");
    follower.borrow_and_update();
    database.tamper(LOSE).await.expect("loses");
    timeout(PATIENCE, follower.changed()).await.expect("hears").expect_err("is dismissed");
    assert_eq!(*store.ledger(&context("acme")).follow().await.expect("reads").borrow(), Position(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_events_begins_another_era() {
    let mut primary = Postgres::start().await;
    let standby = primary.standby().await;
    let proxy = Proxy::to(primary.port());
    let store = open(&through(&proxy, &primary)).await;
    let ledger = store.ledger(&context("acme"));
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    standby.catch_up(&primary).await;
    standby.upstream().refuse();
    append(&store, events(&stream("acme", "s"), 2, 2)).await;
    let mut follower = ledger.follow().await.expect("reads");
    follower.borrow_and_update();
    let (era, since) = (store.era(), ledger.moment());

    primary.kill_9().await;
    standby.promote().await;
    proxy.lead_to(standby.port());
    // Another process appends first, to the very position where this one left the ledger.
    let elsewhere = open(&at(&standby.url("postgres"))).await;
    append(&elsewhere, events(&stream("acme", "t"), 0, 2)).await;

    // Who read the stream before may not append to what is not there any more.
    let seen = loop {
        let decision = Decision { seen_in: Some(era), ..Decision::default() };
        match ledger.append_decided(events(&stream("acme", "s"), 4, 1), decision).await {
            Err(AppendError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => break answer,
        }
    };
    assert!(matches!(seen, Err(AppendError::Outdated)), "{seen:?}");
    // Nor record what rests on it, at another place.
    let basis = Arc::new(Basis { stream: stream("acme", "s"), sequence: Sequence(4), era, since });
    let decision = Decision { basis: Some(basis), ..Decision::default() };
    let resting = ledger.append_decided(events(&stream("acme", "new"), 0, 1), decision).await;
    assert!(matches!(resting, Err(AppendError::Outdated)), "{resting:?}");
    timeout(PATIENCE, follower.changed()).await.expect("hears").expect_err("is dismissed");
    assert!(store.era() > era);
    assert_eq!(append_until_known(&store, "acme", "after").await, Position(5));
    assert_eq!(positions(&store, "acme").await, [1, 2, 3, 4, 5]);
    assert_intact(&store, "acme").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_linked_to_what_stands_before_them() {
    let database = SharedDatabase::create().await;
    let (here, elsewhere) = (database.open().await, database.open().await);
    for n in 0..4 {
        append(&here, events(&stream("acme", "s"), n, 1)).await;
    }
    let leaves: Vec<_> = (here.ledger(&context("acme")).read_after(Position::START, 9).await.expect("reads"))
        .iter()
        .map(|event| event.leaf_hash)
        .collect();
    for store in [&here, &elsewhere] {
        for (after, up_to) in [(0, 2), (1, 3), (3, 4), (4, 9), (7, 9)] {
            let tenant: TenantId = "acme".parse().expect("slug");
            let range =
                LedgerRange { tenant: tenant.clone(), after: Position(after), up_to: Position(up_to) };
            let read = store.read_linked(&[range]).await.expect("reads");
            let read_positions: Vec<u64> = read.events.iter().map(|event| event.position.0).collect();
            assert_eq!(read_positions, (after + 1..=up_to.min(4)).collect::<Vec<_>>());
            let before = (after as usize).checked_sub(1).and_then(|place| leaves.get(place));
            assert_eq!(read.links.get(&tenant), before, "after {after}");
        }
    }
}
