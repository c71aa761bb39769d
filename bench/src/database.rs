//! The Postgres server of one contestant in one round: made empty, with what anyone sets who runs Postgres in earnest, and thrown away.
//!
//! Started by `contestant`. It lies in the temporary folder (`TMPDIR`), where the tests' servers do, not below `--data-root`.

use anyhow::{Context, Result};
use formledger_test_cluster::{Postgres, Settings};
use tokio::runtime::Runtime;

/// Both contestants on Postgres have the same, which is that of `deploy/postgres/postgresql.conf`: memory for what is hot, and no checkpoint
/// within a round; and write-ahead log that is kept to be written again.
const PARAMETERS: [(&str, &str); 5] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("min_wal_size", "1GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_compression", "lz4"),
];
const NAME: &str = "bench";
/// Segments of write-ahead log, of 16 MiB each, that are there before anything is measured. A server that has run for a while writes those again that
/// it needs no more; a new one fills each with zeros first, beside the commits.
const SEGMENTS_READY: u32 = 60;

/// An empty database on a server of its own, `fsync` on.
#[derive(Debug)]
pub struct Database {
    server: Postgres,
    url: String,
}

impl Database {
    /// Makes server and database.
    ///
    /// # Errors
    /// There is no runtime to be had. Without the distribution's Postgres it panics and says what to install.
    pub fn start() -> Result<Self> {
        let runtime = Runtime::new().context("a runtime for the database's start")?;
        let parameters = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = Settings { parameters, ..Settings::default() };
        let (server, url) = runtime.block_on(async {
            let server = Postgres::start_with(settings).await;
            // As deploy/postgres/roles.sql has it: new rows of read models come by COPY.
            server.execute("CREATE ROLE formledger_projector NOLOGIN BYPASSRLS").await;
            let url = server.create_database(NAME).await;
            make_segments_ready(&server).await;
            (server, url)
        });
        Ok(Self { server, url })
    }

    /// Its address, for the superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's first process; it waits for all others, so their CPU time is known after they ended.
    pub fn pid(&self) -> u32 {
        self.server.process_id()
    }
}

async fn make_segments_ready(server: &Postgres) {
    // A segment with nothing in it is not left.
    for _ in 0..SEGMENTS_READY {
        server.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()").await;
    }
    // Of what lies before it nothing is needed any more.
    server.execute("CHECKPOINT").await;
}
