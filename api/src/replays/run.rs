//! Runs a replay to its end, in a task of its own. It reads the ledger and nothing else: nothing here can append, notify or set a timer.
//! Started by the handler that made the replay; whatever happens, the replay ends and gives its place back.

use std::sync::Arc;

use formledger_domain::TenantContext;
use formledger_store::causes;

use super::registry::Running;
use super::replay::{Kind, Replay, Status};
use super::{events, rules, shadow};
use crate::app::Api;
use crate::error::ApiError;
use crate::metrics::Raised;

/// Starts `replay`, which is remembered already, in the name of whoever asked for it.
pub fn start(api: &Arc<Api>, replay: &Arc<Replay>, context: TenantContext, running: Running) {
    let (api, replay) = (Arc::clone(api), Arc::clone(replay));
    tokio::spawn(async move {
        let _held = (running, Raised::new(&api.metrics.replays));
        let work = {
            let (api, replay) = (Arc::clone(&api), Arc::clone(&replay));
            async move { run(&api, &replay, &context).await }
        };
        // A task of its own, so that a panic there is a failure here.
        match tokio::spawn(work).await.unwrap_or_else(|panic| Err(ApiError::internal(panic))) {
            // Without effect on one that was cancelled.
            Ok(()) => replay.end(Status::Done),
            Err(error) => {
                let (tenant, id) = (replay.tenant.as_str(), replay.id);
                tracing::error!(tenant, replay = %id, cause = causes(&error), "a replay failed");
                replay.fail(&error);
            }
        }
    });
}

async fn run(api: &Arc<Api>, replay: &Arc<Replay>, context: &TenantContext) -> Result<(), ApiError> {
    let ledger = || api.standbys.ledger(&api.store, context, replay.order.to);
    match &replay.order.kind {
        Kind::Feed(speed) => events::run(replay, &ledger().await?, *speed).await,
        Kind::Rules(backtest) => rules::run(&api.replays.cores, replay, &ledger().await?, backtest).await,
        // It is compared with live rows that may be further than a standby, so it follows the ledger itself.
        Kind::Shadow(read_models) => shadow::run(api, replay, read_models).await,
    }
}
