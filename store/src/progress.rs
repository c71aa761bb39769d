//! Whether anything can be recorded: what the writer is at, and how its last batch ended. Kept by the writer, asked through `Store`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// A batch that takes longer holds up everybody. Ordinary ones take milliseconds.
const STALLED_MIN: Duration = Duration::from_secs(10);
/// For so long a failure says that the next command would fail as well; then only one that is tried can tell.
const FAILED_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the batch began that is being recorded.
    began: Option<Instant>,
    /// When and why the last one could not be.
    failed: Option<(Instant, StoreError)>,
}

impl Progress {
    /// A batch is being recorded from now on.
    pub(crate) fn begin(&self) {
        self.state().began = Some(Instant::now());
    }

    /// Something was recorded. Said before its callers are answered, who may ask next.
    pub(crate) fn recorded(&self) {
        self.state().failed = None;
    }

    /// It could not be.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.state().failed = Some((Instant::now(), error.clone()));
    }

    /// The writer is done with it and waits for commands.
    pub(crate) fn rest(&self) {
        self.state().began = None;
    }

    /// Whether a command would be recorded now, as far as is known.
    ///
    /// # Errors
    /// Why the last ones were not, or [`StoreError::Busy`] where one takes long.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), StoreError> {
        match &*self.state() {
            State { failed: Some((when, error)), .. } if now - *when < FAILED_MAX => Err(error.clone()),
            State { began: Some(when), .. } if now - *when >= STALLED_MIN => Err(StoreError::Busy),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(progress: &Progress, time: Duration) -> Result<(), StoreError> {
        progress.check_at(Instant::now() + time)
    }

    #[test]
    fn a_batch_that_takes_long_stands_in_the_way_until_it_is_recorded() {
        let progress = Progress::default();
        progress.begin();
        assert!(after(&progress, STALLED_MIN / 2).is_ok());
        assert!(matches!(after(&progress, STALLED_MIN), Err(StoreError::Busy)));
        progress.recorded();
        progress.rest();
        assert!(after(&progress, STALLED_MIN).is_ok(), "nothing is being recorded");
    }

    #[test]
    fn a_failure_is_told_until_a_batch_is_recorded_or_it_says_nothing_any_more() {
        let progress = Progress::default();
        progress.begin();
        progress.failed(&StoreError::StorageFull);
        assert!(matches!(progress.check(), Err(StoreError::StorageFull)));
        progress.rest();
        assert!(matches!(after(&progress, FAILED_MAX / 2), Err(StoreError::StorageFull)));
        assert!(after(&progress, FAILED_MAX).is_ok(), "who sends nothing because of it would never learn");
        progress.begin();
        assert!(matches!(progress.check(), Err(StoreError::StorageFull)), "the next is not recorded yet");
        progress.recorded();
        assert!(progress.check().is_ok());
    }
}
