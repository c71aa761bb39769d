//! The door to one tenant's read models. Every query starts with the tenant and says how far its data reaches.
//! Used by `api` handlers; it holds read-only connections and nothing else.

use std::sync::Arc;
use std::time::Duration;

use formledger_domain::{FormId, FormVersion, Position, SubmissionId, TenantId};
use futures_util::FutureExt;
use futures_util::future::{join_all, select_all};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::choice::{Attempt, Floor};
use crate::cursor::InvalidCursor;
use crate::forms::{self, FormRow, FormSummary, FormVersionRow};
use crate::health::is_outage;
use crate::moments::KeptMoment;
use crate::position::{Behind, ReadModel, Waiting};
use crate::read_models::ReadModels;
use crate::statistics::{self, Statistics};
use crate::submissions::{self, Page, PageKey, Part, SubmissionQuery, SubmissionRow};
use crate::tasks::{self, OpenTask, TaskPage, TaskQuery};
use crate::waited::{WAIT_POLL, Watcher};

/// How long a query may run.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows and the position their read model had reached in the same database snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// How far the data reaches.
    pub position: Position,
    /// What was asked for.
    pub value: T,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is not one of this query.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// A condition or sort names a field that the form does not index.
    #[error("`{pointer}` is not indexed by the form: list it in the definition's `index` and publish")]
    NotIndexed {
        /// The field.
        pointer: String,
    },
    /// A condition or sort names a field, and no form says what it is.
    #[error("`{pointer}` is a field of a form: state `form` too")]
    FieldWithoutForm {
        /// The field.
        pointer: String,
    },
    /// The page size is out of range.
    #[error("`limit` is {given}: use 1 to {max}")]
    Limit {
        /// What was asked.
        given: u32,
        /// The most there is.
        max: u32,
    },
    /// More is selected than may be put in an order that moves.
    #[error(
        "more than {max} submissions are selected, and only so many are exported in an order that changes while they are: take \
         `sort=created_at`, or a moment (`at_position`), or select fewer"
    )]
    TooMany {
        /// The most there may be.
        max: u32,
    },
    /// The database failed, or a row does not hold what its columns promise.
    #[error("the read-model database failed")]
    Database(#[source] sqlx::Error),
    /// The database does not answer at present; try again after a moment.
    #[error("the read-model database does not answer")]
    Unreachable(#[source] sqlx::Error),
    /// No replica holds what this reader has waited for or seen already, as after a rebuild has gone back; try again after a moment.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// The query took longer than ten seconds. Another replica is not asked: it would have as much to do.
    #[error("the query took longer than {} s; ask for less at once", QUERY_TIMEOUT.as_secs())]
    Slow,
    /// The tenant's own queries hold as many connections as one tenant may, and did for as long as a query waits for one.
    #[error("this tenant's queries hold as many connections as one tenant may")]
    ShareTaken,
    /// Every connection stayed in use for as long as a query waits for one; try again after a moment.
    #[error("every connection that reads the read models is in use")]
    Busy,
}

impl From<sqlx::Error> for QueryError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            // Told to cancel, by the limit of its transaction: no outage.
            sqlx::Error::Database(error) if error.code().as_deref() == Some("57014") => Self::Slow,
            error if is_outage(&error) => Self::Unreachable(error),
            error => Self::Database(error),
        }
    }
}

/// One tenant's read models, on whichever replica can answer. Exists only for a `TenantContext`.
///
/// A reader never goes back: what it answers is at least as new as what it has waited for ([`TenantReader::wait_for`]) and answered before.
#[derive(Debug, Clone)]
pub struct TenantReader {
    pub(crate) tenant: TenantId,
    pub(crate) replicas: Arc<[ReadModels]>,
    pub(crate) floor: Arc<Floor>,
    /// Of a reader of a past moment: keeps its rows.
    kept: Option<Arc<KeptMoment>>,
}

/// Asks one replica after the other until one answers: those that are new enough, and of these the one with the least to do.
macro_rules! ask {
    ($reader:expr, $read_model:expr, |$connection:ident, $position:ident| $query:expr) => {{
        let mut attempt = Attempt::new($reader, $read_model);
        loop {
            let mut snapshot = attempt.next().await?;
            let $position = snapshot.position;
            let asked = timeout(QUERY_TIMEOUT, async {
                let mut connection = snapshot.connection();
                let $connection = &mut connection;
                $query
            });
            match asked.await {
                Ok(Ok(answer)) => break Ok(answer),
                Ok(Err(error)) => attempt.failed(&snapshot, QueryError::from(error))?,
                Err(_) => break Err(QueryError::Slow),
            }
        }
    }};
}

