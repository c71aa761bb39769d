//! Promise: who follows a ledger hears that it moved, in this process at once and across processes soon.

use std::time::Duration;

use formledger_domain::Position;
use tokio::time::timeout;

use super::{Database, append, context, events, stream};

/// Far beyond any wake-up; a test that reaches it has found a lost one.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn a_follower_starts_at_the_head_and_hears_each_move(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    let mut follower = store.ledger(&context("acme")).follow().await.expect("reads");
    assert_eq!(*follower.borrow_and_update(), Position(2));
    append(&store, events(&stream("other", "s"), 0, 1)).await;
    assert!(!follower.has_changed().expect("lives"), "another tenant's move is none of ours");
    for n in 3..6 {
        append(&store, events(&stream("acme", &format!("{n}")), 0, 1)).await;
        timeout(PATIENCE, follower.changed()).await.expect("wakes").expect("lives");
        assert_eq!(*follower.borrow_and_update(), Position(n));
    }
}

pub(crate) async fn a_listener_hears_every_moved_ledger_once(database: &impl Database) {
    let store = database.open().await;
    let mut moved = store.moved();
    for tenant in ["a", "b", "a"] {
        append(&store, events(&stream(tenant, &format!("{}", uuid::Uuid::now_v7())), 0, 1)).await;
    }
    let mut heads = timeout(PATIENCE, moved.next()).await.expect("wakes");
    heads.sort();
    let heads: Vec<_> = heads.iter().map(|(tenant, position)| (tenant.as_str(), position.0)).collect();
    assert_eq!(heads, [("a", 2), ("b", 1)]);
    assert!(timeout(Duration::from_millis(10), moved.next()).await.is_err(), "nothing moved since");
}

pub(crate) async fn appends_of_another_process_wake_followers_here(database: &impl Database) {
    let here = database.open().await;
    let mut moved = here.moved();
    let mut follower = here.ledger(&context("acme")).follow().await.expect("reads");
    let elsewhere = database.open().await;
    append(&elsewhere, events(&stream("acme", "s"), 0, 3)).await;
    timeout(PATIENCE, follower.wait_for(|position| *position == Position(3)))
        .await
        .expect("wakes")
        .expect("lives");
    let heads = timeout(PATIENCE, moved.next()).await.expect("wakes");
    assert_eq!(heads, [("acme".parse().expect("slug"), Position(3))]);
}
