//! Changes a stopped installation's ledger behind the product's back, as somebody would who owns the file.
//! Used to prove that `verify` sees it and that projectors survive it.

use std::fs;
use std::path::PathBuf;

use sqlx::{Connection, Executor, SqliteConnection};

use crate::installation::Installation;

/// The files of the data folder that are databases holding `table`.
async fn files_with(installation: &Installation, table: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(installation.data()).expect("the data folder is there") {
        let path = entry.expect("the data folder can be read").path();
        let mut head = [0; 16];
        let read = fs::File::open(&path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
        if read.is_err() || &head != b"SQLite format 3\0" {
            continue;
        }
        let mut database = open(&path).await;
        let query = format!("select 1 from sqlite_master where type = 'table' and name = '{table}'");
        if sqlx::query(&query).fetch_optional(&mut database).await.is_ok_and(|row| row.is_some()) {
            found.push(path);
        }
        // Seen to its end, with which its log goes: whoever removes files next would meet it going.
        database.close().await.expect("the file can be closed");
    }
    found
}

async fn open(path: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.expect("the file is a database")
}

/// A connection to the ledger, with all its guards.
pub async fn ledger(installation: &Installation) -> SqliteConnection {
    let files = files_with(installation, "events").await;
    let [file] = files.as_slice() else { panic!("one file holds the events, not {files:?}") };
    open(file).await
}

/// Takes the guards away and carries out `statement`, which must change exactly one row to prove anything.
pub async fn tamper(installation: &Installation, statement: &str) {
    let mut database = ledger(installation).await;
    let guards: Vec<(String,)> = sqlx::query_as("select name from sqlite_master where type = 'trigger'")
        .fetch_all(&mut database)
        .await
        .expect("triggers can be listed");
    for (name,) in guards {
        database.execute(format!("drop trigger \"{name}\"").as_str()).await.expect("a guard can be dropped");
    }
    let changed = database.execute(statement).await.expect("the statement is valid").rows_affected();
    assert_eq!(changed, 1, "`{statement}`");
    database.close().await.expect("the file can be closed");
}

/// Changes one row of a server's read models, which lie beside the ledger.
pub async fn tamper_rows(installation: &Installation, statement: &str) {
    if let Some(database) = installation.database() {
        let mut connection = database.connect().await;
        connection.execute("set search_path to read_models").await.expect("a superuser may");
        let changed = connection.execute(statement).await.expect("the statement is valid").rows_affected();
        assert_eq!(changed, 1, "`{statement}`");
        return;
    }
    let files = files_with(installation, "checkpoints").await;
    let [file] = files.as_slice() else { panic!("one file holds the read models, not {files:?}") };
    let mut database = open(file).await;
    let changed = database.execute(statement).await.expect("the statement is valid").rows_affected();
    assert_eq!(changed, 1, "`{statement}`");
    database.close().await.expect("the file can be closed");
}

/// Removes everything but the ledger: whatever read models there were, they have to be made again.
pub async fn remove_read_models(installation: &Installation) {
    if let Some(database) = installation.database() {
        let mut connection = database.connect().await;
        connection.execute("drop schema if exists read_models cascade").await.expect("a superuser may");
        return;
    }
    let ledger = files_with(installation, "events").await;
    for entry in fs::read_dir(installation.data()).expect("the data folder is there") {
        let path = entry.expect("the data folder can be read").path();
        let belongs_to_ledger =
            ledger.iter().any(|file| path.to_string_lossy().starts_with(&*file.to_string_lossy()));
        if path.is_file() && !belongs_to_ledger {
            fs::remove_file(&path).expect("a file of the data folder can be removed");
        }
    }
}
