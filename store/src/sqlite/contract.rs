//! SQLite keeps the ledger's contract, and a few promises of its own.

use std::io::ErrorKind;

use formledger_domain::{Position, Sequence};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tempfile::TempDir;

use super::read::LOAD;
use super::{Access, SqliteBackend, SqliteReader, schema, writer_options};
use crate::backend::Backend;
use crate::contract::{Database, append, context, contract_suite, events, keyed, stream};
use crate::part::SQLITE_LAST_OF_EACH_TYPE;
use crate::reader::Reader;
use crate::{AppendError, Appended, Part, Store, StoreError, StoreSettings};

struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger.db")
    }
}

impl Database for SqliteFile {
    type Backend = SqliteBackend;

    async fn create() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    async fn backend(&self) -> SqliteBackend {
        SqliteBackend::open(&self.path()).await.expect("opens")
    }

    fn reader(&self, settings: &StoreSettings) -> Reader {
        Reader::Sqlite(SqliteReader::open(&self.path(), Access::Shared, settings))
    }

    async fn sql(&self, statement: &str) -> Result<(), sqlx::Error> {
        let mut connection = SqliteConnectOptions::new().filename(self.path()).connect().await?;
        connection.execute(statement).await.map(drop)
    }

    async fn tamper(&self, statement: &str) -> Result<(), sqlx::Error> {
        let drops = "PRAGMA ignore_check_constraints = 1; DROP TRIGGER IF EXISTS events_refuse_update; DROP TRIGGER IF EXISTS events_refuse_delete; \
                     DROP TRIGGER IF EXISTS ledgers_refuse_delete;";
        self.sql(&format!("{drops} {statement}")).await
    }

    fn refusing(&self, aggregate_id: &str) -> String {
        format!(
            "CREATE TRIGGER refuses BEFORE INSERT ON events WHEN new.aggregate_id = '{aggregate_id}' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    }

    async fn set_full(backend: &mut SqliteBackend, full: bool) {
        // SQLite reads a limit below the present size as the present size.
        let pages = if full { 1 } else { u32::MAX - 1 };
        let connection = backend.connection().expect("opens");
        connection.execute_batch(&format!("PRAGMA max_page_count = {pages}")).expect("limits");
    }
}

contract_suite!(SqliteFile);

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let mut backend = SqliteFile::create().await.backend().await;
    let connection = backend.connection().expect("opens");
    // https://www.sqlite.org/pragma.html: synchronous 2 is FULL, which in WAL mode syncs at every commit.
    for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "2"), ("page_size", "8192")] {
        let asked = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
        let set: String = connection.query_row(&asked, [], |row| row.get(0)).expect("reads");
        assert_eq!(set, value, "{pragma}");
    }
}

