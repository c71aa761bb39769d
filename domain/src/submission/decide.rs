//! Decides a submission's commands: which events follow, or why not. Pure; the only inputs are the state and the command.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde_json::Value;

use super::command::SubmissionCommand;
use super::course::{Course, patched};
use super::event::SubmissionEvent;
use super::people::{NOTES_MAX, Person, escalate};
use super::rights::ADMIN;
use super::state::{FormPin, Submission, SubmissionState};
use crate::context::Actor;
use crate::form::{CompiledForm, Refusal, Verdict, Violation};
use crate::json::{CanonicalJson, InexactNumber};

/// The largest data of an amended draft, in bytes of canonical JSON; a patch that makes them larger is refused. As much as one request
/// may bring: without it, many patches would make a draft that no request could, and every further event would hold all of it.
pub const SUBMISSION_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of documents in one submission's events: each amendment holds all data, and every command reads the stream whole.
/// At the limit amendments are refused; whatever else can be done with the submission can be done.
pub const HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most bytes of a submission's stream, about; at the limit no transition is taken any more, only withdrawal and what time does.
pub const STREAM_BYTES_MAX: usize = 48 * 1024 * 1024;
/// The most names that a refusal lists; of further ones it says how many there are.
const NAMES_TOLD_MAX: usize = 20;

/// Why a submission's command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// The data break the form's schema or constraints; at least one violation, in document order of the schema.
    #[error("the data do not fit the form: {} problem(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// The data hold a number that cannot be kept exactly.
    #[error(transparent)]
    Inexact(#[from] InexactNumber),
    /// The patched data would be larger than [`SUBMISSION_BYTES_MAX`].
    #[error("the data would take {bytes} bytes; a submission holds at most {SUBMISSION_BYTES_MAX}")]
    TooLarge {
        /// Bytes of the data in canonical form.
        bytes: usize,
    },
    /// There is a submission with this id.
    #[error("the submission exists already")]
    AlreadyExists,
    /// There is no submission with this id.
    #[error("there is no such submission")]
    Missing,
    /// The submission's state does not allow this.
    #[error("the submission is `{state}`; this needs {}", either(.needed))]
    NotInState {
        /// The state it is in.
        state: SubmissionState,
        /// The states in which the command is possible; none: one in which something waits for somebody.
        needed: Vec<SubmissionState>,
    },
    /// The form's workflow has no such transition.
    #[error("the form's workflow has no transition `{name}`; it has {}", listed(.known))]
    UnknownTransition {
        /// What was asked for.
        name: String,
        /// Those that there are, in the workflow's order.
        known: Vec<String>,
    },
    /// The guard of a transition does not let the submission through.
    #[error("`{transition}` is possible only when {guard}{}", told(.error))]
    GuardNotMet {
        /// The transition.
        transition: String,
        /// The guard, as written.
        guard: String,
        /// Why it could not be evaluated; `None` when it is plainly false.
        error: Option<String>,
    },
    /// A transition that needs several people was taken again by one of them, in whatever name.
    #[error("you have a part in an approval of `{transition}` already; it needs different people")]
    AlreadyApproved {
        /// The transition.
        transition: Arc<str>,
    },
    /// Somebody else took the task on.
    #[error("`{by}` has taken this on; it must be released first")]
    AlreadyClaimed {
        /// Who.
        by: Arc<str>,
    },
    /// The transition asks for a reason.
    #[error("`{transition}` needs a `reason`")]
    ReasonRequired {
        /// The transition.
        transition: String,
    },
    /// A text is too long.
    #[error("the {what} has {bytes} bytes; use at most {bytes_max}")]
    TextTooLong {
        /// Which.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A text that must say something says nothing.
    #[error("the {0} is empty")]
    EmptyText(&'static str),
    /// The patch changes what the state does not let be edited, or not by this person.
    #[error("in `{state}` this {}: `{}`", edited_by(.only_for), .pointers.join("`, `"))]
    NotEditable {
        /// The state it is in.
        state: SubmissionState,
        /// What the patch changes beyond what may be edited, as JSON Pointers.
        pointers: Vec<String>,
        /// Who may edit that in this state, in words; `None`: nobody.
        only_for: Option<String>,
    },
    /// The transition asks for a signature.
    #[error(
        "`{transition}` must be signed: send `signature` with your printed `name` and `\"meaning\": \"{meaning}\"`"
    )]
    SignatureRequired {
        /// The transition.
        transition: String,
        /// What it means to sign, as the form says it.
        meaning: String,
    },
    /// The signature is not the one that the transition asks for.
    #[error("{message}")]
    SignatureInvalid {
        /// Where in the request, as a JSON Pointer.
        pointer: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The signer showed their credentials too long ago.
    #[error(
        "to sign `{transition}`, log in again: credentials must have been shown within {seconds} seconds"
    )]
    ReauthenticationRequired {
        /// The transition.
        transition: String,
        /// How long ago they may have been shown.
        seconds: i64,
    },
    /// The form takes no files.
    #[error("this form takes no attachments")]
    NoAttachments,
    /// The form takes no files of this type.
    #[error("this form takes attachments of the types `{}`, not `{given}`", .types.join("`, `"))]
    AttachmentType {
        /// What was given.
        given: String,
        /// What the form takes.
        types: Vec<&'static str>,
    },
    /// The form takes no files of this size.
    #[error("this form takes attachments of at most {bytes_max} bytes")]
    AttachmentTooLarge {
        /// The largest it takes.
        bytes_max: u64,
    },
    /// The file is empty, or its name is none.
    #[error("{0}")]
    AttachmentInvalid(&'static str),
    /// The submission has as many files as its form takes.
    #[error("the submission has {count_max} attachments, as many as its form takes")]
    TooManyAttachments {
        /// How many that is.
        count_max: usize,
    },
    /// The same bytes are attached under another name.
    #[error("these bytes are attached already, as `{name}`; detach them first to give them another name")]
    AlreadyAttached {
        /// That name.
        name: Arc<str>,
    },
    /// The submission has no such file.
    #[error("the submission has no such attachment")]
    NoSuchAttachment,
    /// The delegation makes no sense.
    #[error("{0}")]
    DelegationInvalid(&'static str),
    /// Too much was said about the submission without moving it.
    #[error(
        "the submission has {NOTES_MAX} comments, amendments and changes of hands; now transitions are taken, delegations ended and \
         tasks released, nothing else"
    )]
    TooManyNotes,
    /// All its amendments and comments together hold more than [`HISTORY_BYTES_MAX`].
    #[error(
        "the submission's history holds {HISTORY_BYTES_MAX} bytes; it is not amended or commented any more"
    )]
    TooMuchHistory,
    /// Its stream holds more than [`STREAM_BYTES_MAX`].
    #[error(
        "the submission's history holds {STREAM_BYTES_MAX} bytes; nothing more is done with it but to withdraw it"
    )]
    StreamFull,
    /// This person may not do this.
    #[error("only {who} may do this")]
    NotPermitted {
        /// Who may, in words.
        who: String,
    },
    /// Several people let this one act for them.
    #[error("say for whom you act: `on_behalf_of` is one of `{}`", of.join("`, `"))]
    OnBehalfOfRequired {
        /// Who they are.
        of: Vec<String>,
    },
    /// The command brought another form version than the submission is pinned to.
    #[error("the submission is pinned to form {pinned}, not {given}")]
    OtherForm {
        /// The submission's own.
        pinned: FormPin,
        /// The command's.
        given: FormPin,
    },
}

