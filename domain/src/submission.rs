//! A submission: data given under one version of a form, and everything that is decided about it.
//! Called through `store`. Decisions are pure; who acts and the compiled form come with the command, and replay never asks a rule again.

mod attaching;
mod command;
mod course;
mod decide;
mod editing;
mod event;
mod fact;
mod people;
mod rights;
mod signing;
mod state;
mod task;
mod work;

pub use command::{Act, SubmissionCommand};
pub use decide::{HISTORY_BYTES_MAX, STREAM_BYTES_MAX, SUBMISSION_BYTES_MAX, SubmissionError};
pub use event::SubmissionEvent;
pub use fact::WorkflowFact;
pub use people::{COMMENT_BYTES_MAX, DELEGATIONS_MAX, NOTES_MAX, REASON_BYTES_MAX};
pub use signing::{
    CLOCK_LEEWAY_SECONDS, SIGNER_NAME_BYTES_MAX, Signature, SignatureGiven, SignedContent, SignedFile,
    signed_data,
};
pub use state::{FormPin, Submission, SubmissionState, place_computed};
pub use task::{Action, Approval, Approvals, Delegation, Task};
pub use work::{Audience, OpenTransition, Reason, Waiting, Work};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod workflow_tests;
