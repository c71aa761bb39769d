//! A rules replay: candidate rules over the range's recorded submissions, part by part on several cores. The run keeps counts only; the feed
//! judges again what it tells, so that any number of differences takes no memory, and resuming after a position is reading from there.

use std::sync::Arc;

use formledger_domain::{Backtest, BacktestSummary, OutcomeDifference, PastSubmission, Position};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::replay::{Order, Replay};
use crate::backtest::{Misfit, judge};
use crate::error::ApiError;
use crate::limits::REPLAY_CHUNK_POSITIONS;
use crate::standbys::LedgerSource;

/// Parts in work for each core: one that reads while another computes.
const PARTS_PER_CORE: usize = 2;

/// Judges the range.
pub async fn run(
    cores: &Arc<Semaphore>,
    replay: &Replay,
    ledger: &LedgerSource,
    backtest: &Arc<Backtest>,
) -> Result<(), ApiError> {
    let Order { from, to, .. } = replay.order;
    let parts = (from.0..=to.0).step_by(REPLAY_CHUNK_POSITIONS as usize).map(|first| async move {
        let last = Position(to.0.min(first + REPLAY_CHUNK_POSITIONS - 1));
        let count =
            |counted: &mut BacktestSummary, _: &_, differences: Option<&[_]>| counted.count(differences);
        let counted = fold_part(cores, ledger, backtest, (Position(first), last), count).await?;
        Ok::<_, ApiError>((last, counted))
    });
    let mut judged = stream::iter(parts).buffered(cores.available_permits().max(1) * PARTS_PER_CORE);
    let misfits = Misfit::all(backtest);
    let mut summary = BacktestSummary::default();
    while replay.goes_on().await {
        let Some(part) = judged.next().await else { return Ok(()) };
        let (last, counted) = part?;
        summary.add(counted);
        replay.advance(last, Some(shown(&summary, &misfits)));
    }
    Ok(())
}

/// Judges a part, first position to last, on a thread of its own when a core is free: requests are answered by other threads. Answers what
/// `tell` made of each submission and its differences, which are `None` where the candidate does not fit.
pub async fn fold_part<T: Default + Send + 'static>(
    cores: &Arc<Semaphore>,
    ledger: &LedgerSource,
    backtest: &Arc<Backtest>,
    (first, last): (Position, Position),
    tell: impl Fn(&mut T, &PastSubmission, Option<&[OutcomeDifference]>) + Send + 'static,
) -> Result<T, ApiError> {
    let core = Arc::clone(cores).acquire_owned().await.expect("it is never closed");
    let (ledger, backtest, runtime) = (ledger.clone(), Arc::clone(backtest), Handle::current());
    let judged = tokio::task::spawn_blocking(move || {
        let _core = core;
        let mut folded = T::default();
        let told = judge(&ledger, &backtest, first, last, |past, differences| {
            tell(&mut folded, past, differences.as_deref());
        });
        runtime.block_on(told).map(|()| folded)
    });
    Ok(judged.await.map_err(ApiError::internal)??)
}

fn shown(summary: &BacktestSummary, misfits: &[Misfit]) -> Value {
    let BacktestSummary { submissions, changed, refused, not_compared, rules } = summary;
    let mut shown = json!({
        "evaluated": submissions, "changed": changed, "refused": refused, "not_compared": not_compared,
        "rules": rules,
    });
    if !misfits.is_empty() {
        shown["misfits"] = json!(misfits);
    }
    shown
}
