//! What may be asked of a submission. Built by the API; cheap to clone, because a command that met a conflict is decided again.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::context::Actor;
use crate::form::CompiledForm;

/// What may be asked of a submission.
#[derive(Debug, Clone)]
pub enum SubmissionCommand {
    /// Makes the submission: final under the form's rules, or a draft that is checked when it is submitted.
    Submit {
        /// The form version that the submission will stay pinned to.
        form: Arc<CompiledForm>,
        /// The data, as [`crate::parse_exact`] read it.
        data: Arc<Value>,
        /// Whether to keep it as a draft for now.
        draft: bool,
        /// Who submits.
        by: Actor,
        /// When the command was given; rules read it as `now`.
        now: DateTime<Utc>,
    },
    /// Changes the data where the state lets this person edit it.
    Patch {
        /// The form version that the submission is pinned to.
        form: Arc<CompiledForm>,
        /// A JSON merge patch of the data (RFC 7396).
        patch: Arc<Value>,
        /// Who changes it.
        by: Actor,
    },
    /// Turns the draft into a submission.
    SubmitDraft {
        /// The form version that the submission is pinned to.
        form: Arc<CompiledForm>,
        /// Who submits.
        by: Actor,
        /// When the command was given; rules read it as `now`.
        now: DateTime<Utc>,
    },
}
