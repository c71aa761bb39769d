//! The course of one command in a workflow: events are decided one after the other, each on the state that the ones before it make.
//! Used by the decisions of people and of time. The state that it sees is folded from its own events, so replay cannot differ.

use std::cell::OnceCell;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::decide::{SUBMISSION_BYTES_MAX, SubmissionError};
use super::editing::{Editing, editing_as};
use super::event::SubmissionEvent;
use super::fact::WorkflowFact;
use super::state::{Submission, SubmissionState};
use super::task::{Action, Task};
use super::work::Work;
use crate::context::Actor;
use crate::form::{CompiledForm, Facts, SUBMITTER_ROLE, State, Transition, Verdict, moments};
use crate::json::{CanonicalJson, merge};

/// A command on its way: what it has decided so far, and the state that this makes.
pub(super) struct Course<'a> {
    pub(super) form: &'a CompiledForm,
    pub(super) now: DateTime<Utc>,
    pub(super) submission: Submission,
    events: Vec<SubmissionEvent>,
    /// Data and outcomes as trees, once somebody asked; they are large, and each transition asks.
    documents: OnceCell<Documents>,
}

/// What expressions of the workflow read of a submission.
struct Documents {
    data: Value,
    outcomes: Value,
}

impl<'a> Course<'a> {
    pub(super) fn new(submission: &Submission, form: &'a CompiledForm, now: DateTime<Utc>) -> Self {
        Self { form, now, submission: submission.clone(), events: Vec::new(), documents: OnceCell::new() }
    }

    pub(super) fn push(&mut self, event: SubmissionEvent) {
        if !matches!(event, SubmissionEvent::Worked { .. }) {
            self.documents.take();
        }
        self.submission.fold(event.clone());
        self.events.push(event);
    }

    pub(super) fn fact(&mut self, fact: WorkflowFact) {
        let (form, form_version) = (self.form.id().clone(), self.form.version());
        self.push(SubmissionEvent::Worked { form, form_version, fact });
    }

    pub(super) fn finish(self) -> Vec<SubmissionEvent> {
        self.events
    }

    /// Where the submission stands by now.
    pub(super) fn work(&self) -> Result<&Work, SubmissionError> {
        self.submission.work().ok_or(SubmissionError::Missing)
    }

    fn state(&self) -> SubmissionState {
        self.submission.state().cloned().unwrap_or(SubmissionState::DRAFT)
    }

