//! Promise: what one tenant has, another neither sees nor disturbs, also where their places, streams and keys are equal.

use formledger_domain::{Position, Sequence};

use super::{Database, append, context, events, keyed, positions, stream};
use crate::{AppendError, Idempotency, StoreError};

pub(crate) async fn tenants_hold_equal_positions_streams_and_keys_apart(database: &impl Database) {
    let store = database.open().await;
    // `a` and `a-b`: one slug is a prefix of the other, so a sloppy range over stream ids would mix them.
    for tenant in ["a", "a-b"] {
        assert_eq!(append(&store, keyed(&stream(tenant, "s"), 0, "key", 1)).await, Position(1));
        assert_eq!(append(&store, events(&stream(tenant, "s"), 1, 2)).await, Position(3));
    }
    for tenant in ["a", "a-b"] {
        assert_eq!(positions(&store, tenant).await, [1, 2, 3]);
        let ledger = store.ledger(&context(tenant));
        let loaded = ledger.load(&stream(tenant, "s")).await.expect("loads");
        assert!(loaded.iter().all(|event| event.tenant.as_str() == tenant));
        assert_eq!(loaded.last().map(|event| event.sequence), Some(Sequence(3)));
        let report = store.verify(&tenant.parse().expect("slug"), |_| {}).await.expect("verifies");
        assert_eq!((report.events, report.differences), (3, vec![]));
    }
    let stranger = store.ledger(&context("b"));
    assert!(stranger.read_after(Position::START, 9).await.expect("reads").is_empty());
    let key = Idempotency { key: "key".into(), request_hash: [1; 32] };
    assert_eq!(stranger.first_outcome(&key).await.expect("reads"), None);
    let heads: Vec<_> = store.heads().await.expect("reads").into_iter().map(|head| head.tenant).collect();
    assert_eq!(heads.iter().map(|tenant| tenant.as_str()).collect::<Vec<_>>(), ["a", "a-b"]);
}

pub(crate) async fn a_foreign_stream_is_refused(database: &impl Database) {
    let store = database.open().await;
    let theirs = stream("theirs", "s");
    append(&store, events(&theirs, 0, 1)).await;
    let ours = store.ledger(&context("ours"));
    assert!(matches!(ours.load(&theirs).await, Err(StoreError::ForeignStream)));
    let answer = ours.append(events(&theirs, 1, 1)).await;
    assert!(matches!(answer, Err(AppendError::Store(StoreError::ForeignStream))), "{answer:?}");
    assert_eq!(positions(&store, "theirs").await, [1]);
}
