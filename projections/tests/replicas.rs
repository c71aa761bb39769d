//! Several databases, several processes: one keeps each replica, another takes over, standbys are only queried, what fails is left out and
//! comes back, and nobody who wrote something reads a replica that does not hold it yet.

mod support;

use std::time::Duration;

use formledger_domain::Position;
use formledger_projections::{
    Behind, OpenError, ProjectError, QueryError, ReadModel, ReadModelPlace, ReadModelSettings, ReadModels,
    ReplicaStatus, Replicas, Runner, RunnerSettings, SubmissionQuery, TenantReader,
};
use formledger_store::{LedgerHead, Store};
use formledger_test_cluster::{Database, Postgres, Settings, Shutdown};
use futures_util::future::join_all;
use serde_json::json;
use support::{context, ledger, open_postgres, tenant_of};
use tokio::time::{Instant, sleep, timeout};

/// Long enough for anything that is going to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn runner(store: &Store, models: &ReadModels) -> Runner {
    Runner::new(store.clone(), models.clone(), RunnerSettings::default())
}

/// A server that leaves syncing to the kernel, which nothing here ends.
async fn server() -> Postgres {
    Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await
}

async fn position(reader: &TenantReader) -> Position {
    reader.position(ReadModel::Submissions).await.expect("a position")
}

#[tokio::test]
async fn one_process_keeps_a_replica_and_another_takes_over_when_it_dies() {
    let (_dir, store) = ledger().await;
    let database = Database::create().await;
    let (first, second) = (open_postgres(&database.url()).await, open_postgres(&database.url()).await);
    let (mut one, mut other) = (runner(&store, &first), runner(&store, &second));
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &[]).await;
    assert_eq!(one.run_once().await.expect("a run"), 1);
    acme.submit("claim", json!({})).await;
    assert_eq!(other.run_once().await.expect("a run"), 0, "the first one leads");
    assert_eq!(position(&second.reader(&context("acme"))).await, Position(1), "and everybody reads");

    // What the server sees of a process that was killed: its session ends, and its lock with it (waited for, in ms: ending takes a moment).
    let kill = "SELECT pg_terminate_backend(pid, 30000) FROM pg_locks WHERE locktype = 'advisory' \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query(kill).execute(&mut database.connect().await).await.expect("ended");
    assert_eq!(other.run_once().await.expect("a run"), 1, "the second one takes over");
    acme.submit("claim", json!({})).await;
    one.run_once().await.expect_err("its session is gone");
    assert_eq!(one.run_once().await.expect("a run"), 0, "the first one does not write any more");
    assert_eq!(other.run_once().await.expect("a run"), 1);
    assert_eq!(position(&first.reader(&context("acme"))).await, Position(3));
}

#[tokio::test]
async fn a_replica_of_another_installation_is_neither_asked_nor_touched() {
    let (_dir, theirs) = ledger().await;
    let (_dir, ours) = ledger().await;
    let database = Database::create().await;
    let place = || ReadModelPlace::postgres(&database.url()).expect("a place");
    for (store, forms) in [(&theirs, 3), (&ours, 1)] {
        for version in 1..=forms {
            tenant_of(store, "acme").publish("claim", version, &[]).await;
        }
    }
    tenant_of(&ours, "ours").publish("claim", 1, &[]).await;
    let their_own = open_postgres(&database.url()).await;
    runner(&theirs, &their_own).run_once().await.expect("a run");
    their_own.close().await;

    let replica = ReadModels::open_when_there(place(), ReadModelSettings::default()).await.expect("there");
    let refused = replica.prove(&ours).await.expect_err("it is another's");
    let ProjectError::Open(refused @ OpenError::OtherLedger { .. }) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("`acme`"), "{refused}");
    let own = ReadModels::open_sqlite(&_dir.path().join("own.db"), ReadModelSettings::default()).await;
    let both = Replicas::new(own.expect("a file"), vec![replica.clone()]);
    for mut runner in both.runners(&ours, &RunnerSettings::default()) {
        let _refused = runner.run_once().await;
    }
    assert_eq!(position(&both.reader(&context("acme"))).await, Position(1), "from our rows");
    assert_eq!(position(&both.reader(&context("ours"))).await, Position(1));
    assert!(!both.status(&[]).await[0].answers);
    both.close().await;
    let their_own = open_postgres(&database.url()).await;
    assert_eq!(position(&their_own.reader(&context("acme"))).await, Position(3));
    assert_eq!(
        position(&their_own.reader(&context("ours"))).await,
        Position::START,
        "nothing of ours is there"
    );
    assert!(their_own.status(&[]).await.expect("status").iter().all(|status| status.parked.is_empty()));

    // One with a tenant that began anew since, beside one that is ours, is for the projector to park.
    let (_dir, restored) = ledger().await;
    let mixed = Database::create().await;
    let before = open_postgres(&mixed.url()).await;
    tenant_of(&restored, "beta").publish("claim", 1, &[]).await;
    runner(&restored, &before).run_once().await.expect("a run");
    let again = ReadModelPlace::postgres(&mixed.url()).expect("a place");
    sqlx::query("UPDATE read_models.checkpoints SET tenant_id = 'acme' WHERE tenant_id = 'beta'")
        .execute(&mut mixed.connect().await)
        .await
        .expect("another tenant's");
    runner(&ours, &before).run_once().await.expect("a run");
    before.close().await;
    let replica = ReadModels::open_replica(again, ReadModelSettings::default()).await.expect("there");
    replica.prove(&ours).await.expect("some of it is ours");
    replica.close().await;

    // One that has nothing yet, and one with our own rows, are proven.
    let empty = Database::create().await;
    let place = ReadModelPlace::postgres(&empty.url()).expect("a place");
    for _ in 0..2 {
        let replica =
            ReadModels::open_when_there(place.clone(), ReadModelSettings::default()).await.expect("there");
        replica.prove(&ours).await.expect("ours");
        runner(&ours, &replica).run_once().await.expect("a run");
        assert_eq!(position(&replica.reader(&context("acme"))).await, Position(1));
        replica.close().await;
    }
}

