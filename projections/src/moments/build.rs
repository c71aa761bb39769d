//! Makes one moment: waits for its turn, folds the ledger up to it, from a nearer moment where there is one, and leaves the rows on the shelf.
//! Works on a thread of its own, so that requests do not wait while it folds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use formledger_domain::{Position, TenantContext, TenantId};
use formledger_store::causes;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Inner, KeptMoment, MomentError, Moments, Stage};
use crate::position::ReadModel;
use crate::shadow::{Shadow, ShadowError, shadow_file};

/// One moment on its way.
pub(super) struct Build {
    pub(super) moments: Moments,
    pub(super) context: TenantContext,
    pub(super) position: Position,
    pub(super) announce: watch::Sender<Stage>,
}

/// A moment that was folded, and whether all of its read models came there.
struct Made {
    kept: KeptMoment,
    complete: bool,
}

impl Build {
    /// Makes it and tells those who wait.
    pub(super) async fn run(self, turn: Arc<Mutex<()>>) {
        let _turn = turn.lock().await;
        let Ok(_place) = Arc::clone(&self.moments.inner.places).acquire_owned().await else { return };
        if self.moments.shelf().abandon(&self.context.tenant, self.position, &self.announce) {
            return;
        }
        let Self { moments, context, position, announce } = self;
        let (tenant, era) = (context.tenant.clone(), moments.inner.store.era());
        let announce = Arc::new(announce);
        let work = {
            let (moments, tenant, announce, runtime) =
                (moments.clone(), tenant.clone(), Arc::clone(&announce), Handle::current());
            move || runtime.block_on(make(&moments, &tenant, position, &announce))
        };
        let made = match tokio::task::spawn_blocking(work).await {
            Ok(made) => made,
            Err(panic) => Err(MomentError::Failed(Arc::new(std::io::Error::other(panic).into()))),
        };
        let inner = &moments.inner;
        let made = match made {
            Ok(Some(made)) => Ok(made),
            // Nobody is there to be told.
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let stage = match made {
            // Events may have been lost meanwhile: who asks again gets what the ledger holds now.
            Ok(_) if inner.store.era() != era => Stage::Failed(MomentError::Busy),
            Ok(Made { kept, complete: true }) => Stage::Ready(Arc::new(kept)),
            Ok(Made { kept, complete: false }) => {
                // Not for those who come later: an operator may let the projection pass meanwhile.
                moments.shelf().remove(&tenant, position);
                Stage::Ready(Arc::new(kept))
            }
            Err(error) => Stage::Failed(error),
        };
        if let Stage::Failed(error) = &stage {
            moments.shelf().remove(&tenant, position);
            if let MomentError::Failed(cause) = error {
                tracing::error!(%tenant, %position, error = causes(&**cause), "a past moment was not folded");
            }
        }
        announce.send_replace(stage);
        moments.tidy();
    }
}

/// Folds it; `None` when nobody wanted it any more.
async fn make(
    moments: &Moments,
    tenant: &TenantId,
    wanted: Position,
    announce: &watch::Sender<Stage>,
) -> Result<Option<Made>, MomentError> {
    let failed = |error: ShadowError| MomentError::Failed(Arc::new(error));
    let Inner { store, live, folder, settings, closed, .. } = &*moments.inner;
    let since = Instant::now();
    let base = moments.shelf().nearest(tenant, wanted);
    moments.keep_reserve(base.as_ref().map_or(0, |base| base.bytes))?;
    let path = shadow_file(folder, format_args!("moment-{}", Uuid::now_v7()));
    let from = base.as_ref().map_or(Position::START, |base| base.position);
    let mut shadow = match base {
        Some(base) => Shadow::go_on_from(&base.file, store, live, &path, tenant).await,
        None => Shadow::begin(store, live, &path, tenant, &ReadModel::ALL).await,
    }
    .map_err(failed)?;
    loop {
        let (reached, done) = shadow.advance(wanted).await.map_err(failed)?;
        announce.send_replace(Stage::Folding { since, from, reached });
        let bytes = shadow.file.bytes();
        if closed.load(Ordering::Relaxed) {
            return Err(MomentError::Closed);
        }
        if bytes > settings.moment_bytes_max {
            let bytes_max = settings.moment_bytes_max;
            return Err(MomentError::TooLarge { position: reached, wanted, bytes_max });
        }
        if done {
            let complete = shadow.reached_by_all() >= wanted;
            metrics::histogram!("formledger_moment_build_seconds").record(since.elapsed());
            let (read_models, file) = shadow.end().await.map_err(failed)?;
            let kept = KeptMoment { read_models, file, position: wanted, bytes };
            return Ok(Some(Made { kept, complete }));
        }
        if moments.shelf().abandon(tenant, wanted, announce) {
            tracing::debug!(%tenant, %wanted, %reached, "a past moment is not folded on: nobody waits for it");
            return Ok(None);
        }
        moments.keep_reserve(0)?;
    }
}
