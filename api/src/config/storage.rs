//! Options that say where the ledger is, and what is made from it.
//! Read by `config`, like all others.

use std::path::PathBuf;

use clap::Args;
use formledger_projections::ReadModelPlace;
use formledger_store::{PostgresOptions, StoreError};

use super::{AttachmentPlace, ConfigError};

/// Where the ledger is.
#[derive(Debug, Clone, Args)]
pub struct StorageArgs {
    /// Directory of the embedded database
    #[arg(long, env = "FORMLEDGER_DATA", default_value = "./data")]
    pub data: PathBuf,
    /// A Postgres database for the ledger instead of the embedded one
    #[arg(long, env = "FORMLEDGER_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The same database without a pooler in between, to hear of other servers' appends at once and to keep read models there
    #[arg(long, env = "FORMLEDGER_DATABASE_LISTEN_URL", hide_env_values = true, requires = "database_url")]
    pub database_listen_url: Option<String>,
    /// A Postgres database that answers queries: fed from the ledger, or a standby of one that is; replays read a standby of the ledger's. Give it once for each; in the variable, with a blank between them
    #[arg(
        long = "replica-url",
        env = "FORMLEDGER_REPLICA_URL",
        value_delimiter = ' ',
        hide_env_values = true
    )]
    pub replica_urls: Vec<String>,
    /// Where the bytes of attachments are: `s3://bucket/prefix`, or `file:///folder`; in the data directory when missing
    #[arg(long, env = "FORMLEDGER_ATTACHMENTS_URL")]
    pub attachments_url: Option<String>,
    /// What to log, as `tracing` filter directives
    #[arg(long, env = "FORMLEDGER_LOG", default_value = "info")]
    pub log: String,
}

/// Where the ledger is, and what is made from it.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Directory of the files, for what is not in a database.
    pub data: PathBuf,
    /// The Postgres database of the ledger.
    pub database: Option<PostgresOptions>,
    /// The same for the read models, without a pooler where an address without one is known.
    pub read_models: Option<ReadModelPlace>,
    /// Where the bytes of attachments are.
    pub attachments: AttachmentPlace,
}

impl Storage {
    /// All of it in the files of one directory.
    pub fn embedded(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        let attachments = AttachmentPlace::Folder(data.join(crate::attachments::FOLDER));
        Self { data, database: None, read_models: None, attachments }
    }
}

impl StorageArgs {
    /// Where the ledger is.
    ///
    /// # Errors
    /// When an address is none.
    pub fn storage(&self) -> Result<Storage, ConfigError> {
        let attachments = AttachmentPlace::read(self.attachments_url.as_deref(), &self.data)?;
        let Some(url) = &self.database_url else {
            return Ok(Storage { attachments, ..Storage::embedded(&self.data) });
        };
        let mut database = PostgresOptions::new(url).map_err(refused("--database-url"))?;
        if let Some(url) = &self.database_listen_url {
            database = database.listen_at(url).map_err(refused("--database-listen-url"))?;
        }
        let direct = self.database_listen_url.as_ref().unwrap_or(url);
        let read_models = ReadModelPlace::postgres(direct)
            .map_err(|error| ConfigError(format!("`--database-url`: {error}")))?;
        Ok(Storage {
            data: self.data.clone(),
            database: Some(database),
            read_models: Some(read_models),
            attachments,
        })
    }

    /// The databases that answer queries.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn replicas(&self) -> Result<Vec<ReadModelPlace>, ConfigError> {
        let place = |url: &String| {
            ReadModelPlace::postgres(url).map_err(|error| ConfigError(format!("`--replica-url`: {error}")))
        };
        self.replica_urls.iter().map(place).collect()
    }

    /// The same databases, for whoever looks for a standby of the ledger among them; none where the ledger is embedded and has no standby.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn possible_standbys(&self) -> Result<Vec<PostgresOptions>, ConfigError> {
        let urls = self.replica_urls.iter().filter(|_| self.database_url.is_some());
        urls.map(|url| PostgresOptions::new(url).map_err(refused("--replica-url"))).collect()
    }
}

fn refused(option: &str) -> impl Fn(StoreError) -> ConfigError {
    let line = format!("`{option}` is no `postgres://user@host:port/database`");
    move |_| ConfigError(line.clone())
}
