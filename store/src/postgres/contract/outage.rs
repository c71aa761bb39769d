//! Promise: what was acknowledged survives a server that dies, and the writer goes on when the server is back.

use std::time::Duration;

use formledger_domain::{Position, TenantId};
use formledger_test_cluster::{Postgres, Proxy, Settings, Shutdown};
use sqlx::Executor;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::PostgresOptions;
use crate::contract::{append, context, events, keyed, positions, stream};
use crate::{AppendError, Appended, Idempotency, Store, StoreError, StoreSettings};

/// Far beyond any recovery; a test that reaches it has found something stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// Long enough for anything that does not wait for the server.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How long something is left without the standby that it must wait for.
const AWAY: Duration = Duration::from_millis(500);

pub(super) async fn open(options: &PostgresOptions) -> Store {
    Store::open_postgres(options, StoreSettings::default()).await.expect("opens")
}

pub(super) fn at(url: &str) -> PostgresOptions {
    PostgresOptions::new(url).expect("a URL")
}

/// The same server behind a proxy.
pub(super) fn through(proxy: &Proxy, server: &Postgres) -> PostgresOptions {
    at(&server.url("postgres").replace(&server.port().to_string(), &proxy.port().to_string()))
}

fn passes_by_itself(error: &AppendError) -> bool {
    matches!(error, AppendError::Store(StoreError::Unreachable(_) | StoreError::Busy | StoreError::Held))
}

