//! Promise: a stream moves only from where the caller saw it, and a conflict is nobody else's affair.

use std::sync::Arc;

use formledger_domain::{Position, Sequence};

use super::{Database, append, context, events, keyed, positions, stream};
use crate::append::Decision;
use crate::{AppendError, Appended, Basis, StoreError, StoreSettings, TenantLedger};

fn conflict(answer: &Result<Appended, AppendError>) -> (u64, u64) {
    match answer {
        Err(AppendError::Conflict { expected: Sequence(expected), actual: Sequence(actual) }) => {
            (*expected, *actual)
        }
        other => panic!("no conflict: {other:?}"),
    }
}

fn position(answer: &Result<Appended, AppendError>) -> Position {
    match answer {
        Ok(Appended::Recorded { position, .. }) => *position,
        other => panic!("not recorded: {other:?}"),
    }
}

pub(crate) async fn an_append_fails_when_the_stream_is_elsewhere(database: &impl Database) {
    let store = database.open().await;
    let ledger = store.ledger(&context("acme"));
    let stream = stream("acme", "s");
    append(&store, events(&stream, 0, 3)).await;
    for expected in [0, 2, 4, 9] {
        assert_eq!(conflict(&ledger.append(events(&stream, expected, 1)).await), (expected, 3));
    }
    let missing = super::stream("acme", "missing");
    assert_eq!(conflict(&ledger.append(events(&missing, 1, 1)).await), (1, 0));
    assert_eq!(append(&store, events(&stream, 3, 1)).await, Position(4));
}

pub(crate) async fn a_conflict_in_a_batch_fails_its_own_command_only(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "taken"), 0, 2)).await;
    let appends = vec![
        events(&stream("acme", "left"), 0, 1),
        events(&stream("acme", "taken"), 0, 1),
        events(&stream("acme", "right"), 0, 2),
        events(&stream("acme", "taken"), 5, 1),
        events(&stream("other", "right"), 0, 1),
    ];
    let answers = faults.while_busy(&store, appends).await;
    assert_eq!(position(&answers[0]), Position(3));
    assert_eq!(conflict(&answers[1]), (0, 2));
    assert_eq!(position(&answers[2]), Position(5));
    assert_eq!(conflict(&answers[3]), (5, 2));
    assert_eq!(position(&answers[4]), Position(1));
}

pub(crate) async fn a_command_that_the_database_refuses_fails_alone(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    database.sql(&database.refusing("acme/refused")).await.expect("refuses from now on");
    let appends = vec![
        events(&stream("acme", "left"), 0, 1),
        events(&stream("acme", "refused"), 0, 2),
        events(&stream("acme", "left"), 1, 1),
        keyed(&stream("other", "right"), 0, "key", 1),
        events(&stream("acme", "refused"), 0, 1),
    ];
    let answers = faults.while_busy(&store, appends).await;
    for (answer, recorded) in answers.iter().zip([Some(2), None, Some(3), Some(1), None]) {
        match recorded {
            Some(recorded) => assert_eq!(position(answer), Position(recorded)),
            None => {
                let refused = matches!(answer, Err(AppendError::Store(StoreError::Refused(_))));
                assert!(refused, "{answer:?}");
            }
        }
    }
    assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
    assert_eq!(append(&store, events(&stream("acme", "after"), 0, 1)).await, Position(4));
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, []);
}

pub(crate) async fn the_second_of_one_batch_sees_the_first(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    let stream = stream("acme", "s");
    let appends =
        vec![events(&stream, 0, 2), events(&stream, 0, 1), events(&stream, 2, 1), events(&stream, 9, 1)];
    let answers = faults.while_busy(&store, appends).await;
    assert_eq!(position(&answers[0]), Position(2));
    assert_eq!(conflict(&answers[1]), (0, 2));
    assert_eq!(position(&answers[2]), Position(3));
    assert_eq!(conflict(&answers[3]).0, 9);
}

pub(crate) async fn a_ledger_moved_by_another_process_is_retried_alone(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    let elsewhere = database.open().await;
    for tenant in ["moved", "still"] {
        append(&store, events(&stream(tenant, "before"), 0, 1)).await;
    }
    append(&elsewhere, events(&stream("moved", "elsewhere"), 0, 3)).await;
    append(&elsewhere, events(&stream("new", "elsewhere"), 0, 1)).await;

    let tried_before = faults.batches().len();
    let appends = ["moved", "still", "new"].map(|tenant| events(&stream(tenant, "here"), 0, 1)).to_vec();
    let answers = faults.while_busy(&store, appends).await;
    let positions: Vec<_> = answers.iter().map(|answer| position(answer).0).collect();
    assert_eq!(positions, [5, 2, 2]);
    assert_eq!(faults.batches()[tried_before..], [1, 3, 1], "the opener, the batch, the moved ledger alone");
}

