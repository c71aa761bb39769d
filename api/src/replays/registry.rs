//! The replays of this process: those that run, bounded by places, and those that ended lately, bounded in number.
//! Asked by the handlers; a replay of another tenant is not found, as one that never was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::TenantId;
use formledger_store::Idempotency;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::replay::{KindName, Replay, Status};
use crate::error::ApiError;
use crate::limits::{
    Limits, REPLAYS_KEPT_MAX, REPLAYS_KEPT_PER_TENANT_MAX, SHADOWS_MAX, SHADOWS_PER_TENANT_MAX,
};
use crate::places::{Full, Place, Places};

/// All replays that this process knows.
pub struct Replays {
    /// Oldest first.
    kept: Mutex<Vec<Arc<Replay>>>,
    places: Arc<Places>,
    /// A shadow takes one of these, too: it fills the disk and keeps it busy.
    shadows: Arc<Places>,
    running: watch::Sender<usize>,
    /// Who computes holds one: fewer than cores, so that requests find one free whatever is replayed.
    pub cores: Arc<Semaphore>,
}

/// The right to run a replay; given back when it is dropped.
pub struct Running {
    _places: (Place, Option<Place>),
    running: watch::Sender<usize>,
}

impl Replays {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            kept: Mutex::default(),
            places: Places::new(limits.replays_max, limits.replays_per_tenant_max),
            shadows: Places::new(SHADOWS_MAX, SHADOWS_PER_TENANT_MAX),
            running: watch::Sender::new(0),
            cores: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
        }
    }

    /// The right to run one more of `tenant`, of a kind.
    ///
    /// # Errors
    /// 429 when the tenant has as many as it may, 503 when all have together.
    pub fn begin(&self, tenant: &TenantId, kind: KindName) -> Result<Running, ApiError> {
        let full = |full: Full| {
            let of_tenant = "as many replays of this tenant run or are paused as may at once; wait until one ends, or cancel one";
            let of_server = "as many replays run or are paused on this server as may at once; try again soon";
            full.refusal("too-many-replays", of_tenant, of_server)
        };
        let place = self.places.take(tenant).map_err(full)?;
        let shadow = match kind {
            KindName::Shadow => Some(self.shadows.take(tenant).map_err(full)?),
            KindName::Feed | KindName::Rules => None,
        };
        self.running.send_modify(|running| *running += 1);
        Ok(Running { _places: (place, shadow), running: self.running.clone() })
    }

    /// Remembers a replay, and forgets the one that ended first where there are too many. Answers the replay that an earlier request with
    /// the same key began, and this one otherwise.
    ///
    /// # Errors
    /// 422 when the key came with another request.
    pub fn keep(&self, replay: Arc<Replay>) -> Result<Arc<Replay>, ApiError> {
        let mut kept = self.lock();
        if let Some(given) = &replay.idempotency
            && let Some(first) = begun_by(&kept, &replay.tenant, given)?
        {
            return Ok(first);
        }
        let own = |known: &Arc<Replay>| known.tenant == replay.tenant;
        if kept.iter().filter(|known| own(known)).count() >= REPLAYS_KEPT_PER_TENANT_MAX {
            forget(&mut kept, own);
        }
        if kept.len() >= REPLAYS_KEPT_MAX {
            forget(&mut kept, |_| true);
        }
        kept.push(Arc::clone(&replay));
        Ok(replay)
    }

    /// A replay of `tenant`.
    pub fn find(&self, tenant: &TenantId, id: Uuid) -> Option<Arc<Replay>> {
        self.lock().iter().find(|known| known.id == id && known.tenant == *tenant).cloned()
    }

    /// The replay of `tenant` that a request with this key began.
    ///
    /// # Errors
    /// 422 when that was another request.
    pub fn begun_by(&self, tenant: &TenantId, given: &Idempotency) -> Result<Option<Arc<Replay>>, ApiError> {
        begun_by(&self.lock(), tenant, given)
    }

    /// All replays of `tenant`, newest first.
    pub fn of(&self, tenant: &TenantId) -> Vec<Arc<Replay>> {
        self.lock().iter().rev().filter(|known| known.tenant == *tenant).cloned().collect()
    }

    /// Cancels all of them and waits, until `end` at the most, for them to end.
    pub async fn stop(&self, end: Instant) {
        for replay in self.lock().iter() {
            replay.end(Status::Cancelled);
        }
        let mut running = self.running.subscribe();
        let ended = running.wait_for(|running| *running == 0);
        if tokio::time::timeout_at(end, ended).await.is_err() {
            tracing::warn!("a replay did not end in time");
        }
    }

    /// A panic elsewhere leaves a complete list.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Replay>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begun_by(
    kept: &[Arc<Replay>],
    tenant: &TenantId,
    given: &Idempotency,
) -> Result<Option<Arc<Replay>>, ApiError> {
    let same_key = |known: &&Arc<Replay>| {
        known.tenant == *tenant && known.idempotency.as_ref().is_some_and(|first| first.key == given.key)
    };
    match kept.iter().find(same_key) {
        Some(known) if known.idempotency.as_ref() != Some(given) => Err(ApiError::IdempotencyKeyReused),
        known => Ok(known.cloned()),
    }
}