/// Appends under one key until it is told what became of it, as a client does.
pub(super) async fn append_until_known(store: &Store, tenant: &str, id: &str) -> Position {
    let ledger = store.ledger(&context(tenant));
    loop {
        match ledger.append(keyed(&stream(tenant, id), 0, id, 1)).await {
            Ok(Appended::Recorded { position, .. }) => return position,
            Ok(Appended::Replayed(first)) => return first.position,
            Err(error) => assert!(passes_by_itself(&error), "{error:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_and_doubles_nothing() {
    const CALLERS: usize = 16;
    const APPENDS: usize = 40;
    let mut server = Postgres::start().await;
    let stores = [open(&at(&server.url("postgres"))).await, open(&at(&server.url("postgres"))).await];
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = stores[caller % stores.len()].clone();
        callers.spawn(async move {
            let tenant = format!("tenant-{}", caller % 3);
            let mut known = Vec::new();
            for n in 0..APPENDS {
                let id = format!("{caller}-{n}");
                known.push((tenant.clone(), append_until_known(&store, &tenant, &id).await, id));
                sleep(Duration::from_millis(20)).await;
            }
            known
        });
    }
    for _ in 0..3 {
        sleep(Duration::from_millis(400)).await;
        server.kill_9().await;
        server.start_again().await;
    }
    let known: Vec<_> =
        timeout(PATIENCE, callers.join_all()).await.expect("goes on").into_iter().flatten().collect();
    assert_eq!(known.len(), CALLERS * APPENDS);
    for tenant in ["tenant-0", "tenant-1", "tenant-2"] {
        let ledger = stores[0].ledger(&context(tenant));
        let recorded = ledger.read_after(Position::START, usize::MAX).await.expect("reads");
        let of_tenant: Vec<_> = known.iter().filter(|(of, ..)| of == tenant).collect();
        assert_eq!(recorded.len(), of_tenant.len(), "each once");
        for (_, position, id) in of_tenant {
            assert_eq!(*recorded[position.0 as usize - 1].aggregate_id, **id);
        }
        let tenant: TenantId = tenant.parse().expect("slug");
        assert_eq!(stores[1].verify(&tenant, |_| {}).await.expect("verifies").differences, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_connection_was_cut_is_found_out_before_it_is_answered() {
    // Others may wait, too: who tells of earlier batches does so by commits.
    const COMMITTING: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'WITH asked%'";
    const ASKING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
         AND (query LIKE 'INSERT INTO ledgers%' OR query LIKE 'UPDATE ledgers%')";
    let server = Postgres::start().await;
    // A commit waits for it, and so for as long as the test wants.
    let standby = server.standby().await;
    server.commit_with(&standby).await;
    let proxy = Proxy::to(server.port());
    let store = open(&through(&proxy, &server)).await;
    // One ledger that the lost batch moves, and one that it creates.
    append(&store, events(&stream("moved", "before"), 0, 1)).await;
    for tenant in ["moved", "created"] {
        standby.upstream().refuse();
        let lost = stream(tenant, "lost");
        let cut = async {
            server.until(COMMITTING, "1").await;
            proxy.cut();
            // The writer asks what became of it, and waits for what the commit holds.
            server.until(ASKING, "1").await;
            standby.upstream().heal();
        };
        let ledger = store.ledger(&context(tenant));
        let (answer, ()) = tokio::join!(timeout(PATIENCE, ledger.append(events(&lost, 0, 1))), cut);
        let answer = answer.expect("answers");
        assert!(matches!(answer, Ok(Appended::Recorded { .. })), "`{tenant}`: {answer:?}");
    }
    assert_eq!(positions(&store, "moved").await, [1, 2]);
    assert_eq!(positions(&store, "created").await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_cut_off_while_the_server_still_works_on_it_is_recorded_once() {
    let server = Postgres::start().await;
    let proxy = Proxy::to(server.port());
    let store = open(&through(&proxy, &server)).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    // Somebody holds the head, so that the batch waits in its statement, and goes on after its connection is gone.
    let mut holder = server.connect("postgres").await;
    sqlx::raw_sql("BEGIN; UPDATE ledgers SET position = position").execute(&mut holder).await.expect("holds");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let cut = async {
        server.until(waiting, "1").await;
        proxy.cut();
        // The writer asks on another connection what became of it, and waits for the same head.
        server.until(waiting, "2").await;
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("releases");
    };
    let ledger = store.ledger(&context("acme"));
    let (answer, ()) = tokio::join!(ledger.append(keyed(&stream("acme", "lost"), 0, "key", 1)), cut);
    assert!(matches!(answer, Ok(Appended::Recorded { position: Position(2), .. })), "{answer:?}");
    assert_eq!(positions(&store, "acme").await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_server_never_got_is_tried_again() {
    let server = Postgres::start().await;
    let proxy = Proxy::to(server.port());
    let store = open(&through(&proxy, &server)).await;
    for tenant in ["known", "new"] {
        append(&store, events(&stream("known", tenant), 0, 1)).await;
        proxy.cut();
        append(&store, events(&stream(tenant, "after"), 0, 1)).await;
    }
    assert_eq!(positions(&store, "known").await, [1, 2, 3]);
    assert_eq!(positions(&store, "new").await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_while_nothing_is_asked_is_not_noticed() {
    let mut server = Postgres::start().await;
    let store = open(&at(&server.url("postgres"))).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    assert_eq!(positions(&store, "acme").await, [1]);
    server.restart().await;
    assert_eq!(append(&store, events(&stream("acme", "after"), 0, 1)).await, Position(2));
    assert_eq!(positions(&store, "acme").await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_is_said_at_once_and_not_for_ever() {
    let mut server = Postgres::start().await;
    let store = open(&at(&server.url("postgres"))).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    server.stop(Shutdown::Fast).await;
    // What the connection was lost with may have arrived: the first batch is asked about for a while.
    for (n, limit) in [PATIENCE, AT_ONCE, AT_ONCE, AT_ONCE].into_iter().enumerate() {
        let ledger = store.ledger(&context("acme"));
        let answer = timeout(limit, ledger.append(events(&stream("acme", &format!("{n}")), 0, 1)));
        let answer = answer.await.expect("answers in time");
        assert!(answer.as_ref().is_err_and(passes_by_itself), "{answer:?}");
    }
    assert!(store.is_writing());
    server.start_again().await;
    assert_eq!(timeout(PATIENCE, append_until_known(&store, "acme", "after")).await, Ok(Position(2)));
}

/// The pool of those who read says the same of both.
#[tokio::test]
async fn a_server_that_is_away_is_told_from_one_whose_connections_are_all_in_use() {
    let mut server = Postgres::start().await;
    let settings = StoreSettings {
        read_connections_max: 1,
        acquire_timeout: Duration::from_millis(300),
        ..StoreSettings::default()
    };
    let store = Store::open_postgres(&at(&server.url("postgres")), settings).await.expect("opens");
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    let mut lock = server.connect("postgres").await;
    lock.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let ledger = store.ledger(&context("acme"));
    let stream = stream("acme", "s");
    let held = {
        let (ledger, stream) = (ledger.clone(), stream.clone());
        tokio::spawn(async move { ledger.load(&stream).await })
    };
    server.until("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", "1").await;
    let busy = ledger.load(&stream).await;
    assert!(matches!(busy, Err(StoreError::ReadersBusy)), "{busy:?}");
    lock.execute("ROLLBACK").await.expect("unlocks");
    assert_eq!(held.await.expect("it ends").expect("loads").len(), 1);

    server.stop(Shutdown::Fast).await;
    for _ in 0..2 {
        let away = ledger.load(&stream).await;
        assert!(matches!(away, Err(StoreError::Unreachable(_))), "{away:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_other_processes_are_polled_for_where_no_notification_arrives() {
    let server = Postgres::start().await;
    let nowhere = Proxy::to(server.port());
    nowhere.refuse();
    let url = server.url("postgres");
    let deaf = url.replace(&server.port().to_string(), &nowhere.port().to_string());
    let here = open(&at(&url).listen_at(&deaf).expect("a URL")).await;
    let mut follower = here.ledger(&context("acme")).follow().await.expect("reads");
    let elsewhere = open(&at(&url)).await;
    append(&elsewhere, events(&stream("acme", "s"), 0, 3)).await;
    timeout(PATIENCE, follower.wait_for(|position| *position == Position(3)))
        .await
        .expect("wakes")
        .expect("lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_acknowledges_nothing_and_recovers() {
    let mut server =
        Postgres::start_with(Settings { disk_bytes: Some(96 << 20), ..Settings::default() }).await;
    let store = open(&at(&server.url("postgres"))).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    server.fill_disk();
    // More than fits into the log file at hand, so that it has to grow.
    let ledger = store.ledger(&context("acme"));
    let mut refused = None;
    for n in 0..200 {
        if let Err(error) = ledger.append(events(&stream("acme", &format!("{n}")), 0, 500)).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("is refused when the disk is full");
    let expected =
        matches!(refused, AppendError::Store(StoreError::StorageFull | StoreError::Unreachable(_)));
    assert!(expected, "{refused:?}");
    server.free_disk();
    if !server.is_running() {
        server.ended().await;
        server.start_again().await;
    }
    timeout(PATIENCE, append_until_known(&store, "acme", "after")).await.expect("recovers");
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, []);
}

/// Two faults at once: a commit that waits for the synchronous standby is on the primary's disk only, where everybody can read it after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_not_answered_before_the_synchronous_standby_has_its_first_outcome() {
    let mut primary = Postgres::start().await;
    let standby = primary.standby().await;
    primary.commit_with(&standby).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let store = open(&at(&primary.url("postgres"))).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    standby.upstream().refuse();
    let unanswered = tokio::spawn({
        let store = store.clone();
        async move { store.ledger(&context("acme")).append(keyed(&stream("acme", "s"), 0, "key", 1)).await }
    });
    primary.until(waits, "1").await;
    store.kill().await;
    unanswered.await.expect("no panic").expect_err("nobody answered it");
    primary.kill_9().await;
    primary.start_again().await;

    let elsewhere = open(&at(&primary.url("postgres"))).await;
    assert_eq!(positions(&elsewhere, "acme").await, [1, 2], "the primary shows it");
    let ledger = elsewhere.ledger(&context("acme"));
    let key = Idempotency { key: "key".into(), request_hash: [1; 32] };
    let appending = ledger.append(keyed(&stream("acme", "new"), 0, "key", 1));
    let asking = ledger.first_outcome(&key);
    tokio::pin!(appending, asking);
    // Each is polled while the server is asked, so that it gets as far as it can: to the commit that waits, and behind it.
    tokio::select! {
        answer = &mut appending => panic!("{answer:?}"),
        () = primary.until(waits, "1") => {}
    }
    tokio::select! {
        answer = &mut asking => panic!("{answer:?}"),
        answer = &mut appending => panic!("{answer:?}"),
        () = sleep(AWAY) => {}
    }
    standby.upstream().heal();
    let (appended, asked) =
        timeout(PATIENCE, async { tokio::join!(appending, asking) }).await.expect("answers");
    assert!(
        matches!(appended, Ok(Appended::Replayed(ref first)) if first.position == Position(2)),
        "{appended:?}"
    );
    assert!(matches!(asked, Ok(Some(ref first)) if first.position == Position(2)), "{asked:?}");
}
