//! The Postgres servers of the deployment, with their configuration, roles and scripts: each login can do what it is for, the archive holds the
//! log. Who follows whom is in `failover.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::wait::within;
use formledger_tests::{Installation, Server};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Executor};
use tokio::process::Command;

use crate::parts::{PASSWORDS, Primary, app_password, open_folder, parameters};

/// Migrates as the owner; answers an installation whose commands log in as the nodes do, at `port`.
pub async fn migrated(primary: &Primary, port: u16) -> Installation {
    let owner = Installation::fresh().with("DATABASE_URL", primary.url("formledger_owner"));
    owner.with_variable("PGPASSWORD", PASSWORDS[0].1).run(&["migrate"]).await.expect(0);
    let url = format!("postgres://formledger_app@127.0.0.1:{port}/ledger");
    Installation::fresh().with("DATABASE_URL", url).with_variable("PGPASSWORD", app_password())
}

/// Records something and reads it back.
pub async fn assert_serves(installation: &Installation, server: &Server) {
    let client = server.client(&installation.token("acme", "ada", "admin").await);
    client.publish("expense", &expense_claim()).await;
    let position = client.submit("expense", &expense(1.0, "DE")).await.expect(201).position();
    assert_eq!(client.get_at("/v1/submissions", position).await.expect(200).submission_ids().len(), 1);
}

async fn log_in(
    primary: &Primary,
    role: &str,
    password: &str,
    database: &str,
) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = primary.server.url_as(role, database).parse().expect("a URL");
    options.password(password).connect().await
}

#[tokio::test]
async fn every_line_of_the_configuration_is_understood() {
    let primary = Primary::start().await;
    for view in ["pg_file_settings", "pg_hba_file_rules"] {
        let errors =
            format!("SELECT coalesce(string_agg(error, '; '), '') FROM {view} WHERE error IS NOT NULL");
        assert_eq!(primary.server.ask(&errors).await, "", "{view}");
    }
    for durable in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(primary.server.ask(&format!("SELECT current_setting('{durable}')")).await, "on");
    }
}

#[tokio::test]
async fn the_nodes_login_serves_and_owns_nothing() {
    let primary = Primary::start().await;
    let installation = migrated(&primary, primary.server.port()).await;
    let server = installation.serve().await;
    assert_serves(&installation, &server).await;
    assert!(server.stop().await.success());
    installation.run(&["verify"]).await.expect(0);

    let mut connection = log_in(&primary, "formledger_app", app_password(), "ledger").await.expect("logs in");
    for forbidden in [
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE ledgers",
        "DROP TABLE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "CREATE ROLE friend",
        "SET ROLE formledger_owner",
    ] {
        assert!(connection.execute(forbidden).await.is_err(), "the nodes may `{forbidden}`");
    }
    // Nor anything at all without one of its roles.
    for table in
        ["events", "ledgers", "_sqlx_migrations", "read_models.submissions", "read_models.schema_version"]
    {
        let read = format!("SELECT 1 FROM {table} LIMIT 1");
        assert!(connection.execute(&*read).await.is_err(), "without a role the nodes may `{read}`");
        connection.execute("BEGIN; SET LOCAL ROLE formledger_projector").await.expect("it is a member");
        connection.execute(&*read).await.expect("which may read");
        connection.execute("ROLLBACK").await.expect("ends");
    }
}

#[tokio::test]
async fn every_login_needs_its_password_and_reaches_its_own_database_only() {
    let primary = Primary::start().await;
    let [(_, owner), (_, app), (_, replicator)] = PASSWORDS;
    for (role, password, database, let_in) in [
        ("formledger_app", app, "ledger", true),
        ("formledger_app", owner, "ledger", false),
        ("formledger_app", app, "postgres", false),
        ("formledger_owner", owner, "ledger", true),
        ("formledger_owner", owner, "postgres", false),
        ("formledger_replicator", replicator, "ledger", false),
        ("formledger_writer", "", "ledger", false),
    ] {
        let connected = log_in(&primary, role, password, database).await;
        assert_eq!(connected.is_ok(), let_in, "{role} at {database}: {:?}", connected.err());
    }
}

