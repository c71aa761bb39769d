//! `formledger migrate`: brings the database's schema up to date, as `serve` does before it listens.

use std::process::ExitCode;

use super::serve::runtime;
use crate::app::{open_ledger, open_read_models, open_replicas};
use crate::config::StorageArgs;
use crate::logging;

/// Applies migrations.
pub fn migrate(arguments: &StorageArgs) -> anyhow::Result<ExitCode> {
    let (storage, replicas) = (arguments.storage()?, arguments.replicas()?);
    logging::start(&arguments.log)?;
    runtime()?.block_on(async {
        let store = open_ledger(&storage, 1).await?;
        let own = open_read_models(&storage).await?;
        match &storage.database {
            Some(database) => say!("`{database:?}` is up to date")?,
            None => say!("`{}` is up to date", storage.data.display())?,
        }
        for replica in open_replicas(&store, &own, &replicas, true).await? {
            say!("`{}` is up to date", replica.name())?;
            replica.close().await;
        }
        own.close().await;
        store.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
