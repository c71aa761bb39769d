//! A submission: data given under one version of a form, and everything that is decided about it.
//! Called through `store`. Decisions are pure; who acts and the compiled form come with the command, and replay never asks a rule again.

mod command;
mod decide;
mod event;
mod state;

pub use command::SubmissionCommand;
pub use decide::{SUBMISSION_BYTES_MAX, SubmissionError};
pub use event::SubmissionEvent;
pub use state::{FormPin, Submission, SubmissionState, place_computed};

#[cfg(test)]
mod tests;
