//! Reads what is new in many ledgers and applies it to all read models in one transaction, with the checkpoints in it.
//! Driven by the [`Runner`](crate::Runner) and by [`rebuild`](fn@crate::rebuild); when and how often is theirs to decide.

use std::collections::HashMap;
use std::time::Instant;

use chrono::Utc;
use formledger_domain::{Position, TenantContext, TenantId};
use formledger_store::{Store, StoreError, causes};

use crate::batch::{Batch, LedgerPart};
use crate::checkpoint;
use crate::follower::{Contended, Follower};
use crate::forms::FormsProjection;
use crate::place::Place;
use crate::position::ReadModel;
use crate::read_models::{OpenError, ReadModels};
use crate::statistics::StatisticsProjection;
use crate::status;
use crate::submissions::SubmissionsProjection;
use crate::tasks::TasksProjection;
use crate::witness::{self, Compared, Doubt, Reflected};

/// Events read from the ledger at once; a batch exceeds its byte limit by at most these.
pub(crate) const READ_EVENTS_MAX: usize = 512;

/// Limits of one batch, which is one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// Why a batch was not applied; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read-model database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
    /// The read-model database, which was away when the process started, cannot be used yet.
    #[error("the read-model database cannot be used yet")]
    Open(#[from] OpenError),
    /// The ledger lost events that had been read: the rows have to be compared with it before anything is applied.
    #[error(
        "the ledger of `{tenant}` does not hold the event at position {position} any more that was read there"
    )]
    HistoryLost {
        /// Whose.
        tenant: TenantId,
        /// Where it holds another event now, or none.
        position: Position,
    },
}

/// Applies ledgers to read models, batch by batch.
#[derive(Debug)]
pub(crate) struct Projector {
    store: Store,
    read_models: ReadModels,
    limits: BatchLimits,
    /// Events of a batch for now: fewer than the limit after batches that took too long.
    events_max: usize,
    followers: Followers,
    /// What the rows are known to reflect, where a ledger can lose history.
    reflected: Reflected,
    /// Ledgers with something to read.
    agenda: Agenda,
}

/// One follower per read model; `None` where this projector leaves one alone.
#[derive(Debug, Default)]
struct Followers {
    forms: Option<Follower<FormsProjection>>,
    submissions: Option<Follower<SubmissionsProjection>>,
    statistics: Option<Follower<StatisticsProjection>>,
    tasks: Option<Follower<TasksProjection>>,
}

/// Does the same with each follower that there is.
macro_rules! each {
    ($followers:expr, $follower:ident => $body:expr) => {{
        if let Some($follower) = &mut $followers.forms {
            $body;
        }
        if let Some($follower) = &mut $followers.submissions {
            $body;
        }
        if let Some($follower) = &mut $followers.statistics {
            $body;
        }
        if let Some($follower) = &mut $followers.tasks {
            $body;
        }
    }};
}

mod agenda;
mod apart;

use agenda::{Agenda, Spread, Taken};

