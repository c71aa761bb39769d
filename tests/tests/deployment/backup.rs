//! Backup and restore as docs/operations.md says: taken while the server records, and the restored server verifies, serves, and brings its read
//! models to what the restored ledger says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formledger_test_cluster::{Postgres, Settings};
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::installation::repository;
use formledger_tests::{Client, Installation, tampering};
use sqlx::Executor;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::parts::{PASSWORDS, Primary, app_password, open_folder, run};
use crate::servers::migrated;

/// Submissions before the backup begins, and as many beside it.
const SUBMISSIONS: usize = 40;
const CLIENTS: usize = 4;

/// Submits [`SUBMISSIONS`] claims at once; answers their positions by id.
async fn record(client: &Client) -> BTreeMap<String, u64> {
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        tasks.spawn(async move {
            let mut recorded = Vec::new();
            for n in 0..SUBMISSIONS / CLIENTS {
                let answer = client.submit("expense", &expense(n as f64, "DE")).await.expect(201).json();
                let id = answer["submission_id"].as_str().expect("an id").to_owned();
                recorded.push((id, answer["position"].as_u64().expect("a position")));
            }
            recorded
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn administrator(installation: &Installation, server: &formledger_tests::Server) -> Client {
    server.client(&installation.token("acme", "ada", "admin").await)
}

async fn head(client: &Client) -> u64 {
    client.get("/v1/ledger").await.expect(200).json()["position"].as_u64().expect("a position")
}

/// The submissions that the read models of a server show once they have reached its ledger's end.
async fn shown(client: &Client) -> BTreeMap<String, u64> {
    let export = client.get_at("/v1/exports/submissions.ndjson", head(client).await).await.expect(200);
    let row =
        |row: serde_json::Value| Some((row["submission_id"].as_str()?.to_owned(), row["position"].as_u64()?));
    export.json_lines().into_iter().filter_map(row).collect()
}

/// A restored installation verifies, serves everything of `recorded`, shows what its ledger holds, and records on.
async fn assert_restored(restored: &Installation, recorded: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    restored.run(&["verify"]).await.expect(0);
    let server = restored.serve().await;
    let client = administrator(restored, &server).await;
    let before = shown(&client).await;
    for (id, position) in recorded {
        assert_eq!(before.get(id), Some(position), "{id} was recorded before the backup");
    }
    let more = record(&client).await;
    assert_eq!(shown(&client).await.len(), before.len() + more.len());
    assert!(server.stop().await.success());
    restored.run(&["verify"]).await.expect(0);
    before
}

/// The lines that docs/operations.md gives for an embedded ledger, without their prompts.
fn embedded_lines() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/operations.md")).expect("the page is there");
    let (_, block) = page.split_once("**Embedded, while it serves**").expect("its paragraph");
    let block = block.split("```").nth(1).expect("its lines");
    block.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Runs those lines where the data folder is `data`; SQLite is asked by this process, because not every machine has its shell.
async fn back_up(installation: &Installation) {
    let folder = installation.scratch();
    for line in embedded_lines() {
        if let Some(sql) =
            line.strip_prefix("sqlite3 data/ledger.db \"").and_then(|rest| rest.strip_suffix('"'))
        {
            let sql = sql.replace("'backup/", &format!("'{}/backup/", folder.display()));
            let mut ledger = tampering::ledger(installation).await;
            ledger.execute(&*sql).await.unwrap_or_else(|error| panic!("{line}: {error}"));
            continue;
        }
        let status = Command::new("bash").args(["-ec", &line]).current_dir(folder).status().await;
        assert!(status.expect("bash runs these tests").success(), "{line}");
    }
}

/// As an embedded ledger is backed up beside a server that records, every day: a snapshot of one moment, in one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_ledger_is_backed_up_while_it_serves() {
    let installation = Installation::fresh();
    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    client.publish("expense", &expense_claim()).await;
    assert!(embedded_lines().iter().any(|line| line.contains("VACUUM INTO")), "{:?}", embedded_lines());
    back_up(&installation).await;
    let recorded = record(&client).await;
    let ((), meanwhile) = tokio::join!(back_up(&installation), record(&client));
    assert_eq!(meanwhile.len(), SUBMISSIONS, "recording went on");

    let restored = Installation::fresh();
    fs::create_dir(restored.data()).expect("a data folder can be made");
    let copy = installation.scratch().join("backup/ledger.db");
    fs::copy(copy, restored.data().join("ledger.db")).expect("the copy can be put back");
    assert_restored(&restored, &recorded).await;
}

/// Read models that are older than the ledger, and none at all, end as the same.
#[tokio::test]
async fn read_models_of_an_older_backup_catch_up_and_missing_ones_are_made() {
    let installation = Installation::fresh();
    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    client.publish("expense", &expense_claim()).await;
    let mut recorded = record(&client).await;
    shown(&client).await;
    assert!(server.stop().await.success());
    let older = Installation::fresh();
    copy_folder(installation.data(), older.data());

    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    recorded.extend(record(&client).await);
    assert_eq!(shown(&client).await, recorded);
    assert!(server.stop().await.success());
    // The newer ledger beside the older read models.
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        replace(&installation.data().join(file), &older.data().join(file));
    }
    tampering::remove_read_models(&installation).await;
    for restored in [older, installation] {
        assert_eq!(assert_restored(&restored, &recorded).await, recorded);
    }
}

/// Makes the one file what the other is: the same, or not there.
fn replace(from: &Path, to: &Path) {
    let _was_not_there = fs::remove_file(to);
    if from.exists() {
        fs::copy(from, to).expect("a file can be copied");
    }
}

/// The files of a stopped installation and those in its folders, as any backup program copies them.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the data folder is there") {
        let path = entry.expect("the data folder can be read").path();
        let name = path.file_name().expect("files have names");
        if path.is_dir() {
            copy_folder(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).expect("a file can be copied");
        }
    }
}

