//! A shadow replay: the ledger is folded into read models of its own, in a file beside the live ones, and these are compared with the live
//! rows. Works on a thread of its own, so that requests do not wait while it folds.

use std::sync::Arc;

use formledger_projections::{
    ReadModel, Shadow, ShadowComparison, ShadowComparisons, ShadowDifference, ShadowError, shadow_file,
};
use serde::Serialize;
use serde_json::{Value, json};
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

impl Found {
    fn of(comparison: &ShadowComparison) -> impl Iterator<Item = Self> {
        let found = |difference: &ShadowDifference| Self {
            replica: comparison.replica.clone(),
            difference: difference.clone(),
        };
        comparison.told.iter().map(found)
    }
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
    let mut all = ShadowComparisons::default();
    for replica in 0..api.read_models.count() {
        if !replay.goes_on().await {
            return Ok(());
        }
        let compared = shadow.compare(&api.read_models, replica).await;
        all.add(api.read_models.label(replica), compared)?;
    }
    if let Some(error) = all.nothing() {
        return Err(error.into());
    }
    let found: Vec<Found> = all.compared.iter().flat_map(Found::of).collect();
    let read_models = || all.compared.iter().flat_map(|comparison| &comparison.read_models);
    let rows: u64 = read_models().map(|read_model| read_model.rows).sum();
    let differences: u64 = read_models().map(|read_model| read_model.differences).sum();
    let mut summary = json!({"rows": rows, "differences": differences, "told": found.len()});
    let all = serde_json::to_value(&all).map_err(ApiError::internal)?;
    if let (Value::Object(summary), Value::Object(all)) = (&mut summary, all) {
        summary.extend(all);
    }
    replay.tell(found, summary);
    Ok(())
}

impl From<ShadowError> for ApiError {
    fn from(error: ShadowError) -> Self {
        match error {
            ShadowError::LiveBehind { position, wanted, .. } => Self::ReplicaBehind { position, wanted },
            other => Self::internal(other),
        }
    }
}
