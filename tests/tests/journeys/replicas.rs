//! Databases that answer queries beside the ledger's own: what was written is read there, one that fails is left out, a bad one is told.

use std::time::Duration;

use formledger_test_cluster::{Database, Postgres, Settings, Shutdown};
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::wait::{PATIENCE, within, within_time};
use formledger_tests::{Installation, Server, Stage};
use serde_json::{Value, json};
use tokio::time::sleep;

#[tokio::test]
async fn replicas_answer_with_what_was_written_and_are_left_out_while_they_fail() {
    let mut postgres = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let replica = postgres.create_database("replica").await;
    let installation = Installation::fresh().with("REPLICA_URL", &replica);
    let server = installation.serve().await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    admin.publish("expense", &expense_claim()).await;
    let submit = async || {
        let answer = admin.submit("expense", &expense(12.0, "DE")).await.expect(201);
        answer.json()["position"].as_u64().expect("a position")
    };
    let listed = async |position: u64| {
        let page = admin.get_at("/v1/submissions", position).await.expect(200);
        page.submission_ids().len()
    };
    for count in 1..=5 {
        assert_eq!(listed(submit().await).await, count);
    }
    let mut connection = postgres.connect("replica").await;
    // What answered may have been the ledger's own read models; the replica gets there too.
    within("the replica to hold all five", async {
        let count = "SELECT count(*) FROM read_models.submissions";
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("a count") < 5 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let ready = server.anonymous().get("/readyz").await.expect(200).json();
    assert_eq!(ready["replicas"].as_array().map(Vec::len), Some(2), "{ready}");

    postgres.stop(Shutdown::Immediate).await;
    for count in 6..=8 {
        assert_eq!(listed(submit().await).await, count, "the ledger's own read models answer");
    }
    postgres.start_again().await;
    within("the replica to be asked again and to catch up", async {
        loop {
            let ready = server.anonymous().get("/readyz").await.expect(200).json();
            if ready["replicas"][0]["answers"] == true && ready["replicas"][0]["lag_events"] == 0 {
                break;
            }
        }
    })
    .await;
    assert_eq!(listed(submit().await).await, 9);

    postgres.pause();
    for count in 10..=12 {
        let answer =
            within("an answer although the replica hangs", async { listed(submit().await).await }).await;
        assert_eq!(answer, count);
    }
    postgres.resume();
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_replica_that_is_late_is_named_by_a_shadow_which_compares_the_others_and_is_exit_3() {
    let database = Database::create().await;
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let last = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).position();
    for resource in ["submissions", "forms", "stats", "tasks"] {
        stage.admin.get_at(&format!("/v1/{resource}"), last).await.expect(200);
    }
    let Stage { installation, server, .. } = stage;
    assert!(server.stop().await.success());

    // Nobody feeds it.
    let installation = installation.with("REPLICA_URL", database.url());
    // It is waited for, for half a minute.
    let comparing = installation.command(&["replay", "--tenant", "acme", "--shadow"]).output();
    let compared = within_time("the comparison", 4 * PATIENCE, comparing).await.expect("it runs");
    assert_eq!(compared.status.code(), Some(3), "{compared:?}");
    let told: Value = serde_json::from_slice(&compared.stdout).expect("a summary");
    let summary = &told["summary"];
    assert_eq!((&summary["differences"], &summary["unavailable"]), (&json!(0), &json!([])), "{told}");
    assert_eq!(summary["compared"].as_array().map(Vec::len), Some(1), "{told}");
    let late = &summary["behind"][0];
    assert_ne!(summary["compared"][0]["replica"], late["replica"], "{told}");
    assert_eq!(late["wanted"].as_u64(), Some(last), "{told}");
    let name = late["replica"].as_str().expect("a name");
    assert!(name.ends_with(database.name()), "{told}");
    assert!(String::from_utf8_lossy(&compared.stderr).contains(name), "{compared:?}");
}

/// How many events each read model of one replica is behind, by the metrics of a node; a name with a port is told from that of the embedded ones.
async fn lag(server: &Server, read_model: &str) -> Option<u64> {
    let metrics = server.anonymous().get("/metrics").await.expect(200).text();
    let start = format!("formledger_projection_lag_events{{projection=\"{read_model}\",replica=\"127.0.0.1:");
    let line = metrics.lines().find(|line| line.starts_with(&start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn metrics_tell_how_far_a_replica_is_behind_while_a_batch_hangs_and_while_its_database_is_away() {
    let mut postgres = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let replica = postgres.create_database("replica").await;
    let installation = Installation::fresh().with("REPLICA_URL", &replica);
    let server = installation.serve().await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    admin.publish("expense", &expense_claim()).await;
    let submit = async || {
        let answer = admin.submit("expense", &expense(12.0, "DE")).await.expect(201);
        answer.json()["position"].as_u64().expect("a position")
    };
    let lag_is = async |wanted: u64, when: &str| {
        within(when, async {
            while lag(&server, "submissions").await != Some(wanted) {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    };
    submit().await;
    let reached = "SELECT coalesce(max(submissions_position), 0) FROM read_models.checkpoints";
    let mut connection = postgres.connect("replica").await;
    sqlx::query("BEGIN").execute(&mut connection).await.expect("begins");
    let lock = "LOCK TABLE read_models.submissions IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut connection).await.expect("locks");
    let before: i64 = sqlx::query_scalar(reached).fetch_one(&mut connection).await.expect("a position");
    submit().await;
    let behind = submit().await - before.unsigned_abs();
    lag_is(behind, "the gauge to tell how far it is behind while its batch waits for a lock").await;
    sqlx::query("COMMIT").execute(&mut connection).await.expect("unlocks");
    lag_is(0, "it to catch up").await;

    let before = submit().await;
    lag_is(0, "it to catch up").await;
    within("the gauge to be of the last event", async {
        while sqlx::query_scalar::<_, i64>(reached).fetch_one(&mut connection).await.expect("a position")
            < before.cast_signed()
        {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Seen at the next look, which notes where it is: every two seconds, and one may have begun before that.
    sleep(Duration::from_secs(5)).await;
    postgres.stop(Shutdown::Immediate).await;
    submit().await;
    let behind = submit().await - before;
    lag_is(behind, "the gauge to tell how far it is behind while its database is away").await;
    let ready = server.anonymous().get("/readyz").await.expect(200).json();
    assert_eq!(ready["replicas"][0]["answers"], false, "{ready}");
    assert_eq!(ready["replicas"][0]["lag_events"], behind, "{ready}");
    postgres.start_again().await;
    lag_is(0, "it to catch up again").await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_node_starts_while_a_replica_is_away_and_takes_it_in_when_it_comes() {
    let mut postgres = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let replica = postgres.create_database("replica").await;
    postgres.stop(Shutdown::Fast).await;
    let installation = Installation::fresh().with("REPLICA_URL", &replica);
    let server = installation.serve().await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    admin.publish("expense", &expense_claim()).await;
    let answer = admin.submit("expense", &expense(12.0, "DE")).await.expect(201).json();
    let at = answer["position"].as_u64().expect("a position");
    assert_eq!(admin.get_at("/v1/submissions", at).await.expect(200).submission_ids().len(), 1);
    let ready = server.anonymous().get("/readyz").await.expect(200).json();
    assert_eq!(ready["replicas"][0]["answers"], false, "{ready}");

    postgres.start_again().await;
    within("the replica to be migrated, filled and taken in", async {
        loop {
            let ready = server.anonymous().get("/readyz").await.expect(200).json();
            if ready["replicas"][0]["answers"] == true && ready["replicas"][0]["lag_events"] == 0 {
                break;
            }
        }
    })
    .await;
    let mut connection = postgres.connect("replica").await;
    let count = "SELECT count(*) FROM read_models.submissions";
    // What `/readyz` tells of the lag is beside where the ledger ended up to three seconds ago.
    within("the submission to be there", async {
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("a count") != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_replica_that_cannot_be_used_is_one_line_and_exit_status_2() {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    let foreign = "CREATE SCHEMA read_models CREATE TABLE something_else (id int)";
    sqlx::query(foreign).execute(&mut connection).await.expect("a schema");
    for (url, said) in [
        (database.url_as("nobody:hunter2"), "does not let us in"),
        ("replica.example".to_owned(), "postgres://"),
        (database.url(), "not a read-model database"),
    ] {
        let installation = Installation::fresh().with("REPLICA_URL", &url);
        let finished = installation.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2);
        assert_eq!(finished.stderr.trim_end().lines().count(), 1, "{}", finished.stderr);
        assert!(
            finished.stderr.contains(said) && !finished.stderr.contains("hunter2"),
            "{}",
            finished.stderr
        );
    }
}

/// An installation with a form and `submissions` of it in `acme`, stopped.
async fn stopped_with(installation: Installation, submissions: u32) -> Installation {
    let Stage { installation, server, admin } = Stage::on(installation, &[]).await;
    admin.publish("expense", &expense_claim()).await;
    for n in 0..submissions {
        admin.submit("expense", &expense(f64::from(n), "DE")).await.expect(201);
    }
    assert!(server.stop().await.success());
    installation
}

/// Submissions whose rows are in a database.
async fn rows(database: &Database) -> i64 {
    let count = "SELECT count(*) FROM read_models.submissions";
    sqlx::query_scalar(count).fetch_one(&mut database.connect().await).await.expect("a count")
}

/// Ours with 2 submissions; and the database of another installation, which has the same tenant and 3.
async fn ours_and_a_foreign_replica() -> (Installation, Database) {
    let foreign = Database::create().await;
    let theirs = stopped_with(Installation::fresh().with("REPLICA_URL", foreign.url()), 3).await;
    theirs.run(&["rebuild"]).await.expect(0);
    assert_eq!(rows(&foreign).await, 3);
    (stopped_with(Installation::fresh(), 2).await, foreign)
}

#[tokio::test]
async fn a_rebuild_leaves_the_replica_of_another_installation_alone_makes_the_others_and_says_so() {
    let (ours, foreign) = ours_and_a_foreign_replica().await;
    let ours_too = Database::create().await;
    let ours = ours.with("REPLICA_URL", format!("{} {}", foreign.url(), ours_too.url()));
    let finished = ours.run(&["rebuild"]).await.expect(1);
    assert!(finished.stderr.contains("were made from another ledger"), "{}", finished.stderr);
    assert!(finished.stderr.contains(foreign.name()), "{}", finished.stderr);
    assert_eq!((rows(&foreign).await, rows(&ours_too).await), (3, 2));
}

#[tokio::test]
async fn no_tool_takes_the_replica_of_another_installation_for_one_of_its_own() {
    let (ours, foreign) = ours_and_a_foreign_replica().await;
    let ours = ours.with("REPLICA_URL", foreign.url());
    for arguments in [&["migrate"][..], &["replay", "--tenant", "acme", "--shadow"]] {
        let finished = ours.run(arguments).await.expect(2);
        let said = finished.stderr.lines().filter(|line| line.starts_with("formledger: ")).count();
        assert_eq!(said, 1, "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("were made from another ledger"), "{}", finished.stderr);
    }
    assert_eq!(rows(&foreign).await, 3);
}
