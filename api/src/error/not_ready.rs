//! Why a node is not ready: what `/readyz` and `/healthz` answer 503 for.

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
}

impl NotReady {
    /// Stable name of the reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::RunnerFailed => "runner-failed",
            Self::WriterFailed => "writer-failed",
        }
    }
}
