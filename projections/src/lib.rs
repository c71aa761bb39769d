//! Read models: what queries are answered from, derived from the ledger and derivable again at any time.
//! Written by the [`Runner`] and by [`rebuild`](fn@rebuild), read by `api` through a [`TenantReader`]; no command ever reads them to decide.

mod read_models;
mod reader;
mod replicas;

mod choice;
mod health;
mod identity;
mod pool;

mod condition;
mod cursor;
mod forms;
pub mod record;
mod statistics;
mod submissions;
mod tasks;
pub mod timeline;

mod ahead;
mod batch;
mod checkpoint;
mod compare;
mod export;
mod follower;
mod in_use;
mod keeper;
mod leadership;
mod light;
mod moments;
mod open_error;
mod position;
mod projection;
mod projector;
mod rebuild;
mod runner;
mod shadow;
mod shares;
mod standing;
mod status;
mod waited;
mod witness;

mod columns;
mod database;
mod place;
mod schema;

pub use compare::{ROW_DIFFERENCES_MAX, RowDifference, Side, compare};
pub use condition::{Comparison, Condition, InvalidCondition, Operand};
pub use cursor::{Cursor, InvalidCursor};
pub use export::ExportedRows;
pub use forms::{FormRow, FormSummary, FormVersionRow, FormVersionSummary};
pub use keeper::keep;
pub use moments::{MomentError, MomentSettings, Moments};
pub use place::ReadModelPlace;
pub use pool::PoolUse;
pub use position::{Behind, ReadModel, UnknownReadModel};
pub use projector::ProjectError;
pub use read_models::{OpenError, ReadModelSettings, ReadModels};
pub use reader::{Answer, QueryError, TenantReader};
pub use rebuild::{RebuildError, RebuildProgress, RebuildRequest, rebuild};
pub use replicas::{ReplicaStatus, Replicas};
pub use runner::{Runner, RunnerSettings};
pub use shadow::{
    ComparedReadModel, LateReplica, SHADOW_DIFFERENCES_TOLD_MAX, Shadow, ShadowComparison, ShadowComparisons,
    ShadowDifference, ShadowError, ShadowFolder, remove_stale_shadows, shadow_file,
};
pub use statistics::{
    DAYS_MAX, DayCount, EndedStays, OUTCOME_VALUE_BYTES_MAX, OUTCOME_VALUES_MAX, OpenStays, OutcomeCount,
    SinceDay, StateCount, StateTime, Statistics,
};
pub use status::{PARKED_LISTED_MAX, ParkedTenant, ReadModelStatus, Skip, SkipError};
pub use submissions::{
    InvalidSort, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, Sort, SortKey, SubmissionQuery, SubmissionRow,
};
pub use tasks::{
    Approver, DueTask, GivenDelegation, OpenTask, PossibleTransition, TASKS_PAGE_DEFAULT, TASKS_PAGE_MAX,
    TaskPage, TaskQuery, TaskRow,
};
