//! Electronic signatures on transitions (21 CFR 11.50, 11.70 and 11.200): who must sign is the form's, that they did is an event of its own,
//! and the event names the hash of what they signed, so that a signature cannot be moved to another record or outlive a change unseen.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::course::Course;
use super::decide::SubmissionError;
use super::fact::WorkflowFact;
use super::people::{Person, not_permitted, text};
use super::state::Submission;
use crate::attachment::{ContentHash, reverses_text};
use crate::form::{SignatureRule, Transition};
use crate::json::{CanonicalJson, InexactNumber};

/// The longest printed name of a signer, in bytes.
pub const SIGNER_NAME_BYTES_MAX: usize = 256;

/// How far clocks that tell the product when something happened elsewhere may be off, in seconds.
pub const CLOCK_LEEWAY_SECONDS: u32 = 5;

/// A signature as somebody gives it with a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureGiven {
    /// Their printed name.
    pub name: String,
    /// What they mean by it; must be what the form says, word for word.
    pub meaning: String,
    /// When they showed their credentials, as far as their token tells.
    pub authenticated_at: Option<DateTime<Utc>>,
}

/// A signature as it is recorded. When it was given is when the event was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The transition that was signed for.
    pub transition: Arc<str>,
    /// The subject who signed.
    pub by: Arc<str>,
    /// For whom, when it was as a delegate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// The signer's printed name.
    pub name: Arc<str>,
    /// What the signature means.
    pub meaning: Arc<str>,
    /// SHA-256 of the data as they were signed; see [`signed_data`].
    pub data_sha256: ContentHash,
    /// The files that belonged to the submission, in the order of their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<SignedFile>,
    /// When the signer had shown their credentials, where the transition asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<DateTime<Utc>>,
}

/// A file that was signed: what it is called belongs to what the signer saw, so another name is another thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedFile {
    /// SHA-256 of its bytes.
    pub sha256: ContentHash,
    /// What it was called.
    pub name: Arc<str>,
}

impl Signature {
    /// Whether what a submission holds is what was signed: the same data, the same files under the same names.
    pub fn covers(&self, content: &SignedContent) -> bool {
        content.data_sha256 == Some(self.data_sha256) && content.attachments == self.attachments
    }
}

/// What a submission holds, as signatures name it. Made once for all of them: it takes a pass over the whole data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedContent {
    data_sha256: Option<ContentHash>,
    attachments: Vec<SignedFile>,
}

impl SignedContent {
    /// What `submission` holds now.
    pub fn of(submission: &Submission) -> Self {
        Self { data_sha256: signed_data(submission).ok(), attachments: files(submission) }
    }
}

/// What a signature on a submission names: SHA-256 of the data as clients see them, computed values in place, in canonical form (RFC 8785).
///
/// # Errors
/// [`InexactNumber`], which no data that were accepted hold.
pub fn signed_data(submission: &Submission) -> Result<ContentHash, InexactNumber> {
    let data = submission.data().unwrap_or(Value::Null);
    Ok(ContentHash(CanonicalJson::from_value(&data)?.sha256()))
}

fn files(submission: &Submission) -> Vec<SignedFile> {
    let held = submission.attachments().iter();
    let mut files: Vec<_> =
        held.map(|held| SignedFile { sha256: held.sha256, name: held.name.clone() }).collect();
    files.sort_unstable();
    files
}

/// A signature that is the one the transition asks for.
pub(super) struct Signer {
    name: Arc<str>,
    meaning: Arc<str>,
    authenticated_at: Option<DateTime<Utc>>,
}

impl Person<'_> {
    /// That the signature is there where one is asked for, says what it must, by a person who is there; `None` where none is asked for.
    pub(super) fn signature_for(
        &self,
        transition: &Transition,
        given: Option<&SignatureGiven>,
    ) -> Result<Option<Signer>, SubmissionError> {
        let (rule, given) = match (&transition.signature, given) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let message = format!("`{}` is not signed; leave `signature` out", transition.name);
                return Err(SubmissionError::SignatureInvalid { pointer: "/signature", message });
            }
            (Some(SignatureRule { meaning, .. }), None) => {
                let (transition, meaning) = (transition.name.clone(), meaning.clone());
                return Err(SubmissionError::SignatureRequired { transition, meaning });
            }
            (Some(rule), Some(given)) => (rule, given),
        };
        // What a program does is nobody's own hand (21 CFR 11.3(b)(7)).
        if self.by.is_program() {
            return Err(not_permitted("a person with a token of their own"));
        }
        if given.meaning != rule.meaning {
            let message = format!("the signature means `{}`; send that as `meaning`", rule.meaning);
            return Err(SubmissionError::SignatureInvalid { pointer: "/signature/meaning", message });
        }
        let name = text("signer's name", Some(&given.name), SIGNER_NAME_BYTES_MAX)?;
        let deceives = |c: char| c.is_control() || reverses_text(c);
        let name = name.filter(|name| !name.chars().any(deceives)).ok_or_else(|| {
            let message =
                "send the name of who signs as `name`, in one line, without marks that reverse text"
                    .to_owned();
            SubmissionError::SignatureInvalid { pointer: "/signature/name", message }
        })?;
        let authenticated_at = self.lately_authenticated(&transition.name, rule, given.authenticated_at)?;
        Ok(Some(Signer { name, meaning: rule.meaning.as_str().into(), authenticated_at }))
    }

    /// When the credentials were shown, where that must have been lately.
    fn lately_authenticated(
        &self,
        transition: &str,
        rule: &SignatureRule,
        shown_at: Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, SubmissionError> {
        let Some(age_max) = rule.age_max else { return Ok(None) };
        // Who was asked in the future, for example because a provider counts milliseconds, would never have to be asked again.
        let latest = self.now + TimeDelta::seconds(i64::from(CLOCK_LEEWAY_SECONDS));
        let lately =
            |at: &DateTime<Utc>| *at <= latest && age_max.after(*at).is_some_and(|end| self.now <= end);
        match shown_at.filter(lately) {
            Some(at) => Ok(Some(at)),
            None => Err(SubmissionError::ReauthenticationRequired {
                transition: transition.to_owned(),
                seconds: age_max.after(DateTime::UNIX_EPOCH).map_or(0, |end| end.timestamp()),
            }),
        }
    }

    /// Records the signature, on what the course has made of the submission.
    pub(super) fn sign(
        &self,
        course: &mut Course<'_>,
        transition: &Transition,
        signer: Option<Signer>,
        on_behalf_of: Option<&Arc<str>>,
    ) -> Result<(), SubmissionError> {
        let Some(Signer { name, meaning, authenticated_at }) = signer else { return Ok(()) };
        let signature = Signature {
            transition: transition.name.as_str().into(),
            by: self.by.subject.clone(),
            on_behalf_of: on_behalf_of.cloned(),
            name,
            meaning,
            data_sha256: signed_data(&course.submission)?,
            attachments: files(&course.submission),
            authenticated_at,
        };
        course.fact(WorkflowFact::Signed(signature));
        Ok(())
    }
}
