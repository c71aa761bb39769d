//! A shadow replay: the ledger is folded into read models of its own, in a file beside the live ones, and these are compared with the live
//! rows. Works on a thread of its own, so that requests do not wait while it folds.

use std::sync::Arc;

use formledger_projections::{
    ReadModel, Shadow, ShadowComparison, ShadowDifference, ShadowError, shadow_file,
};
use formledger_store::causes;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Handle;

use super::replay::{Order, Replay};
use crate::app::Api;
use crate::error::ApiError;

/// A difference, and with which database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    replica: String,
    #[serde(flatten)]
    difference: ShadowDifference,
}

/// Builds the shadow and compares it with every database that answers queries.
pub async fn run(api: &Arc<Api>, replay: &Arc<Replay>, followed: &[ReadModel]) -> Result<(), ApiError> {
    let (api, replay, followed) = (Arc::clone(api), Arc::clone(replay), followed.to_vec());
    let runtime = Handle::current();
    let worked = tokio::task::spawn_blocking(move || runtime.block_on(work(&api, &replay, &followed)));
    worked.await.map_err(ApiError::internal)?
}

async fn work(api: &Api, replay: &Replay, followed: &[ReadModel]) -> Result<(), ApiError> {
    let file = shadow_file(api.shadows.path(), replay.id);
    let mut shadow = Shadow::begin(&api.store, &api.read_models, &file, &replay.tenant, followed).await?;
    let mut ended = replay.follow();
    let worked = tokio::select! {
        worked = fold_and_compare(api, replay, &mut shadow) => worked,
        // Nothing waits for what a cancelled one has begun. The sender lives as long as the replay.
        _ = ended.wait_for(|progress| progress.status.has_ended()) => Ok(()),
    };
    shadow.remove().await;
    worked
}

async fn fold_and_compare(api: &Api, replay: &Replay, shadow: &mut Shadow) -> Result<(), ApiError> {
    let Order { to, .. } = replay.order;
    let mut folded = false;
    while !folded && replay.goes_on().await {
        let (position, done) = shadow.advance(to).await?;
        replay.advance(position, None);
        folded = done;
    }
    let (mut compared, mut found, mut unavailable) = (Vec::new(), Vec::new(), Vec::new());
    for replica in 0..api.read_models.count() {
        if !replay.goes_on().await {
            return Ok(());
        }
        match shadow.compare(&api.read_models, replica).await {
            Ok(ShadowComparison { replica, read_models, told }) => {
                found.extend(
                    told.into_iter().map(|difference| Found { replica: replica.clone(), difference }),
                );
                compared.push(json!({"replica": replica, "read_models": read_models}));
            }
            // One of several that does not answer keeps no other from being compared.
            Err(ShadowError::Database(error)) if replica + 1 < api.read_models.count() => {
                let label = api.read_models.label(replica);
                tracing::warn!(replica = label, error = causes(&error), "a replica is not compared");
                unavailable.push(label);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let sum = |member: &str| -> u64 {
        let read_models = compared.iter().flat_map(|one| one["read_models"].as_array().into_iter().flatten());
        read_models.filter_map(|read_model| read_model[member].as_u64()).sum()
    };
    let summary = json!({
        "rows": sum("rows"), "differences": sum("differences"), "told": found.len(),
        "compared": compared, "unavailable": unavailable,
    });
    replay.tell(found, summary);
    Ok(())
}

impl From<ShadowError> for ApiError {
    fn from(error: ShadowError) -> Self {
        match error {
            ShadowError::LiveBehind { position, wanted } => Self::ReplicaBehind { position, wanted },
            other => Self::internal(other),
        }
    }
}
