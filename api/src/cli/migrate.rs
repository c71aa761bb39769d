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
        open_read_models(&storage.data).await?.close().await;
        store.close().await;
        println!("`{}` is up to date", storage.data.display());
        if let Some(database) = &storage.database {
            println!("`{database:?}` is up to date");
        }
        for replica in open_replicas(&replicas).await? {
            replica.close().await;
        }
        Ok(ExitCode::SUCCESS)
    })
}
