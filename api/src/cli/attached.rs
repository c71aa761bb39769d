//! The files that a ledger's events name, for commands that read whole ledgers: `verify` reads their bytes, `import` tells how many there are.

use std::collections::HashSet;

use formledger_domain::{
    Attachment, ContentHash, LedgerAggregate, Submission, SubmissionEvent, WorkflowFact,
};
use formledger_store::RecordedEvent;

use crate::limits::ATTACHMENTS_REMEMBERED_MAX;

/// The files that were named so far, each once; bounded, so in a very large ledger some come again.
#[derive(Default)]
pub struct Named(HashSet<ContentHash>);

impl Named {
    /// What an event names, where that was not named before.
    pub fn first_by(&mut self, event: &RecordedEvent) -> Option<Attachment> {
        let attachment = attached(event)?;
        if !self.0.insert(attachment.sha256) {
            return None;
        }
        // Keeps memory bounded: what is forgotten comes twice.
        if self.0.len() >= ATTACHMENTS_REMEMBERED_MAX {
            self.0.clear();
        }
        Some(attachment)
    }
}

/// What an event attaches, where it does; `None` also for one that cannot be read, which is told otherwise.
fn attached(event: &RecordedEvent) -> Option<Attachment> {
    if event.event_type != "formledger.submission.attached" {
        return None;
    }
    match Submission::decode(&event.event_type, &event.event_version, &event.payload).ok()? {
        SubmissionEvent::Worked { fact: WorkflowFact::Attached { attachment, .. }, .. } => Some(attachment),
        _ => None,
    }
}
