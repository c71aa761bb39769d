//! How far each read model has come, and waiting for it to come further.
//! Advanced by the projector after each commit; awaited by queries that state `min_position`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use formledger_domain::{Position, TenantId};
use tokio::sync::{Notify, watch};

use crate::forms::FormsProjection;
use crate::projection::Projection;
use crate::statistics::StatisticsProjection;
use crate::submissions::SubmissionsProjection;
use crate::tasks::TasksProjection;

/// A read model, by the projection that keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadModel {
    /// Forms, versions and drafts.
    Forms,
    /// Submissions and their indexed fields.
    Submissions,
    /// Counts.
    Statistics,
    /// What waits for whom.
    Tasks,
}

impl ReadModel {
    /// Every read model there is.
    pub const ALL: [Self; 4] = [Self::Forms, Self::Submissions, Self::Statistics, Self::Tasks];

    /// The name in checkpoints, metrics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forms => "forms",
            Self::Submissions => "submissions",
            Self::Statistics => "statistics",
            Self::Tasks => "tasks",
        }
    }

    /// The version of the code that keeps it.
    pub(crate) fn version(self) -> i64 {
        match self {
            Self::Forms => FormsProjection::VERSION,
            Self::Submissions => SubmissionsProjection::VERSION,
            Self::Statistics => StatisticsProjection::VERSION,
            Self::Tasks => TasksProjection::VERSION,
        }
    }

    /// The tables that hold it.
    pub(crate) fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Forms => FormsProjection::TABLES,
            Self::Submissions => SubmissionsProjection::TABLES,
            Self::Statistics => StatisticsProjection::TABLES,
            Self::Tasks => TasksProjection::TABLES,
        }
    }

    /// Its place in [`ReadModel::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Why a text names no read model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a projection: use `forms`, `submissions`, `statistics` or `tasks`")]
pub struct UnknownReadModel {
    given: String,
}

impl std::str::FromStr for ReadModel {
    type Err = UnknownReadModel;

    fn from_str(name: &str) -> Result<Self, UnknownReadModel> {
        Self::ALL
            .into_iter()
            .find(|read_model| read_model.name() == name)
            .ok_or_else(|| UnknownReadModel { given: name.chars().take(100).collect() })
    }
}

/// The read model did not reach the wanted position in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the read model is at position {position}")]
pub struct Behind {
    /// Where it is.
    pub position: Position,
}

/// What is known to be committed in one database, by tenant and read model, and who waits for more.
#[derive(Debug)]
pub(crate) struct Applied {
    positions: Mutex<HashMap<TenantId, [Position; ReadModel::ALL.len()]>>,
    /// Counts commits; a waiter looks again after each.
    commits: watch::Sender<u64>,
    waiting: AtomicUsize,
    /// Rung when someone begins to wait, so that the runner does not pause.
    urgent: Notify,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            positions: Mutex::default(),
            commits: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            urgent: Notify::new(),
        }
    }
}

impl Applied {
    /// Notes committed positions; [`Applied::announce`] tells the waiters.
    pub(crate) fn note(&self, tenant: &TenantId, read_model: ReadModel, position: Position) {
        self.replace(tenant, read_model, position, |_| true);
    }

    /// Notes what somebody saw, which may be older than what is known already; answers whether it is news.
    pub(crate) fn saw(&self, tenant: &TenantId, read_model: ReadModel, position: Position) -> bool {
        self.replace(tenant, read_model, position, |known| position > known)
    }

    /// Notes what a snapshot holds that began when `before` was known. One that holds less went back, as after a rebuild; unless more became known
    /// meanwhile, which came after the snapshot. Answers whether that is news.
    pub(crate) fn holds(
        &self,
        tenant: &TenantId,
        read_model: ReadModel,
        before: Position,
        position: Position,
    ) -> bool {
        self.replace(tenant, read_model, position, |known| {
            position > known || known == before && position != known
        })
    }

    /// Compares and sets under one lock; answers whether it was set.
    fn replace(
        &self,
        tenant: &TenantId,
        read_model: ReadModel,
        position: Position,
        is_to_be: impl FnOnce(Position) -> bool,
    ) -> bool {
        let mut positions = self.lock();
        let known = positions.get_mut(tenant).map(|known| &mut known[read_model.index()]);
        if !is_to_be(known.as_deref().copied().unwrap_or(Position::START)) {
            return false;
        }
        match known {
            Some(known) => *known = position,
            None => {
                let mut known = [Position::START; ReadModel::ALL.len()];
                known[read_model.index()] = position;
                positions.insert(tenant.clone(), known);
            }
        }
        true
    }

    /// Wakes everyone who waits.
    pub(crate) fn announce(&self) {
        self.commits.send_modify(|commits| *commits += 1);
    }

    /// What this process knows; [`Position::START`] for a tenant it has not met.
    pub(crate) fn known(&self, tenant: &TenantId, read_model: ReadModel) -> Position {
        self.lock().get(tenant).map_or(Position::START, |known| known[read_model.index()])
    }

    /// Begins to wait: the runner hurries while the guard lives.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        let commits = self.commits.subscribe();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.urgent.notify_one();
        Waiting { applied: self, commits }
    }

    /// Completes as soon as someone waits.
    pub(crate) async fn someone_waits(&self) {
        while self.waiting.load(Ordering::Relaxed) == 0 {
            self.urgent.notified().await;
        }
    }

    /// A panic elsewhere leaves positions that are at worst old, which waiters tolerate.
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, [Position; ReadModel::ALL.len()]>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone who waits for a commit.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    applied: &'a Applied,
    commits: watch::Receiver<u64>,
}

impl Waiting<'_> {
    /// Completes at the next commit.
    pub(crate) async fn commit(&mut self) {
        // The sender lives as long as `applied`.
        let _ = self.commits.changed().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.applied.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_snapshot_holds_does_not_put_back_what_was_committed_after_it_began() {
        let applied = Applied::default();
        let acme: TenantId = "acme".parse().expect("a slug");
        let known = || applied.known(&acme, ReadModel::Tasks);
        applied.note(&acme, ReadModel::Tasks, Position(5));
        let before = known();
        applied.note(&acme, ReadModel::Tasks, Position(7));
        applied.holds(&acme, ReadModel::Tasks, before, Position(5));
        assert_eq!(known(), Position(7));
        assert!(!applied.saw(&acme, ReadModel::Tasks, Position(6)));
        assert_eq!(known(), Position(7));
        applied.holds(&acme, ReadModel::Tasks, known(), Position(2));
        assert_eq!(known(), Position(2), "after a rebuild it is further back");
        assert!(applied.saw(&acme, ReadModel::Tasks, Position(3)));
    }
}
