//! Reads a tenant's ledger one batch ahead of the projector, so that reading and decoding take place while rows are written.
//! Used by shadows only: a live projector has nothing to read ahead of.

use formledger_domain::{Position, TenantId};
use formledger_store::{LedgerRange, Store, StoreError};
use tokio::task::JoinSet;

use crate::batch::Batch;
use crate::projector::{BatchLimits, READ_EVENTS_MAX};
use crate::witness::Reflected;

/// A batch that is being read. Dropping it ends the reading.
#[derive(Debug)]
pub(super) struct Ahead {
    after: Position,
    reading: JoinSet<Result<Batch, StoreError>>,
}

impl Ahead {
    /// Begins to read what lies behind `after`, at most up to `up_to`.
    pub(super) fn begin(
        store: &Store,
        tenant: &TenantId,
        (after, up_to): (Position, Position),
        limits: BatchLimits,
    ) -> Self {
        let mut reading = JoinSet::new();
        reading.spawn(read(store.clone(), tenant.clone(), after, up_to, limits));
        Self { after, reading }
    }

    /// The position that its first event follows.
    pub(super) fn after(&self) -> Position {
        self.after
    }

    /// The batch, once it is read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(super) async fn batch(mut self) -> Result<Batch, StoreError> {
        match self.reading.join_next().await {
            Some(Ok(batch)) => batch,
            Some(Err(failed)) => std::panic::resume_unwind(failed.into_panic()),
            None => unreachable!("one task was spawned"),
        }
    }
}

async fn read(
    store: Store,
    tenant: TenantId,
    after: Position,
    up_to: Position,
    limits: BatchLimits,
) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    let mut next = after;
    while next < up_to
        && !batch.is_walled(&tenant)
        && batch.events() < limits.events_max
        && batch.payload_bytes() < limits.bytes_max
    {
        let end = Position(up_to.0.min(next.0 + READ_EVENTS_MAX as u64));
        let range = LedgerRange { tenant: tenant.clone(), after: next, up_to: end };
        batch.read(&store, &[range], &Reflected::new()).await?;
        next = end;
    }
    // One tenant's events come in order.
    Ok(batch)
}
