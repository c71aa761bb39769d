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

/// How old a look at all ledgers may be for these tests: they are patient.
const LOOKED_MAX: Duration = Duration::from_secs(3_600);

pub(crate) async fn appends_of_another_process_make_a_ledger_theirs_too(database: &impl Database) {
    let (here, elsewhere) = (database.open().await, database.open().await);
    append(&here, events(&stream("acme", "ours"), 0, 1)).await;
    let (acme, other) = (here.ledger(&context("acme")), here.ledger(&context("other")));
    let before = acme.moment();
    let soon = timeout(PATIENCE, async {
        while !acme.is_ours_since(before, LOOKED_MAX) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    soon.await.expect("looks at all ledgers");
    append(&here, events(&stream("acme", "ours as well"), 0, 1)).await;
    assert!(acme.is_ours_since(before, LOOKED_MAX), "our own appends change nothing");

    // Behind theirs comes ours at once, so that whoever compares positions finds a ledger where this process left it.
    append(&elsewhere, events(&stream("acme", "theirs"), 0, 1)).await;
    append(&here, events(&stream("acme", "ours again"), 0, 1)).await;
    assert!(!acme.is_ours_since(before, LOOKED_MAX));
    assert!(acme.is_ours_since(acme.moment(), LOOKED_MAX), "what is read from now on holds theirs");
    assert!(other.is_ours_since(before, LOOKED_MAX), "nobody moved this one");

    let before = acme.moment();
    append(&elsewhere, events(&stream("acme", "theirs again"), 0, 1)).await;
    let soon = timeout(PATIENCE, async {
        while acme.is_ours_since(before, LOOKED_MAX) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    soon.await.expect("hears of what the other one appended last");
}
