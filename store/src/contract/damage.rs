//! Promise: what someone with full access broke in one ledger stays in that ledger, is never acted on, and is found by verification.

use formledger_domain::Position;

use super::{Database, append, context, events, positions, stream};
use crate::{AppendError, StoreError, StoreSettings};

/// Heads that no writer leaves behind.
const IMPOSSIBLE_HEADS: [&str; 4] = [
    "UPDATE ledgers SET frontier = zeroblob(64) WHERE tenant_id = 'acme'",
    "UPDATE ledgers SET recorded_at = 9223372036854775807, frontier = zeroblob(32) WHERE tenant_id = 'acme'",
    // Frontiers of one and of two leaves are of equal length, so this one reads well.
    "UPDATE ledgers SET position = 1 WHERE tenant_id = 'acme'",
    "DROP TRIGGER ledgers_refuse_delete; DELETE FROM ledgers WHERE tenant_id = 'acme'",
];

/// An event that claims to be the next of acme's stream `s`, and to belong to a ledger that nobody asks for.
const FORGED: &str = "INSERT INTO events SELECT aggregate_type, aggregate_id, sequence + 1, event_type, event_version, payload, metadata, \
     'nobody', position, zeroblob(16), recorded_at, leaf_hash FROM events WHERE tenant_id = 'acme' AND position = 2";

pub(crate) async fn a_damaged_head_fails_its_own_tenant_only<D: Database>(_: &D) {
    for damage in IMPOSSIBLE_HEADS {
        let database = D::create().await;
        let before = database.open().await;
        append(&before, events(&stream("acme", "s"), 0, 2)).await;
        append(&before, events(&stream("other", "s"), 0, 1)).await;
        database.sql(damage).await.expect("damages");
        // Another process's store, which believes nothing yet of the heads.
        let (store, faults) = database.open_faulty(StoreSettings::default()).await;
        let appends = ["acme", "other"].map(|tenant| events(&stream(tenant, "t"), 0, 1));
        let answers = faults.while_busy(&store, appends.into()).await;
        let refused = matches!(answers[0], Err(AppendError::Store(StoreError::Damaged(_))));
        assert!(refused && answers[1].is_ok(), "`{damage}`: {answers:?}");
        assert!(store.is_writing());
        assert_eq!(positions(&store, "acme").await, [1, 2]);
        assert_eq!(positions(&store, "other").await, [1, 2]);
    }
}

pub(crate) async fn a_damaged_head_is_left_out_of_the_heads(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    append(&store, events(&stream("other", "s"), 0, 1)).await;
    for damage in &IMPOSSIBLE_HEADS[..2] {
        database.sql(damage).await.expect("damages");
        let heads = store.heads().await.expect("reads");
        assert_eq!(
            heads.iter().map(|head| head.tenant.as_str()).collect::<Vec<_>>(),
            ["other"],
            "`{damage}`"
        );
    }
}

pub(crate) async fn a_forged_event_of_no_ledger_is_never_acted_on(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    database.sql(FORGED).await.expect("forges");
    let loaded = store.ledger(&context("acme")).load(&stream("acme", "s")).await.expect("loads");
    assert_eq!(loaded.iter().map(|event| event.position).collect::<Vec<_>>(), [Position(1), Position(2)]);
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("reads");
    let found: Vec<_> = report.differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(found, ["sequence 3 of `acme/s` is event 2 of `nobody`"]);
}

pub(crate) async fn owners_are_all_who_own_a_ledger_or_an_event(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    append(&store, events(&stream("other", "s"), 0, 1)).await;
    database.sql(IMPOSSIBLE_HEADS[3]).await.expect("removes a ledger");
    database.sql(FORGED).await.expect("forges");
    database.sql(&FORGED.replace("nobody", "No one").replace("+ 1", "+ 2")).await.expect("forges");
    let owners = store.owners().await.expect("reads");
    let named = owners.iter().filter_map(|owner| owner.as_ref().ok().map(|tenant| tenant.as_str()));
    assert_eq!(named.collect::<Vec<_>>(), ["acme", "nobody", "other"]);
    assert!(matches!(owners[0], Err(StoreError::Damaged(_))), "{owners:?}");
}