impl Projector {
    /// A projector for some read models; [`Projector::load`] comes first.
    pub(crate) fn new(
        store: Store,
        read_models: ReadModels,
        followed: &[ReadModel],
        limits: BatchLimits,
    ) -> Self {
        let followers = Followers {
            forms: followed.contains(&ReadModel::Forms).then(Follower::default),
            submissions: followed.contains(&ReadModel::Submissions).then(Follower::default),
            statistics: followed.contains(&ReadModel::Statistics).then(Follower::default),
            tasks: followed.contains(&ReadModel::Tasks).then(Follower::default),
        };
        Self {
            store,
            read_models,
            limits,
            events_max: limits.events_max,
            followers,
            reflected: Reflected::new(),
            agenda: Agenda::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn read_models(&self) -> &ReadModels {
        &self.read_models
    }

    /// Reads all checkpoints again, and tells waiters where they are. With `retry`, parked tenants are tried once more. Rows that another
    /// version of a projection made are dropped first: what is folded now must not be added to them.
    pub(crate) async fn load(&mut self, retry: bool) -> Result<(), ProjectError> {
        let mut writer = self.read_models.writer().await?;
        status::drop_other_versions(writer.own()).await?;
        let mut connection = writer.connection();
        each!(self.followers, follower => follower.load(&mut connection, retry).await?);
        if self.store.can_lose_history() {
            self.reflected = witness::reflected(&witness::load_all(&mut connection).await?);
        }
        let applied = self.read_models.applied();
        each!(self.followers, follower => follower.publish(applied));
        applied.announce();
        Ok(())
    }

    /// Sets where ledgers end now; what lies before is read by the next batches.
    pub(crate) fn aim(&mut self, heads: impl IntoIterator<Item = (TenantId, Position)>) {
        for (tenant, head) in heads {
            self.agenda.aim(tenant.clone(), head);
            self.queue(&tenant);
        }
    }

    /// Lets a ledger wait for its turn when there is something to read.
    fn queue(&mut self, tenant: &TenantId) {
        self.agenda.queue(tenant, self.followers.spread(tenant));
    }

    /// Lets everything wait until it is aimed at again.
    pub(crate) fn rest(&mut self) {
        self.agenda.clear();
    }

    /// A batch took too long: the next ones have half as many events, and one at the least. Answers whether they can be smaller.
    pub(crate) fn shrink(&mut self) -> bool {
        let before = self.events_max;
        self.events_max = (before / 2).max(1);
        self.events_max < before
    }

    /// Nothing that projections remember of their tables holds any more.
    pub(crate) fn forget(&mut self) {
        each!(self.followers, follower => follower.forget());
    }

    /// There is time for twice as many events as the last batch could have, up to the limit.
    pub(crate) fn grow(&mut self) {
        self.events_max = self.events_max.saturating_mul(2).min(self.limits.events_max);
    }

    /// Whether something waits to be read.
    pub(crate) fn is_behind(&self) -> bool {
        !self.agenda.is_empty()
    }

    /// Events that wait, as far as this projector heard, of those ledgers that wait first; stops counting at a full batch.
    pub(crate) fn backlog(&self) -> u64 {
        self.agenda.backlog(self.limits.events_max as u64, |tenant| self.followers.spread(tenant))
    }

    /// Applies one batch; answers how many events it took from the ledger, 0 when nothing waits or another process interfered.
    pub(crate) async fn advance(&mut self) -> Result<usize, ProjectError> {
        let batch = match self.read().await {
            Ok(batch) => batch,
            Err(error) => {
                self.queue_all();
                return Err(error);
            }
        };
        self.apply(batch).await
    }

    /// Where the slowest read model of a tenant goes on; `None` when all are parked.
    pub(crate) fn next_read(&self, tenant: &TenantId) -> Option<Position> {
        self.followers.spread(tenant).map(|spread| spread.rear)
    }

    /// What the rows are known to reflect of a ledger that can lose history.
    pub(crate) fn reflected_of(&self, tenant: &TenantId) -> Reflected {
        self.reflected.get(tenant).map(|known| (tenant.clone(), *known)).into_iter().collect()
    }

    /// Looks whether a batch that was read ahead goes on from what is reflected.
    ///
    /// # Errors
    /// [`ProjectError::HistoryLost`], and what keeps the ledger from being read.
    pub(crate) async fn admit(&self, batch: &Batch) -> Result<(), ProjectError> {
        if let Some((tenant, position)) = batch.torn() {
            return Err(self.history_lost(tenant, *position));
        }
        self.look_behind_walls(batch).await
    }

    /// Applies a batch that was read; answers as [`Projector::advance`] does.
    pub(crate) async fn apply(&mut self, batch: Batch) -> Result<usize, ProjectError> {
        if batch.is_empty() {
            return Ok(0);
        }
        let began = Instant::now();
        let parts = batch.parts();
        let applied = match self.commit(&parts).await {
            Err(error) if apart::is_refusal(&error) => self.commit_apart_if_alone(&parts, &error).await,
            applied => applied,
        };
        match applied {
            Ok(Ok(())) => {}
            // A rebuild switched a tenant, or another process projects too: go on from where the database is.
            Ok(Err(Contended)) => {
                tracing::info!("checkpoints were moved by another process; reading them again");
                self.start_over().await?;
                return Ok(0);
            }
            Err(error) => {
                self.forget_failed().await;
                // What failed first says more than what fails now because of it.
                if let Err(error) = self.start_over().await {
                    tracing::debug!(error = causes(&error), "checkpoints were not read again");
                }
                return Err(error.into());
            }
        }
        // A projection may have stopped short of what was read.
        for part in parts {
            self.queue(part.tenant);
        }
        metrics::histogram!("formledger_projection_batch_events").record(batch.events() as f64);
        metrics::histogram!("formledger_projection_apply_seconds").record(began.elapsed());
        Ok(batch.events())
    }

    /// Nothing is remembered of a transaction that failed.
    async fn forget_failed(&mut self) {
        self.read_models.forget_writer().await;
        self.forget();
    }

    async fn commit(&mut self, parts: &[LedgerPart<'_>]) -> Result<Result<(), Contended>, sqlx::Error> {
        let mut writer = self.read_models.writer().await?;
        let mut transaction = writer.begin_writing().await?;
        let mut connection = transaction.connection();
        let mut moved = Vec::with_capacity(ReadModel::ALL.len());
        each!(self.followers, follower => moved.push(follower.apply(&mut connection, parts).await?));
        if !checkpoint::compare_and_set(&mut connection, &moved, &witness::of(parts)).await? {
            // Dropping the transaction rolls it back.
            return Ok(Err(Contended));
        }
        transaction.commit().await?;
        if self.store.can_lose_history() {
            witness::remember(&mut self.reflected, parts);
        }
        let applied = self.read_models.applied();
        let mut moves = moved.into_iter().map(|moved| moved.moves);
        each!(self.followers, follower => follower.settle(moves.next().unwrap_or_default(), applied));
        applied.announce();
        Ok(Ok(()))
    }

    /// After a batch that was not committed: nothing remembered can be trusted, and what was read is still to be done.
    async fn start_over(&mut self) -> Result<(), ProjectError> {
        let loaded = self.load(false).await;
        self.queue_all();
        loaded
    }

    fn queue_all(&mut self) {
        self.agenda.queue_all(|tenant| self.followers.spread(tenant));
    }

    /// Reads the next batch: several ledgers, the longest waiting first, within the limits of events and bytes.
    async fn read(&mut self) -> Result<Batch, ProjectError> {
        let mut batch = Batch::default();
        let mut taken = Taken::default();
        while batch.events() < self.events_max && batch.payload_bytes() < self.limits.bytes_max {
            let room = READ_EVENTS_MAX.min(self.events_max - batch.events());
            let spread = |tenant: &TenantId| self.followers.spread(tenant);
            let is_walled = |tenant: &TenantId| batch.is_walled(tenant);
            let ranges = self.agenda.next_ranges(room, &mut taken, spread, is_walled);
            if ranges.is_empty() {
                break;
            }
            batch.read(&self.store, &ranges, &self.reflected).await?;
            if let Some((tenant, position)) = batch.torn() {
                return Err(self.history_lost(tenant, *position));
            }
        }
        self.look_behind_walls(&batch).await?;
        Ok(batch.ordered())
    }

    /// Where a ledger seems to lack an event, it may also have been set back since this projector heard where it ends.
    async fn look_behind_walls(&self, batch: &Batch) -> Result<(), ProjectError> {
        if !self.store.can_lose_history() {
            return Ok(());
        }
        for (tenant, position) in batch.walls() {
            let context = TenantContext::system(tenant.clone(), "projector", Utc::now());
            match self.store.ledger(&context).head().await {
                Ok(head) if head.position < position => return Err(self.history_lost(tenant, position)),
                // One tenant's damage must not keep the others from being read.
                Ok(_) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn history_lost(&self, tenant: &TenantId, position: Position) -> ProjectError {
        // Nobody else in this process may go on from it either.
        self.store.begin_era();
        ProjectError::HistoryLost { tenant: tenant.clone(), position }
    }

    /// Compares the rows with the ledgers, before following them. Rows that reflect events which their ledger lost are dropped, to be made
    /// again; and so are, in the file that belongs to the ledger's folder, rows of another ledger. Elsewhere those, and everywhere rows of tenants that have
    /// none, are parked. Answers `false` when another process interfered: then
    /// [`Projector::load`] and do it again.
    pub(crate) async fn check(&mut self, heads: &HashMap<TenantId, Position>) -> Result<bool, ProjectError> {
        let witnesses = {
            let mut writer = self.read_models.writer().await?;
            witness::load_all(&mut writer.connection()).await?
        };
        let Compared { doubts, confirmed } = witness::compare(&self.store, &witnesses, heads).await?;
        // A file is the folder's own, whatever ledger was put beside it: its rows are nobody else's, and queries are answered from them.
        let is_own = matches!(self.read_models.place(), Place::Sqlite(_));
        let is_void = |doubt: &Doubt| is_own || *doubt == Doubt::Diverged;
        let void: Vec<&TenantId> =
            doubts.iter().filter(|(_, doubt)| is_void(doubt)).map(|(tenant, _)| tenant).collect();
        if !void.is_empty() {
            tracing::warn!(tenants = ?void, "rows reflect events that the ledger does not hold; they are made again");
            self.count_history_lost(void.len() as u64);
            status::drop_tenants(self.read_models.writer().await?.own(), &void).await?;
            self.load(true).await?;
        }
        // The others are parked below, or where their ledgers are damaged.
        self.reflected.retain(|tenant, _| confirmed.contains(tenant));
        self.park(|tenant, position| {
            let head = heads.get(tenant).copied().unwrap_or_default();
            if !is_own && doubts.get(tenant) == Some(&Doubt::Foreign) {
                Some(
                    "these rows were made from another ledger: state another database, or rebuild them"
                        .to_owned(),
                )
            } else if position > head {
                Some(format!("the ledger ends at position {head}, before these rows: rebuild them"))
            } else {
                None
            }
        })
        .await
    }

    async fn park(
        &mut self,
        reason: impl Fn(&TenantId, Position) -> Option<String>,
    ) -> Result<bool, ProjectError> {
        let mut moved = Vec::with_capacity(ReadModel::ALL.len());
        each!(self.followers, follower => moved.push(follower.parking(&reason)));
        // What a batch that took too long left behind may hold the lock still.
        if moved.iter().all(|moved| moved.moves.is_empty()) {
            return Ok(true);
        }
        let mut writer = self.read_models.writer().await?;
        let mut transaction = writer.begin_writing().await?;
        if !checkpoint::compare_and_set(&mut transaction.connection(), &moved, &[]).await? {
            // Dropping the transaction rolls it back.
            return Ok(false);
        }
        transaction.commit().await?;
        let applied = self.read_models.applied();
        let mut moves = moved.into_iter().map(|moved| moved.moves);
        each!(self.followers, follower => follower.settle(moves.next().unwrap_or_default(), applied));
        Ok(true)
    }

    /// Whether a ledger ends before the rows that were made from it: what this projector knows of it is not true any more.
    pub(crate) fn is_ahead(&mut self, heads: &HashMap<TenantId, Position>) -> bool {
        let mut ahead = false;
        each!(self.followers, follower => ahead |= follower.is_ahead(heads));
        ahead
    }

    /// Whether another process freed or parked tenants, or moved checkpoints: then [`Projector::load`].
    pub(crate) async fn changed_elsewhere(&mut self) -> Result<bool, ProjectError> {
        let mut writer = self.read_models.writer().await?;
        let totals = checkpoint::totals(&mut writer.connection()).await?;
        let mut changed = false;
        each!(self.followers, follower => changed |= follower.differs(&totals));
        Ok(changed)
    }

    /// Whether another process moved checkpoints, whatever is parked.
    async fn moved_elsewhere(&mut self) -> Result<bool, sqlx::Error> {
        let mut writer = self.read_models.writer().await?;
        let totals = checkpoint::totals(&mut writer.connection()).await?;
        let mut moved = false;
        each!(self.followers, follower => moved |= follower.is_elsewhere(&totals));
        Ok(moved)
    }

    /// Tenants whose rows were made again because the ledger lost events.
    fn count_history_lost(&self, tenants: u64) {
        let replica = self.read_models.label();
        metrics::counter!("formledger_projection_history_lost_total", "replica" => replica)
            .increment(tenants);
    }

    /// Makes the counter of lost history known.
    pub(crate) fn report(&self) {
        // From the start, so that the first one is an increase.
        self.count_history_lost(0);
    }
}

impl Followers {
    /// Where they go on in a ledger; `None` when all are parked.
    fn spread(&self, tenant: &TenantId) -> Option<Spread> {
        let Self { forms, submissions, statistics, tasks } = self;
        Spread::of([
            forms.as_ref().and_then(|follower| follower.following(tenant)),
            submissions.as_ref().and_then(|follower| follower.following(tenant)),
            statistics.as_ref().and_then(|follower| follower.following(tenant)),
            tasks.as_ref().and_then(|follower| follower.following(tenant)),
        ])
    }
}

#[cfg(test)]
pub(crate) mod tests;
