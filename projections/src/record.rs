//! What belongs to one submission beside its data: the files attached to it, the signatures on it, with who and when, and what it waits for.
//! Folded from its stream when it is asked for, like the timeline; see `docs/adr/0004-timeline-is-folded-from-the-stream.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    Attachment, ContentHash, LedgerAggregate, MediaType, Position, Signature, SignedContent, Submission,
    SubmissionEvent, UndecodableEvent, WorkflowFact,
};
use formledger_store::RecordedEvent;
use serde::Serialize;

use crate::tasks::OpenTask;

/// A file that belongs to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachedFile {
    /// SHA-256 of its bytes, by which it is fetched.
    pub sha256: ContentHash,
    /// What it was called when it was attached.
    pub name: Arc<str>,
    /// What it is.
    pub media_type: MediaType,
    /// Its size.
    pub bytes: u64,
    /// Who attached it.
    pub attached_by: Arc<str>,
    /// When.
    pub attached_at: DateTime<Utc>,
    /// The position at which that is recorded.
    pub position: Position,
}

/// A signature on a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenSignature {
    /// What was signed, by whom and as what.
    #[serde(flatten)]
    pub signature: Signature,
    /// When.
    pub signed_at: DateTime<Utc>,
    /// The position at which that is recorded.
    pub position: Position,
    /// Whether the submission is still what was signed: the same data, the same files.
    pub unchanged: bool,
}

/// A submission with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The submission.
    pub submission: Submission,
    /// The files that belong to it, in the order in which they were attached.
    pub attachments: Vec<AttachedFile>,
    /// The signatures on it, in the order in which they were given; none ever goes.
    pub signatures: Vec<GivenSignature>,
    /// When the task was opened that is open, or was the last one.
    task_opened_at: Option<DateTime<Utc>>,
    /// Every file that ever belonged to it, by hash.
    attached: BTreeMap<ContentHash, Attachment>,
}

impl Record {
    /// Folds a submission's stream, from its first event up to any later one.
    ///
    /// # Errors
    /// [`UndecodableEvent`] when this binary cannot read one of them.
    pub fn fold(events: &[RecordedEvent]) -> Result<Self, UndecodableEvent> {
        let mut record = Self::default();
        for event in events {
            let said = Submission::decode(&event.event_type, &event.event_version, &event.payload)?;
            if let SubmissionEvent::Worked { fact, .. } = &said {
                record.fold_one(fact, event);
            }
            record.submission.apply(said);
        }
        if !record.signatures.is_empty() {
            let content = SignedContent::of(&record.submission);
            record.signatures.iter_mut().for_each(|given| given.unchanged = given.signature.covers(&content));
        }
        Ok(record)
    }

    /// A file that belongs to it, or did.
    pub fn ever_attached(&self, sha256: ContentHash) -> Option<&Attachment> {
        self.attached.get(&sha256)
    }

    /// What it waits for; `None` where nothing is left to do.
    pub fn task(&self, as_of: DateTime<Utc>) -> Option<OpenTask> {
        OpenTask::of(self.submission.work()?, self.task_opened_at?, as_of)
    }

    fn fold_one(&mut self, fact: &WorkflowFact, event: &RecordedEvent) {
        match fact {
            WorkflowFact::Attached { attachment, by, .. } => {
                self.attached.insert(attachment.sha256, attachment.clone());
                let Attachment { sha256, name, media_type, bytes } = attachment.clone();
                let (attached_by, attached_at, position) = (by.clone(), event.recorded_at, event.position);
                self.attachments.push(AttachedFile {
                    sha256,
                    name,
                    media_type,
                    bytes,
                    attached_by,
                    attached_at,
                    position,
                });
            }
            WorkflowFact::Detached { attachment, .. } => {
                self.attachments.retain(|held| held.sha256 != attachment.sha256);
            }
            WorkflowFact::TaskOpened(_) => self.task_opened_at = Some(event.recorded_at),
            WorkflowFact::Signed(signature) => self.signatures.push(GivenSignature {
                signature: signature.clone(),
                signed_at: event.recorded_at,
                position: event.position,
                // Only the last state of the submission tells.
                unchanged: false,
            }),
            _ => {}
        }
    }
}
