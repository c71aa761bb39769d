//! A file of its own, on one thread: what goes in comes back, nothing is left behind, and who waits lets others work.

use std::sync::LazyLock;

use futures_util::FutureExt;

use super::*;
use crate::database::many_rows::tests::{OfAllKinds, bind, insert};
use crate::database::{Connection, Kind, ManyRows, Row, sql};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder, which goes with it, and a file there with the table `t`.
async fn file() -> (tempfile::TempDir, std::path::PathBuf, FileConnection) {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("t.db");
    let missing = FileConnection::open(&path, PATIENCE, 8, "").await.expect_err("it is not made");
    assert_eq!(code(&missing).as_deref(), Some("14"), "{missing}");
    std::fs::write(&path, "").expect("an empty file");
    let mut file = connect(&path).await;
    let table = "CREATE TABLE t (a TEXT NOT NULL, b TEXT, c INTEGER UNIQUE, d INTEGER, e INTEGER, f BLOB, g BLOB) STRICT";
    file.run_script(table).await.expect("a table");
    (folder, path, file)
}

async fn connect(path: &Path) -> FileConnection {
    FileConnection::open(path, PATIENCE, 8, "PRAGMA journal_mode = WAL").await.expect("connects")
}

async fn count(file: &mut FileConnection) -> i64 {
    let counted = sql("SELECT count(*) FROM t").one(&mut Connection::File(file)).await;
    counted.expect("a count").value().expect("a number")
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

static INSERT: LazyLock<ManyRows> = LazyLock::new(|| insert("t"));

static SELECT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over("SELECT t.* FROM {rows} CROSS JOIN t WHERE t.c = r.column1", &[Kind::Integer])
});

fn read(row: &Row) -> Result<OfAllKinds, sqlx::Error> {
    let bytes: Option<&[u8]> = row.get("g")?;
    Ok((
        row.get("a")?,
        row.get("b")?,
        row.get("c")?,
        row.get("d")?,
        row.get("e")?,
        row.get("f")?,
        bytes.map(Vec::from),
    ))
}

#[tokio::test]
async fn rows_of_any_number_come_back_as_they_went() {
    let (_folder, _path, mut file) = file().await;
    let kinds: [OfAllKinds; 3] = [
        (String::new(), None, i64::MIN, None, false, Uuid::nil(), None),
        ("a\0b".into(), Some("\0".into()), i64::MAX, Some(0), true, Uuid::max(), Some(vec![0, 255])),
        ("ä😀'".into(), Some(String::new()), -1, Some(-1), true, Uuid::nil(), Some(vec![])),
    ];
    let mut written = 0;
    for size in [0, 1, 2, 63, 64, 65, 127, 200] {
        let number = |n: i64| (kinds[n as usize % 3].clone(), written + n);
        let rows: Vec<OfAllKinds> = (0..size)
            .map(number)
            .map(|(row, n)| OfAllKinds::from((row.0, row.1, n, row.3, row.4, row.5, row.6)))
            .collect();
        let mut connection = Connection::File(&mut file);
        let changed = INSERT.execute(&mut connection, rows.clone(), bind).await.expect("inserts");
        assert_eq!(changed, size as u64);
        let asked: Vec<i64> = rows.iter().map(|row| row.2).collect();
        let found = SELECT.fetch(&mut connection, asked, |values, n| values.integer(*n)).await.expect("rows");
        let found: Vec<OfAllKinds> = found.iter().map(|row| read(row).expect("a row")).collect();
        assert_eq!(found, rows, "{size}");
        written += size;
    }
    INSERT
        .execute(&mut Connection::File(&mut file), kinds[..2].to_vec(), bind)
        .await
        .expect("the least and the greatest");
}

