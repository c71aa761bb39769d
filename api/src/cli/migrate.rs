//! `formledger migrate`: brings the database's schema up to date, as `serve` does before it listens.

use std::process::ExitCode;

use super::serve::runtime;
use crate::app::{open_ledger, open_read_models};
use crate::config::StorageArgs;
use crate::logging;

/// Applies migrations.
pub fn migrate(arguments: &StorageArgs) -> anyhow::Result<ExitCode> {
    let directory = arguments.directory()?;
    logging::start(&arguments.log)?;
    runtime()?.block_on(async {
        let store = open_ledger(&directory, 1).await?;
        open_read_models(&directory).await?.close().await;
        store.close().await;
        println!("`{}` is up to date", directory.display());
        Ok(ExitCode::SUCCESS)
    })
}
