//! Where a submission stands in its workflow: the open task, approvals, who took it on, who acts for whom.
//! Folded from workflow facts by the submission, and by the read model of tasks in the same way; empty in forms without a workflow.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fact::WorkflowFact;
use super::task::{Approval, Approvals, Delegation, Task};
use crate::context::Actor;

/// Where a submission stands in its workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    task: Option<Task>,
    approvals: Vec<Approval>,
    assignee: Option<Arc<str>>,
    /// For whom the assignee took it on, where they could by a delegated right only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assignee_for: Option<Arc<str>>,
    /// Whether the assignee was asked, and has not taken it on themselves.
    #[serde(default, skip_serializing_if = "is_false")]
    asked: bool,
    /// Whether it is recorded that the time of the open task is over.
    #[serde(default, skip_serializing_if = "is_false")]
    escalated: bool,
    delegations: Vec<Delegation>,
}

/// Those whom a task may wait for, before time and four eyes are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience<'a> {
    /// Holders of these roles.
    pub roles: BTreeSet<&'a str>,
    /// These people.
    pub people: BTreeSet<&'a str>,
}

/// What waits for one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Why it waits for them, in the order of [`Reason`].
    pub why: BTreeSet<Reason>,
    /// What they may do; empty for somebody who was asked to take it on and may do nothing.
    pub transitions: Vec<OpenTransition>,
}

/// Why a task waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// They took it on, or were asked to.
    Assigned,
    /// They are named by the workflow.
    Candidate,
    /// They hold a role.
    Role,
    /// Somebody delegated it to them.
    Delegated,
}

