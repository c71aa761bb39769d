//! `formledger skip`: lets a projection that stopped before an event pass over it. The way out where no version of the program will ever apply that event.

use std::process::ExitCode;

use chrono::Utc;
use formledger_domain::Position;
use formledger_projections::{ReadModelPlace, ReadModelSettings, ReadModels, Skip, SkipError};
use formledger_store::Store;

use super::serve::{runtime, say};
use super::{existing_ledger, existing_tenant};
use crate::app::read_model_place;
use crate::config::{ConfigError, SkipArgs};
use crate::logging;

/// Records the decision beside each set of read models that stopped there.
pub fn skip(arguments: &SkipArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    let replicas = arguments.storage.replicas()?;
    logging::start(&arguments.storage.log)?;
    let read_model =
        arguments.projection.parse().map_err(|error| ConfigError(format!("`--projection`: {error}")))?;
    let skip = Skip {
        tenant: arguments.tenant.clone(),
        read_model,
        position: Position(arguments.position),
        actor: arguments.actor.clone(),
        reason: arguments.reason.clone(),
        at: Utc::now(),
    };
    runtime()?.block_on(async {
        let store = existing_ledger(&storage).await?;
        existing_tenant(&store, &skip.tenant).await?;
        let own = read_model_place(&storage).await?;
        let others = replicas.iter().filter(|replica| replica.name() != own.name());
        let mut skipped = 0;
        for place in std::iter::once(&own).chain(others) {
            skipped += usize::from(skip_at(&store, place, &skip).await?);
        }
        store.close().await;
        if skipped == 0 {
            return Err(SkipError::NotParkedThere { position: skip.position }.into());
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether it had stopped there; a standby has what its primary has.
async fn skip_at(store: &Store, place: &ReadModelPlace, skip: &Skip) -> anyhow::Result<bool> {
    if place.is_standby().await? {
        return Ok(false);
    }
    let settings = ReadModelSettings { read_connections_max: 1, ..ReadModelSettings::default() };
    let models = ReadModels::open_replica(place.clone(), settings).await?;
    models.prove(store).await?;
    let answer = models.skip(skip).await;
    models.close().await;
    let (name, tenant, position) = (place.name(), &skip.tenant, skip.position);
    match answer {
        Ok(()) => {
            say(&format!("`{name}`: {} of {tenant} passes over position {position}", skip.read_model.name()))
        }
        Err(SkipError::NotParkedThere { .. }) => {
            say(&format!(
                "`{name}`: {} of {tenant} has not stopped before position {position}",
                skip.read_model.name()
            ));
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}
