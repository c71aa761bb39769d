//! Who may do what with a submission: by role, by name, for somebody else; and who may not although they could.
//! Asked by `people`. The rules of four eyes stand here: one person is one person, whatever the hat.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::decide::SubmissionError;
use super::state::{Submission, SubmissionState};
use super::task::{Action, Delegation};
use super::work::Work;
use crate::context::Actor;
use crate::form::{CompiledForm, SUBMITTER_ROLE, Workflow};

/// The role that may also do what others may do with what is theirs: edit and submit drafts, release tasks, end delegations.
pub(super) const ADMIN: &str = "admin";
/// Roles that have to do with every submission of their tenant.
const EVERYWHERE: [&str; 3] = [ADMIN, "designer", "reviewer"];

/// By what right somebody acts: their own, or that of the person named.
pub(super) type OnBehalfOf = Option<Arc<str>>;

impl Submission {
    /// Whether a submission has to do with somebody beyond their roles of the product: they made it, the workflow names a role of
    /// theirs, or it waits for them by name at `now`, as the one who took it on or as a delegate.
    pub fn concerns(&self, form: &CompiledForm, actor: &Actor, now: DateTime<Utc>) -> bool {
        let Some(made) = &self.made else { return false };
        let actor = &actor.on(form.id());
        let work = &made.work;
        let by_name = || {
            let candidates =
                work.task().into_iter().flat_map(|task| &task.actions).flat_map(|action| &action.candidates);
            candidates.map(String::as_str).any(|person| person == &*actor.subject)
                || work.holder(now) == Some(&actor.subject)
                || work.delegations().iter().any(|one| one.to == actor.subject && one.holds_at(now))
        };
        // In a workflow `submitter` is the one person who made the submission, not the role.
        let by_role = |workflow: &Workflow| {
            actor.roles.iter().any(|role| role != SUBMITTER_ROLE && workflow.names_role(role))
        };
        // A draft is nobody else's business yet, nor ever when it was withdrawn as one.
        made.submitter == actor.subject
            || made.submitted && (form.workflow().is_some_and(by_role) || by_name())
    }

    /// The same, or a role that has to do with everything; with what was never submitted only an `admin` has.
    pub(super) fn open_to(&self, form: &CompiledForm, actor: &Actor, now: DateTime<Utc>) -> bool {
        let submitted = self.made.as_ref().is_some_and(|made| made.submitted);
        let roles = if submitted { &EVERYWHERE } else { &[ADMIN][..] };
        roles.iter().any(|role| actor.has_role(role)) || self.concerns(form, actor, now)
    }

    /// That something waits in the state it is in.
    pub(super) fn not_waiting(&self) -> SubmissionError {
        let state = self.state().cloned().unwrap_or(SubmissionState::DRAFT);
        SubmissionError::NotInState { state, needed: Vec::new() }
    }
}