    /// Changes the data where `rights` let them be changed, checks them and asks the rules again. Nothing when the patch changes nothing.
    pub(super) fn amend(&mut self, patch: &Value, rights: &[Editing<'_>]) -> Result<bool, SubmissionError> {
        let before = self.submission.given_data().ok_or(SubmissionError::Missing)?.clone();
        let patch = self.submission.without_echoes(patch).into_owned();
        let Some((data, value)) = patched(&before, &patch)? else { return Ok(false) };
        let on_behalf_of = editing_as(&before.to_value(), &value, rights).map_err(|pointers| {
            SubmissionError::NotEditable { state: self.state(), pointers, only_for: None }
        })?;
        let patch = CanonicalJson::from_value(&patch)?;
        self.submission.leaves_room_for(&data, &patch)?;
        let verdict = self.form.judge(&value, self.now)?;
        if self.submission.shows_the_same(&value, verdict.as_ref()) {
            return Ok(false);
        }
        let (form, form_version) = (self.form.id().clone(), self.form.version());
        let by = None;
        self.push(SubmissionEvent::Amended {
            data,
            form: form.clone(),
            form_version,
            patch,
            by,
            on_behalf_of,
        });
        if let Some(Verdict { computed, outcomes, why, now }) = verdict {
            self.push(SubmissionEvent::RulesEvaluated { computed, form, form_version, outcomes, why, now });
        }
        Ok(true)
    }

    /// Asks something that depends on the facts of the moment.
    pub(super) fn ask<T>(&self, actor: Option<&Actor>, question: impl FnOnce(&Facts<'_>) -> T) -> T {
        let Documents { data, outcomes } = self.documents.get_or_init(|| {
            let nothing = || Value::Object(Map::new());
            Documents {
                data: self.submission.data().unwrap_or_else(nothing),
                outcomes: self.submission.outcomes().map_or_else(nothing, CanonicalJson::to_value),
            }
        });
        let submitter = self.submission.submitter().map_or("", |submitter| submitter);
        question(&Facts { data, outcomes, submitter, actor, now: self.now })
    }

    /// Goes where the submission goes by itself, then opens the task that waits there.
    ///
    /// `arrived`: the state is a new one, so what waits there is due from now on; otherwise only the data changed, and a task is opened
    /// again when that changes who may act.
    pub(super) fn settle(&mut self, mut arrived: bool) {
        let Some(workflow) = self.form.workflow() else { return };
        // Publishing refuses circles, so there are fewer steps than states.
        for _ in 0..workflow.states_count() {
            let from = self.state();
            let form = self.form;
            let Some(to) = self.ask(None, |facts| form.moves_to(from.as_str(), facts)) else { break };
            let to = SubmissionState::named(to);
            self.fact(WorkflowFact::Transitioned {
                from,
                to,
                transition: None,
                on_behalf_of: None,
                reason: None,
            });
            arrived = true;
        }
        if !arrived {
            return self.reopen();
        }
        let name = self.state();
        if let Some(state) = workflow.state(name.as_str()).filter(|state| !state.is_final) {
            let task = self.task(name, state, true);
            self.fact(WorkflowFact::TaskOpened(task));
        }
    }

    /// Opens the task again when other data change who may act, without moving the submission.
    pub(super) fn reopen(&mut self) {
        let name = self.state();
        let Some(state) = self.form.workflow().and_then(|workflow| workflow.state(name.as_str())) else {
            return;
        };
        let task = self.task(name, state, false);
        if self.submission.task() != Some(&task) {
            self.fact(WorkflowFact::TaskOpened(task));
        }
    }

    fn task(&self, name: SubmissionState, state: &State, arrived: bool) -> Task {
        let (due_at, remind_at) = match self.submission.task() {
            Some(open) if !arrived => (open.due_at, open.remind_at.clone()),
            _ => {
                let due_at = state.due.and_then(|period| period.after(self.now));
                (due_at, moments(&state.remind, self.now, due_at))
            }
        };
        let workflow = self.form.workflow();
        let transitions = workflow.into_iter().flat_map(|workflow| workflow.transitions_from(name.as_str()));
        Task {
            actions: transitions.map(|transition| self.action(transition)).collect(),
            due_at,
            remind_at,
            escalate_to: state.escalate_to.as_deref().map(SubmissionState::named),
            state: name,
            submitter: self.submission.submitter().cloned().unwrap_or_default(),
            authors: self.submission.authors().cloned().collect(),
        }
    }

    fn action(&self, transition: &Transition) -> Action {
        let is_own = |person: &str| {
            self.submission.submitter().is_some_and(|submitter| **submitter == *person)
                || self.submission.authors().any(|author| **author == *person)
        };
        let excluded = |person: &str| transition.exclude_submitter && is_own(person);
        let mut candidates = self.ask(None, |facts| self.form.candidates(transition, excluded, facts));
        let mut roles = transition.roles.clone();
        if let Some(place) = roles.iter().position(|role| role == SUBMITTER_ROLE) {
            // The role would be everybody's who submits; what is meant is the one who submitted this.
            roles.remove(place);
            let submitter = self.submission.submitter().map_or("", |submitter| submitter);
            if !candidates.iter().any(|person| person == submitter) {
                candidates.push(submitter.to_owned());
            }
        }
        Action {
            transition: Arc::from(transition.name.as_str()),
            roles,
            candidates,
            need: transition.approvals,
            exclude_submitter: transition.exclude_submitter,
        }
    }
}

/// The data after a merge patch, as text and tree; `None` when nothing changes.
pub(super) fn patched(
    before: &CanonicalJson,
    patch: &Value,
) -> Result<Option<(CanonicalJson, Value)>, SubmissionError> {
    let mut value = before.to_value();
    merge::merge(&mut value, patch);
    let data = CanonicalJson::from_value(&value)?;
    if data == *before {
        return Ok(None);
    }
    let bytes = data.as_str().len();
    // What is too large already may become smaller.
    if bytes > SUBMISSION_BYTES_MAX && bytes >= before.as_str().len() {
        return Err(SubmissionError::TooLarge { bytes });
    }
    Ok(Some((data, value)))
}
