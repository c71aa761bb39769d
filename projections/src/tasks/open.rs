//! The open task of one submission, as everybody sees it who may read the submission; whom it waits for is in `query`.
//! Made of recorded facts alone, not of the time it is asked at: the same as long as nothing is recorded.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{Approvals, SubmissionState, Work};
use serde::Serialize;

use crate::columns;
use crate::database::Row;
use crate::submissions::SubmissionRow;

/// What a submission waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTask {
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// Until when it should be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// The state the submission goes to when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<SubmissionState>,
    /// Who took it on, or was asked to, as of the submission's last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Arc<str>>,
    /// For whom, where they could take it on as a delegate only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// The transitions that people can take from here, in the order of the form.
    pub transitions: Vec<PossibleTransition>,
    /// Who may act for whom, as far as nobody ended it.
    pub delegations: Vec<GivenDelegation>,
}

/// A transition that people can take, and who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PossibleTransition {
    /// Its name.
    pub name: Arc<str>,
    /// Holders of one of these roles.
    pub roles: Vec<String>,
    /// And these people, whatever their roles.
    pub candidates: Vec<String>,
    /// How far it has come, where it takes several people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// The approvals that stand, in the order in which they were given.
    pub approved_by: Vec<Approver>,
}

/// Who gave an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approver {
    /// They did.
    pub by: Arc<str>,
    /// For whom, as a delegate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
}

/// Somebody's right in somebody else's hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenDelegation {
    /// Whose right it is.
    pub from: Arc<str>,
    /// Who may use it.
    pub to: Arc<str>,
    /// Since when, where not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Until when, exclusive, where it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
}

/// Puts the task beside a row of `submissions AS s`; its columns are [`JOINED_COLUMNS`].
pub(crate) const JOIN: &str =
    "LEFT JOIN tasks AS t ON t.tenant_id = s.tenant_id AND t.submission_id = s.submission_id";
/// What [`OpenTask::from_joined`] reads.
pub(crate) const JOINED_COLUMNS: &str = "t.work AS task_work, t.opened_at AS task_opened_at";

impl OpenTask {
    /// What waits by `work`, whose last event was at `as_of`; `None` where nothing is left to do.
    pub fn of(work: &Work, opened_at: DateTime<Utc>, as_of: DateTime<Utc>) -> Option<Self> {
        let task = work.task()?;
        let assignee = work.holder(as_of).cloned();
        let transitions = task.actions.iter().map(|action| PossibleTransition {
            name: action.transition.clone(),
            roles: action.roles.clone(),
            candidates: action.candidates.clone(),
            approvals: work.approvals(&action.transition),
            approved_by: work
                .approvals_of(&action.transition)
                .map(|given| Approver { by: given.by.clone(), on_behalf_of: given.on_behalf_of.clone() })
                .collect(),
        });
        let delegations = work.delegations().iter().map(|held| GivenDelegation {
            from: held.from.clone(),
            to: held.to.clone(),
            starts_at: held.starts_at,
            ends_at: held.ends_at,
        });
        Some(Self {
            opened_at,
            due_at: task.due_at,
            escalate_to: task.escalate_to.clone(),
            on_behalf_of: assignee.as_ref().and_then(|_| work.assignee_for().cloned()),
            assignee,
            transitions: transitions.collect(),
            delegations: delegations.collect(),
        })
    }

    /// The task beside a submission's row. One of another state belongs to what the other read model has not reached yet, or is past: it is left out.
    pub(crate) fn from_joined(row: &Row, submission: &SubmissionRow) -> Result<Option<Self>, sqlx::Error> {
        let (Some(work), Some(opened_at)) =
            (row.get::<Option<&str>>("task_work")?, row.get::<Option<i64>>("task_opened_at")?)
        else {
            return Ok(None);
        };
        let work = columns::work(work)?;
        if work.task().is_none_or(|task| *task.state.as_str() != *submission.state) {
            return Ok(None);
        }
        Ok(Self::of(&work, columns::time(opened_at)?, submission.updated_at))
    }
}
