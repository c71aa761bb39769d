//! `formledger rebuild`: read models again from the ledger, while a running server goes on answering from the old ones.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use formledger_projections::{
    ReadModel, ReadModelPlace, ReadModelSettings, ReadModels, RebuildProgress, RebuildRequest,
    rebuild as rebuild_read_models,
};
use formledger_store::Store;

use super::serve::{runtime, say};
use super::{existing_ledger, existing_tenant, one_line};
use crate::app::read_model_place;
use crate::config::{ConfigError, RebuildArgs};
use crate::logging;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Rebuilds all read models or one, of all tenants or one.
pub fn rebuild(arguments: &RebuildArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.tenants.storage.storage()?;
    let replicas = arguments.tenants.storage.replicas()?;
    logging::start(&arguments.tenants.storage.log)?;
    let read_models = match &arguments.projection {
        Some(name) => vec![name.parse().map_err(|error| ConfigError(format!("`--projection`: {error}")))?],
        None => ReadModel::ALL.to_vec(),
    };
    let request = RebuildRequest { read_models, tenant: arguments.tenants.tenant.clone() };
    runtime()?.block_on(async {
        let store = existing_ledger(&storage).await?;
        if let Some(tenant) = &request.tenant {
            existing_tenant(&store, tenant).await?;
        }
        let mut told = Instant::now();
        let mut progress = |progress: RebuildProgress| match progress {
            RebuildProgress::Folded { events, total }
                if events == total || told.elapsed() >= PROGRESS_INTERVAL =>
            {
                told = Instant::now();
                say(&format!("{events} of {total} events"));
            }
            RebuildProgress::Folded { .. } => {}
            RebuildProgress::Switched { tenant, position } => {
                say(&format!("{tenant}: rebuilt up to position {position}"))
            }
        };
        let own = read_model_place(&storage).await?;
        rebuild_read_models(&store, &own, request.clone(), &mut progress).await?;
        let mut failed = None;
        for replica in replicas.iter().filter(|replica| replica.name() != own.name()) {
            say(&format!("`{}`:", replica.name()));
            if let Err(error) = rebuild_replica(&store, replica, &request, &mut progress).await {
                // The others are made again all the same; the last failure ends the program.
                let earlier = failed.replace(error.context(replica.name()));
                earlier.iter().for_each(|error| eprintln!("formledger: {}", one_line(error)));
            }
        }
        store.close().await;
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    })
}

/// Rows of a replica of this ledger; a standby gets those of its primary.
async fn rebuild_replica(
    store: &Store,
    replica: &ReadModelPlace,
    request: &RebuildRequest,
    progress: impl FnMut(RebuildProgress) + Send,
) -> anyhow::Result<()> {
    if replica.is_standby().await? {
        say("a standby, which gets the rows of its primary");
        return Ok(());
    }
    let settings = ReadModelSettings { read_connections_max: 1, ..ReadModelSettings::default() };
    let models = ReadModels::open_replica(replica.clone(), settings).await?;
    let proven = models.prove(store).await;
    models.close().await;
    proven?;
    Ok(rebuild_read_models(store, replica, request.clone(), progress).await?)
}
