//! The Postgres server of one contestant in one round: made empty, with what anyone sets who runs Postgres in earnest, and thrown away.
//!
//! Started by `contestant`. It lies in the temporary folder (`TMPDIR`), where the tests' servers do, not below `--data-root`.

use anyhow::{Context, Result};
use formledger_test_cluster::{Postgres, Settings};
use tokio::runtime::Runtime;

/// Both contestants on Postgres have the same: memory for what is hot, and no checkpoint within a round.
const PARAMETERS: [(&str, &str); 2] = [("shared_buffers", "512MB"), ("max_wal_size", "4GB")];
const NAME: &str = "bench";

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
            let url = server.create_database(NAME).await;
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