/// A dump, restored into another server whose roles were made first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_a_postgres_ledger_restores_elsewhere() {
    let primary = Primary::start().await;
    let installation = migrated(&primary, primary.server.port()).await;
    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    client.publish("expense", &expense_claim()).await;
    let recorded = record(&client).await;

    let folder = open_folder();
    let dump = folder.path().join("ledger.dump");
    let mut pg_dump = Command::new("pg_dump");
    pg_dump.arg("--format=custom").arg("--file").arg(&dump).arg(primary.url("postgres"));
    let (_, meanwhile) = tokio::join!(run(pg_dump), record(&client));
    assert_eq!(meanwhile.len(), SUBMISSIONS, "recording went on");

    let other = Primary::start().await;
    let mut pg_restore = Command::new("pg_restore");
    pg_restore
        .args(["--exit-on-error", "--single-transaction", "--dbname"])
        .arg(other.url("postgres"))
        .arg(&dump);
    run(pg_restore).await;
    let restored = migrated(&other, other.server.port()).await;
    let there = assert_restored(&restored, &recorded).await;
    assert!(there.len() <= recorded.len() + meanwhile.len());
    let refused = "UPDATE events SET payload = '{}'";
    let mut owner = other.server.connect("ledger").await;
    assert!(owner.execute(refused).await.is_err(), "the restored ledger is as immutable as it was");
}

/// A base backup and the archived log: everything up to the last archived segment, also what came after the backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_backup_and_the_archive_restore_what_came_after_it() {
    let primary = Primary::start().await;
    let installation = migrated(&primary, primary.server.port()).await;
    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    client.publish("expense", &expense_claim()).await;
    let mut recorded = record(&client).await;
    let backup = primary.scratch.path().join("backup");
    let (_, meanwhile) = tokio::join!(primary.server.back_up(&backup), record(&client));
    recorded.extend(meanwhile);
    recorded.extend(record(&client).await);
    assert!(server.stop().await.success());
    let (_other, restored) = restore(primary, &backup, None).await;
    assert_eq!(assert_restored(&restored, &recorded).await, recorded);
}

/// The same to a moment before the archive's end, with a backup that was taken as the deployment's pg_hba.conf allows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_backup_and_the_archive_restore_what_was_there_at_a_moment() {
    let primary = Primary::start().await;
    let installation = migrated(&primary, primary.server.port()).await;
    let server = installation.serve().await;
    let client = administrator(&installation, &server).await;
    client.publish("expense", &expense_claim()).await;
    let backup = primary.scratch.path().join("backup");
    let mut copy = primary.server.command("pg_basebackup");
    copy.args(["--host=127.0.0.1", "--username=formledger_replicator", "--no-password"]);
    copy.arg(format!("--port={}", primary.server.port())).env("PGPASSWORD", PASSWORDS[2].1);
    copy.arg("--pgdata").arg(&backup).args(["--checkpoint=fast", "--wal-method=stream"]);
    run(Command::from(copy)).await;
    let recorded = record(&client).await;
    let moment = primary.server.ask("SELECT clock_timestamp()").await;
    assert_eq!(record(&client).await.len(), SUBMISSIONS, "more than will be there");
    assert!(server.stop().await.success());
    let (_other, restored) = restore(primary, &backup, Some(moment)).await;
    assert_eq!(assert_restored(&restored, &recorded).await, recorded);
}

/// A server from a base backup and all that `primary` logged, to its end or a moment; and an installation on it.
async fn restore(primary: Primary, backup: &Path, moment: Option<String>) -> (Postgres, Installation) {
    let last = primary.server.ask("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
    primary.server.execute("SELECT pg_switch_wal()").await;
    primary
        .server
        .until(&format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"), "true")
        .await;
    let read = format!("cp {}/%f %p", primary.archive().display());
    let mut parameters = vec![("restore_command", read), ("archive_mode", "off".to_owned())];
    if let Some(moment) = moment {
        // Without the action the server would stop there and wait.
        parameters.push(("recovery_target_time", moment));
        parameters.push(("recovery_target_action", "promote".to_owned()));
    }
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let other = Postgres::restore(backup, Settings { parameters, ..Settings::default() }).await;
    let restored = Installation::fresh()
        .with("DATABASE_URL", other.url_as("formledger_app", "ledger"))
        .with_variable("PGPASSWORD", app_password());
    (other, restored)
}
