//! What happened to a submission in its workflow, and how it is stored. The event is the contract: a stored shape never changes.
//! Folded by `state`; carried by `SubmissionEvent::Worked` together with the form version.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::signing::Signature;
use super::state::SubmissionState;
use super::task::{Action, Delegation, Task};
use crate::attachment::Attachment;
use crate::ids::{FormId, FormVersion};
use crate::json::CanonicalJson;

/// What happened to a submission in its workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WorkflowFact {
    /// `formledger.submission.transitioned`: it is in another state now.
    Transitioned {
        /// The state it left.
        from: SubmissionState,
        /// The state it is in.
        to: SubmissionState,
        /// The transition that somebody took; `None` when it went by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transition: Option<Arc<str>>,
        /// For whom, when a delegate took it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Arc<str>>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// `formledger.submission.approved`: one of several people took a transition that needs several.
    Approved {
        /// The transition.
        transition: Arc<str>,
        /// Who.
        by: Arc<str>,
        /// For whom, when it was given as a delegate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Arc<str>>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
        /// How many there are with this one.
        have: u32,
        /// How many are needed.
        need: u32,
    },
    /// `formledger.submission.task-opened`: it waits for people, for these and until then.
    TaskOpened(Task),
    /// `formledger.submission.escalated`: it waited for longer than it should.
    Escalated {
        /// The state it waited in.
        state: SubmissionState,
        /// Until when it should have been done.
        due_at: DateTime<Utc>,
    },
    /// `formledger.submission.reminded`: it still waits, and those for whom are to be told.
    Reminded {
        /// The state it waits in.
        state: SubmissionState,
        /// The moment that the workflow names; where several had passed unnoticed, the last of them.
        remind_at: DateTime<Utc>,
        /// Until when it should be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<DateTime<Utc>>,
        /// Who took it on, or was asked to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignee: Option<Arc<str>>,
    },
    /// `formledger.submission.claimed`: somebody took it on.
    Claimed {
        /// Who.
        by: Arc<str>,
        /// For whom, when it was by the right of somebody who delegated it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Arc<str>>,
    },
    /// `formledger.submission.assigned`: somebody was asked to take it on.
    Assigned {
        /// Who.
        to: Arc<str>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// `formledger.submission.released`: nobody has it taken on any more.
    Released {
        /// Who had.
        assignee: Arc<str>,
    },
    /// `formledger.submission.delegated`: somebody may act for somebody else.
    Delegated {
        /// Who, for whom and when.
        delegation: Delegation,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// `formledger.submission.delegation-ended`: the right is back with its owner alone.
    DelegationEnded {
        /// Whose right it is.
        from: Arc<str>,
        /// Who may not use it any more.
        to: Arc<str>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// `formledger.submission.commented`: somebody said something.
    Commented {
        /// What.
        text: Arc<str>,
    },
    /// `formledger.submission.signed`: somebody signed for the transition that the next event takes or approves.
    Signed(Signature),
    /// `formledger.submission.attached`: a file belongs to it now.
    Attached {
        /// Which.
        attachment: Attachment,
        /// Who attached it.
        by: Arc<str>,
        /// For whom, when it was by the right of somebody who delegated it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Arc<str>>,
    },
    /// `formledger.submission.detached`: a file does not belong to it any more; its bytes stay.
    Detached {
        /// Which.
        attachment: Attachment,
        /// Who took it off.
        by: Arc<str>,
        /// For whom, when it was by the right of somebody who delegated it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Arc<str>>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// `formledger.submission.withdrawn`: its submitter took it back.
    Withdrawn {
        /// The state it left.
        from: SubmissionState,
        /// Why, where they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
}

impl WorkflowFact {
    /// The stored event type.
    pub(super) fn event_type(&self) -> &'static str {
        match self {
            Self::Transitioned { .. } => "formledger.submission.transitioned",
            Self::Approved { .. } => "formledger.submission.approved",
            Self::TaskOpened(_) => "formledger.submission.task-opened",
            Self::Escalated { .. } => "formledger.submission.escalated",
            Self::Reminded { .. } => "formledger.submission.reminded",
            Self::Claimed { .. } => "formledger.submission.claimed",
            Self::Assigned { .. } => "formledger.submission.assigned",
            Self::Released { .. } => "formledger.submission.released",
            Self::Delegated { .. } => "formledger.submission.delegated",
            Self::DelegationEnded { .. } => "formledger.submission.delegation-ended",
            Self::Commented { .. } => "formledger.submission.commented",
            Self::Signed(_) => "formledger.submission.signed",
            Self::Attached { .. } => "formledger.submission.attached",
            Self::Detached { .. } => "formledger.submission.detached",
            Self::Withdrawn { .. } => "formledger.submission.withdrawn",
        }
    }

    /// The state that the submission is in after it; `None` when that stays.
    pub fn state_after(&self) -> Option<&SubmissionState> {
        static WITHDRAWN: SubmissionState = SubmissionState::WITHDRAWN;
        match self {
            Self::Transitioned { to, .. } => Some(to),
            Self::Withdrawn { .. } => Some(&WITHDRAWN),
            _ => None,
        }
    }

    /// The state that the submission left for another one; `None` when it stays where it is.
    pub fn state_before(&self) -> Option<&SubmissionState> {
        match self {
            Self::Transitioned { from, .. } | Self::Withdrawn { from, .. } => Some(from),
            _ => None,
        }
    }

    /// Whether it says something of the submission without bringing it on its way.
    pub(super) fn is_note(&self) -> bool {
        match self {
            Self::Transitioned { .. }
            | Self::Approved { .. }
            | Self::TaskOpened(_)
            | Self::Escalated { .. }
            | Self::Reminded { .. }
            | Self::Signed(_)
            | Self::Withdrawn { .. } => false,
            Self::Claimed { .. }
            | Self::Assigned { .. }
            | Self::Released { .. }
            | Self::Delegated { .. }
            | Self::DelegationEnded { .. }
            | Self::Attached { .. }
            | Self::Detached { .. }
            | Self::Commented { .. } => true,
        }
    }

    /// Why, where somebody said.
    pub fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Self::Transitioned { reason, .. }
            | Self::Approved { reason, .. }
            | Self::Assigned { reason, .. }
            | Self::Delegated { reason, .. }
            | Self::DelegationEnded { reason, .. }
            | Self::Detached { reason, .. }
            | Self::Withdrawn { reason, .. } => reason.as_ref(),
            _ => None,
        }
    }

    /// Bytes of what people wrote in it, and of what it lists.
    pub(super) fn texts_bytes(&self) -> usize {
        const LISTED_BYTES: usize = 64;
        let said = self.reason().map_or(0, |reason| reason.len());
        said + match self {
            Self::Commented { text } => text.len(),
            Self::Signed(signature) => signature.meaning.len() + signature.attachments.len() * LISTED_BYTES,
            Self::TaskOpened(task) => {
                let listed = |action: &Action| action.roles.len() + action.candidates.len();
                task.actions.iter().map(listed).sum::<usize>() * LISTED_BYTES
            }
            _ => 0,
        }
    }

    /// The payload, with the form version beside what happened.
    pub(super) fn payload(&self, form: &FormId, form_version: FormVersion) -> CanonicalJson {
        let mut payload = serde_json::to_value(self).expect("facts hold texts, numbers and times");
        payload["form"] = form.as_str().into();
        payload["form_version"] = form_version.0.into();
        CanonicalJson::from_value(&payload).expect("counts of people and sizes of files are far below 2^53")
    }

    /// What a payload says; `None` when it is not of a fact in a workflow.
    pub(super) fn read(mut payload: Value) -> Option<Result<(FormId, FormVersion, Self), serde_json::Error>> {
        let kind = payload.get("kind").and_then(Value::as_str)?;
        if ["drafted", "submitted", "rules-evaluated", "amended"].contains(&kind) {
            return None;
        }
        let members = payload.as_object_mut()?;
        let (form, version) = (members.remove("form")?, members.remove("form_version")?);
        Some(
            serde_json::from_value(form).and_then(|form| {
                Ok((form, serde_json::from_value(version)?, serde_json::from_value(payload)?))
            }),
        )
    }
}
