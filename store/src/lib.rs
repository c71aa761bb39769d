//! The ledger: appends with group commit, streams, ordered reads and wake-ups, on SQLite or Postgres.
//! Called by `projections` (to follow) and `api` (to execute commands and serve feeds); it never knows what an event means.

mod append;
pub mod direct;
mod elsewhere;
mod error;
mod event;
mod execute;
mod filter;
mod followers;
mod ledger;
mod progress;
mod restore;
mod room;
mod seldom;
mod store;
mod tail;
mod verify;
mod wake;

mod backend;
mod envelope;
mod merkle;
mod part;
mod reader;
mod rows;
mod stored;
mod unwritten;

#[cfg(test)]
mod contract;
mod postgres;
mod sqlite;
mod writer;

pub use append::{Append, Appended, Basis, Expectation, FirstOutcome, Idempotency};
pub use elsewhere::Moment;
pub use error::{AppendError, ExecuteError, StoreError, causes};
pub use event::{Metadata, RecordedEvent};
pub use execute::{ExecuteOptions, Executed, MakeOutcome, Remember};
pub use filter::EventFilter;
pub use ledger::{LedgerHead, LedgerRange, LinkedRanges, TenantLedger};
pub use part::Part;
pub use postgres::PostgresOptions;
pub use restore::{Chain, Restoration, RestoreError};
pub use seldom::Seldom;
pub use store::{PoolStatus, Store, StoreSettings};
pub use verify::{Difference, VerifyProgress, VerifyReport};
pub use wake::Moved;
pub use writer::POLL_INTERVAL;
