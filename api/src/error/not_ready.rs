//! Why a node is not ready: what `/readyz` and `/healthz` answer 503 for.

use formledger_store::StoreError;

/// Why this process cannot serve, or not well enough to be sent requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No replica is near enough to the ledger.
    #[error("read models are {lag_events} events behind")]
    Behind {
        /// The lag of the best one.
        lag_events: u64,
        /// Tenants times read models that stopped at an event.
        parked: u64,
    },
    /// What keeps the read models up to date panicked; it is started again by itself.
    #[error("what keeps the read models up to date failed and is started again")]
    RunnerFailed,
    /// The ledger's writer panicked.
    #[error("the ledger's writer failed: the process has to be started again")]
    WriterFailed,
    /// The last commands could not be recorded, or one takes too long.
    #[error("{0}")]
    NothingIsRecorded(NothingIsRecorded),
}

/// Why a command would not be recorded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NothingIsRecorded {
    /// There is no space.
    #[error("the storage is full; nothing is recorded until there is space again")]
    StorageFull,
    /// The database does not answer.
    #[error("the ledger's database cannot be reached at the moment")]
    Unreachable,
    /// Another process, or the database, takes too long.
    #[error("another process is writing to the ledger all the time, or its database takes too long")]
    Busy,
    /// Something else, which the log tells.
    #[error("the last commands could not be recorded; the log has the cause")]
    Failed,
}

impl From<StoreError> for NothingIsRecorded {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::StorageFull => Self::StorageFull,
            StoreError::Unreachable(_) => Self::Unreachable,
            StoreError::Busy | StoreError::Held => Self::Busy,
            _ => Self::Failed,
        }
    }
}

impl NotReady {
    /// Stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::RunnerFailed => "runner-failed",
            Self::WriterFailed => "writer-failed",
            Self::NothingIsRecorded(NothingIsRecorded::StorageFull) => "storage-full",
            Self::NothingIsRecorded(NothingIsRecorded::Unreachable) => "ledger-unreachable",
            Self::NothingIsRecorded(NothingIsRecorded::Busy) => "ledger-busy",
            Self::NothingIsRecorded(NothingIsRecorded::Failed) => "recording-failed",
        }
    }
}
