//! What people and time do with a submission in its workflow: transitions, claims, delegations, comments, escalation.
//! Called by `decide` with the compiled form; who may is asked of `rights`, what follows by itself is found by `course`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::command::Act;
use super::course::Course;
use super::decide::{HISTORY_BYTES_MAX, STREAM_BYTES_MAX, SubmissionError};
use super::event::SubmissionEvent;
use super::fact::WorkflowFact;
use super::rights::ADMIN;
use super::signing::SignatureGiven;
use super::state::{Submission, SubmissionState};
use super::task::Delegation;
use super::work::Work;
use crate::context::{Actor, SUBJECT_BYTES_MAX};
use crate::form::{CompiledForm, GuardFailed, Transition, Workflow};

/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 4096;
/// The longest comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 16 * 1024;
/// The most delegations that hold on one submission.
pub const DELEGATIONS_MAX: usize = 50;
/// The most facts of a submission's life that do not move it (comments, claims, assignments, delegations and amendments), so that its
/// stream stays one that can be read whole; at the limit such commands are refused, transitions and what ends a delegation or a claim are not.
pub const NOTES_MAX: u32 = 5_000;

pub(super) type Decision = Result<Vec<SubmissionEvent>, SubmissionError>;

/// One person's command on one submission.
pub(super) struct Person<'a> {
    pub(super) submission: &'a Submission,
    pub(super) form: &'a CompiledForm,
    pub(super) by: &'a Actor,
    pub(super) now: DateTime<Utc>,
}