impl Work {
    /// By what right `by` takes an action: their own where they have one, else that of the one person who delegated theirs.
    ///
    /// # Errors
    /// [`SubmissionError::NotPermitted`] and [`SubmissionError::AlreadyApproved`]; [`SubmissionError::OnBehalfOfRequired`] where several people
    /// delegated theirs, and the command does not say for whom.
    pub(super) fn right_to(
        &self,
        action: &Action,
        by: &Actor,
        on_behalf_of: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<OnBehalfOf, SubmissionError> {
        let mut rights = self.rights_to(action, by, on_behalf_of, now)?;
        if rights.len() > 1 {
            let of = rights.into_iter().flatten().map(|person| person.to_string()).collect();
            return Err(SubmissionError::OnBehalfOfRequired { of });
        }
        Ok(rights.remove(0))
    }

    /// All rights by which `by` may take an action, at least one: their own, else those of each who delegated theirs.
    ///
    /// # Errors
    /// [`SubmissionError::NotPermitted`] and [`SubmissionError::AlreadyApproved`].
    pub(super) fn rights_to(
        &self,
        action: &Action,
        by: &Actor,
        on_behalf_of: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Vec<OnBehalfOf>, SubmissionError> {
        // Whoever may make API keys could otherwise be several pairs of eyes.
        if by.is_program() && action.wants_other_eyes() {
            return Err(SubmissionError::NotPermitted {
                who: "a person with a token of their own, no API key,".to_owned(),
            });
        }
        let own = action.is_for(by) && on_behalf_of.is_none_or(|principal| principal == &*by.subject);
        let mut rights: Vec<OnBehalfOf> = own.then_some(None).into_iter().collect();
        if !own {
            let usable = |delegation: &&Delegation| {
                on_behalf_of.is_none_or(|principal| *delegation.from == *principal)
                    && action.admits(&delegation.from, &delegation.roles)
            };
            for delegation in self.lent_to(&by.subject, now).filter(usable) {
                let right = Some(delegation.from.clone());
                if !rights.contains(&right) {
                    rights.push(right);
                }
            }
        }
        let mut refused = SubmissionError::NotPermitted { who: who_may(action) };
        rights.retain(|right| match self.keeps_four_eyes(action, &by.subject, right.as_deref()) {
            Ok(()) => true,
            Err(refusal) => {
                refused = refusal;
                false
            }
        });
        if rights.is_empty() { Err(refused) } else { Ok(rights) }
    }

    /// Neither the person who acts nor the one they act for may be one whose submission it is, where those are excluded, nor stand
    /// behind an approval already: a person who acts for another one is still one and the same pair of eyes.
    fn keeps_four_eyes(
        &self,
        action: &Action,
        by: &str,
        on_behalf_of: Option<&str>,
    ) -> Result<(), SubmissionError> {
        let people = || std::iter::once(by).chain(on_behalf_of);
        let is_own = |person: &str| self.task().is_some_and(|task| task.is_own(person));
        if action.exclude_submitter && people().any(is_own) {
            return Err(SubmissionError::NotPermitted {
                who: "somebody other than its submitter, and other than who wrote it for them,".to_owned(),
            });
        }
        let mut standing = self.approvals_of(&action.transition);
        match standing.find(|approval| people().any(|person| approval.involves(person))) {
            Some(_) => Err(SubmissionError::AlreadyApproved { transition: action.transition.clone() }),
            None => Ok(()),
        }
    }

    /// The delegations that let somebody act for others now.
    pub(super) fn lent_to(&self, subject: &str, now: DateTime<Utc>) -> impl Iterator<Item = &Delegation> {
        self.delegations()
            .iter()
            .filter(move |delegation| *delegation.to == *subject && delegation.holds_at(now))
    }

    /// Who has the task at `now`: who took it on, or was asked to. Where they could take it on by a delegated right only, they have it no longer
    /// than somebody lends them such a right: it would be nobody's otherwise, and hidden from everybody who could act.
    ///
    /// Everything that asks who has a task asks here. Of those who came with a role of their own nobody knows whether they hold it still.
    pub fn holder(&self, now: DateTime<Utc>) -> Option<&Arc<str>> {
        let assignee = self.assignee()?;
        let actions = || self.task().into_iter().flat_map(|task| &task.actions);
        let is_lent = |action: &Action| {
            action.admits(assignee, &[])
                || self.lent_to(assignee, now).any(|lent| action.admits(&lent.from, &lent.roles))
        };
        (self.assignee_for().is_none() || actions().any(is_lent)).then_some(assignee)
    }

    /// The roles that `owner` lent to `subject`, by which they may take an action.
    pub(super) fn lent_roles(
        &self,
        action: &Action,
        subject: &str,
        owner: &str,
        now: DateTime<Utc>,
    ) -> Option<&[String]> {
        let mut lent = self.lent_to(subject, now);
        lent.find(|lent| *lent.from == *owner && action.admits(owner, &lent.roles)).map(|lent| &*lent.roles)
    }

    /// By what rights some action is open to `by`: their own where they have one, else those of each who delegated theirs; none where nothing is.
    pub(super) fn rights_to_act(&self, by: &Actor, now: DateTime<Utc>) -> Vec<OnBehalfOf> {
        let actions = self.task().into_iter().flat_map(|task| &task.actions);
        let open = actions.filter_map(|action| self.rights_to(action, by, None, now).ok());
        let rights: Vec<OnBehalfOf> = open.flatten().collect();
        if rights.contains(&None) { vec![None] } else { rights }
    }

    /// Whether some action is open to `by`, by their own or a delegated right.
    pub(super) fn may_act(&self, by: &Actor, now: DateTime<Utc>) -> bool {
        self.task().is_some_and(|task| {
            task.actions.iter().any(|action| self.rights_to(action, by, None, now).is_ok())
        })
    }

    /// The open action of a transition.
    pub(super) fn action(&self, transition: &str) -> Option<&Action> {
        self.task()?.actions.iter().find(|action| *action.transition == *transition)
    }
}

/// In words that need no article: roles are named in any language.
fn who_may(action: &Action) -> String {
    let roles: Vec<String> = action.roles.iter().map(|role| format!("`{role}`")).collect();
    let roles = (!roles.is_empty()).then(|| format!("somebody with the role {}", roles.join(" or ")));
    let candidates = (!action.candidates.is_empty()).then(|| "one of its candidates".to_owned());
    let who: Vec<String> = roles.into_iter().chain(candidates).collect();
    if who.is_empty() { "nobody, because it has no candidates,".to_owned() } else { who.join(" or ") }
}
