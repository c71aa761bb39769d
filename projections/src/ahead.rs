//! Reads a tenant's ledger one batch ahead of the projector, so that reading and decoding take place while rows are written.
//! Used by shadows and rebuilds: a live projector has nothing to read ahead of.

use formledger_domain::{Position, TenantId};
use formledger_store::{LedgerRange, Store, StoreError};
use tokio::task::JoinSet;

use crate::batch::Batch;
use crate::projector::{BatchLimits, ProjectError, Projector, READ_EVENTS_MAX};
use crate::witness::Reflected;

/// Brings a projector forward in one tenant's ledger, and keeps what was read ahead between two batches.
#[derive(Debug, Default)]
pub(crate) struct Forward {
    ahead: Option<Ahead>,
}

impl Forward {
    /// Applies one batch of what lies up to a position, and has the next one read meanwhile; answers how many events it took, 0 when nothing
    /// waits. Nothing else waits in the projector afterwards.
    ///
    /// # Errors
    /// When the ledger cannot be read or the batch not be applied.
    pub(crate) async fn advance(
        &mut self,
        projector: &mut Projector,
        tenant: &TenantId,
        up_to: Position,
        limits: BatchLimits,
    ) -> Result<usize, ProjectError> {
        projector.rest();
        projector.aim([(tenant.clone(), up_to)]);
        if !projector.is_behind() {
            return Ok(0);
        }
        let store = projector.store().clone();
        let Some(after) = projector.next_read(tenant) else { return projector.advance().await };
        let read = |after, reflected| Ahead::begin(&store, tenant, (after, up_to), limits, reflected);
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(tenant, after, up_to));
        let batch = ahead.unwrap_or_else(|| read(after, projector.reflected_of(tenant))).batch().await?;
        projector.admit(&batch).await?;
        // A ledger that can lose history still has to hold then what this batch ended with.
        let goes_on = batch.last().filter(|(last, _)| *last < up_to && !batch.is_walled(tenant));
        self.ahead = goes_on.map(|last| read(last.0, Reflected::from([(tenant.clone(), last)])));
        let events = projector.apply(batch).await?;
        // What waited was not read by the projector itself, so it does not know that.
        projector.rest();
        projector.aim([(tenant.clone(), up_to)]);
        Ok(events)
    }
}

/// A batch that is being read. Dropping it ends the reading.
#[derive(Debug)]
struct Ahead {
    tenant: TenantId,
    after: Position,
    up_to: Position,
    reading: JoinSet<Result<Batch, StoreError>>,
}

impl Ahead {
    /// Begins to read what lies behind `after`, at most up to `up_to`, of a ledger that holds what is `reflected`.
    fn begin(
        store: &Store,
        tenant: &TenantId,
        (after, up_to): (Position, Position),
        limits: BatchLimits,
        reflected: Reflected,
    ) -> Self {
        let mut reading = JoinSet::new();
        reading.spawn(read(store.clone(), tenant.clone(), (after, up_to), limits, reflected));
        Self { tenant: tenant.clone(), after, up_to, reading }
    }

    /// Whether it is what follows a position of a tenant's ledger, and nothing behind `up_to`.
    fn is_of(&self, tenant: &TenantId, after: Position, up_to: Position) -> bool {
        (&self.tenant, self.after) == (tenant, after) && self.up_to <= up_to
    }

    /// The batch, once it is read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn batch(mut self) -> Result<Batch, StoreError> {
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
    (after, up_to): (Position, Position),
    limits: BatchLimits,
    reflected: Reflected,
) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    let mut next = after;
    while next < up_to
        && !batch.is_walled(&tenant)
        && batch.torn().is_none()
        && batch.events() < limits.events_max
        && batch.payload_bytes() < limits.bytes_max
    {
        let room = READ_EVENTS_MAX.min(limits.events_max - batch.events());
        let end = Position(up_to.0.min(next.0 + room as u64));
        let range = LedgerRange { tenant: tenant.clone(), after: next, up_to: end };
        batch.read(&store, &[range], &reflected).await?;
        next = end;
    }
    // One tenant's events come in order.
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::ReadModel;
    use crate::projector::tests::{LIMITS, Site};

    const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM ledgers";
    const LOSE: &str = "SET session_replication_role = replica; \
        DELETE FROM events USING kept WHERE events.tenant_id = kept.tenant_id AND events.position > kept.position; \
        UPDATE ledgers SET position = kept.position, recorded_at = kept.recorded_at, frontier = kept.frontier \
        FROM kept WHERE kept.tenant_id = ledgers.tenant_id";

    /// A ledger loses events that were applied, and grows beyond where it was, while somebody reads ahead.
    #[tokio::test]
    async fn what_is_read_ahead_never_comes_on_top_of_events_that_were_lost() {
        let mut site = Site::on_postgres().await;
        site.publish("acme").await;
        site.submit("acme").await;
        site.tamper(KEEP).await;
        for _ in 2..24 {
            site.submit("acme").await;
        }
        // Another process's, which has none of the events in memory.
        let store = site.another_store().await;
        let mut projector = Projector::new(store, site.models.clone(), &ReadModel::ALL, LIMITS);
        projector.load(false).await.expect("loads");
        let (mut forward, tenant, head) = (Forward::default(), "acme".parse().expect("a slug"), Position(24));
        let applied = forward.advance(&mut projector, &tenant, head, LIMITS).await.expect("a batch");
        assert_eq!(applied, LIMITS.events_max);

        site.tamper(LOSE).await;
        site.store = site.another_store().await;
        for _ in 2..24 {
            site.submit("acme").await;
        }
        // The next batch may have been read before; nothing is that comes after it.
        let mut lost = forward.advance(&mut projector, &tenant, head, LIMITS).await;
        if lost.is_ok() {
            lost = forward.advance(&mut projector, &tenant, head, LIMITS).await;
        }
        assert!(matches!(lost, Err(ProjectError::HistoryLost { .. })), "{lost:?}");
        assert!(site.position("acme", ReadModel::Submissions).await <= 2 * LIMITS.events_max as u64);
    }
}
