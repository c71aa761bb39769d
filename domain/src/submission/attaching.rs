//! Files that are attached to a submission and taken off again: where its state lets its data be edited, by whom it lets them be edited.
//! The decision alone: bytes are stored by `api` before, so that an event never names bytes that are not there.

use chrono::{DateTime, Utc};

use super::decide::SubmissionError;
use super::editing::who_edits;
use super::fact::WorkflowFact;
use super::people::{Decision, Person, REASON_BYTES_MAX, not_permitted, text};
use super::rights::{ADMIN, OnBehalfOf};
use super::state::{Submission, SubmissionState};
use crate::attachment::{Attachment, ContentHash, is_attachment_name};
use crate::context::Actor;
use crate::form::{AttachmentRules, CompiledForm, Workflow};

impl Submission {
    /// Whether `by` may attach something now, and what: asked before the bytes are taken in, and again when they are attached.
    ///
    /// # Errors
    /// The refusal with which attaching would end.
    pub fn takes_attachments<'a>(
        &self,
        form: &'a CompiledForm,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<&'a AttachmentRules, SubmissionError> {
        self.made_under(form)?;
        self.right_to_change_attachments(form, by, now)?;
        let rules = form.attachments().ok_or(SubmissionError::NoAttachments)?;
        if self.attachments().len() >= rules.count_max {
            return Err(SubmissionError::TooManyAttachments { count_max: rules.count_max });
        }
        Ok(rules)
    }

    /// By what right `by` changes files: a draft's are changed by whom the draft is open to, others in the states that let files be attached, by
    /// whoever may edit there.
    fn right_to_change_attachments(
        &self,
        form: &CompiledForm,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Result<OnBehalfOf, SubmissionError> {
        let (Some(name), Some(submitter)) = (self.state(), self.submitter()) else {
            return Err(SubmissionError::Missing);
        };
        if *name == SubmissionState::DRAFT {
            return match *submitter == by.subject || by.has_role(ADMIN) {
                true => Ok(None),
                false => Err(not_permitted("its submitter or an `admin`")),
            };
        }
        let workflow = form.workflow();
        let state = workflow.and_then(|workflow| workflow.state(name.as_str()));
        let Some(state) = state.filter(|state| state.takes_attachments()) else {
            let elsewhere = workflow.into_iter().flat_map(Workflow::attaching_states);
            let needed = std::iter::once(SubmissionState::DRAFT).chain(elsewhere.map(SubmissionState::named));
            return Err(SubmissionError::NotInState { state: name.clone(), needed: needed.collect() });
        };
        self.right_to_edit(state, by, now).ok_or_else(|| not_permitted(&who_edits(state)))
    }
}

impl Person<'_> {
    pub(super) fn attach(&self, attachment: &Attachment) -> Decision {
        let Attachment { sha256, name, media_type, bytes } = attachment;
        let held = self.submission.attachments().iter().find(|held| held.sha256 == *sha256);
        let on_behalf_of = || self.submission.right_to_change_attachments(self.form, self.by, self.now);
        if let Some(held) = held {
            on_behalf_of()?;
            return match held == attachment {
                true => Ok(Vec::new()),
                false => Err(SubmissionError::AlreadyAttached { name: held.name.clone() }),
            };
        }
        let rules = self.submission.takes_attachments(self.form, self.by, self.now)?;
        if !rules.takes(*media_type) {
            let (given, types) = (media_type.to_string(), rules.type_names());
            return Err(SubmissionError::AttachmentType { given, types });
        }
        if *bytes > rules.bytes_max {
            return Err(SubmissionError::AttachmentTooLarge { bytes_max: rules.bytes_max });
        }
        if *bytes == 0 {
            return Err(SubmissionError::AttachmentInvalid("an attachment has at least one byte"));
        }
        if !is_attachment_name(name) {
            return Err(SubmissionError::AttachmentInvalid(
                "an attachment's name has 1 to 255 bytes and no slashes, control characters or marks that reverse text",
            ));
        }
        let (by, on_behalf_of) = (self.by.subject.clone(), on_behalf_of()?);
        self.one(WorkflowFact::Attached { attachment: attachment.clone(), by, on_behalf_of })
    }

    pub(super) fn detach(&self, sha256: ContentHash, reason: Option<&str>) -> Decision {
        let on_behalf_of = self.submission.right_to_change_attachments(self.form, self.by, self.now)?;
        let held = self.submission.attachments().iter().find(|held| held.sha256 == sha256);
        let attachment = held.ok_or(SubmissionError::NoSuchAttachment)?.clone();
        let reason = text("reason", reason, REASON_BYTES_MAX)?;
        self.one(WorkflowFact::Detached { attachment, by: self.by.subject.clone(), on_behalf_of, reason })
    }
}