#[tokio::test]
async fn a_node_whose_read_models_nobody_migrated_says_who_has_to() {
    let primary = Primary::start().await;
    let node = migrated(&primary, primary.server.port()).await;
    let mut connection = primary.server.connect("ledger").await;
    connection.execute("DROP SCHEMA read_models CASCADE").await.expect("a superuser may");
    let refused = node.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2);
    assert!(
        refused.stderr.contains("run `formledger migrate` as the database's owner"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn a_node_that_is_started_before_its_ledger_is_migrated_says_who_has_to() {
    let primary = Primary::start().await;
    let node = Installation::fresh()
        .with("DATABASE_URL", primary.url("formledger_app"))
        .with_variable("PGPASSWORD", app_password());
    let refused = node.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2).stderr;
    assert!(refused.contains("run `formledger migrate` as the database's owner first"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

/// Otherwise it would start, and answer 500 to every command or to every query.
#[tokio::test]
async fn a_node_whose_login_lost_a_role_says_what_to_grant() {
    let primary = Primary::start().await;
    let node = migrated(&primary, primary.server.port()).await;
    for role in ["formledger_writer", "formledger_projector", "formledger_reader"] {
        primary.server.execute(&format!("REVOKE {role} FROM formledger_app")).await;
        let refused = node.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2).stderr;
        assert!(refused.contains(role) && refused.contains("TO formledger_app`"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        primary.server.execute(&format!("GRANT {role} TO formledger_app")).await;
    }
}

/// A node as the deployment sets it up, but for the pooler: it feeds the replica and the ledger's own database, and the standby has what that has.
#[tokio::test]
async fn a_node_feeds_the_replica_and_the_primary_and_any_of_three_answers() {
    let (primary, replica) = (Primary::start().await, Primary::start_replica().await);
    let standby = primary.server.standby().await;
    let owner = Installation::fresh()
        .with("DATABASE_URL", primary.url("formledger_owner"))
        .with("REPLICA_URL", replica.url("formledger_owner"))
        .with_variable("PGPASSWORD", PASSWORDS[0].1);
    owner.run(&["migrate"]).await.expect(0);
    let standby_url = standby.url_as("formledger_app", "ledger");
    let node = Installation::fresh()
        .with("DATABASE_URL", primary.url("formledger_app"))
        .with("REPLICA_URL", format!("{} {standby_url}", replica.url("formledger_app")))
        .with_variable("PGPASSWORD", app_password());
    let server = node.serve().await;
    assert_serves(&node, &server).await;
    assert_eq!(replica.server.ask("SELECT count(*) FROM pg_replication_slots").await, "0");
    for (name, server, database) in [
        ("replica", &replica.server, "read_models"),
        ("primary", &primary.server, "ledger"),
        ("standby", &standby, "ledger"),
    ] {
        within(&format!("the {name} to hold the submission"), async {
            let mut connection = server.connect(database).await;
            let count = "SELECT count(*) FROM read_models.submissions";
            while sqlx::query_scalar::<_, i64>(count)
                .fetch_one(&mut connection)
                .await
                .is_ok_and(|rows| rows == 0)
            {}
        })
        .await;
    }
    drop(replica);
    let client = server.client(&node.token("acme", "ada", "admin").await);
    let position = client.submit("expense", &expense(2.0, "DE")).await.expect(201).position();
    assert_eq!(client.get_at("/v1/submissions", position).await.expect(200).submission_ids().len(), 2);
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_segment_is_archived_whole_again_when_asked_again_and_never_replaced() {
    let primary = Primary::start().await;
    let script = primary.scratch.path().join("archive-wal.sh");
    let segment = primary.scratch.path().join("segment");
    let archive = primary.archive();
    let archived = async |name: &str| {
        let mut command = primary.server.command("/bin/sh");
        command.arg(&script).arg(&segment).arg(name).arg(&archive);
        Command::from(command).status().await.expect("there is a shell").success()
    };
    fs::write(&segment, "one").expect("the scratch folder can be written");
    assert!(archived("0001").await && archived("0001").await, "the second time it is there already");
    fs::write(&segment, "two").expect("the scratch folder can be written");
    assert!(!archived("0001").await, "another segment of the same name");
    assert_eq!(fs::read(archive.join("0001")).expect("it is there"), b"one");
    // Postgres' own name for the last segment of a timeline, while copies that were interrupted lie there.
    for half in [".0001.partial.copying", ".0001.copying"] {
        let half = archive.join(half);
        fs::write(&half, "o").expect("the archive can be written");
        // As if the server's user had made it.
        fs::set_permissions(&half, fs::Permissions::from_mode(0o666)).expect("it is ours");
    }
    assert!(archived("0001.partial").await, "what an interruption left stands in the way");
    assert_eq!(fs::read(archive.join("0001.partial")).expect("it is there"), b"two");

    primary.server.execute("CREATE TABLE things (id int)").await;
    let name = primary.server.ask("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
    primary.server.execute("SELECT pg_switch_wal()").await;
    primary
        .server
        .until(&format!("SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver"), "true")
        .await;
    assert!(archive.join(&name).is_file());
}

/// `parameters` leaves nothing out: a line that is no `name = value` is a failure there.
#[test]
fn the_servers_configuration_turns_no_guarantee_off() {
    let scratch = open_folder();
    let off = parameters(scratch.path(), scratch.path()).into_iter().filter(|(name, value)| {
        ["fsync", "full_page_writes", "synchronous_commit"].contains(&name.as_str()) && value != "on"
    });
    assert_eq!(off.count(), 0);
}
