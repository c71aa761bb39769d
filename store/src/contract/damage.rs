//! Promise: what someone with full access broke in one ledger stays in that ledger, is never acted on, and is found by verification.

use formledger_domain::{CanonicalJson, Position};

use super::execution::{execute, expecting};
use super::tally::Command;
use super::{Database, append, context, events, positions, stream};
use crate::{AppendError, ExecuteError, Expectation, Store, StoreError, StoreSettings};

/// Heads that no writer leaves behind.
const IMPOSSIBLE_HEADS: [&str; 5] = [
    "UPDATE ledgers SET frontier = substr(frontier, 1, 0) WHERE tenant_id = 'acme'",
    "UPDATE ledgers SET recorded_at = 9223372036854775807, \
     frontier = (SELECT leaf_hash FROM events WHERE tenant_id = 'acme' AND position = 1) WHERE tenant_id = 'acme'",
    // Frontiers of one and of two leaves are of equal length, so this one reads well.
    "UPDATE ledgers SET position = 1 WHERE tenant_id = 'acme'",
    "DELETE FROM ledgers WHERE tenant_id = 'acme'",
    "UPDATE ledgers SET position = -position WHERE tenant_id = 'acme'",
];

/// An event that claims to be the next of acme's stream `s`, and to belong to a ledger that nobody asks for.
const FORGED: &str = "INSERT INTO events SELECT aggregate_type, aggregate_id, sequence + 1, event_type, event_version, payload, metadata, \
     'nobody', position, event_id, recorded_at, leaf_hash FROM events WHERE tenant_id = 'acme' AND position = 2";

