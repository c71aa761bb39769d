//! What can go wrong when recording and reading; "the rules said no" is a different type, the aggregate's own.

use formledger_domain::Sequence;

/// The ledger could not be reached, written or read. Nothing that failed with it was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the ledger's database failed")]
    Database(#[from] sqlx::Error),
    /// The database has no space left; writes are refused until there is.
    #[error("the ledger's storage is full")]
    StorageFull,
    /// More commands wait than the queue may hold; try again after a moment.
    #[error("too many commands are waiting to be recorded")]
    QueueFull,
    /// The writer has stopped, because the process is ending.
    #[error("the ledger is closing")]
    Closed,
    /// What is stored contradicts itself: a gap, a hash that differs, an event that no code can read.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
}

/// Why an append was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream is not where the caller expected it to be.
    #[error("the stream is at sequence {actual}, not at {expected}")]
    Conflict {
        /// What the caller stated.
        expected: Sequence,
        /// Where the stream is.
        actual: Sequence,
    },
    /// The idempotency key was used before with another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error> {
    /// The aggregate said no.
    #[error(transparent)]
    Refused(E),
    /// It could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
}
