//! Promise: a request that is sent again with its key is recorded once and answered alike.

use formledger_domain::{Position, Sequence};

use super::{Database, append, context, events, keyed, positions, stream};
use crate::{AppendError, Appended, FirstOutcome, Idempotency, StoreSettings};

fn first(position: u64) -> FirstOutcome {
    FirstOutcome { outcome: r#"{"by":1}"#.into(), position: Position(position), sequence: Sequence(1) }
}

pub(crate) async fn a_repeated_request_gets_the_first_outcome(database: &impl Database) {
    let store = database.open().await;
    let ledger = store.ledger(&context("acme"));
    append(&store, keyed(&stream("acme", "s"), 0, "key", 1)).await;
    append(&store, events(&stream("acme", "t"), 0, 1)).await;
    // The retry of a creation names another stream: its id was made anew.
    for id in ["s", "new"] {
        let again = ledger.append(keyed(&stream("acme", id), 0, "key", 1)).await.expect("answers");
        assert_eq!(again, Appended::Replayed(first(1)));
    }
    let key = Idempotency { key: "key".into(), request_hash: [1; 32] };
    assert_eq!(ledger.first_outcome(&key).await.expect("reads"), Some(first(1)));
    let unused = Idempotency { key: "unused".into(), ..key };
    assert_eq!(ledger.first_outcome(&unused).await.expect("reads"), None);
    assert_eq!(positions(&store, "acme").await, [1, 2]);
}

pub(crate) async fn the_same_key_for_another_request_is_refused(database: &impl Database) {
    let store = database.open().await;
    let ledger = store.ledger(&context("acme"));
    append(&store, keyed(&stream("acme", "s"), 0, "key", 1)).await;
    let reused = ledger.append(keyed(&stream("acme", "t"), 0, "key", 2)).await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
    let asked = ledger.first_outcome(&Idempotency { key: "key".into(), request_hash: [2; 32] }).await;
    assert!(matches!(asked, Err(AppendError::KeyReused)), "{asked:?}");
    assert_eq!(positions(&store, "acme").await, [1]);
}

pub(crate) async fn concurrent_repetitions_record_once(database: &impl Database) {
    let stores = [database.open().await, database.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let ledger = stores[n % stores.len()].ledger(&context("acme"));
        tasks.spawn(async move {
            ledger.append(keyed(&stream("acme", &format!("{n}")), 0, "key", 1)).await.expect("answers")
        });
    }
    let answers = tasks.join_all().await;
    let recorded = answers.iter().filter(|answer| matches!(answer, Appended::Recorded { .. })).count();
    assert_eq!(recorded, 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Appended::Replayed(first(1))).count(), 19);
    assert_eq!(positions(&stores[0], "acme").await, [1]);
}

pub(crate) async fn repetitions_in_one_batch_record_once(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    let appends = vec![
        keyed(&stream("acme", "a"), 0, "key", 1),
        keyed(&stream("acme", "b"), 0, "key", 1),
        keyed(&stream("acme", "c"), 0, "key", 2),
        keyed(&stream("acme", "d"), 0, "other", 1),
    ];
    let answers = faults.while_busy(&store, appends).await;
    assert!(matches!(answers[0], Ok(Appended::Recorded { position: Position(1), .. })), "{answers:?}");
    assert_eq!(answers[1].as_ref().expect("answers"), &Appended::Replayed(first(1)));
    assert!(matches!(answers[2], Err(AppendError::KeyReused)), "{answers:?}");
    assert!(matches!(answers[3], Ok(Appended::Recorded { position: Position(2), .. })), "{answers:?}");
}

pub(crate) async fn a_refused_append_does_not_use_up_its_key(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    let appends = vec![keyed(&stream("acme", "s"), 0, "key", 1), keyed(&stream("acme", "s"), 2, "key", 2)];
    let answers = faults.while_busy(&store, appends).await;
    assert!(matches!(answers[0], Err(AppendError::Conflict { .. })), "{answers:?}");
    assert!(matches!(answers[1], Ok(Appended::Recorded { position: Position(3), .. })), "{answers:?}");
}
