//! The door to one tenant's read models. Every query starts with the tenant and says how far its data reaches.
//! Used by `api` handlers; it holds read-only connections and nothing else.

use formledger_domain::{FormId, Position, SubmissionId};
use futures_util::Stream;
use tokio::time::Instant;

use crate::cursor::InvalidCursor;
use crate::forms::{FormRow, FormSummary, FormVersionRow};
use crate::position::{Behind, ReadModel};
use crate::statistics::Statistics;
use crate::submissions::{Page, SubmissionQuery, SubmissionRow};

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
    /// The database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
    /// A row does not hold what its columns promise; rebuild.
    #[error("a read-model row is damaged: {0}")]
    Damaged(String),
}

/// One tenant's read models. Exists only for a `TenantContext`.
#[derive(Debug, Clone)]
pub struct TenantReader {}

impl TenantReader {
    /// How far a read model has come.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn position(&self, _read_model: ReadModel) -> Result<Position, QueryError> {
        todo!()
    }

    /// Waits until a read model has reached `min_position`, at most until `deadline`; answers where it is then.
    ///
    /// # Errors
    /// [`Behind`] at the deadline.
    pub async fn wait_for(
        &self,
        _read_model: ReadModel,
        _min_position: Position,
        _deadline: Instant,
    ) -> Result<Position, Behind> {
        todo!()
    }

    /// All forms by id.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn forms(&self) -> Result<Answer<Vec<FormSummary>>, QueryError> {
        todo!()
    }

    /// A form with its versions and draft; `None` when the tenant has no such form.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn form(&self, _form: &FormId) -> Result<Answer<Option<FormRow>>, QueryError> {
        todo!()
    }

    /// A published version; `None` when there is no such form or version.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn form_version(
        &self,
        _form: &FormId,
        _version: u32,
    ) -> Result<Answer<Option<FormVersionRow>>, QueryError> {
        todo!()
    }

    /// One page of submissions.
    ///
    /// # Errors
    /// [`QueryError`] names the part of the query that cannot be answered.
    pub async fn submissions(&self, _query: &SubmissionQuery) -> Result<Page<SubmissionRow>, QueryError> {
        todo!()
    }

    /// All submissions that a query selects (its `limit` and `cursor` do not matter), read page by page, for exports.
    ///
    /// No read transaction is held between pages, so a slow client never pins the write-ahead log.
    pub fn all_submissions(
        &self,
        _query: SubmissionQuery,
    ) -> impl Stream<Item = Result<SubmissionRow, QueryError>> + Send + 'static {
        futures_util::stream::empty()
    }

    /// One submission; `None` when the tenant has no such submission.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn submission(&self, _id: SubmissionId) -> Result<Answer<Option<SubmissionRow>>, QueryError> {
        todo!()
    }

    /// Counts, of one form or of all.
    ///
    /// # Errors
    /// [`QueryError::Database`].
    pub async fn statistics(&self, _form: Option<&FormId>) -> Result<Answer<Statistics>, QueryError> {
        todo!()
    }
}
