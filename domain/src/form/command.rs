//! The form aggregate: draft, publish, retire, and what each is refused for.
//!
//! - Saving the draft that is already there changes nothing.
//! - Publishing takes the saved draft; without a draft saved since the last publication there is nothing to publish.
//! - A retired form takes no submissions. Publishing it again, with or without a new draft, reopens it as a new version.

use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{DEFINITION_BYTES_MAX, FormDefinition};
use super::event::FormEvent;
use super::problem::DefinitionProblem;
use crate::ids::{FormId, FormVersion};
use crate::json::{CanonicalJson, InexactNumber};

/// The longest reason for retiring a form, in bytes.
pub const REASON_BYTES_MAX: usize = 4096;

/// A form, folded from its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    draft: Option<CanonicalJson>,
    published: Option<Publication>,
    retired: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Publication {
    version: FormVersion,
    definition: CanonicalJson,
}

/// What may be asked of a form.
#[derive(Debug, Clone, PartialEq)]
pub enum FormCommand {
    /// Keeps a definition as work in progress. Problems do not stand in its way; see [`FormDefinition::problems`].
    SaveDraft {
        /// The form; it is also the stream's id.
        form: FormId,
        /// The definition, as [`crate::parse_exact`] read it.
        definition: Arc<Value>,
    },
    /// Makes the saved draft the next version.
    Publish {
        /// The form.
        form: FormId,
    },
    /// Stops taking submissions.
    Retire {
        /// The form.
        form: FormId,
        /// Why.
        reason: Option<String>,
    },
}

/// Why a form's command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The definition cannot be published (or, when a draft is saved, is no definition at all); at least one problem.
    #[error("the form definition has {} problem(s)", .0.len())]
    Invalid(Vec<DefinitionProblem>),
    /// The definition holds a number that cannot be kept exactly.
    #[error(transparent)]
    Inexact(#[from] InexactNumber),
    /// There is no such form.
    #[error("there is no such form")]
    Missing,
    /// No draft was saved since the last publication.
    #[error("nothing to publish: no draft was saved since version {0} was published")]
    NothingToPublish(FormVersion),
    /// The form has drafts only.
    #[error("the form has no published version")]
    NotPublished,
    /// The form was retired.
    #[error("the form is retired")]
    Retired,
    /// The reason is too long.
    #[error("the reason has {0} bytes; use at most {REASON_BYTES_MAX}")]
    ReasonTooLong(usize),
}

impl Form {
    /// Whether anything was ever saved.
    pub fn exists(&self) -> bool {
        self.draft.is_some() || self.published.is_some()
    }

    /// The newest published version, retired or not.
    pub fn version(&self) -> Option<FormVersion> {
        self.published.as_ref().map(|publication| publication.version)
    }

    /// Whether the form was retired and not published since.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// The draft that was saved since the last publication.
    pub fn draft(&self) -> Option<&CanonicalJson> {
        self.draft.as_ref()
    }

    /// The version and definition under which a new submission is made.
    ///
    /// # Errors
    /// [`FormError::Missing`], [`FormError::NotPublished`] or [`FormError::Retired`].
    pub fn open(&self) -> Result<(FormVersion, &CanonicalJson), FormError> {
        match &self.published {
            _ if self.retired => Err(FormError::Retired),
            Some(publication) => Ok((publication.version, &publication.definition)),
            None if self.exists() => Err(FormError::NotPublished),
            None => Err(FormError::Missing),
        }
    }

    /// The events that follow from `command`; none when it changes nothing.
    ///
    /// # Errors
    /// The reason for the refusal; nothing is recorded then.
    pub fn decide(&self, command: FormCommand) -> Result<Vec<FormEvent>, FormError> {
        match command {
            FormCommand::SaveDraft { form, definition } => self.save_draft(form, &definition),
            FormCommand::Publish { form } => self.publish(form),
            FormCommand::Retire { form, reason } => self.retire(form, reason),
        }
    }

    fn save_draft(&self, form: FormId, definition: &Value) -> Result<Vec<FormEvent>, FormError> {
        if !definition.is_object() {
            let message = "a form definition is an object with at least `title` and `schema`";
            return Err(FormError::Invalid(vec![DefinitionProblem::error("", message)]));
        }
        let definition = CanonicalJson::from_value(definition)?;
        let bytes = definition.as_str().len();
        if bytes > DEFINITION_BYTES_MAX {
            let message =
                format!("the definition has {bytes} bytes; at most {DEFINITION_BYTES_MAX} are taken");
            return Err(FormError::Invalid(vec![DefinitionProblem::error("", message)]));
        }
        if self.draft.as_ref() == Some(&definition) {
            return Ok(Vec::new());
        }
        Ok(vec![FormEvent::DraftSaved { definition, form }])
    }

    fn publish(&self, form: FormId) -> Result<Vec<FormEvent>, FormError> {
        let definition = match (&self.draft, &self.published) {
            (Some(draft), _) => draft,
            (None, Some(publication)) if self.retired => &publication.definition,
            (None, Some(publication)) => return Err(FormError::NothingToPublish(publication.version)),
            (None, None) => return Err(FormError::Missing),
        };
        let version = self.version().map_or(FormVersion::FIRST, FormVersion::next);
        // Every node compiles the version once it has read the event.
        let mut problems = FormDefinition::problems(&definition.to_value(), &form);
        problems.retain(DefinitionProblem::is_error);
        if !problems.is_empty() {
            return Err(FormError::Invalid(problems));
        }
        Ok(vec![FormEvent::Published { definition: definition.clone(), form, version }])
    }

    fn retire(&self, form: FormId, reason: Option<String>) -> Result<Vec<FormEvent>, FormError> {
        self.open()?;
        match reason.as_ref().map(String::len) {
            Some(bytes) if bytes > REASON_BYTES_MAX => Err(FormError::ReasonTooLong(bytes)),
            _ => Ok(vec![FormEvent::Retired { form, reason }]),
        }
    }
}

impl Aggregate for Form {
    const TYPE: &'static str = "Form";
    type Command = FormCommand;
    type Event = FormEvent;
    type Error = FormError;
    type Services = ();

    async fn handle(
        &mut self,
        command: FormCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), FormError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: FormEvent) {
        match event {
            FormEvent::DraftSaved { definition, .. } => self.draft = Some(definition),
            FormEvent::Published { definition, version, .. } => {
                self.draft = None;
                self.retired = false;
                self.published = Some(Publication { version, definition });
            }
            FormEvent::Retired { .. } => self.retired = true,
        }
    }
}
