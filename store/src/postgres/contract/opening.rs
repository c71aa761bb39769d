//! Promise: what a ledger cannot be opened on is one clear error, and nothing was changed there.

use formledger_test_cluster::{Database as Empty, Postgres};
use sqlx::Executor;

use super::super::PostgresOptions;
use super::SharedDatabase;
use crate::contract::{Database, append, context, events, positions, stream};
use crate::{Store, StoreError, StoreSettings};

async fn open(url: &str) -> Result<Store, StoreError> {
    Store::open_postgres(&PostgresOptions::new(url)?, StoreSettings::default()).await
}

async fn refusal(url: &str) -> StoreError {
    open(url).await.expect_err("refuses")
}

/// The text of what makes a database of no use.
fn unusable(error: StoreError) -> String {
    let StoreError::Unusable(what) = error else { panic!("{error:?}") };
    what
}

#[tokio::test]
async fn several_processes_may_open_an_empty_database_at_once() {
    let empty = Empty::create().await;
    let url = empty.url();
    let stores = futures_util::future::join_all((0..4).map(|_| open(&url))).await;
    for (n, store) in stores.into_iter().enumerate() {
        append(&store.expect("opens"), events(&stream("acme", &format!("{n}")), 0, 1)).await;
    }
    assert_eq!(positions(&open(&url).await.expect("opens"), "acme").await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_database_of_a_newer_binary_is_refused() {
    let database = SharedDatabase::create().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (7, 'later', true, '', 0)";
    database.sql(later).await.expect("inserts");
    let error = refusal(&database.0.url()).await;
    assert!(matches!(error, StoreError::NewerSchema { found: 7, known: 3 }), "{error:?}");
}

#[tokio::test]
async fn a_database_whose_migration_was_edited_is_refused() {
    let database = SharedDatabase::create().await;
    database.sql("UPDATE _sqlx_migrations SET checksum = ''").await.expect("updates");
    let what = unusable(refusal(&database.0.url()).await);
    assert_eq!(what, "its migration 1 is not the one that this binary knows");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let empty = Empty::create().await;
    empty.connect().await.execute("CREATE TABLE events (id int)").await.expect("creates");
    let what = unusable(refusal(&empty.url()).await);
    assert!(what.contains("other tables than a ledger's"), "{what}");
    let left = "SELECT 1 / (to_regclass('_sqlx_migrations') IS NULL AND to_regclass('ledgers') IS NULL)::int";
    empty.connect().await.execute(left).await.expect("nothing was created");

    let database = SharedDatabase::create().await;
    let theirs = "UPDATE _sqlx_migrations SET checksum = '', description = 'create users'";
    database.sql(theirs).await.expect("updates");
    let what = unusable(refusal(&database.0.url()).await);
    assert!(what.contains("`create users` of another program"), "{what}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_its_password_stays_secret() {
    let options = PostgresOptions::new("postgres://user:hunter2@127.0.0.1:1/ledger").expect("a URL");
    assert_eq!(format!("{options:?}"), "postgres://127.0.0.1:1/ledger");
    let error = refusal("postgres://user:hunter2@127.0.0.1:1/ledger").await;
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error:?} {}", crate::causes(&error)).contains("hunter2"));
    for text in ["postgres//user:hunter2@host", "", "sqlite://ledger.db?hunter2"] {
        let what = unusable(PostgresOptions::new(text).expect_err("refuses"));
        assert!(!what.contains("hunter2"), "{what}");
    }
}

#[tokio::test]
async fn a_user_or_a_database_that_is_not_there_is_unreachable() {
    let empty = Empty::create().await;
    for url in [empty.url_as("nobody_we_know"), empty.url().replace(empty.name(), "missing")] {
        let error = refusal(&url).await;
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let server = Postgres::start().await;
    server.execute("CREATE DATABASE odd ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
    let what = unusable(refusal(&server.url("odd")).await);
    assert!(what.contains("LATIN1") && what.contains("UTF8"), "{what}");
}

#[tokio::test]
async fn a_user_who_may_not_make_the_roles_is_told_what_to_grant() {
    let server = Postgres::start().await;
    server.execute("CREATE ROLE app LOGIN").await;
    server.execute("CREATE DATABASE ledger OWNER app").await;
    let url = server.url_as("app", "ledger");
    let missing = |error| match error {
        StoreError::MissingPrivilege(what) => what,
        other => panic!("{other:?}"),
    };
    let what = missing(refusal(&url).await);
    assert!(
        what.contains("`app` may not create the role") && what.contains("CREATE ROLE formledger_writer"),
        "{what}"
    );

    for role in ["formledger_writer", "formledger_projector", "formledger_reader"] {
        server.execute(&format!("CREATE ROLE {role} NOLOGIN")).await;
    }
    let what = missing(refusal(&url).await);
    assert!(what.contains("`app` is no member of `formledger_writer`"), "{what}");

    server.execute("GRANT formledger_writer, formledger_projector, formledger_reader TO app").await;
    let store = open(&url).await.expect("opens");
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
}

/// As a node that is started before `formledger migrate`, or is sent to another database of the server.
#[tokio::test]
async fn a_user_who_may_make_no_tables_is_told_who_has_to() {
    let server = Postgres::start().await;
    server.execute("CREATE ROLE app LOGIN").await;
    server.execute("CREATE DATABASE ledger").await;
    let mut connection = server.connect("ledger").await;
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC").await.expect("revokes");
    for grant in ["SELECT 1", "GRANT USAGE ON SCHEMA public TO app"] {
        connection.execute(grant).await.expect("grants");
        let error = refusal(&server.url_as("app", "ledger")).await;
        let StoreError::MissingPrivilege(what) = error else { panic!("{error:?}") };
        assert!(what.contains("run `formledger migrate` as the database's owner first"), "{what}");
    }
}

/// What the server says has names in it, and may be in any language.
#[tokio::test]
async fn who_is_told_what_to_grant_is_not_decided_by_the_servers_words() {
    let server = Postgres::start().await;
    server.execute("CREATE ROLE app LOGIN").await;
    let mut connection = server.connect("postgres").await;
    for statement in [
        "CREATE SCHEMA \"let an administrator\"",
        "GRANT USAGE ON SCHEMA \"let an administrator\" TO app",
        "ALTER ROLE app SET search_path = \"let an administrator\"",
    ] {
        connection.execute(statement).await.expect("prepares");
    }
    let error = refusal(&server.url_as("app", "postgres")).await;
    let StoreError::MissingPrivilege(what) = error else { panic!("{error:?}") };
    assert!(what.contains("run `formledger migrate` as the database's owner first"), "{what}");
}

#[tokio::test]
async fn a_user_who_may_not_take_on_a_role_is_told_what_to_grant() {
    let server = Postgres::start().await;
    drop(open(&server.url("postgres")).await.expect("opens"));
    server.execute("CREATE ROLE app LOGIN").await;
    let roles = ["formledger_writer", "formledger_projector", "formledger_reader"];
    server.execute(&format!("GRANT {} TO app", roles.join(", "))).await;
    let url = server.url_as("app", "postgres");
    drop(open(&url).await.expect("opens"));
    for role in roles {
        server.execute(&format!("REVOKE {role} FROM app")).await;
        let error = refusal(&url).await;
        let StoreError::MissingPrivilege(what) = error else { panic!("{error:?}") };
        let grant = "let an administrator run `GRANT formledger_writer, formledger_projector, formledger_reader TO app`";
        assert!(what.contains(role) && what.ends_with(grant), "{what}");
        server.execute(&format!("GRANT {role} TO app")).await;
    }
}

#[tokio::test]
async fn a_user_who_may_make_roles_needs_nobody_else() {
    let server = Postgres::start().await;
    server.execute("CREATE ROLE app LOGIN CREATEROLE").await;
    server.execute("CREATE DATABASE ledger OWNER app").await;
    let store = open(&server.url_as("app", "ledger")).await.expect("opens");
    append(&store, events(&stream("acme", "s"), 0, 1)).await;
    assert_eq!(positions(&store, "acme").await, [1]);
}

#[tokio::test]
async fn a_standby_is_refused() {
    let primary = Postgres::start().await;
    let standby = primary.standby().await;
    let what = unusable(refusal(&standby.url("postgres")).await);
    assert!(what.contains("standby"), "{what}");
    let what = unusable(to_read(&standby.url("postgres")).await.expect_err("there is no ledger"));
    assert!(what.contains("`formledger migrate`"), "{what}");
}

async fn to_read(url: &str) -> Result<Store, StoreError> {
    Store::open_postgres_to_read(&PostgresOptions::new(url)?, StoreSettings::default()).await
}

#[tokio::test]
async fn who_only_reads_makes_no_tables() {
    let empty = Empty::create().await;
    let what = unusable(to_read(&empty.url()).await.expect_err("there is no ledger"));
    assert!(what.contains("`formledger migrate`"), "{what}");
    let left = "SELECT 1 / (to_regclass('_sqlx_migrations') IS NULL AND to_regclass('ledgers') IS NULL)::int";
    empty.connect().await.execute(left).await.expect("nothing was created");
}

#[tokio::test]
async fn a_standby_is_read_by_whoever_does_not_record() {
    let primary = Postgres::start().await;
    let store = open(&primary.url("postgres")).await.expect("opens");
    append(&store, events(&stream("acme", "1"), 0, 3)).await;
    // Made from a copy of the primary as it is now.
    let standby = primary.standby().await;
    let copy = to_read(&standby.url("postgres")).await.expect("opens");
    assert_eq!(positions(&copy, "acme").await, [1, 2, 3]);
    let appended = copy.ledger(&context("acme")).append(events(&stream("acme", "2"), 0, 1)).await;
    assert!(format!("{appended:?}").contains("opened to be read"), "{appended:?}");
    let both = to_read(&primary.url("postgres")).await.expect("a primary will do as well");
    assert_eq!(positions(&both, "acme").await, [1, 2, 3]);
}
