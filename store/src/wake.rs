//! Wake-ups inside the process: a signal that ledgers moved, never the data. Followers also poll, so a lost signal costs time, not facts.

use formledger_domain::{Position, TenantId};

/// Tells a projector which ledgers moved since it last asked.
#[derive(Debug)]
pub struct Moved {}

impl Moved {
    /// Waits until at least one ledger moved, then gives each moved tenant once with its newest head.
    pub async fn next(&mut self) -> Vec<(TenantId, Position)> {
        todo!()
    }
}