impl TenantReader {
    pub(crate) fn new(tenant: TenantId, replicas: Arc<[ReadModels]>) -> Self {
        Self { tenant, replicas, floor: Arc::default(), kept: None }
    }

    /// Reads the rows of a past moment, which nothing changes any more.
    pub(crate) fn of_moment(tenant: TenantId, kept: Arc<KeptMoment>) -> Self {
        let reader = Self {
            tenant,
            replicas: Arc::new([kept.read_models().clone()]),
            floor: Arc::default(),
            kept: Some(Arc::clone(&kept)),
        };
        // A read model that stopped before the moment has no answer.
        ReadModel::ALL.into_iter().for_each(|read_model| reader.floor.raise(read_model, kept.position()));
        reader
    }

    /// How far a read model has come.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn position(&self, read_model: ReadModel) -> Result<Position, QueryError> {
        Ok(Attempt::new(self, read_model).next().await?.position)
    }

    /// Waits until a read model has reached `min_position` on some replica, at most until `deadline`; answers where it is then. What this
    /// reader answers afterwards is not older.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn wait_for(
        &self,
        read_model: ReadModel,
        min_position: Position,
        deadline: Instant,
    ) -> Result<Position, Behind> {
        let reached = self.reaches(read_model, min_position, deadline).await?;
        self.floor.raise(read_model, min_position);
        Ok(reached)
    }

    async fn reaches(
        &self,
        read_model: ReadModel,
        min_position: Position,
        deadline: Instant,
    ) -> Result<Position, Behind> {
        let began = Instant::now();
        let known = self.known(read_model);
        if known >= min_position {
            return Ok(known);
        }
        let mut waiting: Vec<_> = self.replicas.iter().map(|replica| replica.applied().wait()).collect();
        let watchers: Vec<_> =
            self.replicas.iter().map(|replica| Watcher::new(replica, &self.tenant)).collect();
        let arrived = async {
            // A commit that comes between question and waiting ends the waiting at once: it is counted from where `waiting` began.
            while self.known(read_model) < min_position {
                any_commit(&mut waiting).await;
            }
        };
        let looked = join_all(watchers.iter().map(Watcher::looked));
        let over = async {
            sleep_until(deadline).await;
            // Who has no time is told of one look all the same; a busy pool holds nobody beyond the deadline by more than that takes.
            let _late = timeout_at(deadline.max(began + WAIT_POLL), looked).await;
        };
        let turns = join_all(watchers.iter().map(Watcher::take_turns));
        tokio::select! {
            () = arrived => {}
            () = over => {}
            _ = turns => {}
        }
        match self.known(read_model) {
            position if position >= min_position => Ok(position),
            position => Err(Behind { position }),
        }
    }

    /// The furthest that a replica which answers is known to have come.
    fn known(&self, read_model: ReadModel) -> Position {
        let known = |replica: &ReadModels| replica.applied().known(&self.tenant, read_model);
        let proven = self.replicas.iter().filter(|replica| replica.health().is_proven());
        let (answering, silent): (Vec<_>, Vec<_>) = proven.partition(|replica| replica.health().is_in());
        let of = |replicas: Vec<&ReadModels>| replicas.into_iter().map(known).max();
        of(answering).or_else(|| of(silent)).unwrap_or_default()
    }

    /// All forms by id.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn forms(&self) -> Result<Answer<Vec<FormSummary>>, QueryError> {
        ask!(self, ReadModel::Forms, |connection, position| {
            forms::list(connection, &self.tenant).await.map(|value| Answer { position, value })
        })
    }

    /// A form with its versions and draft; `None` when the tenant has no such form.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn form(&self, form: &FormId) -> Result<Answer<Option<FormRow>>, QueryError> {
        ask!(self, ReadModel::Forms, |connection, position| {
            forms::find(connection, &self.tenant, form).await.map(|value| Answer { position, value })
        })
    }

    /// A published version; `None` when there is no such form or version.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn form_version(
        &self,
        form: &FormId,
        version: FormVersion,
    ) -> Result<Answer<Option<FormVersionRow>>, QueryError> {
        ask!(self, ReadModel::Forms, |connection, position| {
            let found = forms::find_version(connection, &self.tenant, form, version).await;
            found.map(|value| Answer { position, value })
        })
    }

    /// One page of submissions.
    ///
    /// # Errors
    /// [`QueryError`] names the part of the query that cannot be answered.
    pub async fn submissions(&self, query: &SubmissionQuery) -> Result<Page<SubmissionRow>, QueryError> {
        self.page(query, query.page_items()?).await
    }

    async fn page(&self, query: &SubmissionQuery, limit: u32) -> Result<Page<SubmissionRow>, QueryError> {
        ask!(self, ReadModel::Submissions, |connection, position| {
            submissions::page(connection, &self.tenant, query, limit, position).await
        })
    }

    /// A piece of an export, behind the one that ended at `after`.
    pub(crate) async fn part(
        &self,
        query: &SubmissionQuery,
        after: Option<&PageKey>,
        limit: u32,
    ) -> Result<Part, QueryError> {
        ask!(self, ReadModel::Submissions, |connection, position| {
            submissions::part(connection, &self.tenant, query, after.cloned(), limit, position).await
        })
    }

    /// The ids of all that a query selects, in its order; of more than `max` none.
    pub(crate) async fn ids(
        &self,
        query: &SubmissionQuery,
        max: u32,
    ) -> Result<Answer<Vec<SubmissionId>>, QueryError> {
        ask!(self, ReadModel::Submissions, |connection, position| {
            let found = submissions::ids(connection, &self.tenant, query, max, position).await;
            found.map(|value| Answer { position, value })
        })
    }

    /// Whether it reads the rows of a past moment, which nothing changes.
    pub(crate) fn is_of_moment(&self) -> bool {
        self.kept.is_some()
    }

    /// One submission, with the task that is open on it; `None` when the tenant has no such submission.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn submission(
        &self,
        id: SubmissionId,
    ) -> Result<Answer<Option<(SubmissionRow, Option<OpenTask>)>>, QueryError> {
        ask!(self, ReadModel::Submissions, |connection, position| {
            submissions::find(connection, &self.tenant, id).await.map(|value| Answer { position, value })
        })
    }

    /// Several submissions, in the order of `ids`, of which each is there once; `None` for one that the tenant does not have.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn submissions_by_id(
        &self,
        ids: &[SubmissionId],
    ) -> Result<Answer<Vec<Option<SubmissionRow>>>, QueryError> {
        ask!(self, ReadModel::Submissions, |connection, position| {
            submissions::find_all(connection, &self.tenant, ids)
                .await
                .map(|mut found| Answer { position, value: ids.iter().map(|id| found.remove(id)).collect() })
        })
    }

    /// Counts, of one form or of all.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn statistics(&self, form: Option<&FormId>) -> Result<Answer<Statistics>, QueryError> {
        ask!(self, ReadModel::Statistics, |connection, position| {
            statistics::read(connection, &self.tenant, form).await.map(|value| Answer { position, value })
        })
    }

    /// One page of what waits for somebody.
    ///
    /// # Errors
    /// [`QueryError`] names the part of the query that cannot be answered.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, QueryError> {
        ask!(self, ReadModel::Tasks, |connection, position| {
            tasks::page(connection, &self.tenant, query, position).await
        })
    }
}

