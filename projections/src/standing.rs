//! How far each set of read models was behind the ledger when it was last looked at: by every node and of every replica, whoever keeps it and whether it
//! answers. One source for readiness, metrics and the choice of who answers. [`Replicas::keep`](crate::Replicas::keep) looks every two seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use formledger_store::LedgerHead;
use tokio::time::Instant;

use crate::checkpoint::{self, Checkpoint, Totals};
use crate::database::Connection;
use crate::position::ReadModel;
use crate::status::{ReadModelStatus, listed};

/// A replica that has not come to where a ledger was so long ago is stale to whoever asks for that tenant: another one answers. Almost ten times
/// as long as a read model takes under full load (docs/benchmarks.md), so that one that follows is never taken for one that stands still.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(5);
/// Ledgers that moved between two looks and are asked for by name; of more, all checkpoints are read at once.
const MOVED_MAX: usize = 1_024;
/// Heads that come sooner after one another are taken for the same.
const APART: Duration = Duration::from_secs(1);

/// Where ledgers end, by tenant.
pub(crate) type Heads = Arc<HashMap<TenantId, Position>>;

pub(crate) fn by_tenant(heads: &[LedgerHead]) -> Heads {
    Arc::new(heads.iter().map(|head| (head.tenant.clone(), head.position)).collect())
}

/// Where ledgers ended in the last seconds, as this process saw it.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<VecDeque<(Instant, Heads)>>);

impl Ends {
    /// Notes where ledgers end now.
    pub(crate) fn note(&self, heads: &Heads) {
        let mut seen = self.lock();
        if seen.back().is_some_and(|(at, _)| at.elapsed() < APART) {
            return;
        }
        seen.push_back((Instant::now(), Arc::clone(heads)));
        // Of those that are older than `STALE_AFTER`, the newest is enough.
        while seen.get(1).is_some_and(|(at, _)| at.elapsed() >= STALE_AFTER) {
            seen.pop_front();
        }
    }

    /// The last that was seen, and when.
    pub(crate) fn latest(&self) -> Option<(Instant, Heads)> {
        self.lock().back().cloned()
    }

    /// Where ledgers ended [`STALE_AFTER`] ago or before; every replica should have come there. `None` soon after the start.
    pub(crate) fn due(&self) -> Option<Heads> {
        let seen = self.lock();
        let old = seen.iter().rev().find(|(at, _)| at.elapsed() >= STALE_AFTER);
        old.map(|(_, heads)| Arc::clone(heads))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Heads)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The checkpoints of one tenant, in the order of [`ReadModel::ALL`].
type Checkpoints = [Checkpoint; ReadModel::ALL.len()];

/// Where the read models in one database were when they were read.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// All of them had come to where these ledgers ended.
    There(Heads),
    /// Some had not.
    Behind(Arc<HashMap<TenantId, Checkpoints>>),
}

impl Default for Known {
    /// Nothing is known of it.
    fn default() -> Self {
        Self::Behind(Arc::default())
    }
}

impl Known {
    /// Reads where they are. Where little happens, sums and the checkpoints of what moved since they were all there `before` tell that they are there again; all
    /// checkpoints are read, at once, only where that does not tell.
    ///
    /// Sums alone do not: one tenant may have come as far beyond `heads`, which were read earlier, as another has not come. But checkpoints go forward, so that none of those
    /// that need not move is behind, and when none of the others is, equal sums leave nobody beyond.
    pub(crate) async fn read(
        snapshot: &mut Connection<'_>,
        heads: &Heads,
        before: &Self,
    ) -> Result<Self, sqlx::Error> {
        let there = Totals { parked: 0, reached: heads.values().map(|head| head.0).sum() };
        let sums_are_equal = checkpoint::totals(snapshot).await?.iter().all(|totals| *totals == there);
        if let (true, Self::There(before)) = (sums_are_equal, before) {
            let is_moved = |(tenant, head): &(&TenantId, &Position)| before.get(*tenant) != Some(*head);
            let moved: Vec<TenantId> =
                heads.iter().filter(is_moved).take(MOVED_MAX + 1).map(|(tenant, _)| tenant.clone()).collect();
            if moved.len() <= MOVED_MAX {
                let at = checkpoint::positions(snapshot, &moved).await?;
                let is_there = |(tenant, positions): &(TenantId, [Position; ReadModel::ALL.len()])| {
                    positions.iter().all(|position| heads.get(tenant) == Some(position))
                };
                if at.len() == moved.len() && at.iter().all(is_there) {
                    return Ok(Self::There(Arc::clone(heads)));
                }
            }
        }
        let all = checkpoint::load_whole(snapshot).await?;
        let is_there = |(tenant, head): (&TenantId, &Position)| {
            all.get(tenant).is_some_and(|checkpoints| checkpoints.iter().all(|at| at.position == *head))
        };
        if sums_are_equal && heads.iter().all(is_there) {
            return Ok(Self::There(Arc::clone(heads)));
        }
        Ok(Self::Behind(Arc::new(all)))
    }

