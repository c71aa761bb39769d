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
    pub(super) fn right_to_edit(&self, state: &State, by: &Actor, now: DateTime<Utc>) -> Option<OnBehalfOf> {
        self.rights_to_edit(state, by, now).into_iter().next()
    }

    fn rights_to_edit(&self, state: &State, by: &Actor, now: DateTime<Utc>) -> Vec<OnBehalfOf> {
        let Some(work) = self.work() else { return Vec::new() };
        let is_submitter = |person: &str| self.submitter().is_some_and(|submitter| **submitter == *person);
        let is_editor = |person: &str, roles: &[String]| match &state.editors {
            Some(editors) => editors.iter().any(|role| match role.as_str() {
                SUBMITTER_ROLE => is_submitter(person),
                _ => roles.contains(role),
            }),
            None => is_submitter(person),
        };
        if is_editor(&by.subject, &by.roles) {
            return vec![None];
        }
        let mut rights = if state.editors.is_none() { work.rights_to_act(by, now) } else { Vec::new() };
        if !rights.contains(&None) {
            let lent = work.lent_to(&by.subject, now).filter(|lent| is_editor(&lent.from, &lent.roles));
            rights.extend(lent.map(|lent| Some(lent.from.clone())));
        }
        rights
    }
}

/// What somebody may edit, and by what right.
pub(super) struct Editing<'a> {
    /// JSON Pointers of the places, with everything below.
    pub(super) edit: &'a [String],
    /// For whom, as a delegate.
    pub(super) on_behalf_of: OnBehalfOf,
}

/// By what right the data are changed so: the first that suffices for all of it; where it takes several, whoever is acted for in one of them.
///
/// # Errors
/// The places that no right lets be edited, at most [`PLACES_TOLD_MAX`] of them.
pub(super) fn editing_as(
    before: &Value,
    after: &Value,
    rights: &[Editing<'_>],
) -> Result<OnBehalfOf, Vec<String>> {
    let places = outside(before, after, &rights.iter().flat_map(|right| right.edit).collect::<Vec<_>>());
    if !places.is_empty() {
        return Err(places);
    }
    if rights.iter().all(|right| right.on_behalf_of.is_none()) {
        return Ok(None);
    }
    let suffices =
        |right: &&Editing<'_>| outside(before, after, &right.edit.iter().collect::<Vec<_>>()).is_empty();
    Ok(match rights.iter().find(suffices) {
        Some(right) => right.on_behalf_of.clone(),
        None => rights.iter().find_map(|right| right.on_behalf_of.clone()),
    })
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
        let Some(on_behalf_of) = self.submission.right_to_edit(state, self.by, self.now) else {
            return Err(not_permitted(&who_edits(state)));
        };
        if self.submission.notes() >= NOTES_MAX {
            return Err(SubmissionError::TooManyNotes);
        }
        let mut course = self.course();
        if course.amend(patch, &[Editing { edit: &state.edit, on_behalf_of }])? {
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
        principal: OnBehalfOf,
    ) -> Result<bool, SubmissionError> {
        let mut rights = vec![Editing { edit: &transition.edit, on_behalf_of: principal }];
        let state = self.form.workflow().zip(self.submission.state());
        let Some(state) = state.and_then(|(workflow, state)| workflow.state(state.as_str())) else {
            return course.amend(data, &rights);
        };
        let to_edit = self.submission.rights_to_edit(state, self.by, self.now);
        let may_edit = !to_edit.is_empty();
        // For whom they take it, they edit, too, where that one may.
        let principal = &rights[0].on_behalf_of;
        let right = to_edit.iter().find(|right| *right == principal).or(to_edit.first()).cloned();
        rights.extend(right.map(|on_behalf_of| Editing { edit: &state.edit, on_behalf_of }));
        match course.amend(data, &rights) {
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
/// that comes is: rules and guards ask whether it is there. It may go where something in it may be edited: it is what an edit left that took that away.
fn outside(before: &Value, after: &Value, edit: &[&String]) -> Vec<String> {
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
        let below =
            |named: &str| named.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let nothing = &Map::new();
        let (old, new) = match (before, after) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => (old, new),
            (None, Some(Value::Object(new))) if !new.is_empty() => (nothing, new),
            (Some(Value::Object(old)), None) if !old.is_empty() || edit.iter().any(|named| below(named)) => {
                (old, nothing)
            }
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
