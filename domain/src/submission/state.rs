//! A submission folded from its stream: what the next decision needs, and what reads "as of then" show.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use super::event::SubmissionEvent;
use super::fact::WorkflowFact;
use super::task::Task;
use super::work::Work;
use crate::attachment::Attachment;
use crate::form::{CompiledForm, Verdict};
use crate::ids::{FormId, FormVersion};
use crate::json::{CanonicalJson, pointer};

/// The form version that a submission was made under and stays under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormPin {
    /// The form.
    pub form: FormId,
    /// Its version.
    pub version: FormVersion,
}

impl FormPin {
    /// The pin of a submission made under `form`.
    pub fn of(form: &CompiledForm) -> Self {
        Self { form: form.id().clone(), version: form.version() }
    }
}

impl fmt::Display for FormPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` version {}", self.form, self.version)
    }
}

/// The name of a state that a submission can be in: `draft`, `submitted`, or a state of the form's workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubmissionState(Cow<'static, str>);

impl SubmissionState {
    /// Kept, not checked yet, still the submitter's own.
    pub const DRAFT: Self = Self(Cow::Borrowed("draft"));
    /// Submitted; final in a form without a workflow.
    pub const SUBMITTED: Self = Self(Cow::Borrowed("submitted"));
    /// Taken back by its submitter; final in every form.
    pub const WITHDRAWN: Self = Self(Cow::Borrowed("withdrawn"));

    /// A state of a form's workflow.
    pub(crate) fn named(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }

    /// The name as clients see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubmissionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an event takes beside its documents and texts, about: ids, times, names.
const EVENT_BYTES: usize = 512;

/// A submission, folded from its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    pub(super) made: Option<Made>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pin: FormPin,
    state: SubmissionState,
    pub(super) submitter: Arc<str>,
    data: CanonicalJson,
    rules: Option<RuleRecord>,
    #[serde(default)]
    pub(super) work: Work,
    /// Whether it ever was more than a draft.
    #[serde(default)]
    pub(super) submitted: bool,
    /// Who wrote or submitted the draft in the submitter's name.
    #[serde(default)]
    authors: BTreeSet<Arc<str>>,
    /// The files that belong to it, in the order in which they were attached.
    #[serde(default)]
    attachments: Vec<Attachment>,
    /// Facts of its life outside of a draft that did not move it.
    #[serde(default)]
    notes: u32,
    /// About how many bytes its events hold so far: documents, texts that people wrote, and [`EVENT_BYTES`] for each.
    #[serde(default)]
    stream_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RuleRecord {
    computed: CanonicalJson,
    outcomes: CanonicalJson,
}

impl Submission {
    /// Whether the submission exists.
    pub fn exists(&self) -> bool {
        self.made.is_some()
    }

    /// The form version it is pinned to; `None` before it exists.
    pub fn pin(&self) -> Option<&FormPin> {
        self.made.as_ref().map(|made| &made.pin)
    }

    /// The state it is in; `None` before it exists.
    pub fn state(&self) -> Option<&SubmissionState> {
        self.made.as_ref().map(|made| &made.state)
    }

    /// Who made it; `None` before it exists.
    pub fn submitter(&self) -> Option<&Arc<str>> {
        self.made.as_ref().map(|made| &made.submitter)
    }

    /// The data as it was given, without computed fields; `None` before it exists.
    pub fn given_data(&self) -> Option<&CanonicalJson> {
        self.made.as_ref().map(|made| &made.data)
    }

    /// The data with computed fields in place, as clients see it; `None` before it exists.
    pub fn data(&self) -> Option<Value> {
        let made = self.made.as_ref()?;
        let mut data = made.data.to_value();
        if let Some(rules) = &made.rules {
            place_computed(&mut data, &rules.computed);
        }
        Some(data)
    }

    /// A patch without the computed values that it sends back as they are shown: who changes what was read sends them, too, and means nothing by it.
    pub(super) fn without_echoes<'p>(&self, patch: &'p Value) -> Cow<'p, Value> {
        let mut patch = Cow::Borrowed(patch);
        let Some(rules) = self.made.as_ref().and_then(|made| made.rules.as_ref()) else { return patch };
        let Value::Object(computed) = rules.computed.to_value() else { return patch };
        for (target, value) in computed {
            if patch.pointer(&target) != Some(&value) {
                continue;
            }
            // Objects that held nothing else were sent for its sake.
            pointer::take_with_objects(patch.to_mut(), &target);
        }
        patch
    }

    /// Whether data and outcomes would read the same as those that are recorded. What was filled in for a computed field does not count: nobody sees it.
    pub(super) fn shows_the_same(&self, data: &Value, verdict: Option<&Verdict>) -> bool {
        let (Some(verdict), Some(rules)) = (verdict, self.made.as_ref().and_then(|made| made.rules.as_ref()))
        else {
            return false;
        };
        if rules.outcomes != verdict.outcomes || rules.computed != verdict.computed {
            return false;
        }
        let mut after = data.clone();
        place_computed(&mut after, &verdict.computed);
        self.data().as_ref() == Some(&after)
    }

    /// What the rules said, `{ "<rule id>": {"matched": bool, "value": {…}} }`; `None` while no rule was asked.
    pub fn outcomes(&self) -> Option<&CanonicalJson> {
        self.made.as_ref()?.rules.as_ref().map(|rules| &rules.outcomes)
    }

    /// Where it stands in its workflow; `None` before it exists.
    pub fn work(&self) -> Option<&Work> {
        self.made.as_ref().map(|made| &made.work)
    }

    /// What it waits for; `None` where nothing is left to do, and in forms without a workflow.
    pub fn task(&self) -> Option<&Task> {
        self.work()?.task()
    }

    /// The files that belong to it, in the order in which they were attached.
    pub fn attachments(&self) -> &[Attachment] {
        self.made.as_ref().map_or(&[], |made| &made.attachments)
    }

    /// Who wrote or submitted it in the submitter's name.
    pub(super) fn authors(&self) -> impl Iterator<Item = &Arc<str>> {
        self.made.iter().flat_map(|made| &made.authors)
    }

    /// About how many bytes its events hold so far: what loading it costs.
    pub(super) fn stream_bytes(&self) -> usize {
        self.made.as_ref().map_or(0, |made| made.stream_bytes)
    }

    /// How many facts of its life did not move it.
    pub(super) fn notes(&self) -> u32 {
        self.made.as_ref().map_or(0, |made| made.notes)
    }

    /// Folds one event. Total: a stored event was accepted once, so nothing is checked here.
    pub(super) fn fold(&mut self, event: SubmissionEvent) {
        match event {
            SubmissionEvent::Drafted { data, form, form_version, submitter } => {
                let pin = FormPin { form, version: form_version };
                self.made = Some(Made::new(pin, SubmissionState::DRAFT, submitter, data));
            }
            SubmissionEvent::Submitted { data, form, form_version, state, submitter, by } => {
                let draft = self.made.take();
                let pin = FormPin { form, version: form_version };
                let mut made = Made::new(pin, state, submitter, data);
                made.submitted = true;
                if let Some(draft) = draft {
                    made.authors = draft.authors;
                    made.attachments = draft.attachments;
                    made.stream_bytes += draft.stream_bytes;
                }
                made.authors.extend(by);
                self.made = Some(made);
            }
            SubmissionEvent::RulesEvaluated { computed, outcomes, .. } => {
                if let Some(made) = &mut self.made {
                    made.stream_bytes += EVENT_BYTES + computed.as_str().len() + outcomes.as_str().len();
                    made.rules = Some(RuleRecord { computed, outcomes });
                }
            }
            SubmissionEvent::Amended { data, patch, by, .. } => {
                if let Some(made) = &mut self.made {
                    made.stream_bytes += EVENT_BYTES + data.as_str().len() + patch.as_str().len();
                    made.data = data;
                    made.authors.extend(by);
                    made.work.fold_amendment();
                    made.notes = made.notes.saturating_add(u32::from(made.state != SubmissionState::DRAFT));
                }
            }
            SubmissionEvent::Worked { fact, .. } => {
                if let Some(made) = &mut self.made {
                    made.fold(&fact);
                }
            }
        }
    }
}

impl Made {
    fn new(pin: FormPin, state: SubmissionState, submitter: Arc<str>, data: CanonicalJson) -> Self {
        Self {
            pin,
            state,
            submitter,
            stream_bytes: EVENT_BYTES + data.as_str().len(),
            data,
            rules: None,
            work: Work::default(),
            submitted: false,
            authors: BTreeSet::new(),
            attachments: Vec::new(),
            notes: 0,
        }
    }

    fn fold(&mut self, fact: &WorkflowFact) {
        match fact.state_after() {
            Some(state) => self.state = state.clone(),
            None => self.notes = self.notes.saturating_add(u32::from(fact.is_note())),
        }
        self.stream_bytes += EVENT_BYTES + fact.texts_bytes();
        match fact {
            WorkflowFact::Attached { attachment, by, .. } => {
                self.attachments.push(attachment.clone());
                self.wrote(by);
            }
            WorkflowFact::Detached { attachment, by, .. } => {
                self.attachments.retain(|held| held.sha256 != attachment.sha256);
                self.wrote(by);
            }
            _ => {}
        }
        self.work.fold(fact);
    }

    /// Remembers who changes a draft in the submitter's name, as an amendment says it.
    fn wrote(&mut self, by: &Arc<str>) {
        if self.state == SubmissionState::DRAFT && *by != self.submitter {
            self.authors.insert(by.clone());
        }
    }
}

/// Puts the values of a `rules-evaluated` event's `computed` (JSON Pointer → value) into `data`.
///
/// Objects that are missing on the way are made; where something else stands there, the value is left out. Events say of a null that it becomes an
/// object, in an entry of its own before what lies in it; those of earlier versions did not. `null`, which is no value to anybody, stands where
/// something was filled in and the field's rule made nothing.
pub fn place_computed(data: &mut Value, computed: &CanonicalJson) {
    if let Value::Object(computed) = computed.to_value() {
        for (target, value) in computed {
            pointer::put(data, &target, value);
        }
    }
}