/// As a submission rests on its form.
pub(crate) async fn what_a_decision_rests_on_is_there_still_when_it_is_recorded(database: &impl Database) {
    let (here, elsewhere) = (database.open().await, database.open().await);
    let (ledger, form) = (here.ledger(&context("acme")), stream("acme", "form"));
    append(&here, events(&form, 0, 1)).await;
    let basis = async |ledger: &TenantLedger| {
        let (era, since) = (ledger.era(), ledger.moment());
        let read = ledger.load(&form).await.expect("reads");
        let sequence = read.last().expect("an event").sequence;
        Arc::new(Basis { stream: form.clone(), sequence, era, since })
    };
    let rest = async |id: &str, basis: &Arc<Basis>| {
        let decision = Decision { basis: Some(basis.clone()), ..Decision::default() };
        ledger.append_decided(events(&stream("acme", id), 0, 1), decision).await
    };
    let first = basis(&ledger).await;
    assert_eq!(position(&rest("a", &first).await), Position(2));

    append(&elsewhere, events(&stream("acme", "other"), 0, 1)).await;
    assert_eq!(position(&rest("b", &first).await), Position(4), "others append what has no part in it");

    append(&elsewhere, events(&form, 1, 1)).await;
    for id in ["c", "d"] {
        let outdated = rest(id, &first).await;
        assert!(matches!(outdated, Err(AppendError::Outdated)), "{outdated:?}");
    }
    let second = basis(&ledger).await;
    assert_eq!(position(&rest("c", &second).await), Position(6));

    // Nor behind what this process appended itself.
    let changes = Decision { is_basis: true, ..Decision::default() };
    assert_eq!(position(&ledger.append_decided(events(&form, 2, 1), changes).await), Position(7));
    let outdated = rest("d", &second).await;
    assert!(matches!(outdated, Err(AppendError::Outdated)), "{outdated:?}");

    // In one batch, too: what comes behind the change does not rest on what was before it.
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    let ledger = store.ledger(&context("acme"));
    let third = basis(&ledger).await;
    append(&store, events(&stream("acme", "other"), 1, 1)).await;
    let appends = vec![
        (events(&stream("acme", "e"), 0, 1), Some(third.clone())),
        (events(&form, 3, 1), None),
        (events(&stream("acme", "f"), 0, 1), Some(third)),
    ];
    let answers = faults.while_busy_on(&store, appends).await;
    assert_eq!([position(&answers[0]), position(&answers[1])], [Position(9), Position(10)]);
    assert!(matches!(answers[2], Err(AppendError::Outdated)), "{:?}", answers[2]);

    let foreign = Arc::new(Basis { stream: stream("globex", "form"), ..(*second).clone() });
    let refused = rest("g", &foreign).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::ForeignStream))), "{refused:?}");
}

pub(crate) async fn a_batch_ends_where_it_reaches_its_bytes(database: &impl Database) {
    // Each of the appends takes a little more than 500.
    let settings = StoreSettings { append_batch_bytes_max: 600, ..StoreSettings::default() };
    let (store, faults) = database.open_faulty(settings).await;
    let mut appends: Vec<_> = (0..4).map(|n| events(&stream("acme", &format!("{n}")), 0, 1)).collect();
    appends.push(events(&stream("acme", "large"), 0, 9));
    appends.push(events(&stream("acme", "0"), 1, 1));
    let answers = faults.while_busy(&store, appends).await;
    let recorded: Vec<_> = answers.iter().map(|answer| position(answer).0).collect();
    assert_eq!(recorded, [1, 2, 3, 4, 13, 14]);
    assert_eq!(faults.batches(), [1, 2, 2, 9, 1]);
}

pub(crate) async fn a_batch_is_what_queued_meanwhile_and_no_more_than_its_limit(database: &impl Database) {
    let settings = StoreSettings { append_batch_max: 4, ..StoreSettings::default() };
    let (store, faults) = database.open_faulty(settings).await;
    let appends = (0..10).map(|n| events(&stream("acme", &format!("{n}")), 0, 1)).collect();
    let answers = faults.while_busy(&store, appends).await;
    let positions: Vec<_> = answers.iter().map(|answer| position(answer).0).collect();
    assert_eq!(positions, (1..=10).collect::<Vec<_>>(), "in the order in which they queued");
    assert_eq!(faults.batches(), [1, 4, 4, 2]);
}