impl From<Refusal> for SubmissionError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Violations(violations) => Self::Invalid(violations),
        }
    }
}

impl Aggregate for Submission {
    const TYPE: &'static str = "Submission";
    type Command = SubmissionCommand;
    type Event = SubmissionEvent;
    type Error = SubmissionError;
    type Services = ();

    async fn handle(
        &mut self,
        command: SubmissionCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SubmissionError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SubmissionEvent) {
        self.fold(event);
    }
}

impl Submission {
    /// The events that follow from `command`; none when it changes nothing.
    ///
    /// # Errors
    /// The reason for the refusal; nothing is recorded then.
    pub fn decide(&self, command: SubmissionCommand) -> Result<Vec<SubmissionEvent>, SubmissionError> {
        match command.on_its_form() {
            SubmissionCommand::Submit { form, data, draft, by, now } => {
                self.submit(&form, &data, draft, &by, now)
            }
            SubmissionCommand::Patch { form, patch, by, now } => self.patch(&form, &patch, &by, now),
            SubmissionCommand::SubmitDraft { form, by, now } => self.submit_draft(&form, &by, now),
            SubmissionCommand::Act { form, act, by, now } => {
                Person { submission: self, form: &form, by: &by, now }.does(&act)
            }
            SubmissionCommand::Escalate { form, now } => escalate(self, &form, now),
        }
    }