/// A transition that somebody may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTransition {
    /// Its name.
    pub name: Arc<str>,
    /// How far it has come, where it needs several people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// For whom they would take it, as a delegate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// The roles with which they would: what its guard sees.
    #[serde(skip)]
    pub lent_roles: Option<Vec<String>>,
    /// Whether its guard holds for the data as they are; `None` where it has none, and where nobody asked, as who knows what waits does not know
    /// the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard_met: Option<bool>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Work {
    /// What it waits for; `None` where nothing is left to do.
    pub fn task(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// Who took it on, or was asked to, whether they still can or not: who has it now, [`Work::holder`] says.
    pub fn assignee(&self) -> Option<&Arc<str>> {
        self.assignee.as_ref()
    }

    /// For whom the assignee took it on, where they could by a delegated right only.
    pub fn assignee_for(&self) -> Option<&Arc<str>> {
        self.assignee_for.as_ref()
    }

    /// Whether the assignee was asked, and has not taken it on themselves.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// When the open task's time is over, as long as nothing is recorded of that.
    pub fn falls_due_at(&self) -> Option<DateTime<Utc>> {
        self.task.as_ref()?.due_at.filter(|_| !self.escalated)
    }

    /// When time does something next: tells that it waits, or ends the waiting.
    pub fn next_at(&self) -> Option<DateTime<Utc>> {
        self.task.as_ref()?.remind_at.iter().copied().chain(self.falls_due_at()).min()
    }

    /// Who may act for whom, whether that holds now or not.
    pub fn delegations(&self) -> &[Delegation] {
        &self.delegations
    }

    /// The approvals that stand for a transition: given in this state, on these data.
    pub fn approvals_of(&self, transition: &str) -> impl Iterator<Item = &Approval> {
        self.approvals.iter().filter(move |approval| *approval.transition == *transition)
    }

    /// How far a transition has come that is open and needs several approvals.
    pub fn approvals(&self, transition: &str) -> Option<Approvals> {
        let actions = &self.task.as_ref()?.actions;
        let action = actions.iter().find(|action| *action.transition == *transition)?;
        let have = u32::try_from(self.approvals_of(transition).count()).unwrap_or(u32::MAX);
        (action.need > 1).then_some(Approvals { have, need: action.need })
    }

    /// Folds one fact. Total: a stored fact was accepted once, so nothing is checked here.
    pub fn fold(&mut self, fact: &WorkflowFact) {
        match fact {
            WorkflowFact::Transitioned { .. } | WorkflowFact::Withdrawn { .. } => {
                self.task = None;
                self.escalated = false;
                self.approvals.clear();
                self.assign(None, None, false);
            }
            WorkflowFact::TaskOpened(task) => self.task = Some(task.clone()),
            WorkflowFact::Approved { transition, by, on_behalf_of, .. } => {
                let (transition, by, on_behalf_of) = (transition.clone(), by.clone(), on_behalf_of.clone());
                let approval = Approval { transition, by, on_behalf_of };
                self.approvals.retain(|earlier| !approval.takes_back(earlier));
                self.approvals.push(approval);
            }
            WorkflowFact::Escalated { .. } => {
                if let Some(task) = &mut self.task {
                    // It stays due, and among the most urgent; that is told once.
                    self.escalated = true;
                    // Reminders lie before the due date, so that they have passed.
                    task.remind_at.clear();
                }
            }
            WorkflowFact::Reminded { remind_at, .. } => {
                if let Some(task) = &mut self.task {
                    task.remind_at.retain(|at| at > remind_at);
                }
            }
            WorkflowFact::Claimed { by, on_behalf_of } => {
                self.assign(Some(by.clone()), on_behalf_of.clone(), false);
            }
            WorkflowFact::Assigned { to, .. } => self.assign(Some(to.clone()), None, true),
            WorkflowFact::Released { .. } => self.assign(None, None, false),
            WorkflowFact::Delegated { delegation, .. } => {
                let held = std::mem::take(&mut self.delegations).into_iter();
                self.delegations = held.filter_map(|held| held.until_replaced_by(delegation)).collect();
                self.delegations.push(delegation.clone());
            }
            WorkflowFact::DelegationEnded { from, to, .. } => self.end_delegation(from, to),
            // What was approved is not what stands there now.
            WorkflowFact::Attached { .. } | WorkflowFact::Detached { .. } => self.approvals.clear(),
            WorkflowFact::Signed(_) | WorkflowFact::Commented { .. } => {}
        }
    }

    /// Folds that the data were edited: what was approved is not what stands there now.
    pub fn fold_amendment(&mut self) {
        self.approvals.clear();
    }

    fn assign(&mut self, assignee: Option<Arc<str>>, assignee_for: Option<Arc<str>>, asked: bool) {
        (self.assignee, self.assignee_for, self.asked) = (assignee, assignee_for, asked);
    }

    fn end_delegation(&mut self, from: &str, to: &str) {
        self.delegations.retain(|held| *held.from != *from || *held.to != *to);
    }

    /// Those whom the open task may wait for; nobody when there is none.
    pub fn audience(&self) -> Audience<'_> {
        let mut audience = Audience::default();
        let Some(task) = &self.task else { return audience };
        audience.people.extend(self.assignee.as_deref());
        // What somebody took on alone waits for nobody else, unless the right by which they did may end with time.
        let is_held = self.assignee.is_some() && self.assignee_for.is_none();
        if is_held && task.actions.iter().all(|action| action.need == 1) {
            return audience;
        }
        for action in &task.actions {
            audience.roles.extend(action.roles.iter().map(String::as_str));
            audience.people.extend(action.candidates.iter().map(String::as_str));
        }
        audience.people.extend(self.delegations.iter().map(|delegation| &*delegation.to));
        audience
    }

    /// What waits for `actor` at `now`; `None` when nothing does.
    pub fn waits_for(&self, actor: &Actor, now: DateTime<Utc>) -> Option<Waiting> {
        let task = self.task.as_ref()?;
        let holder = self.holder(now);
        let is_assignee = holder == Some(&actor.subject);
        let mut waiting = Waiting { why: BTreeSet::new(), transitions: Vec::new() };
        if is_assignee {
            waiting.why.insert(Reason::Assigned);
        }
        for action in &task.actions {
            if holder.is_some() && !is_assignee && action.need == 1 {
                continue;
            }
            let Ok(rights) = self.rights_to(action, actor, None, now) else { continue };
            // Of several, the one whose turn it is first; the command says whose it uses.
            let on_behalf_of = rights.into_iter().next().flatten();
            waiting.why.insert(match &on_behalf_of {
                Some(_) => Reason::Delegated,
                None if action.candidates.iter().any(|person| **person == *actor.subject) => {
                    Reason::Candidate
                }
                None => Reason::Role,
            });
            let (name, approvals) = (action.transition.clone(), self.approvals(&action.transition));
            let lent = |owner| self.lent_roles(action, &actor.subject, owner, now).map(<[String]>::to_vec);
            let lent_roles = on_behalf_of.as_deref().and_then(lent);
            let open = OpenTransition { name, approvals, on_behalf_of, lent_roles, guard_met: None };
            waiting.transitions.push(open);
        }
        (!waiting.why.is_empty()).then_some(waiting)
    }
}
