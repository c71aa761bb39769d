//! Promise: a ledger that another process holds and does not move keeps nobody waiting but those who want that ledger.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::SharedDatabase;
use crate::contract::{Database, append, context, events, keyed, positions, stream};
use crate::{AppendError, Store, StoreError};

const NEIGHBOURS: usize = 40;
/// What a batch may take that waits for no lock: much less than a lock is waited for (5 s).
const AT_ONCE: Duration = Duration::from_secs(2);

/// Holds the head of `tenant`, as a process does that stops between holding it and its commit.
async fn hold(database: &SharedDatabase, tenant: &str) -> PgConnection {
    let mut holder = database.0.connect().await;
    let held = format!("BEGIN; UPDATE ledgers SET position = position WHERE tenant_id = '{tenant}'");
    holder.execute(&*held).await.expect("holds");
    holder
}

/// One command of `stuck` amid its neighbours': all of these are recorded; answers what it was told.
async fn record(store: &Store, round: usize) -> Result<(), AppendError> {
    let appends = (0..NEIGHBOURS).map(|n| {
        let tenant = if n == NEIGHBOURS / 2 { "stuck".to_owned() } else { format!("neighbour-{n}") };
        let ledger = store.ledger(&context(&tenant));
        async move { ledger.append(events(&stream(&tenant, &format!("{round}-{n}")), 0, 1)).await }
    });
    let mut stuck = Ok(());
    for (n, answer) in join_all(appends).await.into_iter().enumerate() {
        if n == NEIGHBOURS / 2 {
            stuck = answer.map(drop);
        } else {
            answer.unwrap_or_else(|error| panic!("neighbour {n}: {error:?}"));
        }
    }
    stuck
}

fn is_held(answer: &Result<(), AppendError>) -> bool {
    matches!(answer, Err(AppendError::Store(StoreError::Held)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_head_another_session_holds_keeps_no_neighbour_from_recording() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    record(&store, 0).await.expect("nobody holds it");
    let holder = hold(&database, "stuck").await;
    let first = record(&store, 1).await;
    assert!(is_held(&first), "{first:?}");
    assert!(store.check_recording().is_ok(), "everybody else's is recorded");
    // It is known now: nobody waits again.
    let began = Instant::now();
    for round in 2..5 {
        let again = record(&store, round).await;
        assert!(is_held(&again), "{again:?}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    holder.close().await.expect("lets go");
    let goes_on = async {
        while is_held(&record(&store, 5).await) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(AT_ONCE, goes_on).await.expect("when it is let go");
    assert_eq!(positions(&store, "stuck").await.len(), 2);
    assert_eq!(positions(&store, "neighbour-0").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_another_session_is_creating_keeps_no_neighbour_from_recording() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    append(&store, events(&stream("neighbour-0", "before"), 0, 1)).await;
    let mut holder = database.0.connect().await;
    let creates = "BEGIN; INSERT INTO ledgers (tenant_id, position, recorded_at, frontier) \
                   SELECT 'stuck', position, recorded_at, frontier FROM ledgers";
    holder.execute(creates).await.expect("creates");
    let release = async {
        // While the batch waits a second time, halved.
        sleep(Duration::from_secs(7)).await;
        holder.execute("ROLLBACK").await.expect("lets go");
    };
    let (stuck, ()) = tokio::join!(record(&store, 1), release);
    stuck.expect("it was let go in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_head_another_session_holds_keeps_no_neighbour_from_being_told_again() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    for tenant in ["stuck", "neighbour-0"] {
        append(&store, keyed(&stream(tenant, "a"), 0, "key", 1)).await;
    }
    let holder = hold(&database, "stuck").await;
    let repeat = |tenant: &'static str| {
        let ledger = store.ledger(&context(tenant));
        async move { ledger.append(keyed(&stream(tenant, "a"), 0, "key", 1)).await.map(drop) }
    };
    let (stuck, neighbour) = tokio::join!(repeat("stuck"), repeat("neighbour-0"));
    assert!(is_held(&stuck), "{stuck:?}");
    neighbour.expect("is told of what was recorded");
    holder.close().await.expect("lets go");
}