#[tokio::test]
async fn parameters_are_found_by_their_numbers() {
    let (_folder, _path, mut file) = file().await;
    let told = sql("SELECT $2 AS second, $1 AS first, $2 AS again").bind("one").bind(2);
    let row = told.one(&mut Connection::File(&mut file)).await.expect("a row");
    assert_eq!(row.get::<i64>("second").expect("a number"), 2);
    assert_eq!(row.get::<&str>("first").expect("a text"), "one");
    assert_eq!(row.cells().expect("cells"), [Cell::Integer(2), Cell::Text("one".into()), Cell::Integer(2)]);
    for (name, expected) in [("none", "ColumnNotFound"), ("first", "ColumnDecode")] {
        let error = row.get::<i64>(name).expect_err("no number is there");
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
    let missing = sql("SELECT $1, $2").bind(1).one(&mut Connection::File(&mut file)).await;
    assert!(matches!(missing, Err(sqlx::Error::Protocol(_))));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let (_folder, _path, mut file) = file().await;
    let insert = "INSERT INTO t (a, c) VALUES ('x', 1)";
    let mut transaction = file.begin("BEGIN IMMEDIATE").await.expect("begins");
    transaction.file().run_script(insert).await.expect("inserts");
    drop(transaction);
    assert_eq!(count(&mut file).await, 0);
    let mut transaction = file.begin("BEGIN IMMEDIATE").await.expect("begins again");
    transaction.file().run_script(insert).await.expect("inserts");
    let twice = transaction.file().run_script(insert).await.expect_err("it is there");
    assert_eq!(code(&twice).as_deref(), Some("2067"), "{twice}");
    transaction.commit().await.expect("commits");
    assert_eq!(count(&mut file).await, 1);
}

#[tokio::test]
async fn who_waits_for_another_writer_lets_it_work_on_the_same_thread() {
    let (_folder, path, mut file) = file().await;
    let mut other = connect(&path).await;
    let mut writing = other.begin("BEGIN IMMEDIATE").await.expect("begins");
    for begin in ["BEGIN IMMEDIATE", "BEGIN; DELETE FROM t WHERE false"] {
        // Nobody waits any more for what has begun to wait.
        assert!(file.begin(begin).now_or_never().is_none(), "{begin}");
    }
    let waiting =
        async { file.begin("BEGIN; DELETE FROM t WHERE false").await.expect("begins").commit().await };
    let working = async {
        sleep(3 * BUSY_LOOK).await;
        writing.file().run_script("INSERT INTO t (a) VALUES ('x')").await.expect("inserts");
        writing.commit().await
    };
    let (waited, worked) = tokio::join!(waiting, working);
    worked.expect("commits");
    waited.expect("commits after it");
    assert_eq!(count(&mut file).await, 1);
}

#[tokio::test]
async fn who_waited_long_enough_is_told_that_it_is_busy() {
    let (_folder, path, mut file) = file().await;
    let mut other = connect(&path).await;
    file.busy_timeout = 2 * BUSY_LOOK;
    let writing = other.begin("BEGIN IMMEDIATE").await.expect("begins");
    let busy = file.begin("BEGIN IMMEDIATE").await.map(drop).expect_err("another one writes");
    assert_eq!(code(&busy).as_deref(), Some("5"), "{busy}");
    writing.rollback().await.expect("ends");
    file.begin("BEGIN IMMEDIATE").await.map(drop).expect("nobody writes");
}

#[tokio::test]
async fn of_a_transaction_with_a_refused_row_nothing_is_left() {
    let (_folder, _path, mut file) = file().await;
    let row = |n: i64| (n.to_string(), None, n, None, false, Uuid::nil(), None);
    INSERT.insert_new(&mut Connection::File(&mut file), vec![row(70)], bind).await.expect("inserts");
    let mut writing = file.begin("BEGIN IMMEDIATE").await.expect("begins");
    let mut connection = Connection::File(writing.file());
    INSERT.insert_new(&mut connection, vec![row(-1)], bind).await.expect("inserts");
    // In the middle of the second statement of 64 rows.
    let refused = INSERT.insert_new(&mut connection, (0..128).map(row).collect(), bind).await;
    assert_eq!(code(&refused.expect_err("70 is there")).as_deref(), Some("2067"));
    drop(writing);
    assert_eq!(count(&mut file).await, 1);
}
