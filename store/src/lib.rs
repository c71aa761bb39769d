//! The ledger: appends with group commit, streams, ordered reads and wake-ups, on SQLite.
//! Called by `projections` (to follow) and `api` (to execute commands and serve feeds); it never knows what an event means.

mod error;
mod event;
mod execute;
mod ledger;
mod wake;

pub use error::{AppendError, ExecuteError, StoreError};
pub use event::{Metadata, RecordedEvent};
pub use execute::{ExecuteOptions, Executed};
pub use ledger::{
    Append, Appended, EventFilter, Expectation, FirstOutcome, Idempotency, LedgerHead, LedgerRange, Store,
    StoreSettings, TenantLedger,
};
pub use wake::Moved;