    fn of(&self, tenant: &TenantId, read_model: ReadModel) -> (Position, bool) {
        match self {
            Self::There(heads) => (heads.get(tenant).copied().unwrap_or_default(), false),
            Self::Behind(all) => all.get(tenant).map_or((Position::START, false), |checkpoints| {
                let checkpoint = &checkpoints[read_model.index()];
                (checkpoint.position, checkpoint.parked.is_some())
            }),
        }
    }

    /// How one read model stands beside ledgers that end at `heads`.
    pub(crate) fn status(&self, read_model: ReadModel, heads: &Heads) -> ReadModelStatus {
        let behind = |(tenant, head): (&TenantId, &Position)| match self.of(tenant, read_model) {
            (_, true) => 0,
            (position, false) => head.0.saturating_sub(position.0),
        };
        let is_there = matches!(self, Self::There(there) if Arc::ptr_eq(there, heads));
        let lag_events = if is_there { 0 } else { heads.iter().map(behind).sum() };
        let (parked_count, parked) = match self {
            Self::There(_) => (0, Vec::new()),
            Self::Behind(all) => {
                listed(all.iter().map(|(tenant, checkpoints)| (tenant, &checkpoints[read_model.index()])))
            }
        };
        ReadModelStatus { read_model, lag_events, parked_count, parked }
    }
}

/// What is known of one set of read models.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    known: Mutex<Known>,
    stale: Mutex<HashMap<TenantId, Stale>>,
}

/// A tenant of which it has not come to where the ledger was.
#[derive(Debug)]
struct Stale {
    at: [Position; ReadModel::ALL.len()],
    due: Position,
}

impl Standing {
    pub(crate) fn note(&self, known: &Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known.clone();
    }

    pub(crate) fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds the tenants that it is stale for, by where their ledgers were [`STALE_AFTER`] ago; answers how many, without those that stopped there for
    /// good, before an event that cannot be applied.
    pub(crate) fn judge(&self, due: &Heads) -> usize {
        let known = self.known();
        let at = |tenant: &TenantId| ReadModel::ALL.map(|read_model| known.of(tenant, read_model).0);
        let stale = |(tenant, due): (&TenantId, &Position)| {
            let stale = Stale { at: at(tenant), due: *due };
            stale.at.iter().any(|at| at < due).then(|| (tenant.clone(), stale))
        };
        let judged: HashMap<TenantId, Stale> = due.iter().filter_map(stale).collect();
        let follows = |(tenant, stale): &(&TenantId, &Stale)| {
            ReadModel::ALL
                .into_iter()
                .any(|read_model| stale.at[read_model.index()] < stale.due && !known.of(tenant, read_model).1)
        };
        let count = judged.iter().filter(follows).count();
        *self.stale() = judged;
        count
    }

    /// Where a read model of a tenant is that is stale, as far as it is known to have come since; `None` for one that is fresh enough.
    pub(crate) fn stale_at(
        &self,
        tenant: &TenantId,
        read_model: ReadModel,
        since: Position,
    ) -> Option<Position> {
        let stale = self.stale();
        let Stale { at, due } = stale.get(tenant)?;
        let at = at[read_model.index()].max(since);
        (at < *due).then_some(at)
    }

    fn stale(&self) -> MutexGuard<'_, HashMap<TenantId, Stale>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projector::tests::{Site, catch_up};

    fn slug(tenant: &str) -> TenantId {
        tenant.parse().expect("a slug")
    }

