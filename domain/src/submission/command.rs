//! What may be asked of a submission. Built by the API; cheap to clone, because a command that met a conflict is decided again.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::signing::SignatureGiven;
use crate::attachment::{Attachment, ContentHash};
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
        /// When the command was given; rules read it as `now`.
        now: DateTime<Utc>,
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
    /// Does something with a submission in its workflow.
    Act {
        /// The form version that the submission is pinned to.
        form: Arc<CompiledForm>,
        /// What.
        act: Act,
        /// Who.
        by: Actor,
        /// When the command was given; rules read it as `now`.
        now: DateTime<Utc>,
    },
    /// Lets time do what is due, if something is; else nothing.
    Escalate {
        /// The form version that the submission is pinned to.
        form: Arc<CompiledForm>,
        /// The time.
        now: DateTime<Utc>,
    },
}

impl SubmissionCommand {
    /// The same by somebody with the roles that they hold for the command's form.
    pub(super) fn on_its_form(mut self) -> Self {
        match &mut self {
            Self::Submit { form, by, .. }
            | Self::Patch { form, by, .. }
            | Self::SubmitDraft { form, by, .. }
            | Self::Act { form, by, .. } => *by = by.on(form.id()),
            Self::Escalate { .. } => {}
        }
        self
    }
}

/// What a person may do with a submission in its workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Takes a transition, or gives one of the approvals that it needs.
    Take {
        /// Its name.
        transition: String,
        /// Why.
        reason: Option<String>,
        /// A JSON merge patch of the data (RFC 7396), applied before.
        data: Option<Arc<Value>>,
        /// For whom; `None`: by one's own right, or as the delegate that one is.
        on_behalf_of: Option<String>,
        /// The signature, where the transition asks for one.
        signature: Option<SignatureGiven>,
    },
    /// Attaches a file whose bytes are stored.
    Attach {
        /// What it is.
        attachment: Attachment,
    },
    /// Takes a file off; its bytes stay in the record.
    Detach {
        /// Which.
        sha256: ContentHash,
        /// Why.
        reason: Option<String>,
    },
    /// Takes the submission back.
    Withdraw {
        /// Why.
        reason: Option<String>,
    },
    /// Says something about it.
    Comment {
        /// What.
        text: String,
    },
    /// Takes its task on.
    Claim,
    /// Asks somebody to take its task on.
    Assign {
        /// Whom.
        to: String,
        /// Why.
        reason: Option<String>,
    },
    /// Gives its task back; a delegate gives the right back.
    Release,
    /// Lets somebody act for oneself on this submission.
    Delegate {
        /// Whom.
        to: String,
        /// Since when; `None`: at once.
        starts_at: Option<DateTime<Utc>>,
        /// Until when, exclusive; `None`: until it is ended.
        ends_at: Option<DateTime<Utc>>,
        /// Why.
        reason: Option<String>,
    },
    /// Ends all delegations of somebody's right.
    EndDelegation {
        /// Whose; `None`: one's own.
        from: Option<String>,
        /// Why.
        reason: Option<String>,
    },
}
