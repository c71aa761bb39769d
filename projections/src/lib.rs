//! Read models: what queries are answered from, derived from the ledger and derivable again at any time.
//! Written by the [`Runner`] and by [`rebuild`](fn@rebuild), read by `api` through a [`TenantReader`]; no command ever reads them to decide.

mod condition;
mod cursor;
mod forms;
mod position;
mod read_models;
mod reader;
mod rebuild;
mod runner;
mod statistics;
mod status;
mod submissions;
pub mod timeline;

pub use condition::{Comparison, Condition, InvalidCondition, Operand};
pub use cursor::{Cursor, InvalidCursor};
pub use forms::{FormRow, FormSummary, FormVersionRow, FormVersionSummary};
pub use position::{Behind, ReadModel};
pub use read_models::{OpenError, ReadModelSettings, ReadModels};
pub use reader::{Answer, QueryError, TenantReader};
pub use rebuild::{RebuildError, RebuildProgress, RebuildRequest, rebuild};
pub use runner::{ProjectError, Runner, RunnerSettings};
pub use statistics::{DayCount, OutcomeCount, StateCount, Statistics};
pub use status::{PARKED_LISTED_MAX, ParkedTenant, ReadModelStatus};
pub use submissions::{
    InvalidSort, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, Sort, SortKey, SubmissionQuery, SubmissionRow,
};