    fn submit(
        &self,
        form: &CompiledForm,
        data: &Value,
        draft: bool,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Vec<SubmissionEvent>, SubmissionError> {
        if self.exists() {
            return Err(SubmissionError::AlreadyExists);
        }
        if draft {
            return Ok(vec![SubmissionEvent::Drafted {
                data: CanonicalJson::from_value(data)?,
                form: form.id().clone(),
                form_version: form.version(),
                submitter: by.subject.clone(),
            }]);
        }
        let submitter = (by.subject.clone(), None);
        let accepted = accept(form, data, CanonicalJson::from_value, submitter, now)?;
        Ok(self.enter(form, accepted, now))
    }

    /// What was accepted, and where the form's workflow takes it from there.
    fn enter(
        &self,
        form: &CompiledForm,
        accepted: Vec<SubmissionEvent>,
        now: DateTime<Utc>,
    ) -> Vec<SubmissionEvent> {
        if form.workflow().is_none() {
            return accepted;
        }
        let mut course = Course::new(self, form, now);
        accepted.into_iter().for_each(|event| course.push(event));
        course.settle(true);
        course.finish()
    }

    fn patch(
        &self,
        form: &CompiledForm,
        patch: &Value,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Vec<SubmissionEvent>, SubmissionError> {
        if form.workflow().is_some() && self.state().is_some_and(|state| *state != SubmissionState::DRAFT) {
            self.made_under(form)?;
            return Person { submission: self, form, by, now }.amend(patch);
        }
        let before = self.draft_of(form, by)?;
        let Some((data, _)) = patched(before, patch)? else { return Ok(Vec::new()) };
        let patch = CanonicalJson::from_value(patch)?;
        self.leaves_room_for(&data, &patch)?;
        Ok(vec![SubmissionEvent::Amended {
            data,
            form: form.id().clone(),
            form_version: form.version(),
            patch,
            by: self.unless_submitter(by),
            on_behalf_of: None,
        }])
    }

    fn submit_draft(
        &self,
        form: &CompiledForm,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<Vec<SubmissionEvent>, SubmissionError> {
        let draft = self.draft_of(form, by)?;
        let submitter = self.submitter().ok_or(SubmissionError::Missing)?.clone();
        let submitter = (submitter, self.unless_submitter(by));
        let accepted = accept(form, &draft.to_value(), |_| Ok(draft.clone()), submitter, now)?;
        Ok(self.enter(form, accepted, now))
    }

    /// The draft's data, when there is a draft under this form and `by` may touch it.
    fn draft_of(&self, form: &CompiledForm, by: &Actor) -> Result<&CanonicalJson, SubmissionError> {
        let (Some(state), Some(data), Some(submitter)) = (self.state(), self.given_data(), self.submitter())
        else {
            return Err(SubmissionError::Missing);
        };
        // First, so that the refusal tells a stranger nothing about the submission.
        if *submitter != by.subject && !by.has_role(ADMIN) {
            return Err(SubmissionError::NotPermitted { who: "its submitter or an `admin`".to_owned() });
        }
        if *state != SubmissionState::DRAFT {
            return Err(SubmissionError::NotInState {
                state: state.clone(),
                needed: vec![SubmissionState::DRAFT],
            });
        }
        self.made_under(form)?;
        Ok(data)
    }

    /// Somebody else than the submitter, who works in the submitter's name.
    fn unless_submitter(&self, by: &Actor) -> Option<Arc<str>> {
        (self.submitter() != Some(&by.subject)).then(|| by.subject.clone())
    }

    /// That an amendment keeps the submission's stream small enough to be read whole.
    pub(super) fn leaves_room_for(
        &self,
        data: &CanonicalJson,
        patch: &CanonicalJson,
    ) -> Result<(), SubmissionError> {
        let bytes = self.stream_bytes() + data.as_str().len() + patch.as_str().len();
        if bytes > HISTORY_BYTES_MAX { Err(SubmissionError::TooMuchHistory) } else { Ok(()) }
    }

    /// That the submission exists and the command brought the form version that it is pinned to.
    pub(super) fn made_under(&self, form: &CompiledForm) -> Result<(), SubmissionError> {
        let pinned = self.pin().ok_or(SubmissionError::Missing)?;
        let given = FormPin::of(form);
        if *pinned == given {
            Ok(())
        } else {
            Err(SubmissionError::OtherForm { pinned: pinned.clone(), given })
        }
    }
}

/// Checks the data, asks the rules, and records both: the outcome stands in the same append as the submission. Beside the submitter
/// stands who submits in their name, if somebody does.
fn accept(
    form: &CompiledForm,
    data: &Value,
    canonical: impl FnOnce(&Value) -> Result<CanonicalJson, InexactNumber>,
    (submitter, by): (Arc<str>, Option<Arc<str>>),
    now: DateTime<Utc>,
) -> Result<Vec<SubmissionEvent>, SubmissionError> {
    let verdict = form.judge(data, now)?;
    let (id, form_version) = (form.id().clone(), form.version());
    let submitted = SubmissionEvent::Submitted {
        data: canonical(data)?,
        form: id.clone(),
        form_version,
        state: form.workflow().map_or(SubmissionState::SUBMITTED, |it| SubmissionState::named(it.initial())),
        submitter,
        by,
    };
    let evaluated = verdict.map(|Verdict { computed, outcomes, why, now }| SubmissionEvent::RulesEvaluated {
        computed,
        form: id,
        form_version,
        outcomes,
        why,
        now,
    });
    Ok(std::iter::once(submitted).chain(evaluated).collect())
}

fn either(states: &[SubmissionState]) -> String {
    if states.is_empty() {
        return "a state in which something waits for somebody".to_owned();
    }
    let states: Vec<String> = states.iter().map(|state| format!("`{state}`")).collect();
    states.join(" or ")
}

fn edited_by(only_for: &Option<String>) -> String {
    let only = |who: &String| format!("may be edited only by {}", who.trim_end_matches(','));
    only_for.as_ref().map_or_else(|| "may not be edited".to_owned(), only)
}

/// Names for a person to choose from.
fn listed(names: &[String]) -> String {
    let told: Vec<String> = names.iter().take(NAMES_TOLD_MAX).map(|name| format!("`{name}`")).collect();
    match names.len() - told.len() {
        0 if told.is_empty() => "none".to_owned(),
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

fn told(error: &Option<String>) -> String {
    error.as_ref().map_or_else(String::new, |error| format!(", which cannot be said: {error}"))
}