#[tokio::test]
async fn a_runner_gives_a_step_up_on_a_server_that_hangs_and_goes_on_when_that_comes_to_itself() {
    let (_dir, store) = ledger().await;
    let postgres = server().await;
    let models = open_postgres(&postgres.create_database("formledger").await).await;
    let settings = RunnerSettings { step_timeout: Duration::from_secs(1), ..RunnerSettings::default() };
    let mut runner = Runner::new(store.clone(), models.clone(), settings);
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &[]).await;
    assert_eq!(runner.run_once().await.expect("a run"), 1);
    acme.submit("claim", json!({})).await;

    postgres.pause();
    let given_up = timeout(PATIENCE, runner.run_once()).await.expect("it gives up");
    let error = given_up.expect_err("nothing answers");
    assert!(format!("{error:?}").contains("TimedOut"), "{error:?}");
    postgres.resume();
    let caught_up = async { while !matches!(runner.run_once().await, Ok(1)) {} };
    timeout(PATIENCE, caught_up).await.expect("it catches up");
    assert_eq!(position(&models.reader(&context("acme"))).await, Position(2));
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_made_smaller_until_it_does_not() {
    // A server that is slow with many rows at once, and goes on with them when nobody waits any more.
    const SLOW: &str = "\
        CREATE FUNCTION read_models.slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT count(*) FROM new_rows) > 8 THEN PERFORM pg_sleep(3); END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER slow AFTER INSERT ON read_models.submissions REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION read_models.slow()";
    let (_dir, store) = ledger().await;
    let database = Database::create().await;
    let models = open_postgres(&database.url()).await;
    sqlx::raw_sql(SLOW).execute(&mut database.connect().await).await.expect("is slow from now on");
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &[]).await;
    for n in 1..64 {
        acme.submit("claim", json!({"n": n})).await;
    }
    let settings = RunnerSettings { step_timeout: Duration::from_secs(1), ..RunnerSettings::default() };
    let mut runner = Runner::new(store.clone(), models.clone(), settings);
    let mut given_up = 0;
    let caught_up = async {
        while let Err(error) = runner.run_once().await {
            assert!(format!("{error:?}").contains("TimedOut"), "{error:?}");
            given_up += 1;
        }
    };
    timeout(PATIENCE, caught_up).await.expect("it catches up");
    assert!(given_up > 0);
    assert_eq!(position(&models.reader(&context("acme"))).await, Position(64));
}

#[tokio::test]
async fn a_database_that_is_away_is_prepared_and_filled_when_it_comes() {
    let (_dir, store) = ledger().await;
    let mut postgres = server().await;
    let url = postgres.create_database("formledger").await;
    postgres.stop(Shutdown::Fast).await;
    let place = ReadModelPlace::postgres(&url).expect("a URL");
    let settings = ReadModelSettings::default;
    assert!(matches!(ReadModels::open(place.clone(), settings()).await, Err(OpenError::Unreachable { .. })));
    let models = ReadModels::open_when_there(place, settings()).await.expect("it may come");
    let mut runner = runner(&store, &models);
    tenant_of(&store, "acme").publish("claim", 1, &[]).await;
    runner.run_once().await.expect_err("it is away");
    postgres.start_again().await;
    assert_eq!(runner.run_once().await.expect("a run"), 1);
}