impl Person<'_> {
    pub(super) fn does(&self, act: &Act) -> Decision {
        self.submission.made_under(self.form)?;
        if !self.submission.open_to(self.form, self.by, self.now) {
            return Err(not_permitted("somebody who has to do with this submission"));
        }
        match act {
            Act::Take { .. } if self.submission.stream_bytes() > STREAM_BYTES_MAX => {
                Err(SubmissionError::StreamFull)
            }
            Act::Take { data: Some(_), .. } if self.submission.notes() >= NOTES_MAX => {
                Err(SubmissionError::TooManyNotes)
            }
            Act::Take { transition, reason, data, on_behalf_of, signature } => {
                let signature = signature.as_ref();
                self.take(transition, reason.as_deref(), data.as_deref(), on_behalf_of.as_deref(), signature)
            }
            Act::Withdraw { reason } => self.withdraw(reason.as_deref()),
            // What takes a right or a hold away is done at the limit, too: each needs one that is there, and no new ones come.
            Act::Release => self.release(),
            Act::EndDelegation { from, reason } => {
                self.end_delegations_of(from.as_deref(), reason.as_deref())
            }
            _ if self.submission.notes() >= NOTES_MAX => Err(SubmissionError::TooManyNotes),
            Act::Attach { attachment } => self.attach(attachment),
            Act::Detach { sha256, reason } => self.detach(*sha256, reason.as_deref()),
            Act::Comment { text } => self.comment(text),
            Act::Claim => self.claim(),
            Act::Assign { to, reason } => self.assign(to, reason.as_deref()),
            Act::Delegate { to, starts_at, ends_at, reason } => {
                self.delegate(to, *starts_at, *ends_at, reason.as_deref())
            }
        }
    }

    /// Where the submission stands.
    fn work(&self) -> Result<&Work, SubmissionError> {
        self.submission.work().ok_or(SubmissionError::Missing)
    }

    pub(super) fn course(&self) -> Course<'_> {
        Course::new(self.submission, self.form, self.now)
    }

    pub(super) fn one(&self, fact: WorkflowFact) -> Decision {
        let mut course = self.course();
        course.fact(fact);
        Ok(course.finish())
    }

    /// The transition that somebody wants to take, where the submission's state has it.
    fn transition(&self, name: &str) -> Result<&Transition, SubmissionError> {
        let state = self.submission.state().ok_or(SubmissionError::Missing)?;
        let Some(workflow) = self.form.workflow() else { return Err(self.submission.not_waiting()) };
        let unknown = || SubmissionError::UnknownTransition {
            name: name.to_owned(),
            known: workflow.transition_names().map(str::to_owned).collect(),
        };
        let transition = workflow.transition(name).ok_or_else(unknown)?;
        if !transition.from.iter().any(|from| from == state.as_str()) {
            let needed = transition.from.iter().map(|from| SubmissionState::named(from)).collect();
            return Err(SubmissionError::NotInState { state: state.clone(), needed });
        }
        Ok(transition)
    }

    fn take(
        &self,
        name: &str,
        reason: Option<&str>,
        data: Option<&Value>,
        on_behalf_of: Option<&str>,
        signature: Option<&SignatureGiven>,
    ) -> Decision {
        let transition = self.transition(name)?;
        let action = self.work()?.action(name).ok_or_else(|| self.submission.not_waiting())?;
        let mut principal = self.work()?.right_to(action, self.by, on_behalf_of, self.now)?;
        let reason = text("reason", reason, REASON_BYTES_MAX)?;
        if transition.reason_required && reason.is_none() {
            return Err(SubmissionError::ReasonRequired { transition: name.to_owned() });
        }
        let signer = self.signature_for(transition, signature)?;
        let mut course = self.course();
        let mut amended = false;
        if let Some(data) = data {
            amended = self.amend_by_taking(&mut course, transition, data, principal.clone())?;
            if amended {
                // Other data may have other candidates: the right is that of the moment.
                course.reopen();
                let action = course.work()?.action(name).ok_or_else(|| self.submission.not_waiting())?;
                // Whom the command acts for does not change meanwhile.
                let on_behalf_of = on_behalf_of.or(principal.as_deref());
                principal = course.work()?.right_to(action, self.by, on_behalf_of, self.now)?;
            }
        }
        course
            .ask(Some(&self.acting(&course, name, principal.as_deref())), |facts| {
                self.form.lets_through(transition, facts)
            })
            .map_err(|failed| guard_not_met(name, failed))?;
        self.sign(&mut course, transition, signer, principal.as_ref())?;
        self.count(&mut course, transition, principal, reason, amended);
        Ok(course.finish())
    }

    /// Who takes a transition, as its guard sees them: with their own roles, or with those that the person had for whom they take it.
    fn acting(&self, course: &Course<'_>, transition: &str, principal: Option<&str>) -> Actor {
        let Some(principal) = principal else { return self.by.clone() };
        let work = course.work().ok();
        let lent = work.and_then(|work| {
            work.lent_roles(work.action(transition)?, &self.by.subject, principal, self.now)
        });
        Actor { subject: self.by.subject.clone(), roles: lent.unwrap_or_default().into() }
    }

    /// Counts the approval, and leads on when there are enough.
    fn count(
        &self,
        course: &mut Course<'_>,
        transition: &Transition,
        on_behalf_of: Option<Arc<str>>,
        reason: Option<Arc<str>>,
        amended: bool,
    ) {
        let (name, need): (Arc<str>, u32) = (transition.name.as_str().into(), transition.approvals);
        if need > 1 {
            let given = course.submission.work().map_or(0, |work| work.approvals_of(&name).count());
            let have = u32::try_from(given).unwrap_or(u32::MAX).saturating_add(1);
            course.fact(WorkflowFact::Approved {
                transition: name.clone(),
                by: self.by.subject.clone(),
                on_behalf_of: on_behalf_of.clone(),
                reason: reason.clone(),
                have,
                need,
            });
            if have < need {
                // Data that came with it may lead on without the others, as those of an edit do.
                if amended {
                    course.settle(false);
                }
                return;
            }
        }
        let from = course.submission.state().cloned().unwrap_or(SubmissionState::DRAFT);
        let to = SubmissionState::named(&transition.to);
        course.fact(WorkflowFact::Transitioned { from, to, transition: Some(name), on_behalf_of, reason });
        course.settle(true);
    }

    fn withdraw(&self, reason: Option<&str>) -> Decision {
        let (Some(state), Some(submitter)) = (self.submission.state(), self.submission.submitter()) else {
            return Err(SubmissionError::Missing);
        };
        if *submitter != self.by.subject {
            return Err(not_permitted("its submitter"));
        }
        let is_draft = *state == SubmissionState::DRAFT;
        if !is_draft && self.submission.task().is_none() {
            return Err(self.submission.not_waiting());
        }
        let from = state.clone();
        self.one(WorkflowFact::Withdrawn { from, reason: text("reason", reason, REASON_BYTES_MAX)? })
    }

    fn comment(&self, said: &str) -> Decision {
        match text("comment", Some(said), COMMENT_BYTES_MAX)? {
            Some(text) if self.submission.stream_bytes() + text.len() > HISTORY_BYTES_MAX => {
                Err(SubmissionError::TooMuchHistory)
            }
            Some(text) => self.one(WorkflowFact::Commented { text }),
            None => Err(SubmissionError::EmptyText("comment")),
        }
    }

    fn claim(&self) -> Decision {
        self.require_task()?;
        // Of several whose right it is by, the first.
        let Some(on_behalf_of) = self.work()?.rights_to_act(self.by, self.now).into_iter().next() else {
            return Err(not_permitted("somebody who may act on it in this state"));
        };
        match self.work()?.holder(self.now) {
            // Who was asked says by a claim that they do it, and it cannot be assigned to another one from then on.
            Some(assignee) if *assignee == self.by.subject && !self.work()?.is_asked() => Ok(Vec::new()),
            Some(assignee) if *assignee != self.by.subject => {
                Err(SubmissionError::AlreadyClaimed { by: assignee.clone() })
            }
            _ => self.one(WorkflowFact::Claimed { by: self.by.subject.clone(), on_behalf_of }),
        }
    }

    fn assign(&self, to: &str, reason: Option<&str>) -> Decision {
        self.require_task()?;
        if !self.by.has_role(ADMIN) && !self.work()?.may_act(self.by, self.now) {
            return Err(not_permitted("an `admin`, or somebody who may act on it in this state,"));
        }
        let to = subject(to)?;
        let holder = self.work()?.holder(self.now);
        if holder == Some(&to) {
            return Ok(Vec::new());
        }
        // What somebody took on is theirs; what they were only asked to do is not yet.
        let is_claim = |holder: &&Arc<str>| **holder != self.by.subject && !self.by.has_role(ADMIN);
        if let Some(holder) = holder.filter(is_claim).filter(|_| !self.work().is_ok_and(Work::is_asked)) {
            return Err(SubmissionError::AlreadyClaimed { by: holder.clone() });
        }
        self.one(WorkflowFact::Assigned { to, reason: text("reason", reason, REASON_BYTES_MAX)? })
    }

    fn release(&self) -> Decision {
        // A delegate who does not want to act gives the right back, whoever has the task meanwhile.
        let is_delegate = self.work()?.delegations().iter().any(|held| held.to == self.by.subject);
        match self.work()?.assignee() {
            Some(assignee) if *assignee == self.by.subject => {
                self.one(WorkflowFact::Released { assignee: assignee.clone() })
            }
            _ if is_delegate => self.end_delegations(|delegation| delegation.to == self.by.subject, None),
            // What its assignee can do nothing with any more, whoever may act sets free.
            Some(assignee)
                if self.by.has_role(ADMIN)
                    || self.work()?.holder(self.now).is_none() && self.work()?.may_act(self.by, self.now) =>
            {
                self.one(WorkflowFact::Released { assignee: assignee.clone() })
            }
            Some(_) => Err(not_permitted("whoever took it on, or an `admin`,")),
            None => Ok(Vec::new()),
        }
    }

    fn delegate(
        &self,
        to: &str,
        starts_at: Option<DateTime<Utc>>,
        ends_at: Option<DateTime<Utc>>,
        reason: Option<&str>,
    ) -> Decision {
        self.require_task()?;
        let to = subject(to)?;
        if to == self.by.subject {
            return Err(SubmissionError::DelegationInvalid("nobody delegates to themselves"));
        }
        let start = starts_at.unwrap_or(self.now);
        if ends_at.is_some_and(|end| end <= start || end <= self.now) {
            return Err(SubmissionError::DelegationInvalid(
                "`ends_at` lies after `starts_at` and in the future",
            ));
        }
        let roles = self.rights_to_delegate()?;
        let delegation = Delegation { from: self.by.subject.clone(), to, roles, starts_at, ends_at };
        let known = self.work()?.delegations();
        if known.contains(&delegation) {
            return Ok(Vec::new());
        }
        let others = known
            .iter()
            .filter_map(|held| held.clone().until_replaced_by(&delegation))
            .filter(|held| !held.is_over_at(self.now));
        if others.count() >= DELEGATIONS_MAX {
            return Err(SubmissionError::DelegationInvalid("too many delegations hold on this submission"));
        }
        self.one(WorkflowFact::Delegated { delegation, reason: text("reason", reason, REASON_BYTES_MAX)? })
    }

    /// The roles that give `by` a part in the workflow; what they may do only as somebody's delegate, they cannot pass on.
    fn rights_to_delegate(&self) -> Result<Vec<String>, SubmissionError> {
        let workflow = self.form.workflow();
        let named = |role: &&String| workflow.is_some_and(|workflow| workflow.names_role(role));
        let roles: Vec<String> = self.by.roles.iter().filter(named).cloned().collect();
        let actions = self.submission.task().into_iter().flat_map(|task| &task.actions);
        let is_candidate =
            actions.flat_map(|action| &action.candidates).any(|person| **person == *self.by.subject);
        if roles.is_empty() && !is_candidate {
            return Err(not_permitted("somebody who may act by their own right"));
        }
        // A guard may ask for any role, and sees those of the person for whom it is taken.
        if workflow.is_some_and(Workflow::asks_for_roles) {
            return Ok(self.by.roles.to_vec());
        }
        Ok(roles)
    }

    fn end_delegations_of(&self, owner: Option<&str>, reason: Option<&str>) -> Decision {
        let owner = owner.unwrap_or(&self.by.subject);
        if *owner != *self.by.subject && !self.by.has_role(ADMIN) {
            return Err(not_permitted("its owner, or an `admin`,"));
        }
        let reason = text("reason", reason, REASON_BYTES_MAX)?;
        self.end_delegations(|delegation| *delegation.from == *owner, reason)
    }

    fn end_delegations(&self, ends: impl Fn(&Delegation) -> bool, reason: Option<Arc<str>>) -> Decision {
        let mut course = self.course();
        for ended in self.work()?.delegations().iter().filter(|delegation| ends(delegation)) {
            let is_of = |held: &Delegation| held.from == ended.from && held.to == ended.to;
            // One person may have it for several times, which end together.
            if course.work()?.delegations().iter().any(is_of) {
                let (from, to, reason) = (ended.from.clone(), ended.to.clone(), reason.clone());
                course.fact(WorkflowFact::DelegationEnded { from, to, reason });
            }
        }
        Ok(course.finish())
    }

    fn require_task(&self) -> Result<(), SubmissionError> {
        self.submission.task().map(drop).ok_or_else(|| self.submission.not_waiting())
    }
}

