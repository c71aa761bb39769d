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
        let mut done = vec![match &storage.database {
            Some(database) => format!("{database:?}"),
            None => storage.data.display().to_string(),
        }];
        for replica in open_replicas(&store, &own, &replicas, true).await? {
            done.push(replica.name().to_owned());
            replica.close().await;
        }
        own.close().await;
        store.close().await;
        // Whoever reads it, everything is done by now.
        done.iter().try_for_each(|place| print_line!("`{place}` is up to date"))?;
        Ok(ExitCode::SUCCESS)
    })
}