#[tokio::test]
async fn a_standby_is_queried_and_never_written_and_the_primary_serves_while_it_is_away() {
    let (_dir, store) = ledger().await;
    let primary = server().await;
    let url = primary.create_database("formledger").await;
    let kept = open_postgres(&url).await;
    let mut standby = primary.standby().await;
    let copy = open_postgres(&standby.url("formledger")).await;
    let replicas = Replicas::new(kept.clone(), vec![copy.clone()]);
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &[]).await;
    let last = acme.submit("claim", json!({})).await;
    assert_eq!(runner(&store, &copy).run_once().await.expect("a run"), 0, "nobody keeps a standby");
    assert_eq!(runner(&store, &kept).run_once().await.expect("a run"), 2);

    let reader = || replicas.reader(&context("acme"));
    let deadline = || Instant::now() + PATIENCE;
    copy.reader(&context("acme"))
        .wait_for(ReadModel::Submissions, Position(2), deadline())
        .await
        .expect("it arrives");
    let used = kept.pool_use();
    assert!(reader().submission(last).await.expect("an answer").value.is_some());
    assert_eq!(kept.pool_use(), used, "the standby answered");
    let heads = store.heads().await.expect("heads");
    let lags = async |heads: &[LedgerHead]| -> Vec<u64> {
        replicas.status(heads).await.iter().map(ReplicaStatus::lag_events).collect()
    };
    assert_eq!(lags(&heads).await, [0, 0]);

    standby.kill_9().await;
    for _ in 0..3 {
        assert!(reader().submission(last).await.expect("the primary answers").value.is_some());
    }
    acme.submit("claim", json!({})).await;
    assert_eq!(runner(&store, &kept).run_once().await.expect("a run"), 1);
    let heads = store.heads().await.expect("heads");
    assert_eq!(lags(&heads).await, [1, 0], "it is where it was when it last told");
    let answers =
        async || replicas.status(&heads).await.iter().map(|status| status.answers).collect::<Vec<_>>();
    assert_eq!(answers().await, [false, true]);
    standby.start_again().await;
    let back = async {
        while answers().await != [true, true] {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("the standby is asked again");
}

#[tokio::test]
async fn a_standby_that_stands_still_is_not_asked_before_one_that_follows_and_answers_when_nobody_else_can() {
    let (_dir, store) = ledger().await;
    let mut primary = server().await;
    let kept = open_postgres(&primary.create_database("formledger").await).await;
    let standby = primary.standby().await;
    let copy = open_postgres(&standby.url("formledger")).await;
    let replicas = Replicas::new(kept.clone(), vec![copy.clone()]);
    let (still, moving) = (tenant_of(&store, "acme"), tenant_of(&store, "globex"));
    still.publish("claim", 1, &[]).await;
    moving.publish("claim", 1, &[]).await;
    let keeping = tokio::spawn({
        let (replicas, store) = (replicas.clone(), store.clone());
        async move { replicas.keep(&store, &RunnerSettings::default(), std::future::pending()).await }
    });
    for tenant in ["acme", "globex"] {
        let arrives = copy
            .reader(&context(tenant))
            .wait_for(ReadModel::Submissions, Position(1), Instant::now() + PATIENCE)
            .await;
        arrives.expect("the standby follows");
    }
    let pause = "SELECT pg_wal_replay_pause()";
    let paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
    let mut session = standby.connect("formledger").await;
    sqlx::query(pause).execute(&mut session).await.expect("pauses");
    while !sqlx::query_scalar::<_, bool>(paused).fetch_one(&mut session).await.expect("a state") {
        sleep(Duration::from_millis(20)).await;
    }

    // Far fewer than make a replica worse than another one by themselves.
    let last = moving.submit("claim", json!({})).await;
    let answered = async {
        while replicas.reader(&context("globex")).submission(last).await.expect("an answer").value.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("the ledger's own answers, without being asked for a position");
    let heads = store.heads().await.expect("heads");
    let status = replicas.status(&heads).await;
    assert!(status[0].answers, "it answers, from where it stands");
    assert_eq!((status[0].lag_events(), status[1].lag_events()), (1, 0));

    primary.stop(Shutdown::Immediate).await;
    let old = position(&replicas.reader(&context("globex"))).await;
    assert_eq!(old, Position(1), "nobody else can answer");
    keeping.abort();
}

#[tokio::test]
async fn an_answer_is_never_older_than_what_was_waited_for_or_seen_before() {
    let (_dir, store) = ledger().await;
    let (new, old) = (Database::create().await, Database::create().await);
    let (new, old) = ((open_postgres(&new.url()).await, new), (open_postgres(&old.url()).await, old));
    let replicas = Replicas::new(new.0.clone(), vec![old.0.clone()]);
    let acme = tenant_of(&store, "acme");
    let published = acme.publish("claim", 1, &[]).await;
    runner(&store, &old.0).run_once().await.expect("a run");
    acme.submit("claim", json!({})).await;
    runner(&store, &new.0).run_once().await.expect("a run");

    let reader = replicas.reader(&context("acme"));
    assert_eq!(position(&reader).await, published, "whoever asks for nothing is answered by the replica");
    let wanted = Position(2);
    reader.wait_for(ReadModel::Submissions, wanted, Instant::now()).await.expect("the primary has it");
    let page = reader.submissions(&SubmissionQuery::default()).await.expect("a page");
    assert_eq!((page.position, page.items.len()), (wanted, 1));
    let behind = reader.wait_for(ReadModel::Submissions, Position(3), Instant::now()).await;
    assert_eq!(behind, Err(Behind { position: wanted }));

    // Rows that went back, as after a rebuild from a ledger that is being caught up with.
    let back = "SET search_path TO read_models; UPDATE checkpoints SET submissions_position = 1";
    sqlx::raw_sql(back).execute(&mut new.1.connect().await).await.expect("set back");
    let error = reader.submissions(&SubmissionQuery::default()).await.expect_err("nobody holds it");
    assert!(matches!(error, QueryError::Behind(Behind { position: Position(1) })), "{error:?}");
}

/// Tasks that write and then read, and how often each does.
const WRITERS: usize = 50;
const PAIRS_EACH: usize = 200;
const TENANTS: usize = 10;
/// The longest that a projector dawdles before a batch.
const LAG_MAX: Duration = Duration::from_millis(30);

/// Projects with a lag that is another one each time.
async fn dawdle(store: Store, models: ReadModels) {
    let mut runner = runner(&store, &models);
    for turn in 0u32.. {
        sleep(LAG_MAX * (turn * 7 % 11) / 10).await;
        runner.run_once().await.expect("a run");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_writers_read_what_they_wrote_over_replicas_that_lag() {
    let (_dir, store) = ledger().await;
    let (primary, other) = (server().await, Database::create().await);
    let kept = open_postgres(&primary.create_database("formledger").await).await;
    let standby = primary.standby().await;
    standby.upstream().delay(Duration::from_millis(10));
    let copy = open_postgres(&standby.url("formledger")).await;
    let fed = open_postgres(&other.url()).await;
    let replicas = Replicas::new(kept.clone(), vec![copy, fed.clone()]);
    let dawdlers = [kept, fed].map(|models| tokio::spawn(dawdle(store.clone(), models)));
    for tenant in 0..TENANTS {
        tenant_of(&store, &format!("t{tenant}")).publish("claim", 1, &[]).await;
    }
    let writers = (0..WRITERS).map(|writer| {
        let (store, replicas) = (store.clone(), replicas.clone());
        tokio::spawn(async move {
            let tenant = format!("t{}", writer % TENANTS);
            for pair in 0..PAIRS_EACH {
                let id = formledger_domain::SubmissionId(uuid::Uuid::now_v7());
                let event = support::submitted("claim", &json!({"pair": pair}));
                let position = tenant_of(&store, &tenant).submission_events(id, &[event]).await;
                let reader = replicas.reader(&context(&tenant));
                let deadline = Instant::now() + PATIENCE;
                reader.wait_for(ReadModel::Submissions, position, deadline).await.expect("it arrives");
                let answer = reader.submission(id).await.expect("an answer");
                assert!(answer.value.is_some(), "stale: {} of {}", answer.position, position);
                assert!(answer.position >= position);
            }
        })
    });
    for written in join_all(writers).await {
        written.expect("nobody read anything stale");
    }
    for dawdler in dawdlers {
        dawdler.abort();
    }
}

#[tokio::test]
async fn the_readers_role_sees_one_tenant_in_every_table_and_writes_none() {
    let (_dir, store) = ledger().await;
    let database = Database::create().await;
    let models = open_postgres(&database.url()).await;
    for tenant in ["acme", "globex"] {
        let tenant = tenant_of(&store, tenant);
        tenant.publish("claim", 1, &["/n"]).await;
        let outcomes = json!({"big": {"matched": true}});
        let id = tenant.submit_with_outcomes("claim", json!({"n": 1}), outcomes).await;
        tenant.submission_events(id, &[support::task_opened("claim")]).await;
        // Its stay in that state has ended.
        let id = tenant.submit("claim", json!({"n": 2})).await;
        let opened_and_left = [support::task_opened("claim"), support::withdrawn("claim")];
        tenant.submission_events(id, &opened_and_left).await;
    }
    runner(&store, &models).run_once().await.expect("a run");
    let mut connection = database.connect().await;
    // Rows of an earlier version, which this one does not write, and counts, which it would write later.
    let earlier = "SET search_path TO read_models; \
        INSERT INTO submission_fields SELECT tenant_id, 'claim', '/n', 1, 1, '', 2 FROM checkpoints; \
        INSERT INTO state_counts SELECT tenant_id, 'claim', 'review', 1 FROM checkpoints; \
        INSERT INTO day_counts SELECT tenant_id, 'claim', '2026-01-31', 1 FROM checkpoints; \
        INSERT INTO outcome_counts SELECT tenant_id, 'claim', 'big', true, '', 1 FROM checkpoints; RESET search_path";
    sqlx::raw_sql(earlier).execute(&mut connection).await.expect("rows");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'read_models' AND tablename <> 'schema_version'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    assert_eq!(tables.len(), 16, "a new table needs its policies: {tables:?}");
    // Where the projector is exempt from policies nothing else tells of one that is missing, or says more than `true`.
    let of_projector = "SELECT format('%s %s %s %s %s', tablename, permissive, cmd, qual, with_check) FROM pg_policies \
        WHERE roles && '{formledger_projector,public}' ORDER BY tablename COLLATE \"C\"";
    let of_projector: Vec<String> =
        sqlx::query_scalar(of_projector).fetch_all(&mut connection).await.expect("policies");
    let mut sorted = tables.clone();
    sorted.sort();
    let open: Vec<String> = sorted.iter().map(|table| format!("{table} PERMISSIVE ALL true true")).collect();
    assert_eq!(of_projector, open, "the projector sees all rows of every table");
    let enter = "SET search_path TO read_models; SET ROLE formledger_reader";
    sqlx::raw_sql(enter).execute(&mut connection).await.expect("the role");
    for table in tables {
        for (name, seen) in [("", 0), ("acme", 1)] {
            let name = format!("SET app.tenant = '{name}'");
            sqlx::raw_sql(&name).execute(&mut connection).await.expect("a name");
            let select = format!("SELECT count(DISTINCT tenant_id) FROM {table}");
            let tenants: i64 = sqlx::query_scalar(&select).fetch_one(&mut connection).await.expect("a count");
            // Nothing was skipped in this history.
            assert_eq!(tenants, if table == "skips" { 0 } else { seen }, "{table}");
        }
        for statement in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET tenant_id = 'x'")] {
            let refused = sqlx::raw_sql(&statement).execute(&mut connection).await.expect_err(&statement);
            assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_hold_read_models_is_refused_with_one_clear_error() {
    let open = async |url: &str| ReadModels::open_postgres(url, ReadModelSettings::default()).await;
    assert!(matches!(open("postgres//nowhere").await, Err(OpenError::Url)));
    let nobody = open("postgres://postgres@127.0.0.1:1/formledger").await.expect_err("nobody listens");
    assert!(nobody.to_string().contains("127.0.0.1:1/formledger"), "{nobody}");

    let database = Database::create().await;
    open(&database.url()).await.expect("opens").close().await;
    open(&database.url()).await.expect("opens again").close().await;
    let mut connection = database.connect().await;
    let newer = "UPDATE read_models.schema_version SET version = 99";
    sqlx::query(newer).execute(&mut connection).await.expect("changed");
    let refused = open(&database.url()).await.expect_err("newer");
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    assert!(
        refused.to_string().contains("drop their schema") && !refused.to_string().contains("file"),
        "{refused}"
    );
    let foreign = "DROP TABLE read_models.schema_version";
    sqlx::query(foreign).execute(&mut connection).await.expect("changed");
    assert!(matches!(open(&database.url()).await, Err(OpenError::Foreign)));
}