async fn any_commit(waiting: &mut [Waiting<'_>]) {
    select_all(waiting.iter_mut().map(|waiting| waiting.commit().boxed())).await;
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use formledger_domain::TenantContext;

    use super::*;
    use crate::read_models::{ReadModelSettings, ReadModels};

    #[tokio::test]
    async fn who_waits_hears_of_a_commit_and_of_the_deadline_while_every_connection_is_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("read-models.db");
        // Far beyond the deadlines below.
        let acquire_timeout = Duration::from_secs(60);
        let settings = ReadModelSettings { read_connections_max: 1, acquire_timeout };
        let models = ReadModels::open_sqlite(&path, settings).await.expect("read models");
        let tenant: TenantId = "acme".parse().expect("a slug");
        let reader = models.reader(&TenantContext::system(tenant.clone(), "test", Utc::now()));
        let taken = models.readers().snapshot(&tenant).await.expect("a connection");

        let began = Instant::now();
        let behind = reader.wait_for(ReadModel::Forms, Position(1), began + 2 * WAIT_POLL).await;
        assert_eq!(behind, Err(Behind { position: Position::START }));
        assert!(began.elapsed() < acquire_timeout / 2, "{:?}", began.elapsed());

        let began = Instant::now();
        let commit = async {
            tokio::time::sleep(WAIT_POLL / 2).await;
            models.applied().note(&tenant, ReadModel::Forms, Position(1));
            models.applied().announce();
        };
        let waiting = reader.wait_for(ReadModel::Forms, Position(1), began + acquire_timeout);
        assert_eq!(tokio::join!(waiting, commit).0, Ok(Position(1)));
        assert!(began.elapsed() < acquire_timeout / 2, "{:?}", began.elapsed());
        drop(taken);
    }
}