pub(crate) async fn a_damaged_head_fails_its_own_tenant_only<D: Database>(_: &D) {
    for damage in IMPOSSIBLE_HEADS {
        let database = D::create().await;
        let before = database.open().await;
        append(&before, events(&stream("acme", "s"), 0, 2)).await;
        append(&before, events(&stream("other", "s"), 0, 1)).await;
        database.tamper(damage).await.expect("damages");
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
        database.tamper(damage).await.expect("damages");
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

/// Where no event of a ledger that ends at 2 can stand, and what verification says of one.
const OUTSIDE: [(i64, &str); 5] = [
    (
        i64::MIN,
        "ledger: sequence 3 of `acme/s` (Tally) stands at -9223372036854775808, where no ledger has events",
    ),
    (-1, "ledger: sequence 3 of `acme/s` (Tally) stands at -1, where no ledger has events"),
    (0, "ledger: sequence 3 of `acme/s` (Tally) stands at 0, where no ledger has events"),
    (3, "3: the ledger ends at 2, but sequence 3 of `acme/s` (Tally) stands after it"),
    (
        i64::MAX,
        "9223372036854775807: the ledger ends at 2, but sequence 3 of `acme/s` (Tally) stands after it",
    ),
];

/// An event that claims to be the next of acme's stream `s`, at a place outside of the ledger; by anybody who may insert one.
fn forged_at(position: i64, aggregate_type: &str) -> String {
    // Without the sign, which SQLite reads as an operator on a number that is too large.
    let position =
        if position == i64::MIN { "-9223372036854775807 - 1".to_owned() } else { position.to_string() };
    format!(
        "INSERT INTO events SELECT '{aggregate_type}', aggregate_id, sequence + 1, event_type, event_version, payload, metadata, \
         tenant_id, {position}, event_id, recorded_at, leaf_hash FROM events WHERE tenant_id = 'acme' AND position = 2"
    )
}

pub(crate) async fn an_event_outside_of_its_ledger_is_never_acted_on_and_found<D: Database>(_: &D) {
    for (position, told) in OUTSIDE {
        // Also of a type of which the ledger has no other event, so that none leads to its stream.
        for aggregate_type in ["Tally", "Other"] {
            let database = D::create().await;
            let store = database.open().await;
            append(&store, events(&stream("acme", "s"), 0, 2)).await;
            append(&store, events(&stream("other", "s"), 0, 1)).await;
            database.tamper(&forged_at(position, aggregate_type)).await.expect("forges");

            let loaded = store.ledger(&context("acme")).load(&stream("acme", "s")).await.expect("loads");
            let loaded: Vec<_> = loaded.iter().map(|event| event.position).collect();
            assert_eq!(loaded, [Position(1), Position(2)], "{position}");
            assert_eq!(found(&store).await, [told.replace("Tally", aggregate_type)]);
            let sound = store.verify(&"other".parse().expect("slug"), |_| {}).await.expect("reads");
            assert!(sound.is_sound(), "{sound:?}");
        }
    }
}

pub(crate) async fn who_would_append_behind_a_forged_event_is_told_that_the_ledger_is_damaged<D: Database>(
    _: &D,
) {
    for (position, _) in OUTSIDE {
        let database = D::create().await;
        let store = database.open().await;
        append(&store, events(&stream("acme", "s"), 0, 2)).await;
        database.tamper(&forged_at(position, "Tally")).await.expect("forges");
        let refused = execute(&store, "s", Command::Add(1), expecting(Expectation::Any)).await;
        let Err(ExecuteError::Append(AppendError::Store(StoreError::Damaged(what)))) = refused else {
            panic!("{position}: {refused:?}")
        };
        assert_eq!(what, "there are events outside of the ledger of `acme`");
    }
}

pub(crate) async fn what_is_appended_while_a_ledger_is_verified_is_no_damage(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    let appends = async {
        for sequence in 1..200 {
            append(&store, events(&stream("acme", "s"), sequence, 1)).await;
        }
    };
    let verifications = async {
        for _ in 0..20 {
            assert_eq!(found(&store).await, [""; 0]);
        }
    };
    tokio::join!(appends, verifications);
}

pub(crate) async fn owners_are_all_who_own_a_ledger_or_an_event(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    append(&store, events(&stream("other", "s"), 0, 1)).await;
    database.tamper(IMPOSSIBLE_HEADS[3]).await.expect("removes a ledger");
    database.sql(FORGED).await.expect("forges");
    database.sql(&FORGED.replace("nobody", "No one").replace("+ 1", "+ 2")).await.expect("forges");
    let owners = store.owners().await.expect("reads");
    let named = owners.iter().filter_map(|owner| owner.as_ref().ok().map(|tenant| tenant.as_str()));
    assert_eq!(named.collect::<Vec<_>>(), ["acme", "nobody", "other"]);
    assert!(matches!(owners[0], Err(StoreError::Damaged(_))), "{owners:?}");
}

/// What someone with full access does, and how the differences that follow begin.
const TAMPERINGS: [(&str, &[&str]); 12] = [
    (
        "UPDATE events SET payload = '{}' WHERE position = 2",
        &["2: the leaf hash", "ledger: the ledger's root"],
    ),
    (
        r#"UPDATE events SET metadata = '{"actor":"system","correlationid":"request-1","new":""}' WHERE position = 3"#,
        &["3: the leaf hash", "ledger: the ledger's root"],
    ),
    (
        "UPDATE events SET leaf_hash = (SELECT leaf_hash FROM events WHERE position = 2) WHERE position = 1",
        &["1: the leaf hash"],
    ),
    (
        "UPDATE events SET recorded_at = 7 WHERE position = 2",
        &["2: recorded before", "2: the leaf hash", "ledger: the ledger's root"],
    ),
    (
        "DELETE FROM events WHERE position = 2",
        &["2: positions 2 to 2 are missing", "3: sequence 3", "ledger: the ledger's root"],
    ),
    (
        "DELETE FROM events WHERE position >= 3",
        &["3: positions 3 to 4 are missing", "ledger: the ledger's root"],
    ),
    ("UPDATE ledgers SET position = 3", &["ledger: the frontier"]),
    ("UPDATE ledgers SET position = 2", &["ledger: the ledger's root", "3: the ledger ends at 2"]),
    ("DELETE FROM ledgers", &["1: the ledger ends at 0", "4: the ledger ends at 0"]),
    ("UPDATE ledgers SET position = -position", &["ledger: the ledger of `acme` ends at -4"]),
    (
        "UPDATE events SET position = -position WHERE position = 2",
        &["2: positions 2 to 2 are missing", "ledger: sequence 2 of `acme/s`"],
    ),
    (
        "UPDATE events SET sequence = -sequence WHERE position = 2",
        &["2: there is no sequence -2", "2: sequence -2 of `acme/s` should be 1"],
    ),
];

pub(crate) async fn verify_names_every_difference_that_tampering_leaves<D: Database>(_: &D) {
    for (statement, expected) in TAMPERINGS {
        let database = D::create().await;
        let store = database.open().await;
        append(&store, events(&stream("acme", "s"), 0, 3)).await;
        append(&store, events(&stream("acme", "t"), 0, 1)).await;
        database.tamper(statement).await.expect("tampers");

        let found = found(&store).await;
        for expected in expected {
            assert!(found.iter().any(|found| found.starts_with(expected)), "`{statement}` gives {found:#?}");
        }
    }
}

/// What verification says of acme's ledger.
async fn found(store: &Store) -> Vec<String> {
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("reads");
    let found = report.differences.iter().map(|difference| {
        let place = difference.position.map_or("ledger".to_owned(), |position| position.to_string());
        format!("{place}: {}", difference.what)
    });
    let found: Vec<_> = found.collect();
    assert_eq!(report.differences_count as usize, found.len());
    found
}

pub(crate) async fn a_payload_that_nobody_reads_or_that_readers_read_differently_is_found(
    database: &impl Database,
) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    let payloads = [r#"{"a":1e400}"#, r#"{"a":"\ud800"}"#, r#"{"a":1,"a":2}"#, r#"{"a": 1}"#];
    for (n, payload) in payloads.into_iter().enumerate() {
        // As this program would never record it; with hashes as they should be all the same.
        let mut forged = events(&stream("acme", "forged"), n as u64, 1);
        forged.events[0].payload = CanonicalJson::from_stored(payload);
        append(&store, forged).await;
    }
    let report = store.verify(&"acme".parse().expect("slug"), |_| ()).await.expect("reads");
    let found: Vec<_> = report.differences.iter().map(|found| found.position.expect("one").0).collect();
    assert_eq!(found, [2, 3, 4, 5], "{report:?}");
}