/// Forgets that one of `whose` which ended first. There is one: fewer run than are kept.
fn forget(kept: &mut Vec<Arc<Replay>>, whose: impl Fn(&Arc<Replay>) -> bool) {
    let ended = kept.iter().enumerate().filter(|(_, known)| whose(known));
    let first = ended.filter_map(|(index, known)| Some((known.ended_at()?, index))).min();
    if let Some((_, index)) = first {
        kept.remove(index);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Speed;
    use super::super::replay::{Kind, Order};
    use super::*;
    use formledger_domain::Position;

    fn replay(tenant: &str) -> Arc<Replay> {
        let order = Order { kind: Kind::Feed(Speed::Max), from: Position(1), to: Position(1) };
        Arc::new(Replay::new(tenant.parse().expect("a slug"), "ada".into(), order, None))
    }

    #[tokio::test]
    async fn at_the_limit_the_one_that_ended_first_is_forgotten_and_never_one_that_runs() {
        let replays = Replays::new(&Limits::default());
        let all: Vec<_> = (0..REPLAYS_KEPT_PER_TENANT_MAX).map(|_| replay("acme")).collect();
        for replay in &all {
            replays.keep(Arc::clone(replay)).expect("there is no key");
        }
        all[7].end(Status::Done);
        all[3].end(Status::Done);
        let (newest, other) = (replay("acme"), replay("globex"));
        for replay in [&newest, &other] {
            replays.keep(Arc::clone(replay)).expect("there is no key");
        }
        let tenant = "acme".parse().expect("a slug");
        assert!(replays.find(&tenant, all[7].id).is_none());
        assert_eq!(replays.of(&tenant).len(), REPLAYS_KEPT_PER_TENANT_MAX);
        assert_eq!(replays.of(&tenant)[0].id, newest.id);
        assert!(replays.find(&tenant, other.id).is_none(), "another tenant's is not found");
    }

    #[tokio::test]
    async fn a_tenant_builds_one_shadow_at_a_time_and_gives_its_place_back() {
        let replays = Replays::new(&Limits::default());
        let tenant = "acme".parse().expect("a slug");
        let shadow = replays.begin(&tenant, KindName::Shadow).expect("free");
        let refused = replays.begin(&tenant, KindName::Shadow).err().expect("one is enough");
        let told = |refused: ApiError| (refused.problem().status.as_u16(), refused.problem().code);
        assert_eq!(told(refused), (429, "too-many-replays"));
        let [second, third] = ["globex", "initech"].map(|slug| slug.parse().expect("a slug"));
        let others = replays.begin(&second, KindName::Shadow).expect("free");
        let refused = replays.begin(&third, KindName::Shadow).err().expect("as many as the server builds");
        assert_eq!(told(refused), (503, "too-many-replays"));
        drop(others);
        replays.begin(&tenant, KindName::Feed).expect("another kind is free");
        drop(shadow);
        let _again = replays.begin(&tenant, KindName::Shadow).expect("free again");
        replays.stop(Instant::now()).await;
        assert_eq!(*replays.running.borrow(), 1);
    }
}
