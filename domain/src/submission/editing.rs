//! Who edits what in a workflow: a merge patch in a state that lets something be edited, and the data that come with a transition.
//! Asked by `decide` and `people`; what an edit does to the submission is in `course`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::course::Course;
use super::decide::SubmissionError;
use super::people::{Decision, NOTES_MAX, Person, not_permitted};
use super::rights::OnBehalfOf;
use super::state::{Submission, SubmissionState};
use crate::context::Actor;
use crate::form::{SUBMITTER_ROLE, State, Transition};
use crate::json::pointer;

/// The most places told of a patch that changes what may not be edited.
const PLACES_TOLD_MAX: usize = 20;

impl Submission {
    /// By what right `by` edits what `state`, in which it is, lets be edited: their own where they have one, else that of the first who delegated
    /// theirs to them; `None` where they may not.
    pub(super) fn right_to_edit(
        &self,
        state: &State,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Option<OnBehalfOf> {
        let work = self.work()?;
        let is_submitter = |person: &str| self.submitter().is_some_and(|submitter| **submitter == *person);
        let is_editor = |person: &str, roles: &[String]| match &state.editors {
            Some(editors) => editors.iter().any(|role| match role.as_str() {
                SUBMITTER_ROLE => is_submitter(person),
                _ => roles.contains(role),
            }),
            None => is_submitter(person),
        };
        if is_editor(&by.subject, &by.roles) {
            return Some(None);
        }
        let acts = if state.editors.is_none() { work.right_to_act(by, now) } else { None };
        acts.or_else(|| {
            let mut lent = work.lent_to(&by.subject, now);
            lent.find(|lent| is_editor(&lent.from, &lent.roles)).map(|lent| Some(lent.from.clone()))
        })
    }
}

/// Who edits what `state` lets be edited, in words.
pub(super) fn who_edits(state: &State) -> String {
    let Some(editors) = &state.editors else {
        return "its submitter, or somebody who may act on it in this state,".to_owned();
    };
    let named = editors.iter().map(|role| match role.as_str() {
        SUBMITTER_ROLE => "its submitter".to_owned(),
        role => format!("a `{role}`"),
    });
    match named.collect::<Vec<_>>().join(" or ") {
        nobody if nobody.is_empty() => "nobody, because `editors` of this state is empty,".to_owned(),
        who => who,
    }
}

impl Person<'_> {
    /// A merge patch outside of a draft.
    pub(super) fn amend(&self, patch: &Value) -> Decision {
        let Some(name) = self.submission.state() else { return Err(SubmissionError::Missing) };
        let workflow = self.form.workflow();
        let state = workflow.and_then(|workflow| workflow.state(name.as_str()));
        let Some(state) = state.filter(|state| !state.edit.is_empty()) else {
            let elsewhere = workflow.into_iter().flat_map(|workflow| workflow.editable_states());
            let needed = std::iter::once(SubmissionState::DRAFT).chain(elsewhere.map(SubmissionState::named));
            return Err(SubmissionError::NotInState { state: name.clone(), needed: needed.collect() });
        };
        if self.submission.right_to_edit(state, self.by, self.now).is_none() {
            return Err(not_permitted(&who_edits(state)));
        }
        if self.submission.notes() >= NOTES_MAX {
            return Err(SubmissionError::TooManyNotes);
        }
        let mut course = self.course();
        if course.amend(patch, &state.edit.iter().collect::<Vec<_>>())? {
            course.settle(false);
        }
        Ok(course.finish())
    }

    /// The data that come with a transition: what it lets be edited is for whoever takes it, what its state lets be edited for whoever may edit
    /// there.
    pub(super) fn amend_by_taking(
        &self,
        course: &mut Course<'_>,
        transition: &Transition,
        data: &Value,
    ) -> Result<bool, SubmissionError> {
        let state = self.form.workflow().zip(self.submission.state());
        let Some(state) = state.and_then(|(workflow, state)| workflow.state(state.as_str())) else {
            return course.amend(data, &transition.edit.iter().collect::<Vec<_>>());
        };
        let may_edit = self.submission.right_to_edit(state, self.by, self.now).is_some();
        let of_state = may_edit.then_some(&state.edit).into_iter().flatten();
        match course.amend(data, &transition.edit.iter().chain(of_state).collect::<Vec<_>>()) {
            Err(SubmissionError::NotEditable { state: name, pointers, .. }) if !may_edit => {
                let (others, nobodys): (Vec<_>, Vec<_>) =
                    pointers.into_iter().partition(|place| lies_within(place, &state.edit));
                let (pointers, only_for) = match others.is_empty() {
                    true => (nobodys, None),
                    false => (others, Some(who_edits(state))),
                };
                Err(SubmissionError::NotEditable { state: name, pointers, only_for })
            }
            amended => amended,
        }
    }
}

/// Whether a place is one of those named, or lies below one.
fn lies_within(place: &str, named: &[String]) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    named.iter().any(|named| place.strip_prefix(named.as_str()).is_some_and(below))
}

/// The places that differ and do not lie within `edit`, at most [`PLACES_TOLD_MAX`] of them.
///
/// An object that comes or goes is no change of its own where all that is in it may be edited: it is there for the sake of that. An empty one
/// is: rules and guards ask whether it is there.
pub(super) fn outside(before: &Value, after: &Value, edit: &[&String]) -> Vec<String> {
    fn walk(
        before: Option<&Value>,
        after: Option<&Value>,
        place: &mut String,
        edit: &[&String],
        found: &mut Vec<String>,
    ) {
        if before == after || found.len() >= PLACES_TOLD_MAX || edit.iter().any(|named| **named == *place) {
            return;
        }
        let nothing = &Map::new();
        let (old, new) = match (before, after) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => (old, new),
            (None, Some(Value::Object(new))) if !new.is_empty() => (nothing, new),
            (Some(Value::Object(old)), None) if !old.is_empty() => (old, nothing),
            _ => {
                found.push(place.clone());
                return;
            }
        };
        let members = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in members {
            let length = place.len();
            pointer::push(place, name);
            walk(old.get(name), new.get(name), place, edit, found);
            place.truncate(length);
        }
    }
    let mut found = Vec::new();
    walk(Some(before), Some(after), &mut String::new(), edit, &mut found);
    found
}