#[tokio::test]
async fn a_stream_is_loaded_along_its_own_index() {
    let database = SqliteFile::create().await;
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 3)).await;
    let mut connection =
        SqliteConnectOptions::new().filename(database.path()).connect().await.expect("opens");
    for statistics in ["", "ANALYZE"] {
        connection.execute(statistics).await.expect("counts");
        let explain = format!("EXPLAIN QUERY PLAN {LOAD}");
        let plan = sqlx::query(&explain).bind("Tally").bind("acme/s").bind("acme");
        let plan = plan.fetch_all(&mut connection).await.expect("plans");
        let plan: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
        // The key is the first index of the table; the second would lead through the whole ledger.
        let stream =
            "SEARCH events USING INDEX sqlite_autoindex_events_1 (aggregate_type=? AND aggregate_id=?)";
        assert!(plan.iter().any(|step| step == stream), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_part_of_a_stream_is_looked_for_along_the_streams_own_index() {
    let database = SqliteFile::create().await;
    let store = database.open().await;
    // As many streams as make a difference: three rows are read fastest as they lie.
    for id in 0..100 {
        append(&store, events(&stream("acme", &id.to_string()), 0, 3)).await;
    }
    let mut connection =
        SqliteConnectOptions::new().filename(database.path()).connect().await.expect("opens");
    let event_type = "formledger.tally.added";
    let [newest, nth] = [Part::Newest { event_type, limit: 2 }, Part::Nth { event_type, number: 2 }];
    for statistics in ["", "ANALYZE"] {
        connection.execute(statistics).await.expect("counts");
        for part in [Part::Last, Part::LastOfEachType, newest, nth] {
            let explain = format!("EXPLAIN QUERY PLAN {}", part.sql(SQLITE_LAST_OF_EACH_TYPE));
            let mut plan = sqlx::query(&explain).bind("Tally").bind("acme/s").bind("acme");
            if let Some((event_type, number)) = part.bound() {
                plan = plan.bind(event_type).bind(number);
            }
            let plan = plan.fetch_all(&mut connection).await.expect("plans");
            let plan: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
            let (mut of_events, stream) = (
                plan.iter().filter(|step| step.contains(" events ")),
                "sqlite_autoindex_events_1 (aggregate_type=?",
            );
            assert!(
                of_events.clone().count() > 0 && of_events.all(|step| step.contains(stream)),
                "{plan:#?}"
            );
            // What is sorted is at most an event of each type; three events, where somebody had that counted, are as well.
            let sorts = plan.iter().filter(|step| step.contains("TEMP B-TREE FOR ORDER BY")).count();
            let allowed = if part == Part::LastOfEachType { 1 + statistics.len().min(1) } else { 0 };
            assert!(sorts <= allowed, "{statistics} {plan:#?}");
        }
    }
}

#[tokio::test]
async fn replacing_an_event_is_refused_like_removing_it() {
    let database = SqliteFile::create().await;
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    // SQLite asks delete triggers about a REPLACE only on connections with recursive triggers, as ours have.
    let mut ours = database.backend().await;
    let replace = "INSERT OR REPLACE INTO events SELECT * FROM events";
    let refused = ours.connection().expect("opens").execute(replace, []);
    assert!(refused.expect_err("is refused").to_string().contains("immutable"));
}

#[tokio::test]
async fn a_file_of_a_newer_binary_is_one_clear_error() {
    let database = SqliteFile::create().await;
    database.open().await.close().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (7, 'later', true, x'00', 0)";
    database.sql(later).await.expect("inserts");
    let error = Store::open_sqlite(&database.path(), StoreSettings::default()).await.expect_err("refuses");
    assert!(matches!(error, StoreError::NewerSchema { found: 7, known: 3 }), "{error:?}");
}

#[tokio::test]
async fn keys_that_an_earlier_binary_remembered_are_remembered_by_this_one() {
    let database = SqliteFile::create().await;
    let mut earlier = writer_options(&database.path()).connect().await.expect("is made");
    schema::migrate_as_at_first(&mut earlier).await.expect("is migrated");
    for (tenant, request, position) in [("acme", 1, 7), ("globex", 2, 9)] {
        let hash = format!("{request:02x}").repeat(32);
        let remembered = format!(
            "INSERT INTO idempotency VALUES ('{tenant}', 'key', x'{hash}', '{{\"by\":{request}}}', {position}, 2, 0)"
        );
        earlier.execute(&*remembered).await.expect("inserts");
    }
    earlier.close().await.expect("closes");

    let store = database.open().await;
    let ledger = store.ledger(&context("acme"));
    let again = ledger.append(keyed(&stream("acme", "s"), 0, "key", 1)).await.expect("answers");
    let Appended::Replayed(first) = again else { panic!("recorded again: {again:?}") };
    assert_eq!((first.position, first.sequence), (Position(7), Sequence(2)));
    assert_eq!(first.outcome, r#"{"by":1}"#);
    let reused = ledger.append(keyed(&stream("acme", "s"), 0, "key", 2)).await;
    assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
}

#[tokio::test]
async fn who_only_reads_leaves_an_earlier_schema_as_it_is() {
    let database = SqliteFile::create().await;
    let mut earlier = writer_options(&database.path()).connect().await.expect("is made");
    schema::migrate_as_at_first(&mut earlier).await.expect("is migrated");
    earlier.close().await.expect("closes");
    let store = Store::open_sqlite_to_read(&database.path(), StoreSettings::default()).await.expect("opens");
    assert!(store.owners().await.expect("reads").is_empty());
    store.close().await;
    let connection = rusqlite::Connection::open(database.path()).expect("opens");
    let applied = "SELECT max(version) FROM _sqlx_migrations";
    assert_eq!(connection.query_row(applied, [], |row| row.get(0)), Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_that_start_at_once_wait_for_the_one_that_migrates() {
    for _ in 0..5 {
        let database = SqliteFile::create().await;
        let path = database.path();
        let open = || {
            let path = path.clone();
            tokio::spawn(async move { Store::open_sqlite(&path, StoreSettings::default()).await })
        };
        let opening: Vec<_> = (0..8).map(|_| open()).collect();
        for opened in opening {
            opened.await.expect("does not panic").expect("opens").close().await;
        }
    }
}

#[tokio::test]
async fn a_file_that_went_missing_is_not_made_again_by_the_writer() {
    let database = SqliteFile::create().await;
    let mut backend = database.backend().await;
    for suffix in ["", "-wal", "-shm"] {
        let file = database.folder.path().join(format!("ledger.db{suffix}"));
        std::fs::remove_file(&file)
            .or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .expect("is removed");
    }
    backend.recover().await;
    let missing = backend.connection().map(drop).expect_err("there is no file");
    assert!(matches!(missing, StoreError::Database(_)), "{missing:?}");
    assert!(!database.path().exists(), "an empty file was made");
}

#[tokio::test]
async fn a_file_whose_migration_was_edited_is_refused() {
    let database = SqliteFile::create().await;
    database.open().await.close().await;
    database.sql("UPDATE _sqlx_migrations SET checksum = x'00'").await.expect("updates");
    let error = Store::open_sqlite(&database.path(), StoreSettings::default()).await.expect_err("refuses");
    assert!(matches!(error, StoreError::Database(_)), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let database = SqliteFile::create().await;
    let text = "not a database, however long it is. ".repeat(40);
    std::fs::write(database.path(), &text).expect("writes");
    let error = Store::open_sqlite(&database.path(), StoreSettings::default()).await.expect_err("refuses");
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(database.path()).expect("reads"), text);
}
