//! What a submission waits for, and what people have done about it: tasks, approvals, delegations.
//! Recorded in events and folded into the state; who may do what with them is decided in `rights`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::state::SubmissionState;
use crate::context::Actor;

/// What a submission waits for in a state: recorded when it arrives there, so that the record says who could act, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The state it waits in.
    pub state: SubmissionState,
    /// Who made the submission.
    pub submitter: Arc<str>,
    /// Who else wrote or submitted it, in the submitter's name; where the submitter is excluded, so are they.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<Arc<str>>,
    /// The transitions that lead from here.
    pub actions: Vec<Action>,
    /// Until when it should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// The state that it goes to when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<SubmissionState>,
    /// When it is told that it still waits; in order, what has passed is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remind_at: Vec<DateTime<Utc>>,
}

/// A transition that can be taken, and who may take it: holders of a role, and people by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The transition.
    pub transition: Arc<str>,
    /// Roles whose holders may take it.
    pub roles: Vec<String>,
    /// People who may take it whatever their roles.
    pub candidates: Vec<String>,
    /// How many different people must take it.
    pub need: u32,
    /// Whether those whose submission it is may not ([`Task::is_own`]), in no role and on nobody's behalf.
    pub exclude_submitter: bool,
}

impl Action {
    /// Whether somebody may take it by their own right.
    pub fn is_for(&self, actor: &Actor) -> bool {
        self.admits(&actor.subject, &actor.roles)
    }

    /// Whether it is there so that more than one person, or another one than the submitter, looks at it.
    pub fn wants_other_eyes(&self) -> bool {
        self.exclude_submitter || self.need > 1
    }

    /// Whether `subject` with `roles` may take it.
    pub fn admits(&self, subject: &str, roles: &[String]) -> bool {
        self.candidates.iter().any(|person| person == subject)
            || self.roles.iter().any(|role| roles.contains(role))
    }
}

impl Task {
    /// Whether the submission is somebody's own: they made it, or wrote it for the one who did.
    pub fn is_own(&self, subject: &str) -> bool {
        *self.submitter == *subject || self.authors.iter().any(|author| **author == *subject)
    }
}

/// One person's yes to a transition that needs several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The transition.
    pub transition: Arc<str>,
    /// Who gave it.
    pub by: Arc<str>,
    /// For whom, when it was given as a delegate.
    pub on_behalf_of: Option<Arc<str>>,
}

impl Approval {
    /// Whether `subject` stands behind it, as the one who gave it or the one for whom it was given.
    pub fn involves(&self, subject: &str) -> bool {
        *self.by == *subject || self.on_behalf_of.as_deref() == Some(subject)
    }

    /// Whether somebody behind it stood behind `earlier` for another transition: only one of those that are open can be taken, and who has a part in
    /// two of them has changed their mind.
    pub fn takes_back(&self, earlier: &Self) -> bool {
        let people = std::iter::once(&self.by).chain(&self.on_behalf_of);
        earlier.transition != self.transition && people.into_iter().any(|person| earlier.involves(person))
    }
}

/// Somebody's leave to act for somebody else on this submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Whose right it is.
    pub from: Arc<str>,
    /// Who may use it.
    pub to: Arc<str>,
    /// The roles that gave it to them, as their credential had them then.
    pub roles: Vec<String>,
    /// Since when; `None`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// Until when, exclusive; `None`: until it is returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
}

impl Delegation {
    /// Whether it holds at `now`.
    pub fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.starts_at.is_none_or(|start| start <= now) && !self.is_over_at(now)
    }

    /// Whether its time is over at `now`.
    pub fn is_over_at(&self, now: DateTime<Utc>) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// What is left of it when its owner delegates to the same person anew: what lies before the new one begins; `None` where that is nothing.
    pub fn until_replaced_by(mut self, newer: &Self) -> Option<Self> {
        if self.from != newer.from || self.to != newer.to {
            return Some(self);
        }
        let begins = newer.starts_at?;
        if self.starts_at.is_some_and(|start| begins <= start) {
            return None;
        }
        self.ends_at = Some(self.ends_at.map_or(begins, |end| end.min(begins)));
        Some(self)
    }
}

/// How many approvals a transition has, and how many it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// Given so far.
    pub have: u32,
    /// Needed.
    pub need: u32,
}
