//! The business of audited forms: what may happen to a tenant, a form and a submission, decided purely.
//! Called by `store` (to run aggregates) and `api` (to build commands); it touches no clock, randomness, environment, network or database.

mod aggregate;
mod context;
mod ids;
mod json;

pub use aggregate::{EncodedEvent, LedgerAggregate, UndecodableEvent};
pub use context::{Actor, StreamId, TenantContext};
pub use ids::{EventId, FormId, InvalidId, Position, Sequence, SubmissionId, TenantId};
pub use json::{CanonicalJson, INTEGER_MAX, InexactNumber};
