//! The door to one tenant's read models. Every query starts with the tenant and says how far its data reaches.
//! Used by `api` handlers; it holds read-only connections and nothing else.

use std::sync::Arc;
use std::time::Duration;

use formledger_domain::{FormId, FormVersion, Position, SubmissionId, TenantId};
use futures_util::{Stream, TryStreamExt, stream};
use sqlx::{Sqlite, Transaction};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::checkpoint;
use crate::cursor::InvalidCursor;
use crate::forms::{self, FormRow, FormSummary, FormVersionRow};
use crate::position::{Applied, Behind, ReadModel};
use crate::read_models::ReadPool;
use crate::statistics::{self, Statistics};
use crate::submissions::{self, PAGE_ITEMS_MAX, Page, SubmissionQuery, SubmissionRow};

/// How often someone who waits looks at the database, for the case that another process keeps it.
const WAIT_POLL: Duration = Duration::from_millis(100);

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
    /// The database failed, or a row does not hold what its columns promise.
    #[error("the read-model database failed")]
    Database(#[source] sqlx::Error),
    /// Every connection stayed in use for as long as a query waits for one; try again after a moment.
    #[error("every connection that reads the read models is in use")]
    Busy,
}

impl From<sqlx::Error> for QueryError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            error => Self::Database(error),
        }
    }
}

/// One tenant's read models. Exists only for a `TenantContext`.
#[derive(Debug, Clone)]
pub struct TenantReader {
    tenant: TenantId,
    pool: ReadPool,
    applied: Arc<Applied>,
}

impl TenantReader {
    pub(crate) fn new(tenant: TenantId, pool: ReadPool, applied: Arc<Applied>) -> Self {
        Self { tenant, pool, applied }
    }

    /// How far a read model has come.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn position(&self, read_model: ReadModel) -> Result<Position, QueryError> {
        Ok(self.snapshot(read_model).await?.1)
    }

    /// Waits until a read model has reached `min_position`, at most until `deadline`; answers where it is then.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn wait_for(
        &self,
        read_model: ReadModel,
        min_position: Position,
        deadline: Instant,
    ) -> Result<Position, Behind> {
        let known = self.applied.known(&self.tenant, read_model);
        if known >= min_position {
            return Ok(known);
        }
        let mut waiting = self.applied.wait();
        let mut stored = Position::START;
        let mut next_look = Instant::now();
        loop {
            let known = self.applied.known(&self.tenant, read_model).max(stored);
            let now = Instant::now();
            if known >= min_position {
                return Ok(known);
            }
            if now >= next_look {
                next_look = now + WAIT_POLL;
                // A busy pool holds nobody beyond the deadline by more than one look.
                let look = timeout_at(deadline.max(next_look), self.position(read_model));
                tokio::select! {
                    // A database that cannot answer now may do so before the deadline; the query itself reports it.
                    seen = look => stored = seen.ok().and_then(Result::ok).unwrap_or(stored),
                    () = waiting.commit() => continue,
                }
                if stored >= min_position {
                    return Ok(stored);
                }
            }
            if Instant::now() >= deadline {
                return Err(Behind { position: stored.max(known) });
            }
            // A commit of this process says in memory what it did: the database is asked only at the next look.
            tokio::select! {
                () = waiting.commit() => {}
                () = sleep_until(deadline.min(next_look)) => {}
            }
        }
    }

    /// All forms by id.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn forms(&self) -> Result<Answer<Vec<FormSummary>>, QueryError> {
        let (mut snapshot, position) = self.snapshot(ReadModel::Forms).await?;
        Ok(Answer { position, value: forms::list(&mut snapshot, &self.tenant).await? })
    }

    /// A form with its versions and draft; `None` when the tenant has no such form.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn form(&self, form: &FormId) -> Result<Answer<Option<FormRow>>, QueryError> {
        let (mut snapshot, position) = self.snapshot(ReadModel::Forms).await?;
        Ok(Answer { position, value: forms::find(&mut snapshot, &self.tenant, form).await? })
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
        let (mut snapshot, position) = self.snapshot(ReadModel::Forms).await?;
        let value = forms::find_version(&mut snapshot, &self.tenant, form, version).await?;
        Ok(Answer { position, value })
    }

    /// One page of submissions.
    ///
    /// # Errors
    /// [`QueryError`] names the part of the query that cannot be answered.
    pub async fn submissions(&self, query: &SubmissionQuery) -> Result<Page<SubmissionRow>, QueryError> {
        let (mut snapshot, position) = self.snapshot(ReadModel::Submissions).await?;
        submissions::page(&mut snapshot, &self.tenant, query, position).await
    }

    /// All submissions that a query selects, for exports; the query's own `limit` and `cursor` do not matter.
    ///
    /// They are read page by page and no read transaction is held between pages, so a slow client never pins the write-ahead log.
    /// The stream ends after an error.
    pub fn all_submissions(
        &self,
        query: SubmissionQuery,
    ) -> impl Stream<Item = Result<SubmissionRow, QueryError>> + Send + 'static + use<> {
        let first = SubmissionQuery { limit: Some(PAGE_ITEMS_MAX), cursor: None, ..query };
        let reader = self.clone();
        stream::try_unfold(Some(first), move |next| {
            let reader = reader.clone();
            async move {
                let Some(query) = next else { return Ok::<_, QueryError>(None) };
                let Page { items, next_cursor, .. } = reader.submissions(&query).await?;
                let cursor = next_cursor.as_ref().map(|cursor| cursor.as_str().to_owned());
                let next = cursor.is_some().then_some(SubmissionQuery { cursor, ..query });
                Ok(Some((stream::iter(items.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
    }

    /// One submission; `None` when the tenant has no such submission.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn submission(&self, id: SubmissionId) -> Result<Answer<Option<SubmissionRow>>, QueryError> {
        let (mut snapshot, position) = self.snapshot(ReadModel::Submissions).await?;
        Ok(Answer { position, value: submissions::find(&mut snapshot, &self.tenant, id).await? })
    }

    /// Counts, of one form or of all.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn statistics(&self, form: Option<&FormId>) -> Result<Answer<Statistics>, QueryError> {
        let (mut snapshot, position) = self.snapshot(ReadModel::Statistics).await?;
        Ok(Answer { position, value: statistics::read(&mut snapshot, &self.tenant, form).await? })
    }

    /// A read transaction, and the position that everything read in it reaches.
    async fn snapshot(
        &self,
        read_model: ReadModel,
    ) -> Result<(Transaction<'static, Sqlite>, Position), QueryError> {
        let mut snapshot = self.pool.snapshot().await?;
        let position = checkpoint::position(&mut snapshot, &self.tenant, read_model).await?;
        Ok((snapshot, position))
    }
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
        let taken = reader.pool.snapshot().await.expect("a connection");

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
