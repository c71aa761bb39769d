//! What a projection is: code that turns a tenant's events into rows. Implemented once per read model, driven by `projector`.

use std::sync::Arc;

use cqrs_es::Aggregate;
use formledger_domain::{
    Form, FormEvent, LedgerAggregate, Position, Submission, SubmissionEvent, TenantId, UndecodableEvent,
};
use formledger_store::RecordedEvent;

use crate::checkpoint::Recount;
use crate::database::Connection;
use crate::position::ReadModel;

/// A recorded event, decoded once for all projections.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) event: Arc<RecordedEvent>,
    pub(crate) said: Said,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Said {
    Form(FormEvent),
    Submission(SubmissionEvent),
    /// An event of an aggregate that no read model follows.
    Elsewhere,
    /// This binary cannot read it.
    Unreadable(UndecodableEvent),
}

impl Fact {
    /// Decodes through the aggregate, so that upcasting happens where it always does.
    pub(crate) fn of(event: Arc<RecordedEvent>) -> Self {
        let (kind, version, payload) = (&event.event_type, &event.event_version, &event.payload);
        let said = if event.aggregate_type == Submission::TYPE {
            Submission::decode(kind, version, payload).map_or_else(Said::Unreadable, Said::Submission)
        } else if event.aggregate_type == Form::TYPE {
            Form::decode(kind, version, payload).map_or_else(Said::Unreadable, Said::Form)
        } else {
            Said::Elsewhere
        };
        Self { event, said }
    }
}

/// Consecutive facts of one tenant, all after the projection's checkpoint and all readable to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) facts: &'a [Fact],
}

/// An event that a projection could read and not apply: the ledger contradicts itself.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) tenant: TenantId,
    pub(crate) position: Position,
    pub(crate) error: String,
}

/// Keeps one read model.
pub(crate) trait Projection: Default + Send {
    /// Which one.
    const READ_MODEL: ReadModel;
    /// Raised when the same events must give other rows; rows of another version are dropped and built again.
    const VERSION: i64;
    /// The tables it alone writes, each with a `tenant_id`.
    const TABLES: &'static [&'static str];

    /// Whether events of this aggregate matter to it. An unreadable event that matters parks the tenant.
    fn follows(aggregate_type: &str) -> bool;

    /// Applies one slice per tenant inside the caller's transaction.
    ///
    /// Answers the tenants at which it had to stop; what came before the stop is applied. Any error rolls back everything, and
    /// [`Projection::forget`] follows.
    fn apply(
        &mut self,
        connection: &mut Connection<'_>,
        slices: &[Slice<'_>],
    ) -> impl Future<Output = Result<Vec<Stop>, sqlx::Error>> + Send;

    /// What the last [`Projection::apply`] has counted and not written to tables; it is to stand in the tenants' checkpoints as long.
    fn take_recounts(&mut self) -> Vec<Recount> {
        Vec::new()
    }

    /// Drops everything remembered of the tables, because they may differ from it now.
    fn forget(&mut self);
}
