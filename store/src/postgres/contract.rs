//! Postgres keeps the ledger's contract on a real server; what it promises beyond is in the files below.

mod access;
mod hammer;
mod held;
mod late;
mod lost;
mod opening;
mod outage;
mod refused;
mod stock;

use formledger_test_cluster as cluster;
use sqlx::Executor;

use super::{PostgresBackend, PostgresOptions, PostgresReader, Sight};
use crate::StoreSettings;
use crate::contract::{Database, contract_suite};
use crate::reader::Reader;

/// A database of the server that all tests share.
struct SharedDatabase(cluster::Database);

impl SharedDatabase {
    fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&self.0.url()).expect("a URL")
    }
}

/// Stands in for a full disk on one connection: `outage` fills a real one.
const FULL_WHERE_SET: &str = "\
CREATE FUNCTION refuse_where_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('test.no_room', true) = 'on' THEN
        RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER refuse_where_full BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_where_full();";

impl Database for SharedDatabase {
    type Backend = PostgresBackend;

    async fn create() -> Self {
        let database = Self(cluster::Database::create().await);
        drop(database.backend().await);
        database.sql(FULL_WHERE_SET).await.expect("prepares");
        database
    }

    async fn backend(&self) -> PostgresBackend {
        PostgresBackend::open(&self.options()).await.expect("opens")
    }

    fn reader(&self, settings: &StoreSettings) -> Reader {
        Reader::Postgres(PostgresReader::open(&self.options(), settings, Sight::EveryTenant))
    }

    async fn sql(&self, statement: &str) -> Result<(), sqlx::Error> {
        self.0.connect().await.execute(statement).await.map(drop)
    }

    async fn tamper(&self, statement: &str) -> Result<(), sqlx::Error> {
        // As on a standby that applies changes: no trigger is asked.
        let checks = "ALTER TABLE events DROP CONSTRAINT IF EXISTS events_position_check, DROP CONSTRAINT IF EXISTS events_sequence_check; \
                      ALTER TABLE ledgers DROP CONSTRAINT IF EXISTS ledgers_position_check;";
        self.sql(&format!("SET session_replication_role = replica; {checks} {statement}")).await
    }

    fn refusing(&self, aggregate_id: &str) -> String {
        format!("ALTER TABLE events ADD CONSTRAINT refuses CHECK (aggregate_id <> '{aggregate_id}')")
    }

    async fn set_full(backend: &mut PostgresBackend, full: bool) {
        let set = if full { "SET test.no_room = 'on'" } else { "RESET test.no_room" };
        backend.link.connection().await.expect("connects").execute(set).await.expect("sets");
    }
}

contract_suite!(SharedDatabase);