    fn heads(of_acme: u64) -> Heads {
        Arc::new(HashMap::from([(slug("acme"), Position(of_acme)), (slug("globex"), Position(2))]))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_where_ledgers_were_seconds_ago_and_no_more_is_kept() {
        let ends = Ends::default();
        for second in 0..60 {
            ends.note(&heads(second));
            let due = ends.due().map(|due| due[&slug("acme")].0);
            assert_eq!(due, second.checked_sub(STALE_AFTER.as_secs()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(ends.lock().len() <= 7, "{}", ends.lock().len());
    }

    async fn equal_sums_do_not_hide_who_is_behind_when_another_is_ahead(site: Site) {
        for tenant in ["acme", "globex"] {
            site.publish(tenant).await;
        }
        catch_up(&mut site.projector().await).await;
        let at = |acme, globex| -> Heads {
            Arc::new(HashMap::from([(slug("acme"), Position(acme)), (slug("globex"), Position(globex))]))
        };
        let read = async |heads: &Heads, before: &Known| {
            let mut snapshot = site.models.readers().snapshot_of_all().await.expect("a snapshot");
            Known::read(&mut snapshot.connection(), heads, before).await.expect("reads")
        };
        let is_there = |known: &Known, heads: &Heads| {
            matches!(known, Known::There(_)) && known.status(ReadModel::Forms, heads).lag_events == 0
        };
        let first = at(1, 1);
        let known = read(&first, &Known::default()).await;
        assert!(is_there(&known, &first));
        // acme has an event that came after the heads were read.
        let seen = at(0, 2);
        for before in [&known, &Known::default()] {
            let now = read(&seen, before).await;
            assert_eq!(now.status(ReadModel::Forms, &seen).lag_events, 1, "globex is one short");
        }
        site.submit("globex").await;
        catch_up(&mut site.projector().await).await;
        let later = at(1, 2);
        assert!(is_there(&read(&later, &known).await, &later), "only what moved was asked for");
    }

    #[tokio::test]
    async fn equal_sums_do_not_hide_who_is_behind_when_another_is_ahead_on_sqlite() {
        equal_sums_do_not_hide_who_is_behind_when_another_is_ahead(Site::on_sqlite().await).await;
    }

    #[tokio::test]
    async fn equal_sums_do_not_hide_who_is_behind_when_another_is_ahead_on_postgres() {
        equal_sums_do_not_hide_who_is_behind_when_another_is_ahead(Site::on_postgres().await).await;
    }

    #[test]
    fn one_that_was_there_and_stands_still_is_behind_by_what_came_since_and_stale_once_that_is_due() {
        let standing = Standing::default();
        let (before, now) = (heads(5), heads(9));
        standing.note(&Known::There(Arc::clone(&before)));
        for (heads, lag_events) in [(&before, 0), (&now, 4)] {
            assert_eq!(standing.known().status(ReadModel::Tasks, heads).lag_events, lag_events);
        }
        let stale = |tenant, since| standing.stale_at(&slug(tenant), ReadModel::Tasks, Position(since));
        assert_eq!(standing.judge(&before), 0);
        assert_eq!(stale("acme", 0), None);
        assert_eq!(standing.judge(&now), 1);
        assert_eq!((stale("acme", 0), stale("acme", 8)), (Some(Position(5)), Some(Position(8))));
        assert_eq!(stale("acme", 9), None, "it has come there since");
        assert_eq!(stale("globex", 0), None, "another tenant's queries go there still");
        standing.note(&Known::There(Arc::clone(&now)));
        assert_eq!(standing.judge(&now), 0);
        assert_eq!(stale("acme", 0), None);

        // Of one at which all read models stopped, an alert of its own tells.
        let parked = Checkpoint { position: Position(3), parked: Some("unreadable".to_owned()) };
        let stopped = HashMap::from([(slug("acme"), std::array::from_fn(|_| parked.clone()))]);
        standing.note(&Known::Behind(Arc::new(stopped)));
        assert_eq!(standing.judge(&heads(9)), 1, "globex, of which it has nothing");
        assert_eq!(stale("acme", 0), Some(Position(3)), "another replica may have more of it");
        assert_eq!(standing.known().status(ReadModel::Tasks, &heads(9)).lag_events, 2);
    }
}