/// What follows when time has passed; nothing when nothing is due, so that it does not matter how often and by whom it is asked.
pub(super) fn escalate(submission: &Submission, form: &CompiledForm, now: DateTime<Utc>) -> Decision {
    submission.made_under(form)?;
    let Some(task) = submission.task() else { return Ok(Vec::new()) };
    let falls_due_at = submission.work().and_then(Work::falls_due_at);
    let Some(due_at) = falls_due_at.filter(|due_at| *due_at <= now) else {
        return Ok(remind(submission, form, now));
    };
    let (state, to) = (task.state.clone(), task.escalate_to.clone());
    let mut course = Course::new(submission, form, now);
    course.fact(WorkflowFact::Escalated { state: state.clone(), due_at });
    if let Some(to) = to {
        let reason = Some("not done in time".into());
        course.fact(WorkflowFact::Transitioned {
            from: state,
            to,
            transition: None,
            on_behalf_of: None,
            reason,
        });
        course.settle(true);
    }
    Ok(course.finish())
}

/// Says once that a submission still waits, however many moments for that have passed.
fn remind(submission: &Submission, form: &CompiledForm, now: DateTime<Utc>) -> Vec<SubmissionEvent> {
    let mut course = Course::new(submission, form, now);
    let passed = submission.task().and_then(|task| {
        let remind_at = task.remind_at.iter().copied().filter(|at| *at <= now).max()?;
        let assignee = submission.work().and_then(|work| work.holder(now)).cloned();
        Some(WorkflowFact::Reminded { state: task.state.clone(), remind_at, due_at: task.due_at, assignee })
    });
    passed.into_iter().for_each(|fact| course.fact(fact));
    course.finish()
}

pub(super) fn not_permitted(who: &str) -> SubmissionError {
    SubmissionError::NotPermitted { who: who.to_owned() }
}

fn guard_not_met(transition: &str, failed: GuardFailed) -> SubmissionError {
    let GuardFailed { guard, error } = failed;
    SubmissionError::GuardNotMet { transition: transition.to_owned(), guard, error }
}

/// A text that says something; `None` when it is missing or blank.
pub(super) fn text(
    what: &'static str,
    text: Option<&str>,
    bytes_max: usize,
) -> Result<Option<Arc<str>>, SubmissionError> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if text.len() > bytes_max => {
            Err(SubmissionError::TextTooLong { what, bytes: text.len(), bytes_max })
        }
        text => Ok(text.map(Arc::from)),
    }
}

fn subject(named: &str) -> Result<Arc<str>, SubmissionError> {
    text("subject", Some(named), SUBJECT_BYTES_MAX)?.ok_or(SubmissionError::EmptyText("subject"))
}
