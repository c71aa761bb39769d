//! How far each read model has come, and waiting for it to come further.
//! Advanced by the runner after each commit; awaited by queries that state `min_position`.

use formledger_domain::Position;

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
}

impl ReadModel {
    /// Every read model there is.
    pub const ALL: [Self; 3] = [Self::Forms, Self::Submissions, Self::Statistics];

    /// The name in checkpoints, metrics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forms => "forms",
            Self::Submissions => "submissions",
            Self::Statistics => "statistics",
        }
    }
}

/// The read model did not reach the wanted position in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the read model is at position {position}")]
pub struct Behind {
    /// Where it is.
    pub position: Position,
}
