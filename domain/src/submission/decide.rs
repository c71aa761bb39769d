//! Decides a submission's commands: which events follow, or why not. Pure; the only inputs are the state and the command.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde_json::Value;

use super::command::SubmissionCommand;
use super::event::SubmissionEvent;
use super::state::{FormPin, Submission, SubmissionState};
use crate::context::Actor;
use crate::form::{CompiledForm, Refusal, Verdict, Violation};
use crate::json::{CanonicalJson, InexactNumber, merge};

/// The role that may edit and submit other people's drafts.
const ADMIN: &str = "admin";
/// The largest data of an amended draft, in bytes of canonical JSON; a patch that makes them larger is refused. As much as one request
/// may bring: without it, many patches would make a draft that no request could, and every further event would hold all of it.
pub const SUBMISSION_BYTES_MAX: usize = 1024 * 1024;

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
    #[error("the submission is `{state}`; this needs `{needed}`")]
    NotInState {
        /// The state it is in.
        state: SubmissionState,
        /// The state the command needs.
        needed: SubmissionState,
    },
    /// This person may not do this.
    #[error("only {who} may do this")]
    NotPermitted {
        /// Who may, in words.
        who: String,
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
        match command {
            SubmissionCommand::Submit { form, data, draft, by, now } => {
                self.submit(&form, &data, draft, &by, now)
            }
            SubmissionCommand::Patch { form, patch, by } => self.patch(&form, &patch, &by),
            SubmissionCommand::SubmitDraft { form, by, now } => self.submit_draft(&form, &by, now),
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
        accept(form, data, CanonicalJson::from_value, by.subject.clone(), now)
    }

    fn patch(
        &self,
        form: &CompiledForm,
        patch: &Value,
        by: &Actor,
    ) -> Result<Vec<SubmissionEvent>, SubmissionError> {
        let before = self.draft_of(form, by)?;
        let mut data = before.to_value();
        merge::merge(&mut data, patch);
        let data = CanonicalJson::from_value(&data)?;
        if data == *before {
            return Ok(Vec::new());
        }
        let bytes = data.as_str().len();
        // What is too large already may become smaller.
        if bytes > SUBMISSION_BYTES_MAX && bytes >= before.as_str().len() {
            return Err(SubmissionError::TooLarge { bytes });
        }
        Ok(vec![SubmissionEvent::Amended {
            data,
            form: form.id().clone(),
            form_version: form.version(),
            patch: CanonicalJson::from_value(patch)?,
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
        accept(form, &draft.to_value(), |_| Ok(draft.clone()), submitter, now)
    }

    /// The draft's data, when there is a draft under this form and `by` may touch it.
    fn draft_of(&self, form: &CompiledForm, by: &Actor) -> Result<&CanonicalJson, SubmissionError> {
        let (Some(pin), Some(state), Some(data), Some(submitter)) =
            (self.pin(), self.state(), self.given_data(), self.submitter())
        else {
            return Err(SubmissionError::Missing);
        };
        // First, so that the refusal tells a stranger nothing about the submission.
        if *submitter != by.subject && !by.has_role(ADMIN) {
            return Err(SubmissionError::NotPermitted { who: "its submitter or an `admin`".to_owned() });
        }
        if *state != SubmissionState::DRAFT {
            return Err(SubmissionError::NotInState { state: state.clone(), needed: SubmissionState::DRAFT });
        }
        let given = FormPin::of(form);
        if *pin != given {
            return Err(SubmissionError::OtherForm { pinned: pin.clone(), given });
        }
        Ok(data)
    }
}

/// Checks the data, asks the rules, and records both: the outcome stands in the same append as the submission.
fn accept(
    form: &CompiledForm,
    data: &Value,
    canonical: impl FnOnce(&Value) -> Result<CanonicalJson, InexactNumber>,
    submitter: Arc<str>,
    now: DateTime<Utc>,
) -> Result<Vec<SubmissionEvent>, SubmissionError> {
    let verdict = form.judge(data, now)?;
    let (id, form_version) = (form.id().clone(), form.version());
    let submitted = SubmissionEvent::Submitted {
        data: canonical(data)?,
        form: id.clone(),
        form_version,
        state: SubmissionState::SUBMITTED,
        submitter,
    };
    let evaluated = verdict.map(|Verdict { computed, outcomes }| SubmissionEvent::RulesEvaluated {
        computed,
        form: id,
        form_version,
        outcomes,
    });
    Ok(std::iter::once(submitted).chain(evaluated).collect())
}
